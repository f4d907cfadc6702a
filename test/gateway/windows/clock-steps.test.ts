// Sets the gateway's own clock forth and back under the tumbling windows: they go on at once, and none is given out twice.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { windowsConfigSchema } from '../../../gateway/windows/config.ts';
import { RUNS_MAX } from '../../../gateway/windows/given-out.ts';
import { DISORDER_MS, TICK_TOPIC, TumblingWindows } from '../../../gateway/windows/tumbling.ts';
import type { WindowResult } from '../../../gateway/windows/window.ts';
import { offset } from '../../../ledger/format/brand.ts';
import { SOURCE, type Source, type TelemetryRecord } from '../../../ledger/format/record.ts';

const HOUR_MS = 3_600_000;
const NOTHING = new Uint8Array(0);

interface Given {
  receivedMs: number;
  /** By a clock of the device's own; else the time of receipt. */
  eventMs?: number;
  device?: string;
  topic?: string;
  source?: Source;
}

function record({ receivedMs, eventMs, device, topic, source }: Given): TelemetryRecord {
  return {
    offset: offset(0),
    eventMs: eventMs ?? receivedMs,
    receivedMs,
    topic: topic ?? 'plant/pump/state',
    device: device ?? 'pump',
    sequence: null,
    source: source ?? SOURCE.mqtt,
    contentType: 'application/json',
    headers: [],
    payload: NOTHING,
    salt: NOTHING,
  };
}

const at = (receivedMs: number) => record({ receivedMs });
const tick = (receivedMs: number) =>
  record({ receivedMs, topic: TICK_TOPIC, device: '', source: SOURCE.gateway });

/** `atEvery` ms a record, from `fromMs` up to and without `toMs`. */
function span(fromMs: number, toMs: number, everyMs = 1_000): TelemetryRecord[] {
  return Array.from({ length: Math.ceil((toMs - fromMs) / everyMs) }, (_, index) =>
    at(fromMs + index * everyMs),
  );
}

const minutes = { name: 'm', sizeMs: 60_000, allowedLatenessMs: 10_000 };
const windowsOf = (config: object = minutes) =>
  new TumblingWindows(windowsConfigSchema.parse([config]), () => [['v', 1]]);
const feedAll = (windows: TumblingWindows, records: readonly TelemetryRecord[]) =>
  records.flatMap((given) => windows.feed(given));
const keyOf = ({ window, device, sizeMs, startMs }: WindowResult) =>
  `${window} ${device} ${sizeMs}/${startMs}`;
const startsOf = (results: readonly WindowResult[]) => results.map(({ startMs }) => startMs / 60_000);
const restored = (windows: TumblingWindows, config: object = minutes) => {
  const again = windowsOf(config);
  expect(again.restore(windows.serialise())).toBe(0);
  return again;
};

