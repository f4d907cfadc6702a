// node:crypto beside the portable code, so that tests can hold the two equal. Keys are made from fixed seeds.
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  hash,
  type KeyObject,
  sign,
  verify,
} from 'node:crypto';
import type { VerifyEd25519 } from '../../../ledger/format/ed25519.ts';
import type { Sha256 } from '../../../ledger/format/hash.ts';

export const nativeSha256: Sha256 = (data) => hash('sha256', data, 'buffer');

const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex');
const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');

export interface TestKey {
  readonly publicKey: Uint8Array;
  sign(message: Uint8Array): Uint8Array;
}

/** The same key for the same name, for ever. */
export function testKey(name: string): TestKey {
  const seed = createHash('sha256').update(`tidemark test key ${name}`).digest();
  const key: KeyObject = createPrivateKey({
    key: Buffer.concat([PKCS8_PREFIX, seed]),
    format: 'der',
    type: 'pkcs8',
  });
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
  return {
    publicKey: new Uint8Array(spki.subarray(SPKI_PREFIX.length)),
    sign: (message) => new Uint8Array(sign(null, message, key)),
  };
}

export const nativeVerify: VerifyEd25519 = (publicKey, message, signature) => {
  try {
    const key = createPublicKey({
      key: Buffer.concat([SPKI_PREFIX, publicKey]),
      format: 'der',
      type: 'spki',
    });
    return verify(null, message, key, signature);
  } catch {
    return false;
  }
};
