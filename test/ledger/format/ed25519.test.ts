// Ed25519: the portable verifier and node:crypto decide alike on every published edge case.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { checkPublicKey, strictEd25519, verifyEd25519 } from '../../../ledger/format/ed25519.ts';
import { nativeVerify, testKey } from './native.ts';

const folder = join(import.meta.dirname, '../../../../shared/data/vectors/ed25519');
const hex = (text: string) => new Uint8Array(Buffer.from(text, 'hex'));
const why = 'the published vectors are not beside this checkout';

interface Cctv {
  readonly number: number;
  readonly key: string;
  readonly sig: string;
  readonly msg: string;
  readonly flags: readonly string[] | null;
}

function isSafeKey(publicKey: Uint8Array): boolean {
  try {
    checkPublicKey(publicKey);
    return true;
  } catch (error) {
    expect(error).toMatchObject({ code: 'KEY_INVALID' });
    return false;
  }
}

test('CCTV: ours and the strict form of node:crypto accept the same 43 of 914', (context) => {
  const file = join(folder, 'cctv-ed25519vectors.json');
  if (!existsSync(file)) return context.skip(why);
  const vectors = JSON.parse(readFileSync(file, 'utf8')) as Cctv[];
  const strict = strictEd25519(nativeVerify);
  const count = { all: vectors.length, native: 0, ours: 0, safeKeys: 0 };
  for (const { key, sig, msg, number, flags } of vectors) {
    const [publicKey, signature, message] = [hex(key), hex(sig), new TextEncoder().encode(msg)];
    const native = nativeVerify(publicKey, message, signature);
    const ours = verifyEd25519(publicKey, message, signature);
    const safe = isSafeKey(publicKey);
    count.native += Number(native);
    count.ours += Number(ours);
    count.safeKeys += Number(safe);
    expect.soft(ours, `vector ${number}`).toBe(native && safe && !flags?.includes('low_order_R'));
    expect.soft(strict(publicKey, message, signature), `vector ${number}`).toBe(ours);
    expect
      .soft(safe, `vector ${number}`)
      .toBe(!flags?.some((flag) => flag === 'low_order_A' || flag === 'non_canonical_A'));
  }
  // OpenSSL 3.0 and Go accept 208: the 43, and what has a low-order R or key. OpenSSL 3.5 accepts the 43.
  expect([43, 208]).toContain(count.native);
  expect(count).toMatchObject({ all: 914, ours: 43, safeKeys: 388 });
});

test('Wycheproof: ours, node:crypto and the expected result are one', (context) => {
  const file = join(folder, 'wycheproof-ed25519_test.json');
  if (!existsSync(file)) return context.skip(why);
  const { testGroups } = JSON.parse(readFileSync(file, 'utf8')) as {
    testGroups: {
      publicKey: { pk: string };
      tests: { tcId: number; msg: string; sig: string; result: string }[];
    }[];
  };
  let count = 0;
  for (const { publicKey, tests } of testGroups) {
    const key = hex(publicKey.pk);
    for (const { tcId, msg, sig, result } of tests) {
      count++;
      expect.soft(verifyEd25519(key, hex(msg), hex(sig)), `test ${tcId}`).toBe(result === 'valid');
      expect.soft(nativeVerify(key, hex(msg), hex(sig)), `test ${tcId}`).toBe(result === 'valid');
    }
  }
  expect(count).toBe(151);
});

test('a signature of node:crypto verifies; a changed bit anywhere does not', () => {
  const key = testKey('gateway');
  const message = new TextEncoder().encode('plant7.example.com/gw-3\n1\n');
  const signature = key.sign(message);
  expect(verifyEd25519(key.publicKey, message, signature)).toBe(true);
  for (const at of [0, 31, 32, 63]) {
    const bad = signature.slice();
    bad[at]! ^= 1;
    expect(verifyEd25519(key.publicKey, message, bad)).toBe(false);
  }
  expect(verifyEd25519(key.publicKey, message.slice(1), signature)).toBe(false);
  expect(verifyEd25519(testKey('other').publicKey, message, signature)).toBe(false);
  expect(verifyEd25519(key.publicKey, message, signature.slice(1))).toBe(false);
  expect(verifyEd25519(key.publicKey.slice(1), message, signature)).toBe(false);
});

test.each([
  ['the identity', `01${'00'.repeat(31)}`],
  ['the identity, y written as p + 1', `ee${'ff'.repeat(30)}7f`],
  ['order 2, y = -1', `ec${'ff'.repeat(30)}7f`],
  ['order 4, y = 0', '00'.repeat(32)],
  ['order 8', 'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a'],
  ['x = 0 with its sign set', `01${'00'.repeat(30)}80`],
  ['no point', `02${'00'.repeat(31)}`],
  ['31 bytes', '00'.repeat(31)],
])('refuses the key %s', (_, key) => {
  expect(() => checkPublicKey(hex(key))).toThrow(expect.objectContaining({ code: 'KEY_INVALID' }));
});
