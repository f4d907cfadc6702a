// The sealer's flat, native hashing against the portable tree.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { EMPTY_ROOT, leafHash, sha256 } from '../../../ledger/format/hash.ts';
import { inclusionProof, root } from '../../../ledger/format/merkle.ts';
import { recordLeafHash } from '../../../ledger/format/record.ts';
import { Batch } from '../../../ledger/seal/batch.ts';
import { pathInPlace, rootInPlace } from '../../../ledger/tiles/batchtree.ts';
import { nodeSha256, sha256Into } from '../../../ledger/tiles/hashing.ts';
import { madeUpRecord } from './world.ts';

test('native and portable SHA-256 are equal', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (data) => {
      const expected = sha256(data);
      const target = Buffer.alloc(40, 0xee);
      sha256Into(data, target, 4);
      expect(target.subarray(4, 36).equals(expected)).toBe(true);
      expect([target[3], target[36]]).toEqual([0xee, 0xee]);
      expect(Buffer.from(nodeSha256(data)).equals(expected)).toBe(true);
    }),
    { numRuns: 200 },
  );
});

test('the root in place equals the RFC tree for every size to 300', () => {
  const leaves = Array.from({ length: 300 }, (_, i) => leafHash(Uint8Array.of(i, i >> 8)));
  expect(rootInPlace(Buffer.alloc(0), 0)).toEqual(EMPTY_ROOT);
  for (let size = 1; size <= leaves.length; size += 1) {
    const flat = Buffer.concat(leaves.slice(0, size));
    expect(Buffer.from(rootInPlace(flat, size)).equals(root(leaves.slice(0, size)))).toBe(true);
  }
});

test('the path in place equals the RFC path for every leaf of every size to 70', () => {
  const leaves = Array.from({ length: 70 }, (_, i) => leafHash(Uint8Array.of(i)));
  for (let size = 1; size <= leaves.length; size += 1) {
    const some = leaves.slice(0, size);
    for (let index = 0; index < size; index += 1) {
      const path = pathInPlace(Buffer.concat(some), size, index);
      expect(path.map((hash) => Buffer.from(hash).toString('hex'))).toEqual(
        inclusionProof(some, index).map((hash) => Buffer.from(hash).toString('hex')),
      );
    }
  }
});

test('a batch gives count, root and times of exactly the records taken', () => {
  const records = Array.from({ length: 7 }, (_, i) => ({
    ...madeUpRecord(i + 40),
    eventMs: [5, -3, 9, 0, 2, 9, 1][i]!,
  }));
  const batch = new Batch(40, 7);
  for (const record of records.slice(0, 3)) batch.add(record);
  expect(batch.full).toBe(false);
  const first = batch.cut();
  expect(first).toMatchObject({ first: 40, count: 3, eventMinMs: -3, eventMaxMs: 9 });
  expect(
    Buffer.from(first.root).equals(root(records.slice(0, 3).map((record) => recordLeafHash(record)))),
  ).toBe(true);
  for (const record of records.slice(3)) batch.add(record);
  const second = batch.cut();
  expect(second).toMatchObject({ first: 43, count: 4, eventMinMs: 0, eventMaxMs: 9 });
  expect(
    Buffer.from(second.root).equals(root(records.slice(3).map((record) => recordLeafHash(record)))),
  ).toBe(true);
});

test('a record that does not follow is refused', () => {
  const batch = new Batch(5, 2);
  expect(() => batch.add(madeUpRecord(6))).toThrow(RangeError);
  batch.add(madeUpRecord(5));
  expect(() => batch.add(madeUpRecord(5))).toThrow(RangeError);
  batch.add(madeUpRecord(6));
  expect(() => batch.add(madeUpRecord(7))).toThrow(RangeError);
});
