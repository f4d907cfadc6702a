// Owns what the readers of one thread share: which segment files are open, and the bytes lately read from them with
// the batches checked in them. Bounded in files and bytes; forgets the least used first. Judges nothing.
import { join } from 'node:path';
import type { LogFs } from './fs.ts';
import type { KeyIndexSummary } from './key-index-file.ts';
import { segmentFile } from './layout.ts';
import { SegmentFile } from './segment-file.ts';

/** Open files nobody reads at the moment that are kept for the next one who does. */
const MAX_IDLE_FILES = 96;
/** How often is looked whether open files have gone from the folder. */
const SWEEP_MS = 1_000;
/** Segments whose times are remembered. */
const MAX_TIMES = 16_384;
/** So few that the pieces are garbage while they are young. Reading one again copies it from the page cache. */
const SHARED_BYTES = 512 * 1024;
/** Key indexes in memory: those of about 10 GB of segments. */
const INDEX_BYTES = 56 * 1024 * 1024;

/** Something kept for the next reader: how many bytes it holds on to, and how to let go. */
export interface Kept {
  readonly sizeBytes: number;
  forget(): void;
}

/**
 * Bytes kept within a bound; what was used last stays longest. In arrays: a Map written to as often throws its tables away,
 * and each of those, once it is in the old heap, keeps the next one and what that held until a full collection.
 */
export class KeptBytes {
  readonly #maxBytes: number;
  /** What was used last stands last. */
  readonly #kept: Kept[] = [];
  readonly #sizes: number[] = [];
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Keeps it, or keeps it longer; its size is taken anew. */
  use(kept: Kept): void {
    this.drop(kept);
    const { sizeBytes } = kept;
    this.#kept.push(kept);
    this.#sizes.push(sizeBytes);
    this.#bytes += sizeBytes;
    while (this.#bytes > this.#maxBytes && this.#kept.length > 1) {
      this.#bytes -= this.#sizes.shift()!;
      this.#kept.shift()!.forget();
    }
  }

  drop(kept: Kept): void {
    const index = this.#kept.lastIndexOf(kept);
    if (index < 0) return;
    this.#bytes -= this.#sizes[index]!;
    this.#kept.splice(index, 1);
    this.#sizes.splice(index, 1);
  }
}

/** The files of one log folder. Every reader that was given it must `release` it once. */
export class SharedReads {
  readonly fs: LogFs;
  readonly folder: string;
  readonly #kept = new KeptBytes(SHARED_BYTES);
  readonly #indexesKept = new KeptBytes(INDEX_BYTES);
  readonly #files = new Map<number, SegmentFile>();
  readonly #onUnused: () => void;
  readonly #letGo = new Set<() => void>();
  /** Of closed segments, as their indexes had them: a segment that is replaced later holds no other times. */
  readonly #times = new Map<
    number,
    { readonly end: number; readonly minMs: number; readonly maxMs: number }
  >();
  #readers = 0;
  #sweep: NodeJS.Timeout | null = null;
  #sweptMs = -1;

  constructor(fs: LogFs, folder: string, onUnused = () => {}) {
    this.fs = fs;
    this.folder = folder;
    this.#onUnused = onUnused;
  }

  /** `letGo` closes positions in files that `isGone`, kept for the next fetch. */
  join(letGo: () => void = () => {}): this {
    this.#readers += 1;
    this.#letGo.add(letGo);
    this.#sweep ??= setInterval(() => void this.#closeGone().catch(() => {}), SWEEP_MS).unref();
    return this;
  }

