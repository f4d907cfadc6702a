// Owns the bytes in which the model stage's series survive a restart. Refuses to interpret them.
//
// Version 1, big-endian:
//   version u8 = 1, model u8 length + ASCII ("name version"), length u16 (samples of a full window), channels u8,
//   series count u32, then per series, least recently used first:
//     key u32 length + UTF-8, held u16, last f64, interval f64, sample f64, sum f64, count u32,
//     calibration: count f64, silent u32, (usual f64, extreme f64, block f64) per channel,
//     held samples f64, oldest first
import { StageStateError } from '../gateway/stage/deriving.ts';
import type { Calibration } from './anomaly.ts';
import { Series } from './features.ts';

const VERSION = 1;
const KEY_FIRST = 4;
const FIXED = 2 + 4 * 8 + 4 + 8 + 4;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export interface SavedSeries {
  /** Which model's deviations the calibrations are of. */
  readonly model: string;
  readonly length: number;
  readonly channels: number;
  readonly series: Iterable<readonly [key: string, series: Series]>;
}

export function encodeSeries(saved: SavedSeries): Uint8Array {
  const model = encoder.encode(saved.model);
  const entries = [...saved.series].map(([key, series]) => ({ key: encoder.encode(key), series }));
  const bytes = entries.reduce(
    (sum, { key, series }) => sum + KEY_FIRST + key.length + FIXED + 24 * saved.channels + 8 * series.held,
    2 + model.length + 2 + 1 + 4,
  );
  const out = new Uint8Array(bytes);
  const view = new DataView(out.buffer);
  let at = 0;
  const next = (length: number) => {
    at += length;
    return at - length;
  };
  const u8 = (value: number) => view.setUint8(next(1), value);
  const u16 = (value: number) => view.setUint16(next(2), value);
  const u32 = (value: number) => view.setUint32(next(4), value);
  const f64 = (value: number) => view.setFloat64(next(8), value);
  const raw = (value: Uint8Array) => out.set(value, next(value.length));
  u8(VERSION);
  u8(model.length);
  raw(model);
  u16(saved.length);
  u8(saved.channels);
  u32(entries.length);
  for (const { key, series } of entries) {
    const { calibration, samples, head, held } = series;
    u32(key.length);
    raw(key);
    u16(held);
    for (const value of [series.lastMs, series.intervalMs, series.sampleMs, series.sum]) f64(value);
    u32(series.count);
    f64(calibration.count);
    u32(calibration.silent);
    for (let channel = 0; channel < saved.channels; channel += 1) {
      f64(calibration.usual[channel]!);
      f64(calibration.extreme[channel]!);
      f64(calibration.block[channel]!);
    }
    for (let step = 0; step < held; step += 1)
      f64(samples[(head + samples.length - held + step) % samples.length]!);
  }
  return out;
}

/** Throws StageStateError for a version it does not know; a state cut short throws RangeError. */
export function decodeSeries(
  bytes: Uint8Array,
): SavedSeries & { readonly series: readonly [string, Series][] } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  const next = (length: number) => {
    at += length;
    return at - length;
  };
  const u8 = () => view.getUint8(next(1));
  const u16 = () => view.getUint16(next(2));
  const u32 = () => view.getUint32(next(4));
  const f64 = () => view.getFloat64(next(8));
  const text = (length: number) => {
    const from = next(length);
    return decoder.decode(bytes.subarray(from, at));
  };
  const version = u8();
  if (version !== VERSION) throw new StageStateError({ stage: 'model', version, known: VERSION });
  const model = text(u8());
  const length = u16();
  const channels = u8();
  const series: [string, Series][] = [];
  for (let left = u32(); left > 0; left -= 1) {
    const key = text(u32());
    const held = u16();
    const [lastMs, intervalMs, sampleMs, sum] = [f64(), f64(), f64(), f64()];
    const count = u32();
    const calibration: Calibration = {
      count: f64(),
      silent: u32(),
      usual: new Float64Array(channels),
      extreme: new Float64Array(channels),
      block: new Float64Array(channels),
    };
    for (let channel = 0; channel < channels; channel += 1) {
      calibration.usual[channel] = f64();
      calibration.extreme[channel] = f64();
      calibration.block[channel] = f64();
    }
    const one = new Series(length, calibration);
    Object.assign(one, { lastMs, intervalMs, sampleMs, sum, count });
    for (let step = 0; step < held; step += 1) one.push(f64());
    series.push([key, one]);
  }
  return { model, length, channels, series };
}
