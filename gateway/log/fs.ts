// Owns every system call of the log: the port that a fault harness replaces, and the real thing. Decides nothing.
import fs from 'node:fs';
import { dirname } from 'node:path';
import { directIo } from './direct-io.ts';
import { DirectSync } from './direct-sync.ts';

export type FsError = NodeJS.ErrnoException | null;

export interface FileStat {
  readonly sizeBytes: number;
  readonly createdMs: number;
  readonly modifiedMs: number;
  /** Tells this file from another of the same name; absent where the file system has no such thing. */
  readonly fileId?: string;
}

/** Hot calls take callbacks (no promise per call); the rest are promises. Errors are those of node:fs, with `code`. */
export interface LogFs {
  /** read: must exist. write: must exist, read and write. create: must not exist, read and write. */
  open(path: string, mode: 'read' | 'write' | 'create'): Promise<number>;
  close(fd: number): Promise<void>;
  /** May write less than asked; the caller goes on. `done` may be called before it returns. */
  pwrite(
    fd: number,
    bytes: Uint8Array,
    start: number,
    length: number,
    position: number,
    done: (error: FsError, written: number) => void,
  ): void;
  /** `atOnce`: the caller may be kept waiting for it, where that is quicker; `done` is then called before it returns. */
  fdatasync(fd: number, done: (error: FsError) => void, atOnce?: boolean): void;
  /** May read less than asked; 0 at the end of the file. A number where it was read at once. */
  pread(
    fd: number,
    into: Uint8Array,
    start: number,
    length: number,
    position: number,
  ): number | Promise<number>;
  ftruncate(fd: number, sizeBytes: number): Promise<void>;
  stat(path: string): Promise<FileStat>;
  readdir(path: string): Promise<string[]>;
  rename(from: string, to: string): Promise<void>;
  unlink(path: string): Promise<void>;
  /** Creates the folder and its parents; durable once the parent has been synced. */
  mkdir(path: string): Promise<void>;
  /** Makes creation, rename and removal of the folder's entries durable. */
  syncDirectory(path: string): Promise<void>;
  /** Bytes this process may still write on the disk that holds `path`; null where the file system does not say. */
  freeBytes(path: string): Promise<number | null>;
}

const FLAGS = { read: 'r', write: 'r+', create: 'wx+' } as const;

function promised<T>(start: (done: (error: FsError, value: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, value) => (error ? reject(error) : resolve(value)));
  });
}

const directSync = new DirectSync();

function syncNow(fd: number): FsError {
  try {
    fs.fdatasyncSync(fd);
    return null;
  } catch (error) {
    return error as NodeJS.ErrnoException;
  }
}

export const realFs: LogFs = {
  open: async (path, mode) => {
    const pooled = () => promised<number>((done) => fs.open(path, FLAGS[mode], 0o640, done));
    return mode === 'read' ? directIo.read(0, () => fs.openSync(path, FLAGS.read), pooled) : pooled();
  },
  close: (fd) => promised<void>((done) => fs.close(fd, (error) => done(error ?? null))),
  pwrite: (fd, bytes, start, length, position, done) => {
    let failure: FsError = null;
    let written = 0;
    const isDone = directIo.write(length, () => {
      try {
        written = fs.writeSync(fd, bytes, start, length, position);
      } catch (error) {
        failure = error as NodeJS.ErrnoException;
      }
    });
    if (isDone) done(failure, written);
    else fs.write(fd, bytes, start, length, position, done);
  },
  fdatasync: (fd, done, atOnce) => {
    if (!atOnce) {
      fs.fdatasync(fd, done);
      return;
    }
    let failure: FsError | undefined;
    directSync.run(
      () => {
        failure = syncNow(fd);
      },
      (onDone) =>
        fs.fdatasync(fd, (error) => {
          onDone();
          done(error);
        }),
    );
    // Outside of what is timed: it answers devices.
    if (failure !== undefined) done(failure);
  },
  pread: (fd, into, start, length, position) =>
    directIo.read(
      length,
      () => fs.readSync(fd, into, start, length, position),
      () => promised((done) => fs.read(fd, into, start, length, position, done)),
    ),
  ftruncate: (fd, sizeBytes) => promised<void>((done) => fs.ftruncate(fd, sizeBytes, (error) => done(error))),
  stat: async (path) => {
    const stat = await directIo.read(
      0,
      () => fs.statSync(path),
      () => promised<fs.Stats>((done) => fs.stat(path, done)),
    );
    const createdMs = stat.birthtimeMs > 0 ? stat.birthtimeMs : stat.mtimeMs;
    const fileId = `${stat.dev}:${stat.ino}:${stat.birthtimeMs}`;
    return { sizeBytes: stat.size, createdMs, modifiedMs: stat.mtimeMs, fileId };
  },
  readdir: (path) => fs.promises.readdir(path),
  rename: (from, to) => fs.promises.rename(from, to),
  unlink: (path) => fs.promises.unlink(path),
  mkdir: async (path) => {
    const first = await fs.promises.mkdir(path, { recursive: true, mode: 0o750 });
    if (first !== undefined) await realFs.syncDirectory(dirname(first));
  },
  syncDirectory: async (path) => {
    const fd = await realFs.open(path, 'read');
    try {
      await promised<void>((done) => fs.fsync(fd, (error) => done(error)));
    } finally {
      await realFs.close(fd);
    }
  },
  freeBytes: async (path) => {
    const { bavail, bsize, blocks } = await fs.promises.statfs(path);
    return blocks > 0 ? bavail * bsize : null;
  },
};