describe('a gateway clock an hour ahead for a minute', () => {
  const trueMs = 1_000 * HOUR_MS;
  const minute = trueMs / 60_000;
  const before = span(trueMs, trueMs + 150_000);
  const wrong = span(trueMs + 150_000 + HOUR_MS, trueMs + 210_000 + HOUR_MS);
  const after = span(trueMs + 210_000, trueMs + 600_000);

  test('windows appear again with the first minute that was not given out; nothing of the wrong time stays open', () => {
    const windows = windowsOf();
    expect(startsOf(feedAll(windows, before))).toEqual([minute, minute + 1]);
    // The jump completes what was open.
    expect(startsOf(feedAll(windows, wrong))).toEqual([minute + 2, minute + 62]);
    // The way back gives out at once what the wrong time had opened.
    expect(startsOf(windows.feed(after[0]!))).toEqual([minute + 63]);
    expect(windows.figures()).toMatchObject({ clockSteps: 1, openSeries: 1, late: 0 });
    expect(startsOf(feedAll(windows, after.slice(1)))).toEqual([3, 4, 5, 6, 7, 8].map((at) => minute + at));
    expect(windows.figures().late).toBe(0);
  });

  test('when that hour comes, what was dated by the wrong clock stays given out: its records are late, and counted', () => {
    const windows = windowsOf();
    const early = feedAll(windows, [...before, ...wrong, ...after]);
    const later = feedAll(windows, span(trueMs + HOUR_MS + 60_000, trueMs + HOUR_MS + 360_000));
    expect(startsOf(later)).toEqual(
      [minute + 9, minute + 61, minute + 64].filter((one) => !startsOf(early).includes(one)),
    );
    expect(windows.figures().late).toBe(120);
    expect(new Set([...early, ...later].map(keyOf)).size).toBe(early.length + later.length);
  });

  test('is forgotten by no restart', () => {
    const all = [
      ...before,
      ...wrong,
      ...after,
      ...span(trueMs + HOUR_MS + 60_000, trueMs + HOUR_MS + 360_000),
    ];
    const straight = windowsOf();
    const expected = feedAll(straight, all);
    let broken = windowsOf();
    const results: WindowResult[] = [];
    for (const [index, given] of all.entries()) {
      if (index % 37 === 0) broken = restored(broken);
      results.push(...broken.feed(given));
    }
    expect(results).toEqual(expected);
    expect(broken.serialise()).toEqual(straight.serialise());
  });

  test('devices with clocks of their own that are right lose the time of the jump, and are in windows at once after it', () => {
    const windows = windowsOf();
    const own = (given: TelemetryRecord) => ({
      ...given,
      device: 'own',
      eventMs: given.receivedMs - HOUR_MS,
    });
    feedAll(windows, before);
    const during = feedAll(
      windows,
      wrong.flatMap((given) => [given, own(given)]),
    );
    expect(during.filter(({ device }) => device === 'own')).toEqual([]);
    const results = feedAll(
      windows,
      after.map((given) => ({ ...given, device: 'own' })),
    );
    expect(startsOf(results.filter(({ device }) => device === 'own'))[0]).toBe(minute + 3);
  });

  test('with clocks of their own only, the watermark never left, and the step changes nothing', () => {
    const windows = windowsOf();
    const own = [
      ...before,
      ...wrong.map((given) => ({ ...given, eventMs: given.receivedMs - HOUR_MS })),
      ...after,
    ];
    expect(startsOf(feedAll(windows, own))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8].map((at) => minute + at));
    expect(windows.figures()).toMatchObject({ clockSteps: 1, late: 0 });
  });

  test('when all devices are silent after it, a tick closes what the wrong time had opened', () => {
    const windows = windowsOf();
    feedAll(windows, [...before, ...wrong]);
    const nowMs = trueMs + 215_000;
    expect(windows.wantsTick(nowMs)).toBe(true);
    expect(startsOf(windows.feed(tick(nowMs)))).toEqual([minute + 63]);
    expect(windows.wantsTick(nowMs + 1_000)).toBe(false);
  });
});

test('a clock set forth leaves no window behind: what was open is given out, and time goes on from there', () => {
  const windows = windowsOf();
  const results = feedAll(windows, [...span(0, 90_000), ...span(40 * HOUR_MS, 40 * HOUR_MS + 140_000)]);
  expect(startsOf(results)).toEqual([0, 1, 2400, 2401]);
  expect(windows.figures()).toMatchObject({ clockSteps: 0, late: 0 });
});

test('receipts out of order by less than a step leave the watermark where it is', () => {
  const windows = windowsOf();
  feedAll(windows, [at(HOUR_MS), at(HOUR_MS - DISORDER_MS)]);
  expect(windows.figures().clockSteps).toBe(0);
  windows.feed(at(HOUR_MS - DISORDER_MS - 1));
  expect(windows.figures().clockSteps).toBe(1);
});

