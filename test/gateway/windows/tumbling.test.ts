// Holds the tumbling windows against a slow reading of their definition, and names their rules one by one.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { windowsConfigSchema } from '../../../gateway/windows/config.ts';
import { TICK_TOPIC, TumblingWindows } from '../../../gateway/windows/tumbling.ts';
import type { WindowResult } from '../../../gateway/windows/window.ts';
import { offset } from '../../../ledger/format/brand.ts';
import { SOURCE, type Source, type TelemetryRecord } from '../../../ledger/format/record.ts';

interface Given {
  eventMs: number;
  receivedMs?: number;
  device?: string;
  topic?: string;
  source?: Source;
  values?: Record<string, number>;
  flag?: 'ahead' | 'behind';
}

let nextOffset = 0;
function record(given: Given): TelemetryRecord {
  const bytes = new Uint8Array(0);
  return {
    offset: offset(nextOffset++),
    eventMs: given.eventMs,
    receivedMs: given.receivedMs ?? given.eventMs,
    topic: given.topic ?? 'plant/pump-1/state',
    device: given.device ?? 'pump-1',
    sequence: null,
    source: given.source ?? SOURCE.mqtt,
    contentType: 'application/json',
    headers: given.flag ? [['tidemark-clock', Buffer.from(given.flag)]] : [],
    payload: new TextEncoder().encode(JSON.stringify(given.values ?? { v: 1 })),
    salt: bytes,
  };
}

const fieldsOf = (given: TelemetryRecord) =>
  Object.entries(JSON.parse(new TextDecoder().decode(given.payload)) as Record<string, number>);

const windowsOf = (config: readonly object[]) =>
  new TumblingWindows(windowsConfigSchema.parse(config), fieldsOf);

const tick = (atMs: number) =>
  record({ eventMs: atMs, topic: TICK_TOPIC, device: '', source: SOURCE.gateway, values: {} });

function feedAll(windows: TumblingWindows, records: readonly TelemetryRecord[]): WindowResult[] {
  return records.flatMap((given) => windows.feed(given));
}

