// Cosignature/v1 (C2SP tlog-cosignature, signature type 04): the signed message and the payload. No keys here.

import { SIGNATURE_BYTES } from './ed25519.ts';
import { FormatError } from './errors.ts';
import { copyBytes } from './hash.ts';
import { toUtf8 } from './text.ts';

export interface Cosignature {
  /** Unix seconds at which the cosigner saw this as its newest checkpoint of the origin. */
  readonly timeSeconds: number;
  /** Ed25519 over `cosignatureMessage`. */
  readonly signature: Uint8Array;
}

/*
 * payload = time u64 big-endian, signature [64]
 * message = "cosignature/v1" LF "time " decimal LF, checkpoint text
 */
export const COSIGNATURE_BYTES = 8 + SIGNATURE_BYTES;

/** What a cosigner signs: the text of the checkpoint, final LF included. The cosigner's name is not in it. */
export function cosignatureMessage(checkpointText: string, timeSeconds: number): Uint8Array {
  return toUtf8(
    `cosignature/v1\ntime ${timeSeconds}\n${checkpointText}`,
    'checkpoint',
    'COSIGNATURE_INVALID',
  );
}

export function formatCosignature(cosignature: Cosignature): Uint8Array {
  const { timeSeconds, signature } = cosignature;
  if (!Number.isSafeInteger(timeSeconds) || timeSeconds < 0 || signature.length !== SIGNATURE_BYTES) {
    throw new FormatError('COSIGNATURE_INVALID', 'a cosignature is a time in whole seconds and 64 bytes');
  }
  const bytes = new Uint8Array(COSIGNATURE_BYTES);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(timeSeconds));
  bytes.set(signature, 8);
  return bytes;
}

/** Reads the bytes after the key id of a type 04 signature line. Throws COSIGNATURE_INVALID. */
export function parseCosignature(payload: Uint8Array): Cosignature {
  if (payload.length !== COSIGNATURE_BYTES) {
    throw new FormatError(
      'COSIGNATURE_INVALID',
      `a cosignature has ${COSIGNATURE_BYTES} bytes, not ${payload.length}`,
    );
  }
  const time = new DataView(payload.buffer, payload.byteOffset).getBigUint64(0);
  if (time > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new FormatError('COSIGNATURE_INVALID', `a cosignature time is beyond 2^53-1: ${time}`);
  }
  return { timeSeconds: Number(time), signature: copyBytes(payload, 8) };
}
