// Owns the sequence of segments the writer goes through: which are closed, which is active, when the next begins.
// Decides nothing about records; a segment is only ever begun at the offset that comes next.
import { ActiveSegment, type WriteFailure } from './active-segment.ts';
import type { LogConfig } from './config.ts';
import type { LogFs } from './fs.ts';
import type { ClosedSegment, RecoveredLog } from './recovery.ts';

/** What came of trying to begin a new segment; `closed` resolves when the old one is complete and closed. */
export type Roll =
  | { readonly kind: 'rolled'; readonly closed: Promise<void> }
  /** None could be begun: the old one grows on, to be tried again with the next batch. */
  | { readonly kind: 'grows'; readonly error: Error }
  /** Neither can be done: what the attempt left stands where the old one would grow. */
  | { readonly kind: 'stuck'; readonly error: Error };

export interface ChainOptions {
  readonly fs: LogFs;
  readonly folder: string;
  readonly config: LogConfig;
  /** Unix ms; decides the age of segments. */
  readonly clock: () => number;
  /** A sync other than a batch's own has failed: nothing more may be written. */
  readonly onSyncFailed: (error: Error) => void;
  /** Whether so many bytes of zeros may be written ahead. */
  readonly mayGrow: (bytes: number) => boolean;
}

export class SegmentChain {
  readonly #options: ChainOptions;
  readonly #closed: ClosedSegment[];
  #active: ActiveSegment;
  #sealing: Promise<void> = Promise.resolve();
  /** An attempt left a file where the active segment would grow: only a new segment may take the next offset. */
  #isStuck = false;
  /** The last of #closed is still being completed. */
  #isSealing = false;

  private constructor(options: ChainOptions, closed: ClosedSegment[], active: ActiveSegment) {
    this.#options = options;
    this.#closed = closed;
    this.#active = active;
  }

  static async open(options: ChainOptions, recovered: RecoveredLog): Promise<SegmentChain> {
    const { fs, folder, config, mayGrow, onSyncFailed } = options;
    const tuning = { ...config, mayGrow };
    const active = recovered.active
      ? await ActiveSegment.resume(fs, folder, recovered.active, tuning, onSyncFailed)
      : await ActiveSegment.create(fs, folder, recovered.end, tuning, options.clock(), onSyncFailed);
    return new SegmentChain(options, recovered.closed, active);
  }

  get active(): ActiveSegment {
    return this.#active;
  }

  get start(): number {
    return this.#closed[0]?.baseOffset ?? this.#active.baseOffset;
  }

  get bytes(): number {
    return this.#closed.reduce((sum, segment) => sum + segment.sizeBytes, this.#active.position);
  }

  get count(): number {
    return this.#closed.length + 1;
  }

  /** Those that are complete and closed, oldest first. */
  get rolled(): readonly ClosedSegment[] {
    return this.#isSealing ? this.#closed.slice(0, -1) : this.#closed;
  }

  /** The oldest closed segment is gone. */
  forgetOldest(): void {
    this.#closed.shift();
  }

  /** Whether a batch of `bytes`, the next to be written, should begin a new segment. */
  mustRoll(bytes: number): boolean {
    const { position } = this.#active;
    if (position === 0) {
      this.#active.createdMs = this.#options.clock();
      return false;
    }
    return this.#isStuck || position + bytes > this.#options.config.segmentBytes || this.checkAge();
  }

  /** Whether the active segment has records and has had its time. Where the clock was set back, begins its age anew. */
  checkAge(): boolean {
    const active = this.#active;
    const nowMs = this.#options.clock();
    active.createdMs = Math.min(active.createdMs, nowMs);
    return active.position > 0 && nowMs - active.createdMs >= this.#options.config.segmentAgeMs;
  }

  /** Goes on in a new segment from `nextOffset`. */
  async roll(nextOffset: number): Promise<Roll> {
    const { fs, folder, config, clock, mayGrow, onSyncFailed } = this.#options;
    const tuning = { ...config, mayGrow };
    await this.#sealing;
    let next: ActiveSegment;
    try {
      next = await ActiveSegment.create(fs, folder, nextOffset, tuning, clock(), onSyncFailed);
    } catch (error) {
      const gone = await ActiveSegment.discard(fs, folder, nextOffset);
      this.#isStuck = !gone;
      return { kind: gone ? 'grows' : 'stuck', error: error as Error };
    }
    const old = this.#active;
    this.#closed.push({
      baseOffset: old.baseOffset,
      endOffset: nextOffset,
      sizeBytes: old.position,
      maxEventMs: old.maxTimestamp,
      lastWrittenMs: old.lastWrittenMs,
    });
    this.#active = next;
    this.#isStuck = false;
    this.#isSealing = true;
    this.#sealing = old.seal().then((failure) => {
      this.#isSealing = false;
      if (failure) onSyncFailed(failure.error);
    });
    return { kind: 'rolled', closed: this.#sealing };
  }

  /** Completes and closes every file. */
  async seal(): Promise<WriteFailure | null> {
    await this.#sealing;
    return this.#active.seal();
  }

  /** Closes the files as they are: the writer is dead. */
  async abandon(): Promise<void> {
    await this.#sealing;
    await this.#active.abandon();
  }
}
