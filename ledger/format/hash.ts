// SHA-256 as the ledger uses it (RFC 6962 §2.1): leaves, nodes, the empty tree. Knows no trees.
import { sha256 as portableSha256 } from './sha2.ts';

/** 32-byte SHA-256. Server code may hand in node:crypto's, which is several times faster; results are equal. */
export type Sha256 = (data: Uint8Array) => Uint8Array;

export const HASH_BYTES = 32;

/** The portable SHA-256, the default wherever a Sha256 can be handed in. */
export const sha256: Sha256 = portableSha256;

/** Root of the empty tree: SHA-256 of nothing. Shared: do not write into it. */
export const EMPTY_ROOT: Uint8Array = sha256(new Uint8Array(0));

/** SHA-256(0x00 ‖ data). */
export function leafHash(data: Uint8Array, hash: Sha256 = sha256): Uint8Array {
  const prefixed = new Uint8Array(data.length + 1);
  prefixed.set(data, 1);
  return hash(prefixed);
}

// One scratch for every node: hashing is synchronous and keeps no reference to its input.
const node = new Uint8Array(1 + 2 * HASH_BYTES);
node[0] = 1;

/** SHA-256(0x01 ‖ left ‖ right). */
export function nodeHash(left: Uint8Array, right: Uint8Array, hash: Sha256 = sha256): Uint8Array {
  node.set(left, 1);
  node.set(right, 1 + HASH_BYTES);
  return hash(node);
}

export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** A copy that owns its memory. (`slice` of a Node Buffer is a view into the same memory.) */
export function copyBytes(bytes: Uint8Array, begin = 0, end = bytes.length): Uint8Array {
  return new Uint8Array(bytes.subarray(begin, end));
}

/** Lower-case hexadecimal, for people and for key ids. */
export function toHex(bytes: Uint8Array): string {
  let out = '';
  for (const byte of bytes) out += byte.toString(16).padStart(2, '0');
  return out;
}
