// Copies a data directory while its gateway runs (or not), so that the copy is one that a crash could have left. Changes
// nothing in it. Leaves the private key out unless asked for it.
//
// The order makes it consistent, because everything is written in the opposite one:
//
//   closed segments            whatever goes from here on is still in the copy
//   the served checkpoint      …
//   state.db                   knows at least what was served
//   tiles                      hold at least what state.db has signed
//   segments closed since, and the last one up to its last whole batch     hold at least what the tiles seal
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { isMissing, realFs } from '../log/fs.ts';
import { inspectSegment } from '../log/inspect.ts';
import { listSegments, logFolder, segmentFile } from '../log/layout.ts';
import {
  BackupError,
  type BackupFile,
  type BackupManifest,
  formatManifest,
  MANIFEST_FILE,
  parseManifest,
} from './manifest.ts';
import { ObjectStore, syncFolder } from './objects.ts';

export interface BackupOptions {
  readonly dataDir: string;
  /** Made when it is not there; a backup it holds already is brought up to date. */
  readonly target: string;
  /** Also the private key: whoever has the copy can then sign in the gateway's name. */
  readonly withKey?: boolean;
  /** Unix ms. */
  readonly nowMs: number;
  readonly onProgress?: (path: string) => void;
}

export interface BackupReport {
  readonly manifest: BackupManifest;
  readonly copiedFiles: number;
  readonly copiedBytes: number;
  /** Unchanged since the backup before. */
  readonly keptFiles: number;
}

const SEGMENT_KINDS = ['index', 'timeindex', 'keys', 'leaves'];
/** Belongs to this machine, this run, or is copied in its own way. websocket.db may tell of more than the copied log holds. */
const NOT_COPIED =
  /^(lock\.|state\.db|sessions\.db|access\.db|websocket\.db|admin-token$|gateway\.key$|log$|ledger$|repair-|cold-cache$|.*\.(sock|tmp|new)$)/;
/** Interval of an index made only to find the end. */
const SCAN_INTERVAL_BYTES = 64 * 1024;

export async function backup(options: BackupOptions): Promise<BackupReport> {
  const { dataDir, target } = options;
  if (!(await stat(logFolder(dataDir)).catch(() => null)))
    throw new BackupError('NOT_A_DATA_DIRECTORY', `${dataDir} is not a data directory of a gateway`);
  await mkdir(target, { recursive: true, mode: 0o700 });
  const before = await earlier(target);
  if (!before && (await readdir(target)).some((name) => !['objects', 'incoming'].includes(name)))
    throw new BackupError('TARGET_NOT_EMPTY', `${target} holds other files, and no backup`, {
      hint: 'name an empty folder, or one with a backup',
    });
  const run = new Run(options, await ObjectStore.open(target), before);
  await run.closedSegments();
  const checkpointSize = await run.checkpoint();
  await run.database('state.db');
  await run.tiles();
  const log = await run.restOfLog();
  await run.database('sessions.db');
  await run.database('access.db');
  await run.otherFiles();
  const manifest: BackupManifest = {
    version: 1,
    kind: 'tidemark-backup',
    createdMs: options.nowMs,
    checkpointSize,
    log,
    withKey: run.files.has('gateway.key'),
    files: [...run.files.values()].sort((a, b) => (a.path < b.path ? -1 : 1)),
  };
  await run.finish(manifest);
  const { copiedFiles, copiedBytes, keptFiles } = run;
  return { manifest, copiedFiles, copiedBytes, keptFiles };
}

