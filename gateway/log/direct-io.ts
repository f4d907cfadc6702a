// Owns when a read or a write is made at once by the thread that needs it, instead of by Node's thread pool: a copy from or
// to the page cache takes microseconds, a trip through the pool tens of them. Refuses to hold up an event loop for long:
// by time per turn, and by leaving a disk that is slow to the pool for a while.
import { isMainThread } from 'node:worker_threads';

/** Larger ones are copied for too long to do it between two sockets. */
const MAX_WRITE_BYTES = 64 * 1024;
const MAX_READ_BYTES = isMainThread ? 512 * 1024 : 1024 * 1024;
/** How long one turn of the event loop may be held by reads and what is done with them. */
const TURN_MS = isMainThread ? 1 : 10;
/** A call that takes longer has met the disk itself … */
const SLOW_READ_MS = isMainThread ? 0.5 : Number.POSITIVE_INFINITY;
const SLOW_WRITE_MS = 2;
/** … and those that follow go to the pool for so long. */
const POOL_MS = 50;

let turnBeganMs = -1;
let readsFromMs = 0;
let writesFromMs = 0;

/** Calls `read` at once, in the next turn, or has `pooled` read: whichever the event loop can bear. */
export function readDirectly<T>(length: number, read: () => T, pooled: () => Promise<T>): T | Promise<T> {
  if (length > MAX_READ_BYTES) return pooled();
  const nowMs = performance.now();
  if (nowMs < readsFromMs) return pooled();
  if (turnBeganMs < 0) {
    turnBeganMs = nowMs;
    setImmediate(endTurn);
  } else if (nowMs - turnBeganMs > TURN_MS) {
    return new Promise<void>((resolve) => setImmediate(resolve)).then(() =>
      readDirectly(length, read, pooled),
    );
  }
  const got = read();
  const doneMs = performance.now();
  if (doneMs - nowMs > SLOW_READ_MS) readsFromMs = doneMs + POOL_MS;
  return got;
}

function endTurn(): void {
  turnBeganMs = -1;
}

/** Calls `write` at once and says so, or says that it should go to the pool. */
export function writeDirectly(length: number, write: () => void): boolean {
  if (length > MAX_WRITE_BYTES) return false;
  const nowMs = performance.now();
  if (nowMs < writesFromMs) return false;
  write();
  const doneMs = performance.now();
  if (doneMs - nowMs > SLOW_WRITE_MS) writesFromMs = doneMs + POOL_MS;
  return true;
}
