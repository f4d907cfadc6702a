// A slow, literal transcription of RFC 6962 §2.1, to hold the fast code against. Not for use outside tests.
import { createHash } from 'node:crypto';

const sha256 = (...parts: Uint8Array[]): Uint8Array => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
};
const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);

/** "k be the largest power of two smaller than n" */
function k(n: number): number {
  let power = 1;
  while (power * 2 < n) power *= 2;
  return power;
}

/** §2.1: MTH(D[n]). The memo changes speed only: one list, its ranges by begin and end. */
export function slowTree(data: readonly Uint8Array[]) {
  const memo = new Map<string, Uint8Array>();
  const MTH = (begin: number, end: number): Uint8Array => {
    const key = `${begin}:${end}`;
    const known = memo.get(key);
    if (known) return known;
    const n = end - begin;
    let hash: Uint8Array;
    if (n === 0) hash = sha256();
    else if (n === 1) hash = sha256(LEAF, data[begin]!);
    else hash = sha256(NODE, MTH(begin, begin + k(n)), MTH(begin + k(n), end));
    memo.set(key, hash);
    return hash;
  };

  /** §2.1.1: PATH(m, D[begin:end]) */
  const PATH = (m: number, begin: number, end: number): Uint8Array[] => {
    const n = end - begin;
    if (n === 1) return [];
    const middle = begin + k(n);
    return m < k(n)
      ? [...PATH(m, begin, middle), MTH(middle, end)]
      : [...PATH(m - k(n), middle, end), MTH(begin, middle)];
  };

  /** §2.1.2: SUBPROOF(m, D[begin:end], b) */
  const SUBPROOF = (m: number, begin: number, end: number, b: boolean): Uint8Array[] => {
    const n = end - begin;
    if (m === n) return b ? [] : [MTH(begin, end)];
    const middle = begin + k(n);
    return m <= k(n)
      ? [...SUBPROOF(m, begin, middle, b), MTH(middle, end)]
      : [...SUBPROOF(m - k(n), middle, end, false), MTH(begin, middle)];
  };

  return {
    root: (size: number) => MTH(0, size),
    inclusion: (index: number, size: number) => PATH(index, 0, size),
    consistency: (oldSize: number, newSize: number) => SUBPROOF(oldSize, 0, newSize, true),
  };
}
