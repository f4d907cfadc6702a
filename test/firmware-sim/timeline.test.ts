// The timeline: the same file and start give the same steps; each quirk of the firmware does what it says.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { KINDS } from '../../firmware-sim/device.ts';
import { parseScenario, ScenarioError, scaled } from '../../firmware-sim/scenario-file.ts';
import { type Step, Timeline, type TimelineRecord } from '../../firmware-sim/timeline.ts';

const startMs = 1_763_600_000_000;
const LIBRARY = join(import.meta.dirname, '../../firmware-sim/scenarios');

function all(yaml: string, from = startMs): { steps: Step[]; timeline: Timeline } {
  const timeline = new Timeline(parseScenario(yaml), from);
  const steps: Step[] = [];
  let lastMs = 0;
  while (Number.isFinite(timeline.nextAtMs)) {
    expect(timeline.nextAtMs).toBeGreaterThanOrEqual(lastMs);
    lastMs = timeline.nextAtMs;
    steps.push(timeline.next());
  }
  return { steps, timeline };
}
const records = (steps: readonly Step[]): TimelineRecord[] =>
  steps.flatMap((step) => (step.type === 'record' ? [step.record] : []));
const fleet = (quirks: string, more = '') =>
  `{name: t, seconds: 600, fleets: [{name: d, kind: pump, count: 3, ratePerDevice: 1, quirks: ${quirks} ${more}}]}`;

describe('the same seed', () => {
  test.each(readdirSync(LIBRARY))('%s: gives the same steps, another seed others', (name) => {
    const file = scaled(parseScenario(readFileSync(join(LIBRARY, name), 'utf8')), 0.02, 10);
    const yaml = JSON.stringify(file);
    const once = all(yaml);
    expect(records(once.steps).length).toBeGreaterThan(20);
    expect(all(yaml).steps).toEqual(once.steps);
    expect(all(yaml).timeline.faultsBegun).toEqual(once.timeline.faultsBegun);
    expect(all(JSON.stringify({ ...file, seed: 77 })).steps).not.toEqual(once.steps);
  });

  test('asking when the next step is changes nothing', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0 }), (seed) => {
        const yaml = `{name: t, seed: ${seed}, seconds: 30, fleets: [{name: d, kind: cold-store, count: 4, quirks: {duplicates: 0.3, reordered: 0.3, restartsPerHour: 600, offlinePerHour: 600}}]}`;
        const timeline = new Timeline(parseScenario(yaml), startMs);
        const steps: Step[] = [];
        while (Number.isFinite(timeline.nextAtMs) && timeline.faultsBegun.length === 0)
          steps.push(timeline.next());
        expect(steps).toEqual(all(yaml).steps);
      }),
      { numRuns: 20, seed: 1 },
    );
  });
});

