// The scenario: same seed, same bytes; faults labelled truly; physics within what such machines do.
import { hash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Fault } from '../../firmware-sim/faults.ts';
import { fleetOf } from '../../firmware-sim/plant.ts';
import { Scenario, type ScenarioOptions, type ScenarioRecord } from '../../firmware-sim/scenario.ts';

const startMs = 1_763_600_000_000;
const devices = fleetOf(40, ['mqtt']);
const plant = { seed: 7, devices, startMs, ratePerDevice: 2, dayMs: 600_000 };
const take = (scenario: Scenario, count: number) => Array.from({ length: count }, () => scenario.next());
const bytes = (records: readonly ScenarioRecord[]) =>
  hash('sha256', records.map((record) => `${record.topic} ${record.payload}\n`).join(''), 'hex');

/** A whole compressed day, with and without faults. */
const DAY = 40 * 2 * 600;
const faulty = new Scenario(plant);
const faultyDay = take(faulty, DAY);
const soundDay = take(new Scenario({ ...plant, faults: null }), DAY);

describe('determinism', () => {
  test('the same options give the same bytes, another seed gives others', () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.integer({ min: 1, max: 30 }),
        fc.double({ min: 0.1, max: 50, noNaN: true }),
        (seed, count, ratePerDevice) => {
          const options: ScenarioOptions = {
            seed,
            devices: fleetOf(count, ['mqtt']),
            startMs,
            ratePerDevice,
            dayMs: 60_000,
          };
          const once = bytes(take(new Scenario(options), 300));
          expect(bytes(take(new Scenario(options), 300))).toBe(once);
          expect(bytes(take(new Scenario({ ...options, seed: seed + 1 }), 300))).not.toBe(once);
        },
      ),
      { numRuns: 15, seed: 1 },
    );
  });

  test('asking for the labels on the way changes nothing', () => {
    const scenario = new Scenario(plant);
    const records = Array.from({ length: 20_000 }, () => {
      void scenario.faultsBegun;
      return scenario.next();
    });
    expect(bytes(records)).toBe(bytes(faultyDay.slice(0, 20_000)));
  });

  test('these bytes are pinned: a change to them changes every recorded run', () => {
    expect(bytes(faultyDay.slice(0, 10_000))).toMatchInlineSnapshot(
      `"7232ca13bc7d3eaaad0f622e344566c2a95a0bc28d448a08153c9850ed5a76ee"`,
    );
  });

  test('a device is the same whether or not others are there', () => {
    const alone = new Scenario({ ...plant, devices: devices.slice(0, 1), faults: null });
    const values = (record: ScenarioRecord) => ({ ...JSON.parse(record.payload), ts: 0 });
    expect(take(alone, 3).map(values)).toEqual(
      soundDay
        .filter((record) => record.device === 'pump-1')
        .slice(0, 3)
        .map(values),
    );
  });
});

test('times rise, each device counts from its first sequence without a gap, at the rate asked for', () => {
  const next = new Map<string, number>();
  let lastMs = startMs;
  const odd = faultyDay.filter((record) => {
    const { ts, seq } = JSON.parse(record.payload) as { ts: number; seq: number };
    const right =
      record.atMs >= lastMs &&
      ts === record.atMs &&
      seq === record.sequence &&
      seq === (next.get(record.device) ?? startMs);
    next.set(record.device, seq + 1);
    lastMs = record.atMs;
    return !right;
  });
  expect(odd).toEqual([]);
  expect(lastMs - startMs).toBeGreaterThan(599_900);
  expect(lastMs - startMs).toBeLessThan(600_000);
});

const valuesOf = (
  day: readonly ScenarioRecord[],
  device: string,
  name: string,
  from = -Infinity,
  to = Infinity,
): number[] =>
  day
    .filter((record) => record.device === device && record.atMs >= from && record.atMs < to)
    .map((record) => (JSON.parse(record.payload) as Record<string, number>)[name]!);
const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