describe('tumbling windows', () => {
  test('count, min, max and mean per device and field, given out when the watermark passes the end', () => {
    const windows = windowsOf([{ name: 'm', sizeMs: 1000, allowedLatenessMs: 500 }]);
    const before = feedAll(windows, [
      record({ eventMs: 1000, values: { a: 1, b: 10 } }),
      record({ eventMs: 1999, values: { a: 4 } }),
      record({ eventMs: 1200, device: 'pump-2', values: { a: -1 } }),
      record({ eventMs: 2499, values: { a: 100 } }),
    ]);
    expect(before).toEqual([]);
    expect(windows.feed(record({ eventMs: 2500, values: { a: 100 } }))).toEqual([
      {
        window: 'm',
        device: 'pump-1',
        sizeMs: 1000,
        startMs: 1000,
        endMs: 2000,
        fields: { a: { count: 2, min: 1, max: 4, mean: 2.5 }, b: { count: 1, min: 10, max: 10, mean: 10 } },
      },
      {
        window: 'm',
        device: 'pump-2',
        sizeMs: 1000,
        startMs: 1000,
        endMs: 2000,
        fields: { a: { count: 1, min: -1, max: -1, mean: -1 } },
      },
    ]);
    expect(windows.figures()).toMatchObject({ emitted: 2, openSeries: 1, late: 0 });
    expect(windows.watermarkMs).toBe(2000);
  });

  test('a record whose window is complete is late: counted, in no window', () => {
    const windows = windowsOf([{ name: 'm', sizeMs: 1000, allowedLatenessMs: 0 }]);
    feedAll(windows, [record({ eventMs: 1500 }), record({ eventMs: 2000 }), record({ eventMs: 1999 })]);
    expect(windows.figures()).toMatchObject({ emitted: 1, late: 1, openSeries: 1 });
  });

  test('one poisoned time in the future neither drags the watermark nor keeps a window open for ever', () => {
    const windows = windowsOf([
      { name: 'm', sizeMs: 1000, allowedLatenessMs: 0, maxAheadMs: 100, maxFutureMs: 5000 },
    ]);
    const year2099 = Date.UTC(2099, 0, 1);
    feedAll(windows, [record({ eventMs: 10_000 }), record({ eventMs: year2099, receivedMs: 10_001 })]);
    expect(windows.watermarkMs).toBe(10_101);
    expect(windows.figures()).toMatchObject({ ahead: 1, openSeries: 1 });
    // Others are not late because of it.
    feedAll(windows, [record({ eventMs: 10_050, receivedMs: 10_051 })]);
    expect(windows.figures().late).toBe(0);
    expect(windows.feed(record({ eventMs: 11_000 }))).toMatchObject([{ fields: { v: { count: 2 } } }]);
  });

  test('derived records and the gateway records are no input', () => {
    const windows = windowsOf([{ name: 'm', sizeMs: 1000 }]);
    feedAll(windows, [
      record({ eventMs: 1000, topic: '$tidemark/windows/m', source: SOURCE.window }),
      record({ eventMs: 1000, topic: '$tidemark/anomalies/a', source: SOURCE.model }),
      record({ eventMs: 1000, source: SOURCE.gateway }),
    ]);
    expect(windows.figures().openSeries).toBe(0);
    expect(windows.watermarkMs).toBeNull();
  });

  test('a tick closes what is past its end; only the gateway can tick', () => {
    const windows = windowsOf([{ name: 'm', sizeMs: 1000, allowedLatenessMs: 500 }]);
    windows.feed(record({ eventMs: 1000 }));
    expect([windows.wantsTick(2_499), windows.wantsTick(2_500)]).toEqual([false, true]);
    expect(windows.feed(record({ ...tick(9_000), source: SOURCE.mqtt, eventMs: 9_000 }))).toEqual([]);
    expect(windows.feed(tick(2_499))).toEqual([]);
    expect(windows.feed(tick(2_500))).toMatchObject([{ startMs: 1000 }]);
    expect(windows.wantsTick(1e15)).toBe(false);
  });

  test('topic filters choose the records of each window, all records move its watermark', () => {
    const windows = windowsOf([
      { name: 'pumps', topics: ['plant/+/vibration'], sizeMs: 1000, allowedLatenessMs: 0 },
      { name: 'all', sizeMs: 2000, allowedLatenessMs: 0 },
    ]);
    const results = feedAll(windows, [
      record({ eventMs: 500, topic: 'plant/pump-1/vibration' }),
      record({ eventMs: 600, topic: 'plant/pump-1/heat' }),
      record({ eventMs: 2000, topic: 'plant/pump-1/heat' }),
    ]);
    expect(results.map(({ window, fields }) => [window, fields.v!.count])).toEqual([
      ['pumps', 1],
      ['all', 2],
    ]);
  });

  test('aggregates and fields are bounded; what found no room is counted', () => {
    const windows = windowsOf([{ name: 'm', sizeMs: 1000, maxSeries: 3, maxFields: 2 }]);
    feedAll(windows, [
      record({ eventMs: 1, values: { a: 1, b: 1, c: 1 } }),
      record({ eventMs: 2, device: 'pump-2', values: { a: 1, b: 1 } }),
      record({ eventMs: 3, values: { a: 3 } }),
    ]);
    expect(windows.figures()).toMatchObject({ openSeries: 3, overLimit: 2 });
  });

  test('times before 1970 and huge values keep their windows and means', () => {
    const windows = windowsOf([{ name: 'm', sizeMs: 1000, allowedLatenessMs: 0 }]);
    const values = [Number.MAX_VALUE, Number.MAX_VALUE, -Number.MAX_VALUE, -Number.MAX_VALUE];
    feedAll(
      windows,
      values.map((v, at) => record({ eventMs: -1500 + at, values: { v } })),
    );
    const [result] = windows.feed(tick(0));
    expect(result).toMatchObject({ startMs: -2000, endMs: -1000 });
    expect(Number.isFinite(result!.fields.v!.mean)).toBe(true);
  });

  test('a field named __proto__ is a field like any other', () => {
    const windows = windowsOf([{ name: 'm', sizeMs: 1000, allowedLatenessMs: 0 }]);
    windows.feed(record({ eventMs: 1, values: JSON.parse('{"__proto__":7}') as Record<string, number> }));
    expect(JSON.stringify(windows.feed(tick(1000))[0]!.fields)).toBe(
      '{"__proto__":{"count":1,"min":7,"max":7,"mean":7}}',
    );
  });

  test('windows of another size under the same name are other windows: their open aggregates are dropped, and counted', () => {
    const before = windowsOf([{ name: 'm', sizeMs: 1000 }]);
    before.feed(record({ eventMs: 1, values: { a: 1, b: 2 } }));
    const after = windowsOf([{ name: 'm', sizeMs: 2000 }]);
    expect(after.restore(before.serialise())).toBe(2);
    expect(after.figures().openSeries).toBe(0);
  });

  test('a state of a later version is refused by its code', () => {
    const state = new TextEncoder().encode('{"version":3,"windows":[]}');
    expect(() => windowsOf([{ name: 'm' }]).restore(state)).toThrow(
      expect.objectContaining({ code: 'STAGE_STATE_VERSION' }),
    );
  });
});

