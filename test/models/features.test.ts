// Names the rules by which values become samples and samples become windows, one by one.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { judge, newCalibration } from '../../models/anomaly.ts';
import { Series, SeriesStore, writeWindow } from '../../models/features.ts';
import { decodeSeries, encodeSeries } from '../../models/series-state.ts';

const settings = { length: 8, spread: [1, 1, 1], sampleIntervalMs: 100, maxGapMs: 5_000, maxSeries: 3 };

function storeOf(changes: Partial<typeof settings> = {}): SeriesStore {
  return new SeriesStore({ ...settings, ...changes });
}

/** Adds values to pump/v at the given times; the kinds of the answers. */
function addAt(
  store: SeriesStore,
  times: readonly number[],
  value: (at: number) => number = (at) => at,
): string[] {
  return times.map((atMs, at) => store.add('pump', 'v', value(at), atMs, atMs).kind);
}

const seriesOf = (store: SeriesStore, key = 'pump\0v') => new Map(store.entries()).get(key)!;

describe('series', () => {
  test('each value of a slow series is a sample at once; the window is complete at the eighth', () => {
    const store = storeOf();
    const kinds = addAt(store, [0, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000]);
    expect(kinds.map((kind) => kind === 'window')).toEqual([...Array(7).fill(false), true, true]);
    expect(seriesOf(store).newest).toBe(8);
  });

  test('values of a fast series are averaged into one sample per interval', () => {
    const store = storeOf();
    const kinds = addAt(
      store,
      Array.from({ length: 101 }, (_, at) => at * 10),
    );
    const series = seriesOf(store);
    // The first value is a sample, for nothing is known of the interval yet; then one per 100 ms.
    expect(kinds.filter((kind) => kind === 'window')).toHaveLength(4);
    expect(series.newest).toBe(94.5);
    expect(series.held).toBe(8);
  });

  test('an older value is skipped, a value from the future too', () => {
    const store = storeOf();
    expect(addAt(store, [1000, 2000, 1500])).toEqual(['waiting', 'waiting', 'skipped']);
    expect(store.add('pump', 'v', 1, 3_000_000, 3000).kind).toBe('skipped');
    expect(seriesOf(store).held).toBe(2);
  });

  test('after a long silence, or a clock set back as far, the window starts afresh and the calibration stays', () => {
    for (const next of [60_000, -60_000]) {
      const store = storeOf();
      addAt(store, [0, 100, 200, 300]);
      const { calibration } = seriesOf(store);
      expect(addAt(store, [next])).toEqual(['waiting']);
      expect(seriesOf(store).held).toBe(1);
      expect(seriesOf(store).calibration).toBe(calibration);
    }
  });

  test('a slow series does not wait for the time of a gateway clock that was five minutes ahead', () => {
    const store = storeOf();
    const minutes = Array.from({ length: 12 }, (_, at) => (at + 1) * 60_000);
    addAt(store, [0, 4_000, ...minutes]);
    const nowMs = 13 * 60_000;
    expect(addAt(store, [nowMs + 300_000, nowMs])).toEqual(['window', 'waiting']);
    expect(seriesOf(store).held).toBe(1);
    // A device whose clock is ahead, by less than is skipped, has not been set back.
    store.add('pump', 'v', 1, nowMs + 119_000, nowMs + 60_000);
    expect(store.add('pump', 'v', 2, nowMs + 60_000, nowMs + 60_000).kind).toBe('skipped');
    expect(seriesOf(store).held).toBe(2);
  });

  test('a series that is slow by nature has no gaps', () => {
    const store = storeOf({ maxGapMs: 1000 });
    addAt(
      store,
      [0, 900, 2700, 5000, 10_000, 20_000, 40_000, 80_000].map((atMs) => atMs * 1),
    );
    expect(seriesOf(store).held).toBe(8);
  });

  test('slow from the first value on, or from one day on, a series has a window in the end', () => {
    const everyMs = 300_000;
    const slow = Array.from({ length: 20 }, (_, at) => at * everyMs);
    expect(addAt(storeOf(), slow).filter((kind) => kind === 'window').length).toBeGreaterThan(10);
    const store = storeOf();
    addAt(
      store,
      Array.from({ length: 50 }, (_, at) => at * 1000),
    );
    expect(
      addAt(
        store,
        slow.map((atMs) => 1_000_000 + atMs),
      ).at(-1),
    ).toBe('window');
  });

  test('one long silence does not make a quick series slow', () => {
    const store = storeOf();
    const quick = (fromMs: number) => Array.from({ length: 60 }, (_, at) => fromMs + at * 1000);
    addAt(store, [...quick(0), ...quick(3_600_000)]);
    expect(addAt(store, [3_600_000 + 60_000 + 25_000])).toEqual(['waiting']);
    expect(seriesOf(store).held).toBe(1);
  });

  test('the series unused longest is forgotten for a new one', () => {
    const store = storeOf();
    for (const device of ['a', 'b', 'c', 'a', 'd']) store.add(device, 'v', 1, 0, 0);
    expect([...store.entries()].map(([key]) => key)).toEqual(['c\0v', 'a\0v', 'd\0v']);
    expect(store.forgotten).toBe(1);
  });

  test('whatever comes in whatever order, the order of use is that of a plain map', () => {
    // With names that give the same key from different devices.
    const device = fc.constantFrom('a', 'b', 'a\0b', '');
    const field = fc.constantFrom('v', 'b\0v', 'w');
    fc.assert(
      fc.property(fc.array(fc.tuple(device, field), { maxLength: 60 }), (uses) => {
        const store = storeOf({ maxGapMs: 1e9 });
        store.put('b\0v', new Series(8, newCalibration([1, 1, 1])));
        const plain = new Map<string, number>([['b\0v', 0]]);
        for (const [at, [one, name]] of uses.entries()) {
          store.add(one, name, at, at * 1000, at * 1000);
          const key = `${one}\0${name}`;
          const held = plain.get(key) ?? 0;
          if (!plain.delete(key) && plain.size === settings.maxSeries)
            plain.delete(plain.keys().next().value!);
          plain.set(key, Math.min(8, held + 1));
        }
        expect([...store.entries()].map(([key, series]) => [key, series.held])).toEqual([...plain]);
        expect(store.size).toBe(plain.size);
      }),
    );
  });
});

