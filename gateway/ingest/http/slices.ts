// Does long work in slices, so that the event loop gets to everyone else in between: all such work together has some
// milliseconds of each turn, and what waits is served in order. Knows nothing of what is done.

/** What one slice may take, more or less, of a turn of the event loop. */
const SLICE_MS = 4;

/** Yields wherever it may be interrupted; what it returns is its result. */
export type Sliced<T> = Generator<void, T, void>;

export class Slices {
  readonly #clock: () => number;
  readonly #waiting: (() => boolean)[] = [];
  #isScheduled = false;

  /** `clock`: milliseconds that only go up. */
  constructor(clock = () => performance.now()) {
    this.#clock = clock;
  }

  /** Work that has been begun and is not done. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /**
   * Begins at once; what is short is done before this returns. `done` hears the result; what the work or `done` throws
   * goes to `failed`.
   */
  run<T>(work: Sliced<T>, done: (result: T) => void, failed: (error: unknown) => void): void {
    const slice = () => {
      try {
        return this.#slice(work, done);
      } catch (error) {
        failed(error);
        return true;
      }
    };
    if (slice()) return;
    this.#waiting.push(slice);
    this.#schedule();
  }

  /** True when it is done. */
  #slice<T>(work: Sliced<T>, done: (result: T) => void): boolean {
    const endMs = this.#clock() + SLICE_MS;
    do {
      const step = work.next();
      if (step.done) {
        done(step.value);
        return true;
      }
    } while (this.#clock() < endMs);
    return false;
  }

  /** Once a turn, also where a slice's end begins other work. */
  #schedule(): void {
    if (this.#isScheduled || this.#waiting.length === 0) return;
    this.#isScheduled = true;
    setImmediate(this.#next);
  }

  readonly #next = (): void => {
    this.#isScheduled = false;
    const slice = this.#waiting.shift()!;
    if (!slice()) this.#waiting.push(slice);
    this.#schedule();
  };
}
