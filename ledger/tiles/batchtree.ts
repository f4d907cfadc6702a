// RFC 6962 trees over leaf hashes that lie side by side in one buffer: root and inclusion path, natively and without
// garbage. The quick twin of ledger/format/merkle.ts; tests hold the two equal.
import { EMPTY_ROOT } from '../format/hash.ts';
import { sha256Into } from './hashing.ts';

export const HASH_BYTES = 32;

/**
 * Folds `width` hashes into their parents, in place; returns how many there are. Pairing level by level, an odd last
 * hash moving up as it is, gives the tree that splits at powers of two (RFC 6962 §2.1).
 */
function foldLevel(hashes: Buffer, width: number, node: Uint8Array): number {
  for (let left = 0; left < width; left += 2) {
    const from = left * HASH_BYTES;
    const to = from / 2;
    if (left + 1 === width) {
      hashes.copyWithin(to, from, from + HASH_BYTES);
    } else {
      node.set(hashes.subarray(from, from + 2 * HASH_BYTES), 1);
      sha256Into(node, hashes, to);
    }
  }
  return Math.ceil(width / 2);
}

function newNode(): Uint8Array {
  const node = new Uint8Array(1 + 2 * HASH_BYTES);
  node[0] = 1;
  return node;
}

/** Root over the first `count` hashes of `hashes`, which is overwritten. */
export function rootInPlace(hashes: Buffer, count: number): Uint8Array {
  if (count === 0) return EMPTY_ROOT;
  const node = newNode();
  for (let width = count; width > 1; ) width = foldLevel(hashes, width, node);
  return new Uint8Array(hashes.subarray(0, HASH_BYTES));
}

/** Folds the first `count` hashes of `hashes` `levels` times; returns how many stand at its front then. */
export function foldInPlace(hashes: Buffer, count: number, levels: number): number {
  const node = newNode();
  let width = count;
  for (let level = 0; level < levels && width > 1; level += 1) width = foldLevel(hashes, width, node);
  return width;
}

/** Inclusion path of leaf `index` < `count`, leaf upwards (RFC 6962 §2.1.1); `hashes` is overwritten. */
export function pathInPlace(hashes: Buffer, count: number, index: number): Uint8Array[] {
  const path: Uint8Array[] = [];
  const node = newNode();
  let at = index;
  for (let width = count; width > 1; at = Math.floor(at / 2)) {
    const sibling = at % 2 === 0 ? at + 1 : at - 1;
    // The odd last hash of a level has no sibling and moves up alone.
    if (sibling < width)
      path.push(new Uint8Array(hashes.subarray(sibling * HASH_BYTES, (sibling + 1) * HASH_BYTES)));
    width = foldLevel(hashes, width, node);
  }
  return path;
}
