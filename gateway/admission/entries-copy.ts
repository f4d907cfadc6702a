// Copies the duplicate guard's entries as they are at one moment, piece by piece, while the guard goes on: what is about to
// change is copied first. Knows neither devices nor what an entry means.

/** The entries of one device. */
export interface Copied {
  readonly length: number;
  /** Where its copy goes, counted in numbers; -1: it is not awaited, or done. */
  copyAt: number;
  /** Writes two numbers for each entry from `at` on. */
  copyTo(slots: Float64Array, at: number): void;
}

/** How many entries are copied between two looks at the time. */
const LOOK_ENTRIES = 4096;

export class EntriesCopy {
  /** Entries of all together. */
  readonly entries: number;
  readonly #waiting: readonly Copied[];
  readonly #onDone: () => void;
  #target: Float64Array = new Float64Array(0);
  #next = 0;

  /** `onDone` hears when `before` need not be called any more. */
  constructor(waiting: readonly Copied[], onDone: () => void) {
    let at = 0;
    for (const one of waiting) {
      one.copyAt = at;
      at += 2 * one.length;
    }
    this.entries = at / 2;
    this.#waiting = waiting;
    this.#onDone = onDone;
  }

  /** Where the copies go: two numbers for each entry. To be said in the turn in which this was made. */
  into(target: Float64Array): void {
    this.#target = target;
  }

  /** To be called before the entries of one change. */
  before(one: Copied): void {
    if (one.copyAt < 0) return;
    one.copyTo(this.#target, one.copyAt);
    one.copyAt = -1;
  }

  /** Goes on for about `sliceMs`; true once everything is copied. */
  step(sliceMs: number): boolean {
    const until = performance.now() + sliceMs;
    for (let looked = 0; this.#next < this.#waiting.length; this.#next += 1) {
      if (looked >= LOOK_ENTRIES) {
        if (performance.now() >= until) return false;
        looked = 0;
      }
      const one = this.#waiting[this.#next]!;
      looked += one.length;
      this.before(one);
    }
    this.#onDone();
    return true;
  }
}
