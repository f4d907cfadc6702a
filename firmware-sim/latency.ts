// Owns a histogram of durations in constant memory, exact to 1.6 %. Keeps no single values.

/** Log-linear buckets over microseconds: 64 to each power of two, so the width is at most 1/64 of the value. */
const PER_OCTAVE = 64;
const OCTAVES = 40;

export interface LatencySummary {
  readonly count: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

export class LatencyHistogram {
  readonly #counts = new Float64Array(PER_OCTAVE * OCTAVES);
  #count = 0;
  #maxMs = 0;

  record(durationMs: number): void {
    const micros = Math.max(0, Math.round(durationMs * 1000));
    this.#count += 1;
    this.#maxMs = Math.max(this.#maxMs, durationMs);
    const octave = micros < 2 * PER_OCTAVE ? 0 : Math.floor(Math.log2(micros)) - 6;
    const bucket = octave * PER_OCTAVE + Math.floor(micros / 2 ** octave);
    this.#counts[Math.min(bucket, this.#counts.length - 1)]! += 1;
  }

  /** The upper edge of the bucket in which the given share (0..1) of the values is reached, in ms. */
  percentile(share: number): number {
    const wanted = Math.max(1, Math.ceil(share * this.#count));
    let seen = 0;
    for (const [bucket, count] of this.#counts.entries()) {
      seen += count;
      if (count > 0 && seen >= wanted) {
        const octave = Math.max(0, Math.floor(bucket / PER_OCTAVE) - 1);
        const upper = (bucket - octave * PER_OCTAVE + 1) * 2 ** octave;
        return Math.min(upper / 1000, this.#maxMs);
      }
    }
    return 0;
  }

  /** All in ms. */
  summary(): LatencySummary {
    return {
      count: this.#count,
      p50: this.percentile(0.5),
      p90: this.percentile(0.9),
      p99: this.percentile(0.99),
      p999: this.percentile(0.999),
      max: this.#maxMs,
    };
  }
}
