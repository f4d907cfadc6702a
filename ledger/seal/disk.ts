// The few file operations the sealer's durability rests on, as a port: tests put a failing or forgetful disk in
// its place. Refuses to know what the files mean.
import {
  closeSync,
  fdatasyncSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  unlinkSync,
  writeSync,
} from 'node:fs';

/** All paths absolute. Every method throws the system's error when it fails. */
export interface LedgerDisk {
  /** The whole file, or null when there is none. */
  read(path: string): Uint8Array | null;
  /** Names in a folder; [] when there is none. */
  list(folder: string): string[];
  /** Creates the folder and its parents. */
  makeFolder(folder: string): void;
  /** Creates or replaces the file and waits for fdatasync: its content is durable, its name not yet. */
  writeSynced(path: string, bytes: Uint8Array): void;
  rename(from: string, to: string): void;
  remove(path: string): void;
  /** The folder with all its files; nothing happens when there is none. */
  removeFolder(folder: string): void;
  /** Makes names created, renamed or removed in this folder durable. */
  syncFolder(folder: string): void;
}

function absentAs<T>(value: T, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return value;
    throw error;
  }
}

export const fileDisk: LedgerDisk = {
  read: (path) => absentAs<Uint8Array | null>(null, () => readFileSync(path)),
  list: (folder) => absentAs<string[]>([], () => readdirSync(folder)),
  makeFolder: (folder) => void mkdirSync(folder, { recursive: true }),
  writeSynced(path, bytes) {
    const fd = openSync(path, 'w', 0o644);
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
      fdatasyncSync(fd);
    } finally {
      closeSync(fd);
    }
  },
  rename: (from, to) => renameSync(from, to),
  remove: (path) => unlinkSync(path),
  removeFolder: (folder) => rmSync(folder, { recursive: true, force: true }),
  syncFolder(folder) {
    const fd = openSync(folder, 'r');
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  },
};
