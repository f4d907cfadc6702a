// Names the rules of the decision one by one.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Calibration, judge, newCalibration } from '../../models/anomaly.ts';

const settings = { spread: [1, 1], threshold: 8, warmupRecords: 10, refractoryRecords: 20 };

/** Deviations as of a normal series: a repeated, bell-like set of sizes. */
const USUAL = [0.1, -0.8, 1.4, -0.3, 0.6, 2.1, -1.1, 0.4, -0.2, 0.9];
const usualAt = (at: number) => [USUAL[at % 10]!, USUAL[(at * 3) % 10]!];

function after(count: number, scale = 1): Calibration {
  const calibration = newCalibration(settings.spread);
  for (let at = 0; at < count; at += 1) {
    judge(
      calibration,
      usualAt(at).map((value) => value * scale),
      settings,
    );
  }
  return calibration;
}

test('nothing is an anomaly while the series warms up', () => {
  expect(judge(after(9), [50, 0], settings)).toMatchObject({ anomaly: false, channel: 0 });
  expect(judge(after(10), [50, 0], settings)).toMatchObject({ anomaly: true, channel: 0 });
});

test('the outputs add up, and the largest is named', () => {
  const both = judge(after(100), [5, -6], settings);
  expect(both).toMatchObject({ anomaly: true, channel: 1 });
  expect(judge(after(100), [0, -6], settings)).toMatchObject({ anomaly: false, channel: 1 });
});

test('a series that usually deviates ten times as much needs ten times as much', () => {
  expect(judge(after(1000), [30, 0], settings).anomaly).toBe(true);
  expect(judge(after(1000, 10), [30, 0], settings).anomaly).toBe(false);
  expect(judge(after(1000, 10), [300, 0], settings).anomaly).toBe(true);
});

test('what a series does every few minutes is no news after a while', () => {
  const calibration = newCalibration(settings.spread);
  const alerts: number[] = [];
  for (let at = 0; at < 3000; at += 1) {
    const kick = at % 50 === 49;
    const [first, second] = usualAt(at);
    if (judge(calibration, [kick ? 12 : first!, second!], settings).anomaly) alerts.push(at);
  }
  expect(alerts.length).toBeGreaterThan(0);
  expect(alerts.length).toBeLessThan(12);
  expect(Math.max(...alerts)).toBeLessThan(800);
  expect(judge(calibration, [60, 0], settings).anomaly).toBe(true);
});

test('one fault makes one alert until the series has been heard out again', () => {
  const calibration = after(100);
  const alerts = Array.from({ length: 45 }, (_, at) => judge(calibration, [40, 0], settings).anomaly && at);
  expect(alerts.filter((at) => at !== false)).toEqual([0, 21, 42]);
});

test('a long quiet series does not make news of its first ordinary value', () => {
  const calibration = newCalibration(settings.spread);
  for (let at = 0; at < 20_000; at += 1) judge(calibration, [0, 0], settings);
  expect(judge(calibration, [1.5, 1.5], settings).anomaly).toBe(false);
});

test('where only one output means something, the others are neither judged nor learned from', () => {
  const calibration = after(100);
  const before = calibration.usual[1];
  expect(judge(calibration, [0.5, 99], settings, 0)).toMatchObject({ anomaly: false, channel: 0 });
  expect(calibration.usual[1]).toBe(before);
});

test('whatever a model answers, the calibration stays finite and the score is a number', () => {
  const deviation = fc.oneof(fc.double(), fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, 1e38));
  fc.assert(
    fc.property(fc.array(fc.tuple(deviation, deviation), { maxLength: 200 }), (given) => {
      const calibration = newCalibration(settings.spread);
      for (const deviations of given) {
        expect(Number.isFinite(judge(calibration, deviations, settings).score)).toBe(true);
      }
      const numbers = [...calibration.usual, ...calibration.extreme, ...calibration.block];
      expect(numbers.every((value) => Number.isFinite(value) && value >= 0)).toBe(true);
    }),
    { numRuns: 60 },
  );
});
