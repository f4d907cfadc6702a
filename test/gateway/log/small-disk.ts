// Owns a real disk that is small: a tmpfs of its own, mounted for a test. Null where mounting is not allowed.
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface SmallDisk {
  readonly path: string;
  freeBytes(): number;
  /** Takes all space but about `leaveBytes`. */
  fill(leaveBytes?: number): void;
  /** Gives back what `fill` took. */
  clear(): void;
  unmount(): void;
}

export function mountSmallDisk(sizeBytes: number): SmallDisk | null {
  const path = mkdtempSync(join(tmpdir(), 'tidemark-disk-'));
  const options = `size=${sizeBytes}`;
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', path]).status !== 0) {
    rmSync(path, { recursive: true });
    return null;
  }
  const ballast = join(path, 'ballast');
  const freeBytes = () => {
    const { bavail, bsize } = statfsSync(path);
    return bavail * bsize;
  };
  return {
    path,
    freeBytes,
    fill: (leaveBytes = 0) => {
      const fd = openSync(ballast, 'a');
      try {
        for (let left = freeBytes() - leaveBytes; left > 0; left = freeBytes() - leaveBytes)
          writeSync(fd, Buffer.alloc(Math.min(left, 1024 * 1024)));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      } finally {
        closeSync(fd);
      }
    },
    clear: () => rmSync(ballast, { force: true }),
    unmount: () => {
      spawnSync('umount', ['-l', path]);
      rmSync(path, { recursive: true, force: true });
    },
  };
}
