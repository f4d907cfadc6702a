// Roots of the aligned subtrees of a batch tree, and what can be proven with them of a part of the block: a proof then reads
// the records of one subtree, not of the whole block. Trusts nothing it is given: whoever uses a path checks it.
import { foldInPlace, HASH_BYTES, pathInPlace, rootInPlace } from './batchtree.ts';

const LEVELS = 6;
/** Leaves of a subtree; the last one of a block may have fewer. */
export const SUBTREE_LEAVES = 2 ** LEVELS;
/** Smaller blocks are read as a whole: nothing is kept of them. */
export const SUBTREES_FROM = 257;

export const subtreesOf = (count: number): number => Math.ceil(count / SUBTREE_LEAVES);

/** Roots of the subtrees over `count` leaf hashes, side by side at the front of `leaves`, which is overwritten. */
export function subtreesInPlace(leaves: Buffer, count: number): Buffer {
  return leaves.subarray(0, foldInPlace(leaves, count, LEVELS) * HASH_BYTES);
}

/** Root of the whole block. */
export function rootOfSubtrees(roots: Buffer): Uint8Array {
  return rootInPlace(Buffer.from(roots), roots.length / HASH_BYTES);
}

/** Leaf hashes of whole subtrees of a block that stand side by side. */
export interface Part {
  /** Index of the first leaf, a multiple of SUBTREE_LEAVES. */
  readonly begin: number;
  /** One past the last. */
  readonly end: number;
  readonly leaves: Buffer;
}

/** The least part that holds leaves [begin, end) of a block of `count`. */
export function wholeSubtrees(begin: number, end: number, count: number): Omit<Part, 'leaves'> {
  return {
    begin: Math.floor(begin / SUBTREE_LEAVES) * SUBTREE_LEAVES,
    end: Math.min(Math.ceil(end / SUBTREE_LEAVES) * SUBTREE_LEAVES, count),
  };
}

/** Inclusion path of leaf `index`, leaf upwards; `part` is its subtree. RFC 6962 splits at powers of two, so it goes through that root. */
export function pathThrough(roots: Buffer, part: Part, index: number): Uint8Array[] {
  const inside = pathInPlace(Buffer.from(part.leaves), part.end - part.begin, index - part.begin);
  const above = pathInPlace(
    Buffer.from(roots),
    roots.length / HASH_BYTES,
    Math.floor(index / SUBTREE_LEAVES),
  );
  return [...inside, ...above];
}

/** Root over leaves [begin, end), which are a node of the tree: within the part, or made of whole subtrees. */
export function rangeRoot(roots: Buffer, part: Part, begin: number, end: number): Uint8Array {
  if (begin >= part.begin && end <= part.end) return over(part.leaves, begin - part.begin, end - part.begin);
  return over(roots, begin / SUBTREE_LEAVES, subtreesOf(end));
}

function over(hashes: Buffer, begin: number, end: number): Uint8Array {
  return rootInPlace(Buffer.from(hashes.subarray(begin * HASH_BYTES, end * HASH_BYTES)), end - begin);
}
