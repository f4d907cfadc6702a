// The latency histogram against sorting.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LatencyHistogram } from '../../firmware-sim/latency.ts';

test('percentiles are within 2 % of the sorted list', () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 200 }),
      (values) => {
        const histogram = new LatencyHistogram();
        for (const value of values) histogram.record(value);
        const sorted = values.toSorted((a, b) => a - b);
        for (const share of [0.5, 0.9, 0.99, 1]) {
          const exact = sorted[Math.max(1, Math.ceil(share * values.length)) - 1]!;
          const got = histogram.percentile(share);
          expect(Math.abs(got - exact)).toBeLessThanOrEqual(0.02 * exact + 0.002);
        }
      },
    ),
    { numRuns: 200, seed: 1 },
  );
});

test('an empty histogram answers zero', () => {
  expect(new LatencyHistogram().summary()).toEqual({ count: 0, p50: 0, p90: 0, p99: 0, p999: 0, max: 0 });
});
