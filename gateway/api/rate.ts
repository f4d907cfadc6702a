// Keeps the log's growth over the last five minutes, one value a second, so that a page opened now has a past.

/** Values kept: five minutes of seconds. */
const KEPT = 300;

export interface RateHistory {
  /** When the newest value was taken, unix ms. */
  readonly endMs: number;
  readonly stepMs: number;
  /** Records per second, oldest first. */
  readonly recordsPerSecond: readonly number[];
}

export class RateKeeper {
  readonly #stepMs: number;
  readonly #values: number[] = [];
  #endMs = 0;

  constructor(stepMs: number) {
    this.#stepMs = stepMs;
  }

  /** Call once per step. */
  push(atMs: number, recordsPerSecond: number): void {
    this.#values.push(recordsPerSecond);
    if (this.#values.length > KEPT) this.#values.shift();
    this.#endMs = atMs;
  }

  get history(): RateHistory {
    return { endMs: this.#endMs, stepMs: this.#stepMs, recordsPerSecond: [...this.#values] };
  }
}
