// SHA-256 by node:crypto in the form sealing and proving need it: many small inputs, results side by side in one
// buffer. Knows no trees and no records.
import { hash } from 'node:crypto';
import type { Sha256 } from '../format/hash.ts';

/** For the few hashes of a block: equal to the portable sha256 (a test holds the two equal). */
export const nodeSha256: Sha256 = (data) => hash('sha256', data, 'buffer');

interface Latin1Target {
  latin1Write?(text: string, position: number, length: number): number;
}

/**
 * Writes SHA-256(data) to `target[position, position + 32)`.
 * crypto.hash to a Buffer allocates one per call and takes 0.9 µs; to a Latin-1 ("binary") string and from there into the
 * target, 0.36 µs for the same bytes. Sealing is two hashes a record, so this is most of its speed.
 */
export function sha256Into(data: Uint8Array, target: Buffer, position: number): void {
  const digest = hash('sha256', data, 'binary');
  const fast = target as Latin1Target;
  if (fast.latin1Write) fast.latin1Write(digest, position, 32);
  else target.write(digest, position, 32, 'latin1');
}
