// Owns the objects of a backup: file contents under the name of their hash, whole or not at all. Knows no data directory.
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { objectPath } from './manifest.ts';

const PIECE_BYTES = 1024 * 1024;

export interface StoredObject {
  readonly sha256: string;
  readonly sizeBytes: number;
}

export class ObjectStore {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** Makes the folders it needs and clears away what an earlier run left unfinished. */
  static async open(folder: string): Promise<ObjectStore> {
    await mkdir(join(folder, 'objects'), { recursive: true, mode: 0o700 });
    await rm(join(folder, 'incoming'), { recursive: true, force: true });
    await mkdir(join(folder, 'incoming'), { mode: 0o700 });
    return new ObjectStore(folder);
  }

  /** Takes in a file, or its first `length` bytes. Durable, name and all, once `sync` has returned as well. */
  async add(path: string, length = Number.POSITIVE_INFINITY): Promise<StoredObject> {
    const draft = join(this.#folder, 'incoming', randomUUID());
    const stored = await copyHashed(path, draft, length);
    const target = join(this.#folder, objectPath(stored.sha256));
    await mkdir(dirname(target), { recursive: true, mode: 0o700 });
    await rename(draft, target);
    return stored;
  }

  async has({ sha256, sizeBytes }: StoredObject): Promise<boolean> {
    const found = await stat(join(this.#folder, objectPath(sha256))).catch(() => null);
    return found?.size === sizeBytes;
  }

  /** Makes the names of all objects durable. */
  async sync(): Promise<void> {
    const objects = join(this.#folder, 'objects');
    for (const name of await readdir(objects)) await syncFolder(join(objects, name));
    await syncFolder(objects);
    await syncFolder(this.#folder);
  }

  /** Removes what nothing refers to; returns how many objects. */
  async removeOthers(wanted: ReadonlySet<string>): Promise<number> {
    const objects = join(this.#folder, 'objects');
    let removed = 0;
    for (const part of await readdir(objects)) {
      for (const name of await readdir(join(objects, part))) {
        if (wanted.has(name)) continue;
        await rm(join(objects, part, name), { force: true });
        removed += 1;
      }
    }
    await rm(join(this.#folder, 'incoming'), { recursive: true, force: true });
    return removed;
  }
}

/** Copies, synced, and hashes on the way. The target must not exist. */
export async function copyHashed(
  from: string,
  to: string,
  length = Number.POSITIVE_INFINITY,
  mode = 0o600,
): Promise<StoredObject> {
  const source = await open(from, 'r');
  try {
    const target = await open(to, 'wx', mode);
    try {
      const sha = createHash('sha256');
      const buffer = Buffer.alloc(PIECE_BYTES);
      let sizeBytes = 0;
      while (sizeBytes < length) {
        const wanted = Math.min(PIECE_BYTES, length - sizeBytes);
        const { bytesRead } = await source.read(buffer, 0, wanted, sizeBytes);
        if (bytesRead === 0) break;
        const bytes = buffer.subarray(0, bytesRead);
        sha.update(bytes);
        for (let at = 0; at < bytesRead; )
          at += (await target.write(bytes, at, bytesRead - at, sizeBytes + at)).bytesWritten;
        sizeBytes += bytesRead;
      }
      await target.datasync();
      return { sha256: sha.digest('hex'), sizeBytes };
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}

export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
