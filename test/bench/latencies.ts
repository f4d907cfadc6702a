// Gathers durations and gives their quantiles. Keeps every one up to a bound, then a fair sample of all.

const KEPT = 1 << 18;

export class Latencies {
  readonly #values = new Float64Array(KEPT);
  #count = 0;
  #max = 0;

  add(ms: number): void {
    if (ms > this.#max) this.#max = ms;
    // Reservoir sampling: each value stays with the same chance, whenever it came.
    const at = this.#count < KEPT ? this.#count : Math.floor(Math.random() * (this.#count + 1));
    if (at < KEPT) this.#values[at] = ms;
    this.#count += 1;
  }

  get count(): number {
    return this.#count;
  }

  get max(): number {
    return this.#max;
  }

  /** NaN when there are none. */
  quantiles(...shares: number[]): number[] {
    const sorted = this.#values.slice(0, Math.min(this.#count, KEPT)).sort();
    return shares.map(
      (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN,
    );
  }
}

/** Milliseconds with three figures that mean something. */
export function ms(value: number): string {
  if (Number.isNaN(value)) return '–';
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(value >= 1 ? 2 : 3);
}

/** Time one asynchronous call takes, in ms. */
export async function timed<T>(call: () => Promise<T>): Promise<{ value: T; tookMs: number }> {
  const began = performance.now();
  const value = await call();
  return { value, tookMs: performance.now() - began };
}
