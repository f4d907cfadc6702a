// Owns the recent samples of every series (device, field): resampling, gaps, order, which windows are worth scoring,
// and how many series are held. Refuses to score. Reads no clock: the records' times are all it goes by.
//
// Rules. Every value of a series is a sample at once, unless they usually come closer together than
// sampleIntervalMs: then they are averaged into one sample per such interval, complete when the first value after it
// comes, so that a fast series costs no more than a slow one. A value older than the
// newest is out of order and skipped. A series silent for longer than maxGapMs and 20 usual intervals, or set back in
// time as far, starts its window afresh and keeps its calibration. A value dated more than MAX_AHEAD_MS after its
// receipt is skipped: else one wrong clock would make everything after it out of order. Where it is the gateway's clock
// that was wrong, and has been set back by more than that, the series starts its window afresh as well. After a silence
// the usual interval is taken for up to twice what it was, so that a series that is slow, or has become so, is scored.
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

/** One series in the order of use. */
interface Place {
  readonly key: string;
  readonly series: Series;
  older: Place | null;
  newer: Place | null;
  /** Under which it is found without making its key. */
  device: string;
  field: string;
  isForgotten: boolean;
}

const keyOf = (device: string, field: string) => `${device}\0${field}`;

export class SeriesStore {
  readonly #places = new Map<string, Place>();
  /** The same by device and field, as far as they have come: a key of both costs more to make than all else here. */
  readonly #found = new Map<string, Map<string, Place>>();
  #oldest: Place | null = null;
  #newest: Place | null = null;
  readonly #settings: SeriesSettings;
  /** Series forgotten to make room. */
  forgotten = 0;

  constructor(settings: SeriesSettings) {
    this.#settings = settings;
  }

  get size(): number {
    return this.#places.size;
  }

  /** Takes one value; a window answer means that a complete window stands in `series.samples`. */
  add(device: string, field: string, value: number, eventMs: number, receivedMs: number): Addition {
    if (eventMs > receivedMs + MAX_AHEAD_MS) return SKIPPED;
    const series = this.#find(device, field);
    if (!this.#inTime(series, eventMs, receivedMs)) return SKIPPED;
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

  #find(device: string, field: string): Series {
    const known = this.#found.get(device)?.get(field);
    if (known && !known.isForgotten) {
      this.#touch(known);
      return known.series;
    }
    const key = keyOf(device, field);
    let place = this.#places.get(key);
    if (place) this.#touch(place);
    else {
      if (this.#places.size >= this.#settings.maxSeries) this.#forget(this.#oldest!);
      place = this.#add(key, new Series(this.#settings.length, newCalibration(this.#settings.spread)));
    }
    place.device = device;
    place.field = field;
    const fields = this.#found.get(device) ?? new Map<string, Place>();
    this.#found.set(device, fields.set(field, place));
    return place.series;
  }

  #add(key: string, series: Series): Place {
    const place = { key, series, older: null, newer: null, device: '', field: '', isForgotten: false };
    this.#places.set(key, place);
    this.#append(place);
    return place;
  }

  #touch(place: Place): void {
    if (place === this.#newest) return;
    this.#unlink(place);
    this.#append(place);
  }

  #append(place: Place): void {
    place.older = this.#newest;
    place.newer = null;
    if (this.#newest) this.#newest.newer = place;
    else this.#oldest = place;
    this.#newest = place;
  }

  #unlink({ older, newer }: Place): void {
    if (older) older.newer = newer;
    else this.#oldest = newer;
    if (newer) newer.older = older;
    else this.#newest = older;
  }

  #forget(place: Place): void {
    this.#unlink(place);
    this.#places.delete(place.key);
    place.isForgotten = true;
    const fields = this.#found.get(place.device);
    fields?.delete(place.field);
    if (fields?.size === 0) this.#found.delete(place.device);
    this.forgotten += 1;
  }

  /** False when the value is out of order. Learns the interval, restarts the window at a gap. */
  #inTime(series: Series, atMs: number, receivedMs: number): boolean {
    const sinceMs = atMs - series.lastMs;
    if (Number.isNaN(sinceMs)) {
      series.lastMs = atMs;
      return true;
    }
    const usualMs = Number.isNaN(series.intervalMs) ? 0 : series.intervalMs;
    // No value is taken from so far ahead: the gateway's own clock has been set back since.
    const isSetBack = series.lastMs > receivedMs + MAX_AHEAD_MS;
    if (isSetBack || Math.abs(sinceMs) > Math.max(this.#settings.maxGapMs, GAP_INTERVALS * usualMs)) {
      series.restart();
      // It may be no gap but its rhythm, for which one silence proves little.
      if (sinceMs > 0) series.intervalMs = usualMs === 0 ? sinceMs : Math.min(sinceMs, 2 * usualMs);
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

  /** Least recently used first. */
  *entries(): IterableIterator<[key: string, series: Series]> {
    for (let place = this.#oldest; place; place = place.newer) yield [place.key, place.series];
  }

  /** Puts back a series of a saved state; the order of calls is the order of use. */
  put(key: string, series: Series): void {
    this.#add(key, series);
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