async function earlier(target: string): Promise<BackupManifest | null> {
  try {
    return parseManifest(await readFile(join(target, MANIFEST_FILE), 'utf8'));
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

class Run {
  readonly files = new Map<string, BackupFile>();
  copiedFiles = 0;
  copiedBytes = 0;
  keptFiles = 0;
  readonly #options: BackupOptions;
  readonly #store: ObjectStore;
  readonly #before: ReadonlyMap<string, BackupFile>;
  /** Base offsets of segments that went before they could be copied. */
  readonly #missed: number[] = [];

  constructor(options: BackupOptions, store: ObjectStore, before: BackupManifest | null) {
    this.#options = options;
    this.#store = store;
    this.#before = new Map(before?.files.map((file) => [file.path, file]));
  }

  async closedSegments(): Promise<void> {
    const bases = await listSegments(realFs, logFolder(this.#options.dataDir));
    for (const base of bases.slice(0, -1)) await this.#closed(base);
  }

  async #closed(base: number): Promise<void> {
    if (!(await this.#file(`log/${segmentFile(base, 'log')}`, { immutable: true }))) {
      this.#missed.push(base);
      return;
    }
    for (const kind of SEGMENT_KINDS) await this.#file(sideFile(base, kind), { immutable: true });
  }

  /** Its size; 0 where there is none. */
  async checkpoint(): Promise<number> {
    if (!(await this.#file('ledger/checkpoint'))) return 0;
    const text = await readFile(join(this.#options.dataDir, 'ledger/checkpoint'), 'utf8');
    return Number(text.split('\n')[1]) || 0;
  }

  /** As it is at one moment, whoever writes to it. */
  async database(name: string): Promise<void> {
    const source = join(this.#options.dataDir, name);
    if (!(await stat(source).catch(() => null))) return;
    const copy = join(this.#options.target, 'incoming', name);
    const database = new Database(source, { readonly: true, timeout: 10_000 });
    try {
      await database.backup(copy);
    } finally {
      database.close();
    }
    await this.#take(name, copy, null);
    await rm(copy, { force: true });
  }

  async tiles(): Promise<void> {
    while (!(await this.#tilesIn('ledger/tile')));
  }

  /**
   * False where the sealer has moved on since the folder was listed, so that it has to be looked at again: tiles appear
   * whole and never change, but partial ones go once wider ones stand.
   */
  async #tilesIn(folder: string): Promise<boolean> {
    const entries = await readdir(join(this.#options.dataDir, folder), { withFileTypes: true }).catch(
      (error: unknown) => {
        if (isMissing(error)) return [];
        throw error;
      },
    );
    const isPartials = folder.endsWith('.p');
    // The widest first: it holds what all others hold.
    if (isPartials) entries.sort((a, b) => Number(b.name) - Number(a.name));
    let isWhole = true;
    for (const [index, entry] of entries.entries()) {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory()) isWhole = (await this.#tilesIn(path)) && isWhole;
      else {
        const isCopied = await this.#file(path, { immutable: true });
        if (!isCopied && isPartials && index === 0) return false;
      }
    }
    // A folder of partial tiles goes when the full one stands, which the list above this one may not have had.
    if (isPartials && entries.length === 0) await this.#file(folder.slice(0, -2), { immutable: true });
    return isWhole;
  }

  /**
   * The segments closed since the first look, and the last one as far as it is whole. What the copied tiles seal was
   * durable before the folder is listed here, so it is in there, whatever is appended or rolled meanwhile.
   */
  async restOfLog(): Promise<{ start: number; end: number }> {
    const folder = logFolder(this.#options.dataDir);
    for (;;) {
      const bases = await listSegments(realFs, folder);
      const last = bases.at(-1);
      if (last === undefined) return { start: 0, end: 0 };
      for (const base of bases.slice(0, -1))
        if (!this.files.has(`log/${segmentFile(base, 'log')}`)) await this.#closed(base);
      // Leaf hashes may have come while segments went.
      for (const base of bases) await this.#file(sideFile(base, 'leaves'));
      const found = await inspectSegment(realFs, folder, last, SCAN_INTERVAL_BYTES).catch(
        (error: unknown) => {
          if (isMissing(error)) return null;
          throw error;
        },
      );
      // Gone already: it was rolled and dropped, and others have come.
      if (!found || !(await this.#file(`log/${segmentFile(last, 'log')}`, { length: found.position })))
        continue;
      return { start: this.#dropBroken(), end: found.offset };
    }
  }

  /** Leaves out what lies before a segment that could not be copied: held offsets are one range. Returns where it starts. */
  #dropBroken(): number {
    const missed = Math.max(-1, ...this.#missed);
    let start = Number.MAX_SAFE_INTEGER;
    for (const path of [...this.files.keys()]) {
      const base = /^log\/(\d{20})\./.exec(path)?.[1];
      if (base === undefined) continue;
      if (Number(base) <= missed) this.files.delete(path);
      else start = Math.min(start, Number(base));
    }
    return start;
  }

  async otherFiles(): Promise<void> {
    const { dataDir, withKey } = this.#options;
    for (const entry of await readdir(dataDir, { withFileTypes: true }))
      if (entry.isFile() && !NOT_COPIED.test(entry.name)) await this.#file(entry.name);
    // What the cold tier holds; the segments themselves stay there.
    for (const name of await readdir(join(dataDir, 'cold')).catch(() => []))
      if (!NOT_COPIED.test(name)) await this.#file(`cold/${name}`, { immutable: true });
    if (withKey) await this.#file('gateway.key');
  }

  /** False where there is no such file (any more). */
  async #file(path: string, options: { immutable?: boolean; length?: number } = {}): Promise<boolean> {
    const source = join(this.#options.dataDir, path);
    try {
      const { size, mtimeMs, ino } = await stat(source);
      const look = options.immutable ? { sizeBytes: size, modifiedMs: mtimeMs, inode: ino } : null;
      const known = this.#before.get(path);
      const isSame =
        look !== null &&
        known?.source?.sizeBytes === look.sizeBytes &&
        known.source.modifiedMs === look.modifiedMs &&
        known.source.inode === look.inode;
      if (isSame && (await this.#store.has(known))) {
        this.files.set(path, known);
        this.keptFiles += 1;
        return true;
      }
      await this.#take(path, source, look, options.length);
      return true;
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }

  async #take(path: string, source: string, look: BackupFile['source'], length?: number): Promise<void> {
    this.#options.onProgress?.(path);
    const stored = await this.#store.add(source, length);
    this.files.set(path, { path, ...stored, source: look });
    this.copiedFiles += 1;
    this.copiedBytes += stored.sizeBytes;
  }

  /** The manifest takes its place last, in one step; only then does what the one before named go. */
  async finish(manifest: BackupManifest): Promise<void> {
    const { target } = this.#options;
    await this.#store.sync();
    const draft = join(target, 'incoming', MANIFEST_FILE);
    const file = await open(draft, 'w', 0o600);
    try {
      await file.writeFile(formatManifest(manifest));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, join(target, MANIFEST_FILE));
    await syncFolder(target);
    await this.#store.removeOthers(new Set(manifest.files.map(({ sha256 }) => sha256)));
  }
}

const sideFile = (base: number, kind: string) => `log/${segmentFile(base, 'log').replace(/log$/, kind)}`;
