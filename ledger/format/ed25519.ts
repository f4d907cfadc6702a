// Ed25519 verification with the one rule used everywhere: cofactorless, nothing of low order. Signs nothing.
import { Point } from '@noble/ed25519';
import { FormatError } from './errors.ts';
import { equalBytes } from './hash.ts';
import { sha512 } from './sha2.ts';

export const PUBLIC_KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;

/** Never throws: false for anything that is not a valid signature. Servers may hand in node:crypto's. */
export type VerifyEd25519 = (publicKey: Uint8Array, message: Uint8Array, signature: Uint8Array) => boolean;

/** Order of the prime-order subgroup. */
const ORDER = Point.CURVE().n;

/**
 * Refuses public keys that are not 32 bytes, not a point in its canonical spelling, or of low order: with such
 * a key one signature can fit many messages. Throws KEY_INVALID.
 */
export function checkPublicKey(publicKey: Uint8Array): void {
  pointOf(publicKey);
}

function pointOf(publicKey: Uint8Array): Point {
  let point: Point;
  try {
    // zip215 = false: y < p, and no negative zero for x (RFC 8032 §5.1.3).
    point = Point.fromBytes(publicKey, false);
  } catch (cause) {
    throw new FormatError('KEY_INVALID', 'not a canonical Ed25519 public key', { cause });
  }
  if (point.isSmallOrder()) throw new FormatError('KEY_INVALID', 'an Ed25519 public key of low order');
  return point;
}

/**
 * RFC 8032 §5.1.7 without the cofactor: [S]B − [k]A must encode to exactly the bytes of R, with a safe key and
 * an R that is not of low order. noble's own verify multiplies by the cofactor even with zip215 = false and so
 * accepts more. On the CCTV vectors OpenSSL 3.5 (Node 24) decides exactly as this does; OpenSSL 3.0 (Node 20) and
 * Go also accept low-order keys and R. No honest signer makes such a signature, so the strictest is the rule.
 */
export const verifyEd25519: VerifyEd25519 = (publicKey, message, signature) => {
  if (signature.length !== SIGNATURE_BYTES || publicKey.length !== PUBLIC_KEY_BYTES) return false;
  const r = signature.subarray(0, 32);
  const s = littleEndian(signature.subarray(32));
  if (s >= ORDER || !isSafePoint(r)) return false;
  try {
    const key = pointOf(publicKey);
    const hashed = new Uint8Array(64 + message.length);
    hashed.set(r, 0);
    hashed.set(publicKey, 32);
    hashed.set(message, 64);
    const k = littleEndian(sha512(hashed)) % ORDER;
    const found = Point.BASE.multiply(s, false).subtract(key.multiply(k, false));
    return equalBytes(found.toBytes(), r);
  } catch {
    return false;
  }
};

/** Holds a native verification (node:crypto's) to the same rule, whatever its version accepts. */
export function strictEd25519(native: VerifyEd25519): VerifyEd25519 {
  return (publicKey, message, signature) =>
    signature.length === SIGNATURE_BYTES &&
    isSafePoint(signature.subarray(0, 32)) &&
    isSafePoint(publicKey) &&
    native(publicKey, message, signature);
}

/** Canonical and not of low order: asked of keys and of R. */
function isSafePoint(bytes: Uint8Array): boolean {
  try {
    pointOf(bytes);
    return true;
  } catch {
    return false;
  }
}

function littleEndian(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!);
  return value;
}
