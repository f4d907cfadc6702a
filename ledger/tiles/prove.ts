// Builds the proof of one record: record → batch root → block → checkpoint. Signs nothing, and refuses to write
// a proof that would not verify: a record that no longer fits its block is reported as such.
import { blockHash } from '../format/block.ts';
import { equalBytes } from '../format/hash.ts';
import { rootFromInclusion } from '../format/merkle.ts';
import type { Proof } from '../format/proof.ts';
import { createRecordHasher, type TelemetryRecord } from '../format/record.ts';
import { fromUtf8 } from '../format/text.ts';
import type { TileReader } from '../format/tile.ts';
import { TileTree } from '../format/tile-tree.ts';
import { HASH_BYTES, pathInPlace } from './batchtree.ts';
import { type BlockEntry, BlockLog, type Head, readHead } from './blocks.ts';
import { nodeSha256, sha256Into } from './hashing.ts';
import { cachedTiles } from './source.ts';

/** Records [first, first + count) of the log: at least one where it holds `first`, fewer than asked are fine. */
export type ReadRecords = (first: number, count: number) => Promise<readonly TelemetryRecord[]>;

export interface ProveOptions {
  readonly tiles: TileReader;
  readonly records: ReadRecords;
  /** Leaf hashes of records in [first, end) that retention removed, by offset. Without it their blocks cannot be proven. */
  readonly leaves?: ((first: number, end: number) => Promise<ReadonlyMap<number, Uint8Array>>) | undefined;
}

export type ProveResult =
  | { readonly kind: 'proof'; readonly proof: Proof; readonly height: number; readonly size: number }
  /** No signed block covers the offset yet; sealedEnd is one past the last that one covers. */
  | { readonly kind: 'not-sealed-yet'; readonly sealedEnd: number }
  /** Sealed, but the log no longer holds all records of its block (retention). */
  | { readonly kind: 'not-held'; readonly height: number }
  /** A gap block says that this offset was lost before it could be sealed. */
  | { readonly kind: 'lost'; readonly height: number }
  /** The log's records do not lead to the root that was sealed: they, or the block, were changed. */
  | { readonly kind: 'does-not-match'; readonly height: number };

/** Leaf hashes of this many blocks are kept, 128 KiB each at 4,096 records. */
const BATCHES_KEPT = 16;

interface Batch {
  readonly record: TelemetryRecord;
  readonly leaves: Buffer;
}

interface HeadReaders extends Head {
  readonly blocks: BlockLog;
  readonly tree: TileTree;
}

/** Proves records of one data directory; keeps what the next proof is likely to need. */
export class Prover {
  readonly #tiles: TileReader;
  readonly #records: ReadRecords;
  readonly #removed: ProveOptions['leaves'];
  /** By height: leaf hashes side by side. */
  readonly #leaves = new Map<number, Buffer>();
  #head: HeadReaders | null = null;

  constructor(options: ProveOptions) {
    this.#tiles = cachedTiles(options.tiles);
    this.#records = options.records;
    this.#removed = options.leaves;
  }

  /** @throws FormatError when the ledger's own files cannot be read (TILE_MISSING, BLOCK_INVALID, …) */
  async prove(offset: number): Promise<ProveResult> {
    const head = await this.#currentHead();
    const entry = head && (await head.blocks.covering(offset));
    if (!head || !entry) return { kind: 'not-sealed-yet', sealedEnd: await sealedEnd(head) };
    const { block, bytes } = entry;
    const { height } = block;
    if (block.kind !== 'data') return { kind: 'lost', height };
    const batch = await this.#batch(entry, offset);
    if (!batch) return { kind: 'not-held', height };
    const { record, leaves } = batch;

    const index = offset - block.first;
    const batchPath = pathInPlace(Buffer.from(leaves), block.count, index);
    const leaf = createRecordHasher(nodeSha256)(record);
    const root = rootFromInclusion(leaf, index, block.count, batchPath, nodeSha256);
    if (!root || !equalBytes(root, block.root)) {
      this.#leaves.delete(height);
      return { kind: 'does-not-match', height };
    }
    const blockPath = await head.tree.inclusionProof(height);
    const { root: treeRoot, size } = head.checkpoint;
    const found = rootFromInclusion(blockHash(bytes, nodeSha256), height, size, blockPath, nodeSha256);
    if (!found || !equalBytes(found, treeRoot)) return { kind: 'does-not-match', height };
    const proof: Proof = {
      record,
      batchPath,
      block: fromUtf8(bytes, 'block'),
      blockPath,
      checkpoint: head.note,
    };
    return { kind: 'proof', proof, height, size };
  }

  async #currentHead(): Promise<HeadReaders | null> {
    const head = await readHead(this.#tiles);
    if (!head) return null;
    if (this.#head?.note !== head.note) {
      const { size } = head.checkpoint;
      this.#head = {
        ...head,
        blocks: new BlockLog(this.#tiles, size),
        tree: new TileTree({ read: this.#tiles, size, hash: nodeSha256 }),
      };
    }
    return this.#head;
  }

  /** A record and the leaf hashes of its whole block; null where the log does not hold them all. */
  async #batch({ block }: BlockEntry, offset: number): Promise<Batch | null> {
    const known = this.#leaves.get(block.height);
    if (known) {
      const record = (await this.#records(offset, 1))[0];
      return record?.offset === offset ? { record, leaves: known } : null;
    }
    const leaves = Buffer.alloc(block.count * HASH_BYTES);
    let wanted: TelemetryRecord | null = null;
    let count = 0;
    const hashRecord = createRecordHasher((data) => {
      sha256Into(data, leaves, count * HASH_BYTES);
      return leaves;
    });
    const end = block.first + block.count;
    let removed: ReadonlyMap<number, Uint8Array> | null = null;
    /** Hashes of removed records up to `offset`; false where one is not known. */
    const fillTo = async (offset: number): Promise<boolean> => {
      if (block.first + count < offset) removed ??= (await this.#removed?.(block.first, end)) ?? new Map();
      for (; block.first + count < offset; count += 1) {
        const leaf = removed?.get(block.first + count);
        if (!leaf) return false;
        leaves.set(leaf, count * HASH_BYTES);
      }
      return true;
    };
    while (count < block.count) {
      const records = await this.#records(block.first + count, block.count - count);
      const first = records[0]?.offset;
      if (first === undefined || first >= end) {
        if (!(await fillTo(end))) return null;
        break;
      }
      for (const record of records) {
        if (record.offset >= end) break;
        if (record.offset < block.first + count || !(await fillTo(record.offset))) return null;
        hashRecord(record);
        count += 1;
        if (record.offset === offset) wanted = record;
      }
    }
    if (this.#leaves.size >= BATCHES_KEPT) this.#leaves.delete(this.#leaves.keys().next().value!);
    this.#leaves.set(block.height, leaves);
    return wanted && { record: wanted, leaves };
  }
}

async function sealedEnd(head: HeadReaders | null): Promise<number> {
  if (!head || head.checkpoint.size === 0) return 0;
  const { block } = await head.blocks.at(head.checkpoint.size - 1);
  return block.first + block.count;
}

/** One proof without a Prover kept. Write it to a file with formatProofFile. */
export function prove(options: ProveOptions & { readonly offset: number }): Promise<ProveResult> {
  return new Prover(options).prove(options.offset);
}