describe('quirks', () => {
  test('none: each device counts up by one, a second apart, under its own time', () => {
    const made = records(all(fleet('{}')).steps);
    expect(made.length).toBe(1_800);
    expect(made.map(({ number }) => number)).toEqual(made.map((_, index) => index));
    for (const [, own] of Map.groupBy(made, ({ device }) => device)) {
      for (const [index, record] of own.entries()) {
        expect(record.sequence).toBe(own[0]!.sequence! + index);
        expect(record.atMs - own[0]!.atMs).toBeCloseTo(index * 1000, 3);
        expect(JSON.parse(record.payload)).toMatchObject({
          ts: Math.floor(record.atMs),
          seq: record.sequence,
        });
      }
    }
  });

  test('duplicates: the copy is the record before it, byte for byte', () => {
    const made = records(all(fleet('{duplicates: 0.2}')).steps);
    const copies = made.filter(({ copy }) => copy);
    expect(copies.length).toBeGreaterThan(250);
    expect(copies.length).toBeLessThan(500);
    for (const copy of copies) {
      const original = made.find(({ number }) => number === copy.number)!;
      expect({ ...copy, copy: false }).toEqual(original);
    }
  });

  test('reordered: a record is sent after its follower, and none is missing', () => {
    const made = records(all(fleet('{reordered: 0.2}')).steps);
    for (const [, own] of Map.groupBy(made, ({ device }) => device)) {
      const sequences = own.map(({ sequence }) => sequence!);
      expect(sequences).not.toEqual(sequences.toSorted((a, b) => a - b));
      expect(new Set(sequences).size).toBe(600);
      for (const [index, sequence] of sequences.entries())
        expect(
          Math.abs(sequence - (sequences[0]! > sequences[1]! ? sequences[1]! : sequences[0]!) - index),
        ).toBeLessThanOrEqual(1);
    }
  });

  test('batch: readings keep their own times and go out together', () => {
    const timeline = new Timeline(parseScenario(fleet('{batch: 5}')), startMs);
    const sentAt = new Map<number, number[]>();
    while (Number.isFinite(timeline.nextAtMs)) {
      const dueMs = timeline.nextAtMs;
      const step = timeline.next();
      if (step.type === 'record') sentAt.set(dueMs, [...(sentAt.get(dueMs) ?? []), step.record.atMs]);
    }
    expect([...sentAt.values()].every((times) => times.length === 5)).toBe(true);
    for (const times of sentAt.values()) expect(times[4]! - times[0]!).toBeCloseTo(4_000, 3);
  });

  test('restarts: the counter goes on, begins anew, or begins at the clock; the link goes and comes back', () => {
    const run = (sequence: string) => all(fleet(`{restartsPerHour: 60, sequence: ${sequence}}`)).steps;
    const firsts = (sequence: string) => {
      const own = records(run(sequence)).filter(({ index }) => index === 0);
      return own.filter((record, place) => place > 0 && record.sequence !== own[place - 1]!.sequence! + 1);
    };
    expect(firsts('kept')).toEqual([]);
    expect(firsts('reset').every(({ sequence }) => sequence === 0)).toBe(true);
    expect(firsts('reset').length).toBeGreaterThan(3);
    for (const { sequence, eventMs } of firsts('clock')) expect(eventMs - sequence!).toBeLessThan(1_500);
    const links = run('kept').filter((step) => step.type !== 'record' && step.index === 0);
    expect(links.length % 2).toBe(0);
    for (const [place, step] of links.entries()) expect(step.type).toBe(place % 2 === 0 ? 'down' : 'up');
  });

  test('a wrong clock shows in the time sent alone', () => {
    const sound = records(all(fleet('{}')).steps);
    const wrong = records(all(fleet('{clockOffsetSeconds: 60, clockDriftPpm: 1000}')).steps);
    expect(wrong.map(({ atMs }) => atMs)).toEqual(sound.map(({ atMs }) => atMs));
    for (const { atMs, eventMs } of wrong)
      expect(Math.abs(eventMs - (atMs + 60_000 + (atMs - startMs) / 1000))).toBeLessThan(2);
  });

  test('clock jumps and drift: the times sent leap and creep, the readings go on as before', () => {
    const sound = records(all(fleet('{}')).steps);
    const jumpy = records(all(fleet('{clockJumpsPerHour: 60, clockJumpSeconds: 300}')).steps);
    expect(jumpy.map(({ atMs }) => atMs)).toEqual(sound.map(({ atMs }) => atMs));
    for (const [, own] of Map.groupBy(jumpy, ({ device }) => device)) {
      const errors = own.map(({ atMs, eventMs }) => eventMs - atMs);
      const leaps = errors.filter((error, at) => at > 0 && Math.abs(error - errors[at - 1]!) > 1);
      expect(leaps.length).toBeGreaterThan(3);
      for (const [at, error] of errors.entries())
        if (at > 0) expect(Math.abs(error - errors[at - 1]!)).toBeLessThanOrEqual(2 * 300_000 + 2);
    }
  });

  test('offline: the link goes and comes back within its time, and no reading is missing meanwhile', () => {
    const { steps } = all(fleet('{offlinePerHour: 120, offlineSeconds: [5, 25]}'));
    expect(records(steps).length).toBe(1_800);
    const links = steps.filter((step) => step.type !== 'record' && step.index === 0);
    expect(links.length).toBeGreaterThan(8);
    expect(links.every((step, place) => step.type === (place % 2 === 0 ? 'down' : 'up'))).toBe(true);
    const down = steps.findIndex((step) => step.type === 'down' && step.index === 0);
    const up = steps.findIndex((step, place) => place > down && step.type === 'up' && step.index === 0);
    const during = steps.slice(down, up).filter((step) => step.type === 'record' && step.record.index === 0);
    expect(during.length).toBeGreaterThanOrEqual(4);
    expect(during.length).toBeLessThanOrEqual(26);
  });

  test('a storm takes every link at once and gives each back in its time', () => {
    const yaml = `{name: t, seconds: 20, fleets: [{name: d, kind: pump, count: 50, ratePerDevice: 0.1}], storms: [{atSeconds: 5, forSeconds: 1, spreadSeconds: 4}]}`;
    const timeline = new Timeline(parseScenario(yaml), startMs);
    const links: { type: string; atMs: number }[] = [];
    while (Number.isFinite(timeline.nextAtMs)) {
      const atMs = timeline.nextAtMs - startMs;
      const { type } = timeline.next();
      if (type !== 'record') links.push({ type, atMs });
    }
    expect(links.filter(({ type, atMs }) => type === 'down' && atMs === 5_000).length).toBe(50);
    const back = links.filter(({ type }) => type === 'up').map(({ atMs }) => atMs);
    expect(back.length).toBe(50);
    expect(Math.min(...back)).toBeGreaterThanOrEqual(6_000);
    expect(Math.max(...back)).toBeLessThan(10_000);
    expect(Math.max(...back) - Math.min(...back)).toBeGreaterThan(2_000);
  });

  test.each(['burst', 'diurnal', 'storm'])('the shape %s changes the rate', (type) => {
    const made = records(all(fleet('{}', `, shape: {type: ${type}}`)).steps).length;
    expect(made).not.toBe(1_800);
    expect(made).toBeGreaterThan(200);
  });
});

