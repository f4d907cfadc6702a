// Ed25519 verification by node:crypto, held to the one rule of ledger/format. For servers; the portable code brings its own.
import { createPublicKey, verify } from 'node:crypto';
import { strictEd25519, type VerifyEd25519 } from '../format/ed25519.ts';

const SPKI_PREFIX = Buffer.from('302a300506032b6570032100', 'hex');

export const nodeEd25519: VerifyEd25519 = strictEd25519((publicKey, message, signature) => {
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
});
