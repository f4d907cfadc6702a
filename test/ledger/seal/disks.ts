// Bad disks for the sealer: one that fails at a chosen call, one that forgets at a power cut what was not synced.
import { dirname } from 'node:path';
import type { LedgerDisk } from '../../../ledger/seal/disk.ts';

export type FailureMode = 'failed' | 'failed but persisted';

/** Counts calls; the call numbered `failAt` (from 1) throws, before or after it has taken effect. */
export class FailingDisk implements LedgerDisk {
  calls = 0;
  readonly #disk: LedgerDisk;
  readonly #failAt: number;
  readonly #mode: FailureMode;

  constructor(disk: LedgerDisk, failAt = Number.POSITIVE_INFINITY, mode: FailureMode = 'failed') {
    this.#disk = disk;
    this.#failAt = failAt;
    this.#mode = mode;
  }

  /** One more step that is not a disk call, such as storing the checkpoint. */
  step<T>(name: string, run: () => T): T {
    this.calls += 1;
    if (this.calls !== this.#failAt) return run();
    if (this.#mode === 'failed but persisted') run();
    throw new Error(`call ${this.calls}, ${name}: ${this.#mode}`);
  }

  read = (path: string) => this.step('read', () => this.#disk.read(path));
  list = (folder: string) => this.step('list', () => this.#disk.list(folder));
  makeFolder = (folder: string) => this.step('makeFolder', () => this.#disk.makeFolder(folder));
  writeSynced = (path: string, bytes: Uint8Array) =>
    this.step('writeSynced', () => this.#disk.writeSynced(path, bytes));
  rename = (from: string, to: string) => this.step('rename', () => this.#disk.rename(from, to));
  remove = (path: string) => this.step('remove', () => this.#disk.remove(path));
  removeFolder = (folder: string) => this.step('removeFolder', () => this.#disk.removeFolder(folder));
  syncFolder = (folder: string) => this.step('syncFolder', () => this.#disk.syncFolder(folder));
}

type Entry = { readonly kind: 'file'; readonly bytes: Uint8Array } | { readonly kind: 'folder' };
/** A change of one name in one folder: an entry, or null for its removal. */
interface Change {
  readonly path: string;
  readonly entry: Entry | null;
}

/**
 * A disk in memory on which file contents are durable as soon as they are synced, but names only once their folder
 * was synced. At a power cut each unsynced change of a name survives or not, as `survives` decides.
 */
export class ForgetfulDisk implements LedgerDisk {
  #now = new Map<string, Entry>();
  #durable = new Map<string, Entry>();
  #pending: Change[] = [];

  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
    this.#now.set(root, { kind: 'folder' });
    this.#durable.set(root, { kind: 'folder' });
  }

  clone(): ForgetfulDisk {
    const copy = new ForgetfulDisk(this.#root);
    copy.#now = new Map(this.#now);
    copy.#durable = new Map(this.#durable);
    copy.#pending = [...this.#pending];
    return copy;
  }

  powerCut(survives: () => boolean): void {
    for (const change of this.#pending) if (survives()) apply(this.#durable, change);
    this.#pending = [];
    // What lies in a folder whose own name was lost cannot be reached.
    const reachable = (path: string): boolean =>
      path === this.#root ||
      (this.#durable.has(path) && path.length > this.#root.length && reachable(dirname(path)));
    this.#durable = new Map([...this.#durable].filter(([path]) => reachable(path)));
    this.#now = new Map(this.#durable);
  }

  #change(path: string, entry: Entry | null): void {
    if (this.#now.get(dirname(path))?.kind !== 'folder') throw new Error(`ENOENT: no folder for ${path}`);
    const change = { path, entry };
    apply(this.#now, change);
    this.#pending.push(change);
  }

  read(path: string): Uint8Array | null {
    const entry = this.#now.get(path);
    return entry?.kind === 'file' ? entry.bytes : null;
  }

  list(folder: string): string[] {
    return [...this.#now.keys()]
      .filter((path) => dirname(path) === folder && path !== folder)
      .map((path) => path.slice(folder.length + 1));
  }

  makeFolder(folder: string): void {
    if (this.#now.has(folder)) return;
    this.makeFolder(dirname(folder));
    this.#change(folder, { kind: 'folder' });
  }

  writeSynced(path: string, bytes: Uint8Array): void {
    this.#change(path, { kind: 'file', bytes: bytes.slice() });
  }

  rename(from: string, to: string): void {
    const entry = this.#now.get(from);
    if (!entry) throw new Error(`ENOENT: ${from}`);
    this.#change(to, entry);
    this.#change(from, null);
  }

  remove(path: string): void {
    this.#change(path, null);
  }

  removeFolder(folder: string): void {
    for (const name of this.list(folder)) this.remove(`${folder}/${name}`);
    if (this.#now.has(folder)) this.#change(folder, null);
  }

  syncFolder(folder: string): void {
    if (this.#now.get(folder)?.kind !== 'folder') throw new Error(`ENOENT: ${folder}`);
    const isHere = (change: Change) => dirname(change.path) === folder;
    for (const change of this.#pending.filter(isHere)) apply(this.#durable, change);
    this.#pending = this.#pending.filter((change) => !isHere(change));
  }
}

function apply(entries: Map<string, Entry>, { path, entry }: Change): void {
  if (entry) entries.set(path, entry);
  else entries.delete(path);
}
