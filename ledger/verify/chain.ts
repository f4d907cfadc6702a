// Checks a chain of blocks rule by rule and rebuilds its tree head; reads bundles from any TileReader. Repairs nothing.

import { type Block, blockHash, parseBlock } from '../format/block.ts';
import { type BlockRule, type BlockViolation, checkBlock, checkSuccessor } from '../format/block-rules.ts';
import { FormatError } from '../format/errors.ts';
import { copyBytes, equalBytes, type Sha256, sha256 } from '../format/hash.ts';
import { MerkleRange } from '../format/merkle.ts';
import { decodeEntryBundle, TILE_WIDTH, type TileReader, tilePath, tileWidth } from '../format/tile.ts';

export type { TileReader };

/** All that is needed to go on after the blocks checked so far. Empty chain: START_OF_CHAIN. */
export interface ChainPosition {
  /** Blocks checked; the next has this height. */
  readonly size: number;
  /** Hashes of the perfect subtrees of those blocks, left to right. */
  readonly nodes: readonly Uint8Array[];
  /** Bytes of the last block, null when size is 0. */
  readonly last: Uint8Array | null;
}

export const START_OF_CHAIN: ChainPosition = { size: 0, nodes: [], last: null };

export interface CheckedBlock {
  /** Null when the bytes are not a block. */
  readonly block: Block | null;
  /** Leaf hash of the bytes. */
  readonly hash: Uint8Array;
  readonly violations: readonly BlockViolation[];
}

/** Takes blocks one by one in order of height. Holds O(log n) hashes and one block. */
export class ChainChecker {
  readonly #hash: Sha256;
  readonly #tree: MerkleRange;
  /** Height claimed by the last block minus its position. */
  #shift = 0;
  #last: { readonly bytes: Uint8Array; readonly block: Block | null; readonly hash: Uint8Array } | null =
    null;

  constructor(options: { readonly from?: ChainPosition; readonly hash?: Sha256 } = {}) {
    const { size, nodes, last } = options.from ?? START_OF_CHAIN;
    this.#hash = options.hash ?? sha256;
    this.#tree = new MerkleRange({ size, nodes, hash: this.#hash });
    if ((size === 0) !== (last === null))
      throw new FormatError('RANGE_INVALID', 'a chain position lacks its last block');
    if (last) this.#last = this.#read(last);
    this.#shift = (this.#last?.block?.height ?? size - 1) - (size - 1);
  }

  get size(): number {
    return this.#tree.size;
  }

  /** Root of the block log over the blocks seen: compare with a checkpoint of this size. */
  root(): Uint8Array {
    return this.#tree.root();
  }

  get position(): ChainPosition {
    return { size: this.size, nodes: [...this.#tree.nodes], last: this.#last?.bytes ?? null };
  }

  /** Checks the next block. Never throws for what the bytes say; goes on after violations. */
  add(bytes: Uint8Array): CheckedBlock {
    const height = this.size;
    const previous = this.#last;
    const next = this.#read(bytes);
    this.#tree.append(next.hash);
    this.#last = next;
    const { block, hash } = next;
    if (!block) return { block, hash, violations: [violation('block-malformed', height, next.error)] };
    const violations =
      previous && !previous.block
        ? checkAfterMalformed(previous.hash, block)
        : checkSuccessor(previous?.block ?? null, previous?.hash ?? null, block);
    // Height is also the leaf index. Once a block is missing, all after it are off by the same: said once.
    const shift = block.height - height;
    if (shift !== this.#shift && !violations.some((found) => found.rule === 'height-not-next')) {
      violations.push(violation('height-not-next', block.height, `at position ${height} of the block log`));
    }
    this.#shift = shift;
    return { block, hash, violations };
  }

  #read(bytes: Uint8Array) {
    const hash = blockHash(bytes, this.#hash);
    try {
      return { bytes: copyBytes(bytes), hash, block: parseBlock(bytes), error: '' };
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      return { bytes: copyBytes(bytes), hash, block: null, error: error.message };
    }
  }
}

/** The block before could not be read: only its hash is known. */
function checkAfterMalformed(previousHash: Uint8Array, block: Block): BlockViolation[] {
  const violations = checkBlock(block);
  if (!equalBytes(block.previous, previousHash)) {
    violations.push(
      violation('previous-mismatch', block.height, 'previous is not the hash of the block before'),
    );
  }
  return violations;
}

function violation(rule: BlockRule, height: number, message: string): BlockViolation {
  return { rule, height, message: `block ${height}: ${message}` };
}

/** Block bytes of heights from..size-1, in order, as they stand in a log of `size` blocks. Throws TILE_MISSING, BUNDLE_INVALID. */
export async function* readBlocks(
  read: TileReader,
  range: { readonly from?: number; readonly size: number },
): AsyncGenerator<{ readonly height: number; readonly bytes: Uint8Array }> {
  let height = range.from ?? 0;
  while (height < range.size) {
    const index = Math.floor(height / TILE_WIDTH);
    const entries = await readBundle(read, index, tileWidth('entries', index, range.size));
    for (const bytes of entries.slice(height - index * TILE_WIDTH)) yield { height: height++, bytes };
  }
}

/** A bundle with its width at this size, or the front of the full one where the partial was cleared away. */
async function readBundle(read: TileReader, index: number, width: number): Promise<Uint8Array[]> {
  const path = tilePath({ level: 'entries', index, width });
  const bytes = await read(path);
  if (bytes) return decodeEntryBundle(bytes, width);
  const full =
    width < TILE_WIDTH ? await read(tilePath({ level: 'entries', index, width: TILE_WIDTH })) : null;
  if (!full) throw new FormatError('TILE_MISSING', `no ${path}`, { facts: { path } });
  return decodeEntryBundle(full, TILE_WIDTH).slice(0, width);
}

export interface ChainReport {
  /** Blocks checked in all, those before `from` included. */
  readonly size: number;
  /** Root over them: compare with the checkpoint. */
  readonly root: Uint8Array;
  /** The first `maxViolations`, in order. */
  readonly violations: readonly BlockViolation[];
  /** How many there were in all. */
  readonly violationCount: number;
  /** From where a later check may go on. */
  readonly position: ChainPosition;
}

export interface CheckChainOptions {
  readonly read: TileReader;
  /** Size of the checkpoint. */
  readonly size: number;
  readonly from?: ChainPosition;
  readonly hash?: Sha256;
  /** Default 1000. */
  readonly maxViolations?: number;
  /** Called for each block, in order; awaited. */
  readonly onBlock?: (checked: CheckedBlock, height: number) => void | Promise<void>;
}

/** Checks every rule on every block up to `size`. Throws TILE_MISSING or BUNDLE_INVALID when blocks cannot be read. */
export async function checkChain(options: CheckChainOptions): Promise<ChainReport> {
  const { read, size, maxViolations = 1000 } = options;
  const checker = new ChainChecker(options);
  const violations: BlockViolation[] = [];
  let violationCount = 0;
  for await (const { height, bytes } of readBlocks(read, { from: checker.size, size })) {
    const checked = checker.add(bytes);
    violationCount += checked.violations.length;
    violations.push(...checked.violations.slice(0, Math.max(0, maxViolations - violations.length)));
    await options.onBlock?.(checked, height);
  }
  return { size: checker.size, root: checker.root(), violations, violationCount, position: checker.position };
}
