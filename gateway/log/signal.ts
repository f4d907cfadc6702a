// Owns the shared number that tells every thread where the durable log ends, and the waking of those who
// wait for it. Refuses to carry records: readers read files.
import type { Offset } from '../../ledger/format/brand.ts';

const END = 0;
/**
 * Waiting threads are woken at most this often: each wake-up costs the writer's thread some microseconds, and theirs
 * some tens, which on two cores are the writer's as well.
 */
const WAKE_EVERY_MS = 4;

/**
 * One view per thread on the writer's SharedArrayBuffer (BigInt64 at 0: one past the last durable offset).
 * A thread keeps at most one `Atomics.waitAsync` outstanding however many wait here, and gives it up to no
 * timer: an outstanding one holds neither the event loop nor more than a few bytes.
 */
export class DurableEnd {
  readonly shared: SharedArrayBuffer;
  readonly #view: BigInt64Array;
  readonly #waiting = new Set<(cancelled: boolean) => void>();
  #armed = false;
  #wokenMs = 0;
  #wakeTimer: NodeJS.Timeout | null = null;

  constructor(shared: SharedArrayBuffer = new SharedArrayBuffer(8)) {
    this.shared = shared;
    this.#view = new BigInt64Array(shared);
  }

  get(): Offset {
    return Number(Atomics.load(this.#view, END)) as Offset;
  }

  /** The writer only: sets the end at once, and wakes waiting threads at once or within some milliseconds. */
  advance(end: number): void {
    Atomics.store(this.#view, END, BigInt(end));
    if (this.#wakeTimer !== null) return;
    if (performance.now() - this.#wokenMs >= WAKE_EVERY_MS) this.#wake();
    else this.#wakeTimer = setTimeout(() => this.#wake(), WAKE_EVERY_MS);
  }

  /** The writer only: whoever still waits is woken one last time. */
  close(): void {
    if (this.#wakeTimer !== null) clearTimeout(this.#wakeTimer);
    this.#wake();
  }

  #wake(): void {
    this.#wakeTimer = null;
    this.#wokenMs = performance.now();
    Atomics.notify(this.#view, END);
  }

  /**
   * Resolves true once the end is past `known`, false after `timeoutMs` or when `signal` is aborted. While it
   * waits the event loop is held, as by any awaited timer.
   */
  waitBeyond(known: number, timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
    if (this.get() > known) return Promise.resolve(true);
    if (timeoutMs <= 0 || signal?.aborted) return Promise.resolve(false);
    return new Promise((resolve) => {
      const finish = (grown: boolean) => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
        this.#waiting.delete(onChange);
        resolve(grown);
      };
      const onChange = (cancelled: boolean) => {
        const grown = this.get() > known;
        if (grown || cancelled) finish(grown);
      };
      const onAbort = () => finish(false);
      const timer = setTimeout(() => finish(this.get() > known), timeoutMs);
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#waiting.add(onChange);
      this.#arm();
      onChange(false);
    });
  }

  /** Ends every wait of this thread. */
  cancelWaits(): void {
    this.#tell(true);
  }

  #tell(cancelled: boolean): void {
    for (const onChange of [...this.#waiting]) onChange(cancelled);
  }

  #arm(): void {
    if (this.#armed) return;
    const seen = Atomics.load(this.#view, END);
    const result = Atomics.waitAsync(this.#view, END, seen);
    this.#armed = true;
    const onWake = () => {
      this.#armed = false;
      this.#tell(false);
      if (this.#waiting.size > 0) this.#arm();
    };
    if (result.async) result.value.then(onWake);
    else queueMicrotask(onWake);
  }
}