const config = { name: 'm', sizeMs: 100, allowedLatenessMs: 30, maxAheadMs: 20, maxFutureMs: 500 };
const someRecord = fc.record({
  eventMs: fc.integer({ min: -300, max: 1500 }),
  receivedMs: fc.integer({ min: 0, max: 1000 }),
  device: fc.constantFrom('a', 'b', ''),
  values: fc.dictionary(
    fc.constantFrom('x', 'y', 'z'),
    fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e9, max: 1e9 }),
    {
      maxKeys: 2,
    },
  ),
});

/** The definition, read slowly: all values of a window that were not late or ahead when they came. */
function reference(records: readonly TelemetryRecord[]): Map<string, number[]> {
  const windows = new Map<string, number[]>();
  let progressMs = Number.NEGATIVE_INFINITY;
  for (const given of records) {
    const startMs = Math.floor(given.eventMs / config.sizeMs) * config.sizeMs;
    const late = startMs + config.sizeMs <= progressMs - config.allowedLatenessMs;
    if (!late && given.eventMs <= given.receivedMs + config.maxFutureMs) {
      for (const [field, value] of fieldsOf(given)) {
        const key = `${startMs}/${given.device}/${field}`;
        windows.set(key, [...(windows.get(key) ?? []), value]);
      }
    }
    progressMs = Math.max(progressMs, Math.min(given.eventMs, given.receivedMs + config.maxAheadMs));
  }
  return windows;
}

test('equals the definition, each window once, for any order of times', () => {
  fc.assert(
    fc.property(fc.array(someRecord, { maxLength: 60 }), (given) => {
      const records = given.map(record);
      const results = feedAll(windowsOf([config]), [...records, tick(100_000)]);
      const expected = reference(records);
      const seen = results.flatMap(({ startMs, device, fields }) =>
        Object.entries(fields).map(
          ([field, aggregate]) => [`${startMs}/${device}/${field}`, aggregate] as const,
        ),
      );
      expect(new Set(seen.map(([key]) => key)).size).toBe(seen.length);
      expect(seen.map(([key]) => key).sort()).toEqual([...expected.keys()].sort());
      for (const [key, { count, min, max, mean }] of seen) {
        const values = expected.get(key)!;
        expect([count, min, max]).toEqual([values.length, Math.min(...values), Math.max(...values)]);
        const exact = values.reduce((sum, value) => sum + value, 0) / values.length;
        expect(Math.abs(mean - exact)).toBeLessThanOrEqual(1e-6 * Math.max(1, ...values.map(Math.abs)));
      }
    }),
    { numRuns: 150 },
  );
});

test('restored at any point it goes on bit for bit', () => {
  fc.assert(
    fc.property(fc.array(someRecord, { minLength: 1, maxLength: 40 }), fc.nat(), (given, cut) => {
      const records = [...given.map(record), tick(100_000)];
      const at = cut % records.length;
      const straight = windowsOf([config]);
      const first = windowsOf([config]);
      const expected = feedAll(straight, records);
      const head = feedAll(first, records.slice(0, at));
      const second = windowsOf([config]);
      expect(second.restore(first.serialise())).toBe(0);
      const results = [...head, ...feedAll(second, records.slice(at))];
      expect(JSON.stringify(results)).toBe(JSON.stringify(expected));
      expect(second.figures()).toEqual(straight.figures());
    }),
    { numRuns: 100 },
  );
});

describe('records whose time was flagged when they were accepted', () => {
  test('belong to no window and move no watermark, and are counted', () => {
    const windows = windowsOf([{ name: 'm', sizeMs: 1000, allowedLatenessMs: 0, maxAheadMs: 86_400_000 }]);
    windows.feed(record({ eventMs: 1000 }));
    const before = windows.watermarkMs;
    expect(windows.feed(record({ eventMs: 50_000, receivedMs: 1001, flag: 'ahead' }))).toEqual([]);
    expect(windows.feed(record({ eventMs: -9_000, receivedMs: 1002, flag: 'behind' }))).toEqual([]);
    expect(windows.watermarkMs).toBe(before);
    expect(windows.figures()).toMatchObject({ flagged: 2, late: 0, ahead: 0 });
    const [result] = windows.feed(record({ eventMs: 2000 }));
    expect(result?.fields.v).toMatchObject({ count: 1 });
  });

  test('their count survives a restart, and a state of 0.1 has none', () => {
    const config = [{ name: 'm', sizeMs: 1000 }];
    const windows = windowsOf(config);
    windows.feed(record({ eventMs: 1, flag: 'behind' }));
    const state = windows.serialise();
    const again = windowsOf(config);
    again.restore(state);
    expect(again.figures().flagged).toBe(1);
    const old = windowsOf(config);
    old.restore(Buffer.from(Buffer.from(state).toString().replace('"flagged":1,', '')));
    expect(old.figures().flagged).toBe(0);
  });
});
