// Backoff and pause.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Backoff, pause } from '../../sync/retry.ts';

test('waits double up to the longest, each between half and all of its step, and start anew after progress', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 1000 }),
      fc.integer({ min: 1000, max: 60_000 }),
      fc.array(fc.double({ min: 0, max: 0.999, noNaN: true }), { minLength: 20, maxLength: 20 }),
      (firstMs, maxMs, chances) => {
        let drawn = 0;
        const backoff = new Backoff({ firstMs, maxMs, random: () => chances[drawn++ % chances.length]! });
        const within = (waitMs: number, stepMs: number) =>
          waitMs >= Math.floor(stepMs / 2) && waitMs <= Math.ceil(stepMs);
        const odd = chances.filter(
          (_, attempt) => !within(backoff.next(), Math.min(firstMs * 2 ** attempt, maxMs)),
        );
        expect(odd).toEqual([]);
        backoff.reset();
        expect(within(backoff.next(), firstMs)).toBe(true);
      },
    ),
    { numRuns: 100, seed: 1 },
  );
});

test('a pause ends at once when stopped', async () => {
  const stop = new AbortController();
  const waiting = pause(1e9, stop.signal);
  stop.abort();
  await waiting;
  await pause(1e9, stop.signal);
});
