// Each kind of device does what such a machine does, over a week of its own time; and its faults look like themselves.
import { expect, test } from 'vitest';
import { type Kind, rhythm } from '../../firmware-sim/device.ts';
import type { Fault } from '../../firmware-sim/faults.ts';
import { Machine } from '../../firmware-sim/machine.ts';
import { Random } from '../../firmware-sim/random.ts';

const HOUR_MS = 3_600_000;
const STEP_HOURS = 1 / 30;
type Values = Readonly<Record<string, number>>;

/** Readings every two minutes; people rest on the last two days. `fault` strikes between two hours of the week. */
function week(kind: Kind, fault?: { kind: Fault['kind']; field: string; hours: readonly [number, number] }) {
  const machine = new Machine({ name: 'd', kind }, new Random(`week of ${kind}`));
  machine.settle(0, STEP_HOURS);
  const readings: { hour: number; day: number; values: Values }[] = [];
  const struck: Fault | null = fault
    ? {
        device: 'd',
        kind: fault.kind,
        field: fault.field,
        fromMs: fault.hours[0] * HOUR_MS,
        toMs: fault.hours[1] * HOUR_MS,
      }
    : null;
  for (let step = 0; step < 7 * 24 * 30; step += 1) {
    const hours = step * STEP_HOURS;
    const [day, hour, atMs] = [Math.floor(hours / 24), hours % 24, hours * HOUR_MS];
    const moment = { atMs, hour, activity: day < 5 ? 1 : 0.3, stepHours: STEP_HOURS };
    const now = struck && struck.fromMs <= atMs && atMs < struck.toMs ? struck : null;
    readings.push({ hour, day, values: machine.read(moment, now).values });
  }
  return readings;
}
const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
type Readings = ReturnType<typeof week>;
const of = (readings: Readings, name: string) => readings.map(({ values }) => values[name]!);
const between = (readings: Readings, from: number, to: number) =>
  readings.filter(({ hour }) => hour >= from && hour < to);
const workdays = (readings: Readings) => readings.filter(({ day }) => day < 5);
const weekend = (readings: Readings) => readings.filter(({ day }) => day >= 5);

test.each([
  ['energy-meter', 'power'],
  ['air-quality', 'co2'],
  ['gps-tracker', 'speed'],
] as const)('%s: more by day than by night, and more on workdays than at the weekend', (kind, name) => {
  const readings = week(kind);
  const byDay = (some: Readings) => mean(of(between(some, 9, 16), name));
  expect(byDay(workdays(readings))).toBeGreaterThan(1.3 * mean(of(between(workdays(readings), 0, 4), name)));
  expect(byDay(workdays(readings))).toBeGreaterThan(1.15 * byDay(weekend(readings)));
});

test('pump: vibration goes with the square of the speed; a sine with some harmonics has its crest; a worn race another', () => {
  const sound = week('pump');
  const ratio = sound.map(({ values }) => values.rms! / (values.rpm! / 1480) ** 2);
  expect(Math.max(...ratio) / Math.min(...ratio)).toBeLessThan(1.25);
  const crest = (readings: Readings) => mean(readings.map(({ values }) => values.peak! / values.rms!));
  expect(crest(sound)).toBeGreaterThan(Math.SQRT2);
  expect(crest(sound)).toBeLessThan(1.8);
  const worn = week('pump', { kind: 'bearing-wear', field: 'vibration.rms', hours: [24, 48] });
  const late = worn.filter(({ day, hour }) => day === 1 && hour > 18);
  expect(crest(late)).toBeGreaterThan(2.5);
  expect(mean(of(late, 'rms'))).toBeGreaterThan(1.3 * mean(of(sound, 'rms')));
});

test('cold store: the compressor cycles and holds the air; the goods lag behind it; an open door warms both', () => {
  const sound = week('cold-store');
  const running = of(sound, 'compressor');
  const starts = running.filter((value, at) => value === 1 && running[at - 1] === 0).length;
  expect(starts).toBeGreaterThan(7 * 4);
  expect(mean(of(sound, 'air'))).toBeGreaterThan(3);
  expect(mean(of(sound, 'air'))).toBeLessThan(5.5);
  const spread = (values: readonly number[]) => Math.max(...values) - Math.min(...values);
  expect(spread(of(sound, 'goods'))).toBeLessThan(0.5 * spread(of(sound, 'air')));
  const open = week('cold-store', { kind: 'door-left-open', field: 'climate.air', hours: [36, 38] });
  const then = open.filter(({ day, hour }) => day === 1 && hour > 13 && hour < 14);
  expect(mean(of(then, 'air'))).toBeGreaterThan(mean(of(sound, 'air')) + 2);
  expect(mean(of(then, 'goods'))).toBeGreaterThan(mean(of(sound, 'goods')) + 0.3);
});