test.each(KINDS)('%s: a week of plausible values, with a fault that shows', (kind) => {
  // A day in 48 s, a reading each half hour.
  const yaml = (faults: number) =>
    `{name: t, seed: 5, seconds: 336, dayMinutes: 0.8, faultsPerHour: ${faults}, fleets: [{name: d, kind: ${kind}, count: 1}]}`;
  const sound = records(all(yaml(0)).steps).map(
    ({ payload }) => JSON.parse(payload) as Record<string, number>,
  );
  for (const values of sound)
    for (const value of Object.values(values)) expect(Number.isFinite(value)).toBe(true);
  const faulty = all(yaml(600));
  expect(faulty.timeline.faultsBegun.length).toBeGreaterThan(3);
  expect(records(faulty.steps).map(({ payload }) => payload)).not.toEqual(
    sound.map((values) => JSON.stringify(values)),
  );
  if (kind === 'energy-meter')
    for (const [index, { wh }] of sound.entries())
      if (index > 0) expect(wh).toBeGreaterThan(sound[index - 1]!.wh!);
  if (kind === 'wind-turbine') {
    expect(Math.max(...sound.map(({ power }) => power!))).toBeLessThanOrEqual(3_050);
    expect(Math.max(...sound.map(({ power }) => power!))).toBeGreaterThan(300);
  }
  if (kind === 'gps-tracker') {
    // Half an hour at 89 km/h is 0.4 degrees of latitude.
    for (const [index, { lat, lon }] of sound.entries()) {
      expect(Math.abs(lat! - sound[Math.max(0, index - 1)]!.lat!)).toBeLessThan(0.41);
      expect(Math.abs(lon!)).toBeLessThanOrEqual(180);
    }
    expect(new Set(sound.map(({ speed }) => Math.round(speed!))).size).toBeGreaterThan(5);
  }
});

test('a file with mistakes is refused with every place named', () => {
  const bad =
    '{name: t, fleets: [{name: A, kind: pomp, count: 0}, {name: d, kind: pump, count: 1, quirks: {duplicates: 2}}]}';
  expect(() => parseScenario(bad)).toThrow(ScenarioError);
  expect(() => parseScenario(bad)).toThrow(
    /fleets\.0\.name.*\nfleets\.0\.kind.*\nfleets\.0\.count.*\nfleets\.1\.quirks\.duplicates/,
  );
  expect(() => parseScenario('{name: t, fleets: [{name: d, kind: pump, count: 1}], apart: [e]}')).toThrow(
    'there is no fleet called e',
  );
});