describe('windows', () => {
  function windowOf(values: readonly number[]): { written: boolean; window: number[] } {
    const series = new Series(values.length, newCalibration([1]));
    for (const value of values) series.push(value);
    const target = new Float32Array(values.length);
    const written = writeWindow(series, target, 0);
    return { written, window: [...target] };
  }

  test('oldest first, centred before it becomes single precision', () => {
    const { written, window } = windowOf(
      [0, 1, 3, 2, 5, 4, 7, 6].map((value) => 1_763_600_000_000 + value / 4),
    );
    expect(written).toBe(true);
    expect(window).toEqual([0, 0.25, 0.75, 0.5, 1.25, 1, 1.75, 1.5]);
  });

  test('switches, machines at rest and numbers beyond single precision are not scored; what has just got stuck is', () => {
    expect(windowOf([0, 1, 0, 1, 1, 0, 1, 0]).written).toBe(false);
    expect(windowOf([1, 1, 1, 1, 1, 2, 3, 4]).written).toBe(false);
    expect(windowOf([0, 1e31, 2, 3, 4, 5, 6, 7]).written).toBe(false);
    expect(windowOf([1, 4, 2, 3, 5, 6, 6, 6]).written).toBe(true);
  });
});

test('saved series come back as they were, in order of use', () => {
  const store = storeOf();
  const spread = [1, 0.9, 1.1];
  addAt(store, [0, 700, 1400, 1800, 1850, 1860, 1870, 1900, 1990, 2500, 2510], (at) => Math.sin(at) / 3);
  store.add('pümp', 'feld.ä', -0.1, 5, 5);
  for (const [, series] of store.entries()) {
    for (let at = 0; at < 130; at += 1) {
      judge(series.calibration, [at % 7, 2, -1], {
        spread,
        threshold: 3,
        warmupRecords: 5,
        refractoryRecords: 9,
      });
    }
  }
  const saved = { model: 'm 1', length: 8, channels: 3, series: [...store.entries()] };
  const bytes = encodeSeries(saved);
  const read = decodeSeries(bytes);
  expect({ ...read, series: read.series.map(([key]) => key) }).toEqual({
    ...saved,
    series: ['pump\0v', 'pümp\0feld.ä'],
  });
  expect(encodeSeries(read)).toEqual(bytes);
  const ordered = (series: Series) => [
    ...series.samples.slice(series.head),
    ...series.samples.slice(0, series.head),
  ];
  for (const [at, [, series]] of read.series.entries()) {
    const before = saved.series[at]![1];
    expect(series.calibration).toEqual(before.calibration);
    expect(ordered(series).slice(-series.held)).toEqual(ordered(before).slice(-before.held));
  }
  bytes[0] = 9;
  expect(() => decodeSeries(bytes)).toThrow(expect.objectContaining({ code: 'STAGE_STATE_VERSION' }));
});
