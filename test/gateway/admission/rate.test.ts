// Token buckets against a slow reading of what a bucket is, and through admission: what is refused, counted and when
// to try again.
import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { RateLimits, rateConfigSchema } from '../../../gateway/admission/rate.ts';
import type { Outcome } from '../../../gateway/admission/types.ts';
import { Harness } from './harness.ts';

const limits = (config: object) => new RateLimits(rateConfigSchema.parse(config), 100);

test('a burst passes at once, then one record each step', () => {
  const rate = limits({ device: { perSecond: 10, burst: 3 } });
  expect([1, 2, 3].map(() => rate.admit('a', 0))).toEqual([0, 0, 0]);
  expect(rate.admit('a', 0)).toBe(100);
  expect(rate.admit('a', 99)).toBe(1);
  expect(rate.admit('a', 100)).toBe(0);
  expect(rate.admit('a', 100)).toBe(100);
  expect(rate.admit('b', 100)).toBe(0);
});

test('what all send together has a bucket of its own, and a refusal uses up nothing', () => {
  const rate = limits({ device: { perSecond: 1, burst: 1 }, total: { perSecond: 2, burst: 2 } });
  expect(rate.admit('a', 0)).toBe(0);
  expect(rate.admit('a', 0)).toBe(1_000);
  expect(rate.admit('b', 0)).toBe(0);
  expect(rate.admit('c', 0)).toBe(500);
  expect(rate.admit('c', 500)).toBe(0);
});

test('any arrivals: as a bucket of tokens would have it', () => {
  const arrivals = fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 60 });
  const burst = fc.integer({ min: 1, max: 5 });
  fc.assert(
    fc.property(arrivals, burst, (pauses, size) => {
      const rate = limits({ device: { perSecond: 8, burst: size } });
      // In eighths of a thousandth, so that both count exactly: one token is 1000 units, 8 come each ms.
      let tokens = size * 1_000;
      let now = 0;
      for (const pause of pauses) {
        now += pause;
        tokens = Math.min(size * 1_000, tokens + 8 * pause);
        const wait = rate.admit('a', now);
        expect(wait).toBe(tokens >= 1_000 ? 0 : Math.ceil((1_000 - tokens) / 8));
        if (wait === 0) tokens -= 1_000;
      }
    }),
  );
});

let harness: Harness | null = null;
afterEach(() => harness?.remove());

test('beyond its rate a device is refused with when to try again; others and repetitions are not', async () => {
  let now = 1_000;
  harness = await Harness.open({
    ingest: { rate: { device: { perSecond: 2, burst: 2 } } },
    steadyClock: () => now,
  });
  const send = (device: string, sequence: number): Promise<Outcome> =>
    harness!.submit({ device, sequence, payload: Buffer.from(`{"n":${sequence}}`) });
  expect(await send('a', 1)).toMatchObject({ kind: 'stored' });
  expect(await send('a', 2)).toMatchObject({ kind: 'stored' });
  expect(await send('a', 3)).toEqual({ kind: 'shed', reason: 'rate-limited', retryAfterMs: 500 });
  expect(await send('a', 2)).toEqual({ kind: 'duplicate' });
  expect(await send('b', 1)).toMatchObject({ kind: 'stored' });
  now += 500;
  expect(await send('a', 3)).toMatchObject({ kind: 'stored' });
  const lost = await harness.submit({ device: 'a', unacknowledged: true });
  expect(lost).toEqual({ kind: 'shed', reason: 'rate-limited', retryAfterMs: 500, dropped: true });
  expect(harness.admission.figures()).toMatchObject({
    shed: { 'rate-limited': 2 },
    dropped: { 'rate-limited': 1, overloaded: 0 },
    accepted: { mqtt: 4 },
  });
});
