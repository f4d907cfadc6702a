// A small file system of its own for the gateway's data, so that the disk can really be full: ext4 on a loop device. Where
// the machine does not allow that (no root, no loop devices) the fault is left out, and the run says so.
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  openSync,
  rmSync,
  statfsSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';

export class SmallDisk {
  readonly path: string;
  readonly #image: string;
  #mounted = true;

  private constructor(path: string, image: string) {
    this.path = path;
    this.#image = image;
  }

  /** null: this machine does not let us. */
  static make(folder: string, bytes: number): SmallDisk | null {
    const image = join(folder, 'disk.img');
    const path = join(folder, 'disk');
    writeFileSync(image, '');
    truncateSync(image, bytes);
    mkdirSync(path);
    const made = run('mkfs.ext4', ['-q', '-m', '0', image]) && run('mount', ['-o', 'loop', image, path]);
    if (!made) rmSync(image);
    return made ? new SmallDisk(path, image) : null;
  }

  /** Takes all free space. */
  fill(): void {
    const file = openSync(join(this.path, 'ballast'), 'w');
    const piece = Buffer.alloc(1024 * 1024);
    try {
      for (let size = piece.length; size >= 512; size = Math.floor(size / 2)) {
        try {
          for (;;) writeSync(file, piece, 0, size);
        } catch (error) {
          if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
        }
      }
    } finally {
      closeSync(file);
    }
  }

  relieve(): void {
    rmSync(join(this.path, 'ballast'), { force: true });
  }

  get freeBytes(): number {
    const { bavail, bsize } = statfsSync(this.path);
    return bavail * bsize;
  }

  unmount(): void {
    if (this.#mounted) run('umount', [this.path]);
    this.#mounted = false;
    rmSync(this.#image, { force: true });
  }
}

function run(command: string, args: readonly string[]): boolean {
  return spawnSync(command, args, { stdio: 'ignore' }).status === 0;
}