test('a record that a stage stamped before the clock was set back takes time no further than the devices have', () => {
  const windows = windowsOf();
  const decoded = (receivedMs: number) =>
    record({ receivedMs, topic: '$tidemark/sparkplug/line', source: SOURCE.gateway, device: 'line' });
  feedAll(windows, [at(10 * HOUR_MS), at(HOUR_MS), decoded(10 * HOUR_MS)]);
  expect(windows.figures()).toMatchObject({ clockSteps: 1, ahead: 1, openSeries: 1 });
  // Nor does an old one, which waited for a full disk, look like a clock set back.
  feedAll(windows, [decoded(0), at(HOUR_MS + 1_000)]);
  expect(windows.figures()).toMatchObject({ clockSteps: 1, late: 1 });
});

test('in a state of version 1 what is complete counts as given out, and its clock can be seen to be set back', () => {
  const before = windowsOf();
  const early = feedAll(before, span(HOUR_MS, HOUR_MS + 150_000));
  const {
    latestMs: _,
    clockSteps: __,
    windows: saved,
    ...rest
  } = JSON.parse(new TextDecoder().decode(before.serialise()));
  const [{ given: ___, givenBelowMs: ____, ...window }] = saved;
  const state = new TextEncoder().encode(JSON.stringify({ ...rest, version: 1, windows: [window] }));
  const after = windowsOf();
  expect(after.restore(state)).toBe(0);
  const results = feedAll(after, [...span(HOUR_MS, HOUR_MS + 300_000)]);
  // 62 was open beyond the new time.
  expect(startsOf([...early, ...results])).toEqual([60, 61, 62, 63]);
  expect(after.figures()).toMatchObject({ clockSteps: 1, late: 180 });
});

test('what is remembered is bounded, and what is forgotten counts as given out', () => {
  const config = { name: 'm', sizeMs: 10, allowedLatenessMs: 0 };
  const windows = windowsOf(config);
  // Every other window has a record, so that no two join.
  const many = span(HOUR_MS, HOUR_MS + 20 * (RUNS_MAX + 500), 20);
  const given = new Set(feedAll(windows, many).map(keyOf));
  expect(given.size).toBe(many.length - 1);
  const state = JSON.parse(new TextDecoder().decode(windows.serialise()));
  expect(state.windows[0].given).toHaveLength(RUNS_MAX);
  const again = restored(windows, config);
  // All of it once more, with the gaps filled: what is remembered exactly gives only the gaps.
  const results = feedAll(again, [
    at(0),
    ...span(HOUR_MS - DISORDER_MS - 10, HOUR_MS + 20 * (RUNS_MAX + 500), 10),
  ]);
  expect(results.some((result) => given.has(keyOf(result)))).toBe(false);
  expect(results.length).toBeGreaterThan(RUNS_MAX - 10);
  expect(again.figures().clockSteps).toBe(1);
});

// ---- any clock at all

const config = {
  name: 'm',
  sizeMs: 30_000,
  allowedLatenessMs: 5_000,
  maxAheadMs: 2_000,
  maxFutureMs: HOUR_MS,
};
/** The gateway's clock goes on by a little, or is set; some devices have a clock of their own. */
const aMove = fc.record({
  byMs: fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: 0, max: 20_000 }) },
    { weight: 1, arbitrary: fc.integer({ min: -DISORDER_MS - 1, max: DISORDER_MS }) },
    { weight: 1, arbitrary: fc.integer({ min: -2 * HOUR_MS, max: 2 * HOUR_MS }) },
  ),
  ownMs: fc.option(fc.integer({ min: -50_000, max: 50_000 })),
  device: fc.constantFrom('a', 'b'),
  isTick: fc.boolean(),
});

function recordsOf(
  moves: readonly { byMs: number; ownMs: number | null; device: string; isTick: boolean }[],
) {
  let nowMs = 100 * HOUR_MS;
  return moves.map(({ byMs, ownMs, device, isTick }, index) => {
    nowMs += byMs;
    if (isTick && index % 7 === 0) return tick(nowMs);
    return record({ receivedMs: nowMs, eventMs: nowMs + (ownMs ?? 0), device });
  });
}

