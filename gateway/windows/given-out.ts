// Owns which windows were given out: a natural key (decision 0004) must never be given out twice, also where time was set
// back. Runs of windows, bounded: what finds no room counts as given out altogether. Reads no clock.

/** Runs remembered per window: with a device that reports every five minutes, three days of minutes. */
export const RUNS_MAX = 1024;

/** Starts from `first` to `last`, every window between them. */
export type Run = readonly [first: number, last: number];

export class GivenOut {
  readonly #sizeMs: number;
  /** Ascending, with at least one window that was not given out between two. */
  readonly #runs: [first: number, last: number][] = [];
  #floorMs = Number.NEGATIVE_INFINITY;

  constructor(sizeMs: number) {
    this.#sizeMs = sizeMs;
  }

  /** Starts below it count as given out. */
  get floorMs(): number {
    return this.#floorMs;
  }

  get runs(): readonly Run[] {
    return this.#runs;
  }

  has(startMs: number): boolean {
    if (startMs < this.#floorMs) return true;
    const newest = this.#runs.at(-1);
    // As long as time goes forward, this is all there is to ask.
    if (newest === undefined || startMs > newest[1]) return false;
    const run = this.#runs[this.#after(startMs) - 1];
    return run !== undefined && startMs <= run[1];
  }

  add(startMs: number): void {
    if (this.has(startMs)) return;
    const at = this.#after(startMs);
    const below = this.#runs[at - 1];
    const above = this.#runs[at];
    const joinsBelow = below !== undefined && below[1] + this.#sizeMs === startMs;
    const joinsAbove = above !== undefined && startMs + this.#sizeMs === above[0];
    if (joinsBelow && joinsAbove) {
      below[1] = above[1];
      this.#runs.splice(at, 1);
    } else if (joinsBelow) below[1] = startMs;
    else if (joinsAbove) above[0] = startMs;
    else this.#runs.splice(at, 0, [startMs, startMs]);
    if (this.#runs.length > RUNS_MAX) this.raise(this.#runs[0]![1] + this.#sizeMs);
  }

  /** From now on whatever starts below counts as given out. */
  raise(floorMs: number): void {
    if (floorMs <= this.#floorMs) return;
    this.#floorMs = floorMs;
    const kept = this.#runs.findIndex(([, last]) => last >= floorMs);
    this.#runs.splice(0, kept === -1 ? this.#runs.length : kept);
  }

  /** Index of the first run that begins after `startMs`. */
  #after(startMs: number): number {
    let low = 0;
    let high = this.#runs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#runs[middle]![0] <= startMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  restore(floorMs: number, runs: readonly Run[]): void {
    this.#floorMs = floorMs;
    this.#runs.splice(0, this.#runs.length, ...runs.map(([first, last]): [number, number] => [first, last]));
  }
}
