// Owns the recent samples of every series (device, field): resampling, gaps, order, which windows are worth scoring,
// and how many series are held. Refuses to score. Reads no clock: the records' times are all it goes by.
//
// Rules. Every value of a series is a sample at once, unless they usually come closer together than
// sampleIntervalMs: then they are averaged into one sample per such interval, complete when the first value after it
// comes, so that a fast series costs no more than a slow one. A value older than the
// newest is out of order and skipped. A series silent for longer than maxGapMs and 20 usual intervals, or set back in
// time as far, starts its window afresh and keeps its calibration. A value dated more than maxAheadMs after its
// receipt is skipped: else one wrong clock would make everything after it out of order.
import { type Calibration, newCalibration } from './anomaly.ts';

export interface SeriesSettings {
  readonly length: number;
  readonly spread: readonly number[];
  readonly sampleIntervalMs: number;
  readonly maxGapMs: number;
  readonly maxSeries: number;
}

/**
 * A window whose past takes fewer different values than this is a state (a switch, a mode), not a measurement; and
 * where more than half of the past stands still, the machine has been off or asleep: there is nothing to go by yet.
 */
const LEAST_DISTINCT = 5;
const GAP_INTERVALS = 20;
const INTERVAL_SHARE = 1 / 16;
const MAX_AHEAD_MS = 60_000;
/** Beyond these float32 cannot tell the window's values apart, or holds them no more. */
const LARGEST = 1e30;
const SMALLEST = 1e-20;

/** The newest complete samples of one series, and what is known of its rhythm. */
export class Series {
  readonly samples: Float64Array;
  readonly calibration: Calibration;
  /** Where the next sample goes; samples held. */
  head = 0;
  held = 0;
  /** Time of the newest value; usual time between values. Unknown before the first and the second. */
  lastMs = Number.NaN;
  intervalMs = Number.NaN;
  /** The sample being averaged, where the series is fast: its interval, sum and count of values. */
  sampleMs = 0;
  sum = 0;
  count = 0;

  constructor(length: number, calibration: Calibration) {
    this.samples = new Float64Array(length);
    this.calibration = calibration;
  }

  /** The newest sample. */
  get newest(): number {
    return this.samples[(this.head + this.samples.length - 1) % this.samples.length]!;
  }

  push(value: number): void {
    this.samples[this.head] = value;
    this.head = (this.head + 1) % this.samples.length;
    if (this.held < this.samples.length) this.held += 1;
  }

  restart(): void {
    this.head = 0;
    this.held = 0;
    this.sum = 0;
    this.count = 0;
  }
}

export type Addition =
  | { readonly kind: 'waiting' } // the sample or the window is not complete yet
  | { readonly kind: 'skipped' } // out of order, ahead of time, or no measurement
  | { readonly kind: 'window'; readonly series: Series };

const WAITING: Addition = { kind: 'waiting' };
const SKIPPED: Addition = { kind: 'skipped' };

export class SeriesStore {
  /** Least recently used first. */
  readonly #series = new Map<string, Series>();
  readonly #settings: SeriesSettings;
  /** Series forgotten to make room. */
  forgotten = 0;

  constructor(settings: SeriesSettings) {
    this.#settings = settings;
  }

  get size(): number {
    return this.#series.size;
  }

  /** Takes one value; a window answer means that a complete window stands in `series.samples`. */
  add(device: string, field: string, value: number, eventMs: number, receivedMs: number): Addition {
    if (eventMs > receivedMs + MAX_AHEAD_MS) return SKIPPED;
    const series = this.#find(`${device}\0${field}`);
    if (!this.#inTime(series, eventMs)) return SKIPPED;
    const { sampleIntervalMs } = this.#settings;
    const fast = series.intervalMs < sampleIntervalMs;
    const sampleMs = fast ? Math.floor(eventMs / sampleIntervalMs) * sampleIntervalMs : eventMs;
    const complete = series.count > 0 && (!fast || sampleMs > series.sampleMs);
    if (complete) {
      series.push(series.sum / series.count);
      series.sum = 0;
      series.count = 0;
    }
    if (!fast) {
      series.push(value);
      return this.#window(series);
    }
    series.sampleMs = sampleMs;
    series.sum += value;
    series.count += 1;
    return complete ? this.#window(series) : WAITING;
  }

  #find(key: string): Series {
    let series = this.#series.get(key);
    if (series) this.#series.delete(key);
    else {
      if (this.#series.size >= this.#settings.maxSeries) {
        this.#series.delete(this.#series.keys().next().value!);
        this.forgotten += 1;
      }
      series = new Series(this.#settings.length, newCalibration(this.#settings.spread));
    }
    this.#series.set(key, series);
    return series;
  }

  /** False when the value is out of order. Learns the interval, restarts the window at a gap. */
  #inTime(series: Series, atMs: number): boolean {
    const sinceMs = atMs - series.lastMs;
    if (Number.isNaN(sinceMs)) {
      series.lastMs = atMs;
      return true;
    }
    const usualMs = Number.isNaN(series.intervalMs) ? 0 : series.intervalMs;
    if (Math.abs(sinceMs) > Math.max(this.#settings.maxGapMs, GAP_INTERVALS * usualMs)) {
      series.restart();
    } else {
      if (sinceMs < 0) return false;
      series.intervalMs = Number.isNaN(series.intervalMs)
        ? sinceMs
        : series.intervalMs + INTERVAL_SHARE * (sinceMs - series.intervalMs);
    }
    series.lastMs = atMs;
    return true;
  }

  #window(series: Series): Addition {
    return series.held === series.samples.length ? { kind: 'window', series } : WAITING;
  }

  entries(): IterableIterator<[key: string, series: Series]> {
    return this.#series.entries();
  }

  /** Puts back a series of a saved state; the order of calls is the order of use. */
  put(key: string, series: Series): void {
    this.#series.set(key, series);
  }
}

/**
 * Writes the series' window, oldest first and centred on its first sample (in double precision, so that a large
 * constant costs no digits), to `target` at `at`. False, and nothing of use written, when it is not worth scoring.
 */
export function writeWindow(series: Series, target: Float32Array, at: number): boolean {
  const { samples, head } = series;
  const { length } = samples;
  const first = samples[head]!;
  const past = (length * 3) / 4;
  let largest = 0;
  let still = 0;
  let previous = Number.NaN;
  const seen: number[] = [];
  for (let step = 0; step < length; step += 1) {
    const value = samples[(head + step) % length]! - first;
    target[at + step] = value;
    if (Math.abs(value) > largest) largest = Math.abs(value);
    // The past only: a series that has just got stuck is worth scoring.
    if (step >= past) continue;
    if (seen.length < LEAST_DISTINCT && !seen.includes(value)) seen.push(value);
    if (value === previous) still += 1;
    previous = value;
  }
  return seen.length >= LEAST_DISTINCT && still <= past / 2 && largest < LARGEST && largest > SMALLEST;
}