describe('physics', () => {
  test('the sun shines by day only, and the inverter never gives more than its rating', () => {
    const irradiance = valuesOf(soundDay, 'inverter-1', 'irradiance');
    const ac = valuesOf(soundDay, 'inverter-1', 'ac');
    expect(Math.max(...irradiance)).toBeGreaterThan(700);
    expect(irradiance.filter((value) => value === 0).length).toBeGreaterThan(irradiance.length / 5);
    expect(Math.max(...ac)).toBeLessThanOrEqual(17);
    expect(Math.min(...ac)).toBe(0);
  });

  test('the cold store stays cold, by a compressor that comes and goes', () => {
    const air = valuesOf(soundDay, 'cold-store-1', 'air');
    expect(mean(air)).toBeGreaterThan(3);
    expect(mean(air)).toBeLessThan(5);
    expect(Math.max(...air)).toBeLessThan(7);
    const compressor = valuesOf(soundDay, 'cold-store-1', 'compressor');
    expect(compressor.filter((value, index) => value !== compressor[index - 1]).length).toBeGreaterThan(10);
  });

  test('the pump turns faster when demand is high; people raise the CO₂', () => {
    const rpm = valuesOf(soundDay, 'pump-1', 'rpm');
    expect(Math.max(...rpm) - Math.min(...rpm)).toBeGreaterThan(100);
    const co2 = valuesOf(soundDay, 'air-quality-1', 'co2');
    expect(Math.min(...co2)).toBeGreaterThan(380);
    expect(Math.max(...co2)).toBeGreaterThan(700);
  });
});

describe('faults', () => {
  const faults = faulty.faultsBegun;

  test('the first comes within 90 s, then they keep coming; labels name a device, a field and a span', () => {
    expect(faults.length).toBeGreaterThan(15);
    expect(faults[0]!.fromMs - startMs).toBeGreaterThanOrEqual(60_000);
    expect(faults[0]!.fromMs - startMs).toBeLessThan(90_000);
    for (const fault of faults) {
      expect(devices.map((device) => device.name)).toContain(fault.device);
      expect(fault.toMs).toBeGreaterThan(fault.fromMs);
      const [metric, name] = fault.field.split('.') as [string, string];
      const record = faultyDay.find(({ device }) => device === fault.device)!;
      expect(record.topic).toBe(`plant/${fault.device}/${metric}`);
      expect(Object.keys(JSON.parse(record.payload))).toContain(name);
    }
  });

  test('no device has two at once', () => {
    const last = new Map<string, Fault>();
    for (const fault of faults) {
      expect(fault.fromMs).toBeGreaterThan(last.get(fault.device)?.toMs ?? 0);
      last.set(fault.device, fault);
    }
  });

  test('inside its span the labelled field is wrong, and before the first fault nothing is', () => {
    expect(bytes(faultyDay.filter((record) => record.atMs < faults[0]!.fromMs))).toBe(
      bytes(soundDay.filter((record) => record.atMs < faults[0]!.fromMs)),
    );
    const struck = new Set<string>();
    for (const fault of faults.filter(
      (entry) => entry.toMs < startMs + 600_000 && !struck.has(entry.device),
    )) {
      struck.add(fault.device);
      const name = fault.field.split('.')[1]!;
      const wrong = valuesOf(faultyDay, fault.device, name, fault.fromMs, fault.toMs);
      const sound = valuesOf(soundDay, fault.device, name, fault.fromMs, fault.toMs);
      const label = `${fault.kind} of ${fault.device}`;
      if (fault.kind === 'stuck') expect(new Set(wrong).size, label).toBe(1);
      else {
        const half = Math.floor(wrong.length / 2);
        expect(Math.abs(mean(wrong.slice(half)) - mean(sound.slice(half))), label).toBeGreaterThan(
          0.25 * Math.abs(mean(sound.slice(half))),
        );
      }
    }
    expect(struck.size).toBeGreaterThan(10);
  });
});
