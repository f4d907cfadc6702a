// The protocol model of docs/model, exhaustively for few parts: what must hold does in every reachable state, and each
// known mistake is found. `node docs/model/run.ts --large` goes further.
import { expect, test } from 'vitest';
import { check } from '../../docs/model/checker.ts';
import { SMALL } from '../../docs/model/variants.ts';

test.each(SMALL)('$name', { timeout: 120_000 }, ({ variant, finds }) => {
  const { states, steps, ...found } = check(variant);
  expect(states).toBeGreaterThan(8);
  expect(steps).toBeGreaterThan(states);
  const shown = Object.entries(found).filter(([, path]) => path !== null);
  expect(shown.map(([what]) => what)).toEqual(finds);
});

test('a search that is cut short says so instead of yes', () => {
  expect(() => check(SMALL[0]!.variant, 100)).toThrow('more than 100 states');
});
