// Files of leaf hashes: what goes in comes out, two lists merge into one, and any other bytes are refused.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  decodeLeaves,
  encodeLeaves,
  LeafRuns,
  leavesOf,
  mergeLeaves,
} from '../../../ledger/format/leaves.ts';

const hashFor = (offset: number) => new Uint8Array(32).fill(offset);
const runsOf = (offsets: readonly number[]) => {
  const leaves = new LeafRuns();
  for (const offset of [...offsets].sort((a, b) => a - b)) leaves.add(offset, hashFor(offset));
  return leaves.runs;
};
const offsetsIn = (bytes: Uint8Array) => [...leavesOf(decodeLeaves(bytes))].map(({ offset }) => offset);
const someOffsets = fc.uniqueArray(fc.nat({ max: 200 }), { maxLength: 60 });

test('any set of offsets survives the file, and merging is union', () => {
  fc.assert(
    fc.property(someOffsets, someOffsets, (a, b) => {
      const merged = mergeLeaves(runsOf(a), runsOf(b));
      const union = [...new Set([...a, ...b])].sort((x, y) => x - y);
      const bytes = encodeLeaves(merged);
      expect(offsetsIn(bytes)).toEqual(union);
      for (const { offset, hash } of leavesOf(decodeLeaves(bytes))) expect(hash).toEqual(hashFor(offset));
    }),
    { numRuns: 100 },
  );
});

test('a part of the runs can be asked for', () => {
  expect([...leavesOf(runsOf([1, 2, 3, 7, 8]), 2, 8)].map(({ offset }) => offset)).toEqual([2, 3, 7]);
});

test('every cut and every foreign head is refused', () => {
  const bytes = encodeLeaves(runsOf([1, 2, 9]));
  const head = 'tidemark/leaves/v1\n'.length;
  for (let end = 0; end < bytes.length; end++) {
    if (end === head || end === head + 12 + 64) continue; // whole, with fewer runs
    expect(() => decodeLeaves(bytes.subarray(0, end)), String(end)).toThrow(
      expect.objectContaining({ code: 'LEAVES_INVALID' }),
    );
  }
  const other = Uint8Array.from(bytes);
  other[3]! ^= 1;
  expect(() => decodeLeaves(other)).toThrow(expect.objectContaining({ code: 'LEAVES_INVALID' }));
});
