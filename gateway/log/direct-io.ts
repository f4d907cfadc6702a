// Owns when a read or a write is made at once by the thread that needs it, instead of by Node's thread pool: a copy from or
// to the page cache takes microseconds, a trip through the pool tens of them. Refuses to hold up an event loop for long:
// by time per turn, and by leaving a disk that is slow to the pool for a while.
import { isMainThread } from 'node:worker_threads';

export interface DirectIoLimits {
  /** Larger ones are copied for too long to do it between two sockets. */
  readonly maxReadBytes: number;
  readonly maxWriteBytes: number;
  /** How long one turn of the event loop may be held by reads and what is done with them. */
  readonly turnMs: number;
  /** A call that takes longer has met the disk itself … */
  readonly slowReadMs: number;
  readonly slowWriteMs: number;
  /** … and those that follow go to the pool for so long. */
  readonly poolMs: number;
}

const KIB = 1024;
const INGEST: DirectIoLimits = {
  maxReadBytes: 512 * KIB,
  maxWriteBytes: 64 * KIB,
  turnMs: 1,
  slowReadMs: 0.5,
  slowWriteMs: 2,
  poolMs: 50,
};
/** A worker may wait for its own reads: nobody else does. */
const WORKER: DirectIoLimits = {
  ...INGEST,
  maxReadBytes: 1024 * KIB,
  turnMs: 10,
  slowReadMs: Number.POSITIVE_INFINITY,
};

export class DirectIo {
  readonly #limits: DirectIoLimits;
  /** Milliseconds that only go up. */
  readonly #clock: () => number;
  #turnBeganMs = -1;
  #readsFromMs = Number.NEGATIVE_INFINITY;
  #writesFromMs = Number.NEGATIVE_INFINITY;
  readonly #endTurn = (): void => {
    this.#turnBeganMs = -1;
  };

  constructor(limits: DirectIoLimits = isMainThread ? INGEST : WORKER, clock = () => performance.now()) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** Calls `read` at once, in the next turn, or has `pooled` read: whichever the event loop can bear. */
  read<T>(length: number, read: () => T, pooled: () => Promise<T>): T | Promise<T> {
    const { maxReadBytes, turnMs, slowReadMs, poolMs } = this.#limits;
    if (length > maxReadBytes) return pooled();
    const nowMs = this.#clock();
    if (nowMs < this.#readsFromMs) return pooled();
    if (this.#turnBeganMs < 0) {
      this.#turnBeganMs = nowMs;
      setImmediate(this.#endTurn);
    } else if (nowMs - this.#turnBeganMs > turnMs) {
      return new Promise<void>((resolve) => setImmediate(resolve)).then(() =>
        this.read(length, read, pooled),
      );
    }
    const got = read();
    const doneMs = this.#clock();
    if (doneMs - nowMs > slowReadMs) this.#readsFromMs = doneMs + poolMs;
    return got;
  }

  /** Calls `write` at once and says so, or says that it should go to the pool. */
  write(length: number, write: () => void): boolean {
    const { maxWriteBytes, slowWriteMs, poolMs } = this.#limits;
    if (length > maxWriteBytes) return false;
    const nowMs = this.#clock();
    if (nowMs < this.#writesFromMs) return false;
    write();
    const doneMs = this.#clock();
    if (doneMs - nowMs > slowWriteMs) this.#writesFromMs = doneMs + poolMs;
    return true;
  }
}

/** The one of this thread: its event loop is what is spared. */
export const directIo = new DirectIo();
