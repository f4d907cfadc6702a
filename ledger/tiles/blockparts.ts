// Reads a part of a sealed block for a proof, and what the rest of the block comes to: by subtree roots kept beside the ledger
// where they lead to the block's root, else from all its records. So only the records themselves can be found wanting.
import type { Block } from '../format/block.ts';
import { equalBytes } from '../format/hash.ts';
import type { TelemetryRecord } from '../format/record.ts';
import { type RecordsOf, readBlockLeaves, readLeaves } from './blockrecords.ts';
import type { ReadSubtrees } from './subtreefiles.ts';
import { type Part, rootOfSubtrees, subtreesInPlace, wholeSubtrees } from './subtrees.ts';

export interface PartsOf extends RecordsOf {
  /** Spares a proof most records of its block. Not believed: what does not lead to the block's root is not used. */
  readonly subtrees?: ReadSubtrees | undefined;
}

/**
 * Leaves of a block that a proof is about: their records as far as they are held, and the whole subtrees around them. The leaf of
 * each record is the hash of just this record.
 */
export interface Held {
  readonly records: readonly TelemetryRecord[];
  readonly part: Part;
}

/** does-not-match: what is at hand does not lead to the block's root. */
export type Attempt<T> =
  | { readonly kind: 'made'; readonly value: T }
  | { readonly kind: 'not-held' }
  | { readonly kind: 'does-not-match' };

/** Subtree roots of this many blocks that were read as a whole are kept, 2 KiB each at 4,096 records. */
const BLOCKS_KEPT = 64;

export class BlockParts {
  readonly #from: PartsOf;
  /** By height: subtree roots that lead to the block's root. */
  readonly #checked = new Map<number, Buffer>();

  constructor(from: PartsOf) {
    this.#from = from;
  }

  /** Makes something of leaves [begin, end) of a block and its subtree roots, which may be wrong the first time. */
  async attempt<T>(
    block: Block,
    begin: number,
    end: number,
    make: (held: Held, roots: Buffer) => Attempt<T>,
  ): Promise<Attempt<T>> {
    const hint = this.#checked.get(block.height) ?? this.#from.subtrees?.(block);
    if (hint) {
      const held = await this.#read(block, begin, end);
      if (!held) return { kind: 'not-held' };
      const made = make(held, hint);
      if (made.kind !== 'does-not-match') return made;
    }
    const leaves = await readBlockLeaves(block, this.#from, () => undefined);
    if (!leaves) return { kind: 'not-held' };
    const roots = Buffer.from(subtreesInPlace(leaves, block.count));
    if (!equalBytes(rootOfSubtrees(roots), block.root)) return { kind: 'does-not-match' };
    if (this.#checked.size >= BLOCKS_KEPT) this.#checked.delete(this.#checked.keys().next().value!);
    this.#checked.set(block.height, roots);
    const held = await this.#read(block, begin, end);
    return held ? make(held, roots) : { kind: 'not-held' };
  }

  /** Null where leaves around [begin, end) are held nowhere. */
  async #read(block: Block, begin: number, end: number): Promise<Held | null> {
    const whole = wholeSubtrees(begin, end, block.count);
    const records: TelemetryRecord[] = [];
    const collect = (record: TelemetryRecord) => {
      const index = record.offset - block.first;
      if (index >= begin && index < end) records.push(record);
    };
    const leaves = await readLeaves(block.first + whole.begin, block.first + whole.end, this.#from, collect);
    return leaves && { records, part: { ...whole, leaves } };
  }
}
