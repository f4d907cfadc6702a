// Owns the one segment that is written to: its end, the bytes in flight, its preallocated space and its indexes.
// Refuses a second write while one is in flight. Knows nothing of callbacks to producers or of other segments.
import { join } from 'node:path';
import { datasync, isDiskFull, isMissing, type LogFs } from './fs.ts';
import { IndexFiles } from './index-files.ts';
import { segmentFile } from './layout.ts';
import { Preallocator } from './preallocate.ts';
import { IndexBuilder, type IndexedBatch } from './segment-index.ts';

/** One write is at most this much: larger ones leave the page cache more slowly. */
const PIECE_BYTES = 256 * 1024;

export interface SegmentTuning {
  readonly segmentBytes: number;
  readonly preallocateBytes: number;
  readonly indexIntervalBytes: number;
  /** Whether so many bytes of zeros may be written ahead. */
  readonly mayGrow: (bytes: number) => boolean;
}

/** full: nothing of the batch is kept, later ones may succeed. dead: nothing more may be written. */
export interface WriteFailure {
  readonly kind: 'full' | 'dead';
  readonly error: Error;
}

export interface SegmentState {
  readonly baseOffset: number;
  /** One past the last whole batch. */
  readonly position: number;
  /** Zeros reach up to here. */
  readonly allocatedEnd: number;
  readonly createdMs: number;
  /** When the last record went in. */
  readonly lastWrittenMs: number;
  readonly builder: IndexBuilder;
}

export class ActiveSegment {
  readonly baseOffset: number;
  /** Unix ms: its age counts from here. Set anew by the chain when its first record comes. */
  createdMs: number;
  readonly #fs: LogFs;
  readonly #fd: number;
  readonly #zeros: Preallocator;
  readonly #index: IndexFiles;
  #position: number;
  #lastWrittenMs: number;
  /** Bytes of a refused batch may lie after the end: they must go before anything else is written. */
  #torn = false;
  #syncMs = 0;

