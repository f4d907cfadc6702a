// Merkle trees of RFC 6962 / RFC 9162 §2.1 over leaf hashes: roots, proofs and their checks. Stores nothing.
import { FormatError } from './errors.ts';
import { EMPTY_ROOT, equalBytes, HASH_BYTES, nodeHash, type Sha256, sha256 } from './hash.ts';

/** Leaves begin..end-1, always a subtree of the tree that was asked about. */
export interface LeafRange {
  readonly begin: number;
  readonly end: number;
}

/** A perfect subtree: 2^level leaves from index * 2^level on. */
export interface NodeId {
  readonly level: number;
  readonly index: number;
}

const half = (n: number) => Math.floor(n / 2);
const isOdd = (n: number) => n % 2 === 1;
const isSize = (n: number) => Number.isSafeInteger(n) && n >= 0;

/** Largest power of two smaller than n, n ≥ 2. */
function splitPoint(n: number): number {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

/** The perfect subtrees, left to right, that a subtree range of a tree is made of. */
export function rangeNodes(range: LeafRange): NodeId[] {
  const nodes: NodeId[] = [];
  let at = range.begin;
  while (at < range.end) {
    let level = 0;
    let width = 1;
    while (at % (width * 2) === 0 && at + width * 2 <= range.end) {
      width *= 2;
      level++;
    }
    nodes.push({ level, index: at / width });
    at += width;
  }
  return nodes;
}

/** Hash of a range from the hashes of its `rangeNodes`, in their order; the empty root for none. */
export function foldNodes(hashes: readonly Uint8Array[], hash: Sha256 = sha256): Uint8Array {
  let folded = hashes.at(-1);
  if (!folded) return EMPTY_ROOT;
  for (let i = hashes.length - 2; i >= 0; i--) folded = nodeHash(hashes[i]!, folded, hash);
  return folded;
}

/** The ranges whose hashes are the inclusion path of `index` in a tree of `size`, in path order (leaf upwards). */
export function inclusionRanges(index: number, size: number): LeafRange[] {
  if (!isSize(index) || !isSize(size) || index >= size) {
    throw new FormatError('RANGE_INVALID', `no leaf ${index} in a tree of ${size}`, {
      facts: { index, size },
    });
  }
  const ranges: LeafRange[] = [];
  let begin = 0;
  let end = size;
  while (end - begin > 1) {
    const middle = begin + splitPoint(end - begin);
    if (index < middle) {
      ranges.push({ begin: middle, end });
      end = middle;
    } else {
      ranges.push({ begin, end: middle });
      begin = middle;
    }
  }
  return ranges.reverse();
}

/** The ranges beside leaves [begin, end) whose hashes lead from those leaves to the root, left to right. */
export function spanRanges(span: LeafRange, size: number): LeafRange[] {
  if (!isSize(size) || !isSize(span.begin) || span.begin >= span.end || !(span.end <= size)) {
    throw new FormatError('RANGE_INVALID', `no leaves ${span.begin} to ${span.end} in a tree of ${size}`);
  }
  const ranges: LeafRange[] = [];
  const walk = (begin: number, end: number): void => {
    if (end <= span.begin || begin >= span.end) ranges.push({ begin, end });
    else if (begin < span.begin || end > span.end) {
      const middle = begin + splitPoint(end - begin);
      walk(begin, middle);
      walk(middle, end);
    }
  };
  walk(0, size);
  return ranges;
}

/** The ranges whose hashes prove that the tree of `newSize` extends the one of `oldSize`, in proof order. */
export function consistencyRanges(oldSize: number, newSize: number): LeafRange[] {
  if (!isSize(oldSize) || !isSize(newSize) || oldSize === 0 || oldSize > newSize) {
    throw new FormatError('RANGE_INVALID', `no proof leads from a tree of ${oldSize} to one of ${newSize}`, {
      facts: { oldSize, newSize },
    });
  }
  const ranges: LeafRange[] = [];
  let begin = 0;
  let end = newSize;
  // RFC 6962 §2.1.2, SUBPROOF: `known` is its b, true while the subtree is the old tree itself.
  let known = true;
  while (oldSize !== end) {
    const middle = begin + splitPoint(end - begin);
    if (oldSize <= middle) {
      ranges.push({ begin: middle, end });
      end = middle;
    } else {
      ranges.push({ begin, end: middle });
      begin = middle;
      known = false;
    }
  }
  if (!known) ranges.push({ begin, end });
  return ranges.reverse();
}

/** Root of a tree given all its leaf hashes. O(n) hashes, O(log n) memory. */
export function root(leafHashes: readonly Uint8Array[], hash: Sha256 = sha256): Uint8Array {
  return rangeRoot(leafHashes, { begin: 0, end: leafHashes.length }, hash);
}

function rangeRoot(leafHashes: readonly Uint8Array[], range: LeafRange, hash: Sha256): Uint8Array {
  const tree = new MerkleRange({ hash });
  for (let i = range.begin; i < range.end; i++) tree.append(leafHashes[i]!);
  return tree.root();
}

/** Inclusion path of one leaf given all leaf hashes (RFC 6962 §2.1.1). Throws RANGE_INVALID. */
export function inclusionProof(
  leafHashes: readonly Uint8Array[],
  index: number,
  hash: Sha256 = sha256,
): Uint8Array[] {
  return inclusionRanges(index, leafHashes.length).map((range) => rangeRoot(leafHashes, range, hash));
}

/** Proof that the tree over all leaf hashes extends the tree over the first `oldSize`. Throws RANGE_INVALID. */
export function consistencyProof(
  leafHashes: readonly Uint8Array[],
  oldSize: number,
  hash: Sha256 = sha256,
): Uint8Array[] {
  return consistencyRanges(oldSize, leafHashes.length).map((range) => rangeRoot(leafHashes, range, hash));
}

const areHashes = (hashes: readonly Uint8Array[]) => hashes.every((hash) => hash.length === HASH_BYTES);

/**
 * The root that an inclusion path leads to (RFC 9162 §2.1.3.2), or null when no tree of `size` has a path
 * of this length for `index`. The root binds neither: take size and index from signed data.
 */
export function rootFromInclusion(
  leaf: Uint8Array,
  index: number,
  size: number,
  path: readonly Uint8Array[],
  hash: Sha256 = sha256,
): Uint8Array | null {
  if (!isSize(index) || !isSize(size) || index >= size || leaf.length !== HASH_BYTES || !areHashes(path))
    return null;
  let at = index;
  let last = size - 1;
  let result = leaf;
  for (const sibling of path) {
    if (last === 0) return null;
    if (isOdd(at) || at === last) {
      result = nodeHash(sibling, result, hash);
      while (!isOdd(at) && at !== 0) {
        at = half(at);
        last = half(last);
      }
    } else {
      result = nodeHash(result, sibling, hash);
    }
    at = half(at);
    last = half(last);
  }
  return last === 0 ? result : null;
}

/** Whether `path` shows leaf `index` of a tree of `size` with this root. */
export function verifyInclusion(
  leaf: Uint8Array,
  index: number,
  size: number,
  path: readonly Uint8Array[],
  expectedRoot: Uint8Array,
  hash: Sha256 = sha256,
): boolean {
  const found = rootFromInclusion(leaf, index, size, path, hash);
  return found !== null && equalBytes(found, expectedRoot);
}

/**
 * The root that consecutive leaves from `begin` on lead to with the hashes of `spanRanges`, in their order; null when
 * no tree of `size` has them so. Binds neither size nor place, like rootFromInclusion.
 */
export function rootFromSpan(
  leaves: readonly Uint8Array[],
  begin: number,
  size: number,
  path: readonly Uint8Array[],
  hash: Sha256 = sha256,
): Uint8Array | null {
  const end = begin + leaves.length;
  if (!isSize(begin) || !isSize(size) || leaves.length === 0 || end > size) return null;
  if (!areHashes(leaves) || !areHashes(path)) return null;
  let used = 0;
  const walk = (from: number, to: number): Uint8Array | null => {
    if (to <= begin || from >= end) return path[used++] ?? null;
    if (to - from === 1) return leaves[from - begin]!;
    const middle = from + splitPoint(to - from);
    const left = walk(from, middle);
    const right = left && walk(middle, to);
    return left && right && nodeHash(left, right, hash);
  };
  const found = walk(0, size);
  return used === path.length ? found : null;
}

/**
 * Whether `proof` shows that the tree of `newSize` extends that of `oldSize` (RFC 9162 §2.1.4.2). An old
 * size of 0 is refused: it proves nothing. Equal sizes need an empty proof and equal roots.
 */
export function verifyConsistency(
  oldSize: number,
  newSize: number,
  oldRoot: Uint8Array,
  newRoot: Uint8Array,
  proof: readonly Uint8Array[],
  hash: Sha256 = sha256,
): boolean {
  if (!isSize(oldSize) || !isSize(newSize) || oldSize === 0 || oldSize > newSize) return false;
  if (oldSize === newSize) return proof.length === 0 && equalBytes(oldRoot, newRoot);
  const found = rootsFromConsistency(oldSize, newSize, oldRoot, proof, hash);
  return found !== null && equalBytes(found.oldRoot, oldRoot) && equalBytes(found.newRoot, newRoot);
}

/**
 * The roots of both trees that a consistency proof between two different sizes leads to, or null when no proof between
 * them has this length. Where the old size is a power of two the proof begins with `oldRoot` itself: it says nothing of it.
 */
export function rootsFromConsistency(
  oldSize: number,
  newSize: number,
  oldRoot: Uint8Array,
  proof: readonly Uint8Array[],
  hash: Sha256 = sha256,
): { readonly oldRoot: Uint8Array; readonly newRoot: Uint8Array } | null {
  if (!isSize(oldSize) || !isSize(newSize) || oldSize === 0 || oldSize >= newSize) return null;
  if (proof.length === 0 || !areHashes(proof) || !areHashes([oldRoot])) return null;
  let at = oldSize - 1;
  let last = newSize - 1;
  while (isOdd(at)) {
    at = half(at);
    last = half(last);
  }
  // Here `at` is 0 exactly when oldSize is a power of two: the old root is then a node of the new tree.
  const [seed, rest] = at === 0 ? [oldRoot, proof] : [proof[0]!, proof.slice(1)];
  let oldFound = seed;
  let newFound = seed;
  for (const sibling of rest) {
    if (last === 0) return null;
    if (isOdd(at) || at === last) {
      oldFound = nodeHash(sibling, oldFound, hash);
      newFound = nodeHash(sibling, newFound, hash);
      while (!isOdd(at) && at !== 0) {
        at = half(at);
        last = half(last);
      }
    } else {
      newFound = nodeHash(newFound, sibling, hash);
    }
    at = half(at);
    last = half(last);
  }
  return last === 0 ? { oldRoot: oldFound, newRoot: newFound } : null;
}

export interface MerkleRangeOptions {
  readonly hash?: Sha256;
  /** Resume: number of leaves appended so far, with the hashes of `rangeNodes({ begin: 0, end: size })`. */
  readonly size?: number;
  readonly nodes?: readonly Uint8Array[];
  /** Called for each perfect subtree as it becomes complete, leaves (level 0) included. */
  readonly onNode?: (level: number, index: number, hash: Uint8Array) => void;
}

/** A tree that grows at the right and holds only the O(log n) hashes it needs. */
export class MerkleRange {
  #size: number;
  readonly #nodes: Uint8Array[];
  readonly #hash: Sha256;
  readonly #onNode: MerkleRangeOptions['onNode'];

  constructor(options: MerkleRangeOptions = {}) {
    this.#hash = options.hash ?? sha256;
    this.#onNode = options.onNode;
    this.#size = options.size ?? 0;
    this.#nodes = [...(options.nodes ?? [])];
    if (!isSize(this.#size) || this.#nodes.length !== rangeNodes({ begin: 0, end: this.#size }).length) {
      throw new FormatError(
        'RANGE_INVALID',
        `a tree of ${this.#size} is not made of ${this.#nodes.length} nodes`,
        {
          facts: { size: this.#size, nodes: this.#nodes.length },
        },
      );
    }
  }

  get size(): number {
    return this.#size;
  }

  /** Hashes of `rangeNodes({ begin: 0, end: size })`: all that is needed to resume. */
  get nodes(): readonly Uint8Array[] {
    return this.#nodes;
  }

  append(leaf: Uint8Array): void {
    let hash = leaf;
    let index = this.#size;
    let level = 0;
    this.#onNode?.(level, index, hash);
    while (isOdd(index)) {
      hash = nodeHash(this.#nodes.pop()!, hash, this.#hash);
      index = half(index);
      level++;
      this.#onNode?.(level, index, hash);
    }
    this.#nodes.push(hash);
    this.#size++;
  }

  root(): Uint8Array {
    return foldNodes(this.#nodes, this.#hash);
  }
}