/** The definition, read slowly: values by window, and the order in which windows were given out. */
function slowly(records: readonly TelemetryRecord[]): {
  keys: string[];
  counts: Map<string, number>;
  late: number;
} {
  const { sizeMs, allowedLatenessMs, maxAheadMs } = config;
  const open = new Map<number, Map<string, number>>();
  const given = new Set<number>();
  const keys: string[] = [];
  const counts = new Map<string, number>();
  let latestMs = Number.NEGATIVE_INFINITY;
  let progressMs = Number.NEGATIVE_INFINITY;
  let late = 0;
  const giveOut = (isDue: (startMs: number) => boolean) => {
    for (const startMs of [...open.keys()].filter(isDue).sort((a, b) => a - b)) {
      for (const [device, count] of open.get(startMs)!) {
        keys.push(`m ${device} ${sizeMs}/${startMs}`);
        counts.set(keys.at(-1)!, count);
      }
      open.delete(startMs);
      given.add(startMs);
    }
  };
  for (const { eventMs, receivedMs, device, source } of records) {
    if (receivedMs < latestMs - DISORDER_MS) {
      giveOut((startMs) => startMs > receivedMs + maxAheadMs);
      progressMs = Number.NEGATIVE_INFINITY;
      latestMs = receivedMs;
    }
    latestMs = Math.max(latestMs, receivedMs);
    const startMs = Math.floor(eventMs / sizeMs) * sizeMs;
    if (source !== SOURCE.gateway) {
      if (startMs + sizeMs <= progressMs - allowedLatenessMs || given.has(startMs)) late += 1;
      else {
        const devices = open.get(startMs) ?? new Map<string, number>();
        open.set(startMs, devices.set(device, (devices.get(device) ?? 0) + 1));
      }
    }
    progressMs = Math.max(progressMs, Math.min(eventMs, receivedMs + maxAheadMs));
    giveOut((start) => start + sizeMs <= progressMs - allowedLatenessMs);
  }
  return { keys, counts, late };
}

test('whatever the clock does: as the definition says, no key twice, and the same from any state on', () => {
  fc.assert(
    fc.property(fc.array(aMove, { minLength: 1, maxLength: 150 }), fc.nat(), (moves, cut) => {
      const records = recordsOf(moves);
      const straight = windowsOf(config);
      const results = feedAll(straight, records);
      const keys = results.map(keyOf);
      expect(new Set(keys).size).toBe(keys.length);
      const expected = slowly(records);
      expect(keys).toEqual(expected.keys);
      expect(straight.figures().late).toBe(expected.late);
      expect(results.map((result) => result.fields.v?.count)).toEqual(
        keys.map((key) => expected.counts.get(key)),
      );
      const half = cut % records.length;
      const first = windowsOf(config);
      const head = feedAll(first, records.slice(0, half));
      const second = restored(first, config);
      expect([...head, ...feedAll(second, records.slice(half))]).toEqual(results);
      expect(second.serialise()).toEqual(straight.serialise());
    }),
    { numRuns: 300 },
  );
});

test('a run that was read again from an older state gives out what the first one did, and nothing else', () => {
  fc.assert(
    fc.property(
      fc.array(aMove, { minLength: 2, maxLength: 80 }),
      fc.nat(),
      fc.nat(),
      (moves, saved, died) => {
        const records = recordsOf(moves);
        const saveAt = saved % records.length;
        const dieAt = saveAt + (died % (records.length - saveAt));
        const windows = windowsOf(config);
        feedAll(windows, records.slice(0, saveAt));
        const again = restored(windows, config);
        const lost = feedAll(windows, records.slice(saveAt, dieAt));
        const replayed = feedAll(again, records.slice(saveAt));
        expect(JSON.stringify(replayed.slice(0, lost.length))).toBe(JSON.stringify(lost));
      },
    ),
    { numRuns: 100 },
  );
});