  private constructor(
    fs: LogFs,
    folder: string,
    fd: number,
    state: SegmentState,
    tuning: SegmentTuning,
    onSyncFailed: (error: Error) => void,
  ) {
    this.#fs = fs;
    this.#fd = fd;
    this.baseOffset = state.baseOffset;
    this.createdMs = state.createdMs;
    this.#position = state.position;
    this.#lastWrittenMs = state.lastWrittenMs;
    this.#index = new IndexFiles(fs, folder, state.builder);
    const { position, allocatedEnd } = state;
    const bounds = {
      aheadBytes: tuning.preallocateBytes,
      limitBytes: tuning.segmentBytes,
      position,
      allocatedEnd,
      mayGrow: tuning.mayGrow,
    };
    this.#zeros = new Preallocator(
      fs,
      join(folder, segmentFile(state.baseOffset, 'log')),
      bounds,
      onSyncFailed,
    );
    this.#zeros.fill(position);
  }

  /** Begins a new segment, durable in the folder. When it fails `discard` must follow before the log grows. */
  static async create(
    fs: LogFs,
    folder: string,
    baseOffset: number,
    tuning: SegmentTuning,
    createdMs: number,
    onSyncFailed: (error: Error) => void,
  ): Promise<ActiveSegment> {
    const path = join(folder, segmentFile(baseOffset, 'log'));
    const fd = await openEmpty(fs, path);
    try {
      await fs.syncDirectory(folder);
    } catch (error) {
      await fs.close(fd).catch(() => {});
      throw error;
    }
    const builder = new IndexBuilder(baseOffset, tuning.indexIntervalBytes);
    const state = {
      baseOffset,
      position: 0,
      allocatedEnd: 0,
      createdMs,
      lastWrittenMs: createdMs,
      builder,
    };
    return new ActiveSegment(fs, folder, fd, state, tuning, onSyncFailed);
  }

  /**
   * Removes what a failed `create` may have left. True when it is surely gone: only then may another segment take the
   * offsets from `baseOffset` on, for readers go by the names of the files.
   */
  static async discard(fs: LogFs, folder: string, baseOffset: number): Promise<boolean> {
    try {
      await fs.unlink(join(folder, segmentFile(baseOffset, 'log')));
      await fs.syncDirectory(folder);
      return true;
    } catch (error) {
      return isMissing(error);
    }
  }

  /** Goes on with the segment that recovery left at `state`. */
  static async resume(
    fs: LogFs,
    folder: string,
    state: SegmentState,
    tuning: SegmentTuning,
    onSyncFailed: (error: Error) => void,
  ): Promise<ActiveSegment> {
    const fd = await fs.open(join(folder, segmentFile(state.baseOffset, 'log')), 'write');
    return new ActiveSegment(fs, folder, fd, state, tuning, onSyncFailed);
  }

  get position(): number {
    return this.#position;
  }

  /** Unix ms, as told to `index`. */
  get lastWrittenMs(): number {
    return this.#lastWrittenMs;
  }

  /** The greatest eventMs of its records; null when it has none. */
  get maxTimestamp(): number | null {
    const greatest = this.#index.builder.maxTimestamp;
    return greatest === Number.NEGATIVE_INFINITY ? null : greatest;
  }

  /** How long the last sync took. */
  get syncMs(): number {
    return this.#syncMs;
  }

  /** Writes bytes [start, end), one whole batch; `done` hears null when they are written, not synced. */
  write(bytes: Uint8Array, start: number, end: number, done: (failure: WriteFailure | null) => void): void {
    if (this.#torn) {
      this.#cutTorn().then((failure) => (failure ? done(failure) : this.write(bytes, start, end, done)));
      return;
    }
    this.#zeros.claim(this.#position + end - start, () =>
      this.#writePiece(bytes, start, end, this.#position, done),
    );
  }

  #writePiece(
    bytes: Uint8Array,
    start: number,
    end: number,
    position: number,
    done: (failure: WriteFailure | null) => void,
  ): void {
    const length = Math.min(end - start, PIECE_BYTES);
    this.#fs.pwrite(this.#fd, bytes, start, length, position, (error, written) => {
      if (error) {
        if (isDiskFull(error)) this.#refuse(error, done);
        else done({ kind: 'dead', error });
      } else if (written === 0) {
        done({ kind: 'dead', error: new Error('the disk took no bytes') });
      } else if (start + written < end) {
        this.#writePiece(bytes, start + written, end, position + written, done);
      } else {
        this.#position = position + written;
        done(null);
      }
    });
  }

  /**
   * What had been written when it was called is durable once `done` hears null. Any error is the end of writing.
   * `atOnce`: the caller may be kept waiting.
   */
  sync(done: (error: Error | null) => void, atOnce: boolean): void {
    const began = performance.now();
    this.#fs.fdatasync(
      this.#fd,
      (error) => {
        this.#syncMs = performance.now() - began;
        if (!error) this.#zeros.fill(this.#position);
        done(error);
      },
      atOnce,
    );
  }

  #refuse(error: Error, done: (failure: WriteFailure | null) => void): void {
    this.#torn = true;
    this.#cutTorn().then((failure) => done(failure?.kind === 'dead' ? failure : { kind: 'full', error }));
  }

  /**
   * Cuts the file at its end. A refused batch must not stay: a shorter one written over it would leave its rest behind,
   * and bytes a device chose would then stand where the next batch is looked for.
   */
  async #cutTorn(): Promise<WriteFailure | null> {
    await this.#zeros.pause();
    try {
      await this.#fs.ftruncate(this.#fd, this.#position);
    } catch (error) {
      // Nothing was lost and nothing is claimed; it is tried again before the next write.
      return { kind: 'full', error: error as Error };
    }
    try {
      await datasync(this.#fs, this.#fd);
    } catch (error) {
      return { kind: 'dead', error: error as Error };
    }
    this.#torn = false;
    this.#zeros.resume(this.#position);
    return null;
  }

  /** Notes a batch that has become durable, for the indexes. */
  index(batch: IndexedBatch, position: number, nowMs: number): void {
    this.#lastWrittenMs = nowMs;
    this.#index.builder.add(batch, position);
    this.#index.maybeFlush(this.#position);
  }

  /**
   * Cuts off the zeros, completes the indexes and closes. Resolves with the failure of a sync ('dead'), which is the
   * only one that matters: zeros left over and missing indexes are put right at the next open.
   */
  async seal(): Promise<WriteFailure | null> {
    await this.#zeros.close();
    let failure: WriteFailure | null = null;
    await this.#fs.ftruncate(this.#fd, this.#position).catch(() => {});
    await datasync(this.#fs, this.#fd).catch((error: Error) => {
      failure = { kind: 'dead', error };
    });
    await this.#index.close().catch(() => {});
    await this.#fs.close(this.#fd).catch(() => {});
    return failure;
  }

  /** Closes the files as they are: the writer is dead. */
  async abandon(): Promise<void> {
    await this.#zeros.close().catch(() => {});
    await this.#index.abandon();
    await this.#fs.close(this.#fd).catch(() => {});
  }
}

async function openEmpty(fs: LogFs, path: string): Promise<number> {
  try {
    return await fs.open(path, 'create');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    // Left by an attempt whose clean-up failed too. It begins at the end of the log, so it can hold no record.
    const fd = await fs.open(path, 'write');
    await fs.ftruncate(fd, 0);
    return fd;
  }
}