  /**
   * Closes files nobody reads in whose names are gone or stand for others: an open file keeps its space on the disk.
   * The folder's own time says whether there can be any.
   */
  async #closeGone(): Promise<void> {
    if (this.#files.size === 0) return;
    const { modifiedMs } = await this.fs.stat(this.folder);
    if (modifiedMs === this.#sweptMs) return;
    for (const [baseOffset, file] of this.#files) {
      const now = await this.fs.stat(join(this.folder, file.name)).catch(() => null);
      if (now && now.fileId === file.fileId) continue;
      if (this.#files.get(baseOffset) === file) this.#files.delete(baseOffset);
      await file.abandon();
    }
    for (const letGo of this.#letGo) letGo();
    this.#sweptMs = modifiedMs;
  }

  async release(letGo?: () => void): Promise<void> {
    this.#readers -= 1;
    if (letGo) this.#letGo.delete(letGo);
    if (this.#readers > 0) return;
    if (this.#sweep) clearInterval(this.#sweep);
    this.#sweep = null;
    this.#onUnused();
    const files = [...this.#files.values()];
    this.#files.clear();
    for (const file of files) await file.abandon();
  }

  /**
   * The segment's file as its name stands for it now: another one may have taken the name since it was opened. The
   * caller must `release` it. Errors are those of the disk: ENOENT when there is no such segment any more.
   */
  async open(baseOffset: number): Promise<SegmentFile> {
    const path = join(this.folder, segmentFile(baseOffset, 'log'));
    for (;;) {
      const { fileId } = await this.fs.stat(path);
      const known = this.#files.get(baseOffset);
      if (known && fileId !== undefined && known.fileId === fileId) {
        this.#files.delete(baseOffset);
        this.#files.set(baseOffset, known);
        return known.hold();
      }
      const fd = await this.fs.open(path, 'read');
      const file = new SegmentFile(
        this.fs,
        this.folder,
        fd,
        baseOffset,
        fileId,
        this.#kept,
        this.#indexesKept,
      );
      const after = await this.fs.stat(path).catch(() => null);
      if (after && after.fileId !== fileId) {
        await file.abandon();
        continue;
      }
      // Opened twice at once: the first one stays.
      const other = this.#files.get(baseOffset);
      if (other && other.fileId === fileId && fileId !== undefined) {
        await file.abandon();
        return other.hold();
      }
      if (this.#readers > 0) this.#remember(file);
      else void file.abandon();
      return file.hold();
    }
  }

  noteTimes(baseOffset: number, { isComplete, lastOffset, minMs, maxMs }: KeyIndexSummary): void {
    if (!isComplete || this.#times.has(baseOffset)) return;
    if (this.#times.size >= MAX_TIMES) this.#times.clear();
    this.#times.set(baseOffset, { end: lastOffset + 1, minMs, maxMs });
  }

  /** Whether the segment, which ends before offset `until`, surely has no record with fromMs <= eventMs < toMs. */
  isOutside(baseOffset: number, until: number, fromMs: number, toMs: number): boolean {
    const times = this.#times.get(baseOffset);
    return times !== undefined && times.end >= until && (times.maxMs < fromMs || times.minMs >= toMs);
  }

  #remember(file: SegmentFile): void {
    const replaced = this.#files.get(file.baseOffset);
    if (replaced) {
      this.#files.delete(file.baseOffset);
      void replaced.abandon().catch(() => {});
    }
    this.#files.set(file.baseOffset, file);
    if (this.#files.size <= MAX_IDLE_FILES) return;
    for (const [baseOffset, idle] of this.#files) {
      if (idle.held || idle === file) continue;
      this.#files.delete(baseOffset);
      void idle.abandon().catch(() => {});
      return;
    }
  }
}

const shared = new WeakMap<LogFs, Map<string, SharedReads>>();

/** The one of this thread for `folder`, for readers that follow its writer; each joins it and releases it. */
export function sharedReads(fs: LogFs, folder: string): SharedReads {
  const folders = shared.get(fs) ?? new Map<string, SharedReads>();
  shared.set(fs, folders);
  const known = folders.get(folder);
  if (known) return known;
  const reads = new SharedReads(fs, folder, () => folders.delete(folder));
  folders.set(folder, reads);
  return reads;
}