test('inverter: nothing at night, most at noon, never above its rating; a lost string is missing in the light it has', () => {
  const sound = week('inverter');
  expect(Math.max(...of(between(sound, 22, 24), 'ac'))).toBe(0);
  expect(mean(of(between(sound, 12, 14), 'ac'))).toBeGreaterThan(2 * mean(of(between(sound, 7, 9), 'ac')));
  expect(Math.max(...of(sound, 'ac'))).toBeLessThanOrEqual(17);
  const out = week('inverter', { kind: 'string-outage', field: 'power.dc', hours: [34, 38] });
  const noon = (readings: Readings) =>
    readings.filter(({ day, hour }) => day === 1 && hour > 12.1 && hour < 14);
  expect(mean(of(noon(out), 'dc'))).toBeLessThan(0.6 * mean(of(noon(sound), 'dc')));
  expect(of(noon(out), 'irradiance')).toEqual(of(noon(sound), 'irradiance'));
});

test('energy meter: the counter adds up what was drawn and never runs back; a lost phase has no voltage', () => {
  const sound = week('energy-meter');
  const counter = of(sound, 'wh');
  expect(counter.every((value, at) => at === 0 || value >= counter[at - 1]!)).toBe(true);
  const drawn = of(sound, 'power')
    .slice(1)
    .reduce((sum, power) => sum + power * STEP_HOURS, 0);
  expect((counter.at(-1)! - counter[0]!) / drawn).toBeCloseTo(1, 2);
  const lost = week('energy-meter', { kind: 'phase-loss', field: 'energy.l2', hours: [30, 32] });
  const then = lost.filter(({ day, hour }) => day === 1 && hour > 6.1 && hour < 7.9);
  expect(Math.max(...of(then, 'l2'))).toBeLessThan(10);
  expect(Math.min(...of(then, 'l1'))).toBeGreaterThan(200);
});

test('wind turbine: power goes with the wind up to its rating; ice takes power and shakes it', () => {
  const sound = week('wind-turbine');
  const power = (from: number, to: number) =>
    mean(
      of(
        sound.filter(({ values }) => values.wind! >= from && values.wind! < to),
        'power',
      ),
    );
  expect(power(8, 10)).toBeGreaterThan(1.5 * power(5, 7));
  expect(Math.max(...of(sound, 'power'))).toBeLessThan(3_060);
  const iced = week('wind-turbine', { kind: 'blade-icing', field: 'turbine.sway', hours: [24, 48] });
  const late = (readings: Readings) => readings.filter(({ day, hour }) => day === 1 && hour > 18);
  expect(mean(of(late(iced), 'sway'))).toBeGreaterThan(2 * mean(of(late(sound), 'sway')));
  expect(mean(of(late(iced), 'power'))).toBeLessThan(0.7 * mean(of(late(sound), 'power')));
});

test('a stuck sensor stands still, a drifting one walks away, a spike stands out, whatever the machine does', () => {
  const sound = week('air-quality');
  const day = (readings: Readings) =>
    of(
      readings.filter((reading) => reading.day === 1),
      'co2',
    );
  const struck = (kind: Fault['kind']) =>
    day(week('air-quality', { kind, field: 'air.co2', hours: [24, 48] }));
  expect(new Set(struck('stuck')).size).toBe(1);
  const drift = struck('drift').map((value, at) => value - day(sound)[at]!);
  expect(mean(drift.slice(-60))).toBeGreaterThan(3 * mean(drift.slice(0, 60)));
  const spike = struck('spike').map((value, at) => value - day(sound)[at]!);
  expect(Math.min(...spike)).toBeGreaterThan(600);
});

test('a rhythm wraps round midnight', () => {
  expect(rhythm(23.5, 0.5, 2)).toBeCloseTo(rhythm(1.5, 0.5, 2), 12);
  expect(rhythm(12.5, 0.5, 2)).toBeLessThan(1e-6);
});
