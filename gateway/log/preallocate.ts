// Owns the zeros written ahead of a segment's end, in the background: a sync that need not grow the file takes half
// the time. A convenience only: every failure but that of a sync just means less space ahead.
import type { LogFs } from './fs.ts';

const PIECE_BYTES = 256 * 1024;
const SYNC_EVERY_BYTES = 1024 * 1024;
/** After a failure (most likely the disk was full) zeros wait until this much more has been appended. */
const PAUSE_BYTES = 1024 * 1024;
const ZEROS = new Uint8Array(PIECE_BYTES);

export class Preallocator {
  readonly #fs: LogFs;
  readonly #path: string;
  readonly #aheadBytes: number;
  readonly #limitBytes: number;
  readonly #mayGrow: (bytes: number) => boolean;
  /** A failed sync means what it means for the writer's own: nothing of the file can be trusted any more. */
  readonly #onSyncFailed: (error: Error) => void;
  /**
   * Its own descriptor: Linux reports a failed write-back once to each open descriptor, so this sync cannot swallow
   * an error that the writer's sync must see.
   */
  #fd = -1;
  /** The file holds bytes (records or zeros) up to here. */
  #allocatedEnd: number;
  #claimedEnd: number;
  #target = 0;
  #pausedUntil = 0;
  #unsynced = 0;
  #busy = false;
  #pieceFrom = -1;
  #stopped = false;
  #afterPiece: (() => void) | null = null;
  #whenIdle: (() => void)[] = [];

  constructor(
    fs: LogFs,
    path: string,
    bounds: {
      aheadBytes: number;
      limitBytes: number;
      position: number;
      allocatedEnd: number;
      mayGrow: (bytes: number) => boolean;
    },
    onSyncFailed: (error: Error) => void,
  ) {
    this.#fs = fs;
    this.#path = path;
    this.#aheadBytes = bounds.aheadBytes;
    this.#limitBytes = bounds.limitBytes;
    this.#allocatedEnd = bounds.allocatedEnd;
    this.#claimedEnd = bounds.position;
    this.#mayGrow = bounds.mayGrow;
    this.#onSyncFailed = onSyncFailed;
  }

  /** Calls `go` once no zeros can land before `end`: at once, or after the piece in flight. */
  claim(end: number, go: () => void): void {
    this.#claimedEnd = Math.max(this.#claimedEnd, end);
    if (this.#pieceFrom >= 0 && end > this.#pieceFrom) this.#afterPiece = go;
    else go();
  }

  /** Starts filling when less than half of the space ahead of `position` is left. */
  fill(position: number): void {
    if (this.#busy || this.#stopped || this.#aheadBytes === 0 || position < this.#pausedUntil) return;
    if (Math.max(this.#allocatedEnd, this.#claimedEnd) - position >= this.#aheadBytes / 2) return;
    this.#target = Math.min(position + this.#aheadBytes, this.#limitBytes);
    if (this.#allocatedEnd >= this.#target) return;
    this.#busy = true;
    if (this.#fd >= 0) this.#piece();
    else this.#open();
  }

  /** Stops filling; resolves when nothing is in flight. `resume` takes it up again. */
  pause(): Promise<void> {
    this.#stopped = true;
    return this.#busy ? new Promise((resolve) => this.#whenIdle.push(resolve)) : Promise.resolve();
  }

  /** After a pause in which the file was cut at `position` for want of space. */
  resume(position: number): void {
    this.#allocatedEnd = position;
    this.#claimedEnd = position;
    this.#pausedUntil = position + PAUSE_BYTES;
    this.#stopped = false;
  }

  async close(): Promise<void> {
    await this.pause();
    if (this.#fd >= 0) await this.#fs.close(this.#fd).catch(() => {});
    this.#fd = -1;
  }

  #open(): void {
    this.#fs.open(this.#path, 'write').then(
      (fd) => {
        this.#fd = fd;
        this.#piece();
      },
      () => this.#giveUp(),
    );
  }

  #piece(): void {
    const from = Math.max(this.#allocatedEnd, this.#claimedEnd);
    const length = Math.min(PIECE_BYTES, this.#target - from);
    if (this.#stopped || length <= 0 || this.#unsynced >= SYNC_EVERY_BYTES) {
      this.#sync();
      return;
    }
    if (!this.#mayGrow(length)) {
      this.#pausedUntil = from + PAUSE_BYTES;
      this.#target = 0;
      this.#sync();
      return;
    }
    this.#pieceFrom = from;
    this.#fs.pwrite(this.#fd, ZEROS, 0, length, from, (error, written) => {
      this.#pieceFrom = -1;
      if (!error) {
        this.#allocatedEnd = Math.max(this.#allocatedEnd, from + written);
        this.#unsynced += written;
      } else {
        this.#pausedUntil = from + PAUSE_BYTES;
      }
      const waiting = this.#afterPiece;
      this.#afterPiece = null;
      waiting?.();
      if (error || written === 0) this.#target = 0;
      this.#piece();
    });
  }

  #sync(): void {
    if (this.#unsynced === 0) {
      this.#idle();
      return;
    }
    this.#fs.fdatasync(this.#fd, (error) => {
      this.#unsynced = 0;
      if (error) {
        this.#stopped = true;
        this.#idle();
        this.#onSyncFailed(error);
      } else this.#piece();
    });
  }

  #giveUp(): void {
    this.#pausedUntil = this.#claimedEnd + PAUSE_BYTES;
    this.#idle();
  }

  #idle(): void {
    this.#busy = false;
    const waiting = this.#whenIdle;
    this.#whenIdle = [];
    for (const resolve of waiting) resolve();
  }
}