/** No room: the one failure of a write that heals by itself. */
export function isDiskFull(error: FsError): boolean {
  return error?.code === 'ENOSPC' || error?.code === 'EDQUOT';
}

/** The whole range, however many calls it takes: the bytes read, fewer only at the end of the file. */
export function readFully(
  fs: LogFs,
  fd: number,
  into: Uint8Array,
  length: number,
  position: number,
): number | Promise<number> {
  if (length === 0) return 0;
  const first = fs.pread(fd, into, 0, length, position);
  return first === length ? length : readOn(fs, fd, into, length, position, first);
}

async function readOn(
  fs: LogFs,
  fd: number,
  into: Uint8Array,
  length: number,
  position: number,
  first: number | Promise<number>,
): Promise<number> {
  let done = await first;
  if (done === 0) return 0;
  while (done < length) {
    const read = await fs.pread(fd, into, done, length - done, position + done);
    if (read === 0) break;
    done += read;
  }
  return done;
}

export function isMissing(error: unknown): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === 'ENOENT';
}

/** A whole small file, or null when there is none. Refuses files past `maxBytes` with a RangeError. */
export async function readSmallFile(fs: LogFs, path: string, maxBytes: number): Promise<Buffer | null> {
  let fd: number;
  try {
    fd = await fs.open(path, 'read');
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
  try {
    const { sizeBytes } = await fs.stat(path);
    if (sizeBytes > maxBytes)
      throw new RangeError(`${path} has ${sizeBytes} bytes, at most ${maxBytes} are expected`);
    const bytes = Buffer.alloc(sizeBytes);
    return bytes.subarray(0, await readFully(fs, fd, bytes, sizeBytes, 0));
  } finally {
    await fs.close(fd);
  }
}

/** Writes all of `bytes` at `position`, however many calls it takes. */
export async function writeFully(fs: LogFs, fd: number, bytes: Uint8Array, position: number): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const written = await promised<number>((settle) =>
      fs.pwrite(fd, bytes, done, bytes.length - done, position + done, settle),
    );
    if (written === 0) throw Object.assign(new Error('the file takes no more bytes'), { code: 'EIO' });
    done += written;
  }
}

export function datasync(fs: LogFs, fd: number): Promise<void> {
  return promised<void>((done) => fs.fdatasync(fd, (error) => done(error)));
}

/** Puts `bytes` in place of `path` in one step: after a crash there is the old file or the new one. */
export async function replaceFile(fs: LogFs, path: string, bytes: Uint8Array): Promise<void> {
  const draft = `${path}.new`;
  await fs.unlink(draft).catch(() => {});
  const fd = await fs.open(draft, 'create');
  try {
    await writeFully(fs, fd, bytes, 0);
    await datasync(fs, fd);
  } finally {
    await fs.close(fd);
  }
  await fs.rename(draft, path);
  await fs.syncDirectory(dirname(path));
}
