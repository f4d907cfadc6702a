// The log's file system with the cold tier behind it: a segment that is no longer here is fetched, checked and read from a
// bounded cache. Readers need not know. Refuses a file whose hash is not that of its manifest.
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rename, stat, utimes } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type FileStat, isMissing, type LogFs, realFs } from '../log/fs.ts';
import { logFolder } from '../log/layout.ts';
import { ColdCatalog, type ColdFile, type ColdManifest, stemOf } from './catalog.ts';
import type { ColdConfig } from './config.ts';
import { ColdError, type ColdStore, openColdStore, removeFile, sha256OfFile } from './store.ts';

const SEGMENT_FILE = /^(\d{20})\.([a-z]+)$/;

/** @throws ColdError COLD_NO_CREDENTIALS */
export function coldFs(dataDir: string, config: ColdConfig, environment = process.env): LogFs {
  return new ColdFs(dataDir, openColdStore(config, environment), config.cacheMaxBytes).port;
}

export class ColdFs {
  readonly port: LogFs;
  readonly #folder: string;
  readonly #cache: string;
  readonly #catalog: ColdCatalog;
  readonly #store: ColdStore;
  readonly #cacheMaxBytes: number;
  /** Fetches under way, by name. */
  readonly #fetching = new Map<string, Promise<string>>();

  constructor(dataDir: string, store: ColdStore, cacheMaxBytes: number) {
    this.#folder = logFolder(dataDir);
    this.#cache = join(dataDir, 'cold-cache');
    this.#catalog = new ColdCatalog(dataDir);
    this.#store = store;
    this.#cacheMaxBytes = cacheMaxBytes;
    this.port = {
      ...realFs,
      readdir: (path) => this.#readdir(path),
      stat: (path) =>
        this.#local(
          path,
          () => realFs.stat(path),
          async (file) => this.#coldStat(file),
        ),
      open: (path, mode) =>
        mode === 'read'
          ? this.#local(
              path,
              () => realFs.open(path, mode),
              async (file, name) => realFs.open(await this.#fetched(file, name), 'read'),
            )
          : realFs.open(path, mode),
    };
  }

  async #readdir(path: string): Promise<string[]> {
    const names = await realFs.readdir(path);
    if (path !== this.#folder) return names;
    const cold = await this.#coldSegments(names);
    return [
      ...cold.flatMap(({ segment, files }) => files.map(({ kind }) => `${stemOf(segment)}.${kind}`)),
      ...names,
    ];
  }

  /** Those before the first local one, as far as they follow each other without a hole. */
  async #coldSegments(names: readonly string[]): Promise<ColdManifest[]> {
    const local = names.filter((name) => /^\d{20}\.log$/.test(name)).sort();
    let next = local.length > 0 ? Number(local[0]!.slice(0, 20)) : null;
    const found: ColdManifest[] = [];
    for (const manifest of [...(await this.#catalog.load()).values()].reverse()) {
      if (next !== null && manifest.end !== next) {
        if (manifest.end > next) continue;
        break;
      }
      found.unshift(manifest);
      next = manifest.segment;
    }
    return found;
  }

  /** Does `here`; where the file is not here but cold, `there`. */
  async #local<T>(
    path: string,
    here: () => Promise<T>,
    there: (file: ColdFile, name: string) => Promise<T>,
  ): Promise<T> {
    try {
      return await here();
    } catch (error) {
      const parts = SEGMENT_FILE.exec(basename(path));
      if (!isMissing(error) || !parts || dirname(path) !== this.#folder) throw error;
      // Indexes of a segment that is here are made here.
      if (parts[2] !== 'log' && (await isHere(join(this.#folder, `${parts[1]}.log`)))) throw error;
      const manifest = (await this.#catalog.load()).get(Number(parts[1]));
      const file = manifest?.files.find(({ kind }) => kind === parts[2]);
      if (!file) throw error;
      return there(file, basename(path));
    }
  }

  #coldStat({ sizeBytes, sha256 }: ColdFile): FileStat {
    return { sizeBytes, createdMs: 0, modifiedMs: 0, fileId: `cold:${sha256}` };
  }

  /** Path of the whole, checked file in the cache. */
  #fetched(file: ColdFile, name: string): Promise<string> {
    const known = this.#fetching.get(name);
    if (known) return known;
    const fetch = this.#fetch(file, name).finally(() => this.#fetching.delete(name));
    this.#fetching.set(name, fetch);
    return fetch;
  }

  async #fetch(file: ColdFile, name: string): Promise<string> {
    // The hash is part of the name, so that what lies there under it has been checked.
    const path = join(this.#cache, `${name}.${file.sha256.slice(0, 16)}`);
    const found = await stat(path).catch(() => null);
    if (found?.size === file.sizeBytes) {
      const now = new Date();
      await utimes(path, now, now).catch(() => {});
      return path;
    }
    await mkdir(this.#cache, { recursive: true, mode: 0o750 });
    await this.#makeRoom(file.sizeBytes);
    const draft = join(this.#cache, `${randomUUID()}.tmp`);
    try {
      await this.#store.get(name, draft);
      const sha256 = await sha256OfFile(draft);
      if (sha256 !== file.sha256)
        throw new ColdError(
          'COLD_DAMAGED',
          `${name} in the cold tier was changed: SHA-256 ${sha256}, not ${file.sha256}`,
        );
      await rename(draft, path);
    } finally {
      await removeFile(draft);
    }
    return path;
  }

  /** Removes what was read longest ago. A file still open elsewhere keeps its bytes until it is closed there. */
  async #makeRoom(bytes: number): Promise<void> {
    const files = await Promise.all(
      (await readdir(this.#cache)).map(async (name) => {
        const path = join(this.#cache, name);
        const found = await stat(path).catch(() => null);
        return { path, sizeBytes: found?.size ?? 0, usedMs: found?.mtimeMs ?? 0 };
      }),
    );
    let total = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, bytes);
    for (const { path, sizeBytes } of files.sort((a, b) => a.usedMs - b.usedMs)) {
      if (total <= this.#cacheMaxBytes) return;
      await removeFile(path);
      total -= sizeBytes;
    }
  }
}

async function isHere(path: string): Promise<boolean> {
  return realFs.stat(path).then(
    () => true,
    () => false,
  );
}
