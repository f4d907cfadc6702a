// What blocks say was refused: added up per cause, whatever a hostile gateway writes there.
import { expect, test } from 'vitest';
import type { JsonObject } from '../../../ledger/format/canonical.ts';
import { RefusalTally, saysRefusedOnly } from '../../../ledger/format/refusals.ts';

const totalOf = (...details: (JsonObject | null)[]) => {
  const tally = new RefusalTally();
  for (const detail of details) tally.add({ detail });
  return tally.total;
};

test('counts of blocks add up, per cause', () => {
  const total = totalOf(
    { refused: { malformed: 2 }, dropped: { overloaded: 1 } },
    null,
    { cause: 'torn-tail' },
    { refused: { malformed: 3, 'rate-limited': 1 }, dropped: {} },
  );
  expect(total).toEqual({ refused: { malformed: 5, 'rate-limited': 1 }, dropped: { overloaded: 1 } });
});

test('what is no count counts nothing; names that none of ours has, and too many of them, are `other`', () => {
  const odd = { a: -1, b: 1.5, c: 'x', d: null, e: 2 ** 53, f: [1] };
  expect(totalOf({ refused: odd }, { refused: 'all' }, { refused: [3] }, { refused: null }).refused).toEqual(
    {},
  );
  const names = JSON.parse('{"__proto__":1,"<b>":1,"":1,"constructor":2}') as JsonObject;
  const { refused } = totalOf({ refused: names });
  expect(Object.entries(refused).sort()).toEqual([
    ['constructor', 2],
    ['other', 3],
  ]);
  const many = Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`cause-${at}`, 1]));
  const counted = Object.values(totalOf({ dropped: many }).dropped);
  expect(counted.length).toBeLessThanOrEqual(65);
  expect(counted.reduce((sum, count) => sum + count)).toBe(200);
  const most = Number.MAX_SAFE_INTEGER;
  expect(totalOf({ refused: { a: most } }, { refused: { a: most } }).refused).toEqual({ a: most });
});

test('a gap that covers offsets is a loss, whatever it calls itself', () => {
  const gap = { kind: 'gap', count: 0, detail: { cause: 'refused' } } as const;
  expect(saysRefusedOnly(gap)).toBe(true);
  expect(saysRefusedOnly({ ...gap, count: 3 })).toBe(false);
  expect(saysRefusedOnly({ ...gap, detail: { cause: 'log-damage' } })).toBe(false);
  expect(saysRefusedOnly({ ...gap, kind: 'prune' })).toBe(false);
});
