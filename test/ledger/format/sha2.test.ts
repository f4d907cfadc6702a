// The verifier's own SHA-256 and SHA-512 against @noble/hashes and node:crypto: every length around the block borders,
// random bytes, and the examples of FIPS 180-4.
import { hash } from 'node:crypto';
import * as noble from '@noble/hashes/sha2.js';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { toHex } from '../../../ledger/format/hash.ts';
import { sha256, sha512 } from '../../../ledger/format/sha2.ts';

test('the published examples', () => {
  const abc = new TextEncoder().encode('abc');
  expect(toHex(sha256(abc))).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  expect(toHex(sha512(abc))).toBe(
    'ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f',
  );
  expect(toHex(sha256(new Uint8Array(1_000_000).fill(97)))).toBe(
    'cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0',
  );
});

test('every length to 520 bytes, and any bytes', () => {
  const same = (data: Uint8Array) => {
    const found = [toHex(sha256(data)), toHex(sha512(data))];
    expect(found).toEqual([hash('sha256', data), hash('sha512', data)]);
    expect(found).toEqual([toHex(noble.sha256(data)), toHex(noble.sha512(data))]);
  };
  for (let length = 0; length <= 520; length += 1) same(new Uint8Array(length).fill(length));
  fc.assert(fc.property(fc.uint8Array({ maxLength: 2_000 }), same), { numRuns: 50 });
});

test('a view into a larger buffer is hashed as itself', () => {
  const bytes = new Uint8Array(300).map((_, i) => i);
  expect(toHex(sha256(bytes.subarray(7, 107)))).toBe(hash('sha256', bytes.slice(7, 107)));
  expect(toHex(sha512(bytes.subarray(7, 107)))).toBe(hash('sha512', bytes.slice(7, 107)));
});
