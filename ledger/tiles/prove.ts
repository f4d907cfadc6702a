// Builds proofs: record → batch root → block → checkpoint, for one record or for consecutive ones, and what a block says of
// a device. Signs nothing, and refuses to write a proof that would not verify: a record that no longer fits its block is
// reported as such.
import { type Block, blockHash } from '../format/block.ts';
import {
  type DeviceProof,
  type DeviceSummary,
  DeviceTally,
  devicesDetail,
  devicesOf,
  proveDevice,
} from '../format/devices.ts';
import { equalBytes } from '../format/hash.ts';
import { rootFromInclusion, rootFromSpan, spanRanges } from '../format/merkle.ts';
import type { Proof } from '../format/proof.ts';
import { MAX_RANGE_RECORDS, type RangeProof, type RemovedRecord } from '../format/proof-range.ts';
import type { TelemetryRecord } from '../format/record.ts';
import { fromUtf8 } from '../format/text.ts';
import { CHECKPOINT_PATH, FINAL_CHECKPOINT_PATH, type TileReader } from '../format/tile.ts';
import { TileTree } from '../format/tile-tree.ts';
import { HASH_BYTES } from './batchtree.ts';
import { BlockParts, type PartsOf } from './blockparts.ts';
import { type ReadRecords, readBlockLeaves } from './blockrecords.ts';
import { type BlockEntry, BlockLog, type Head, readHead } from './blocks.ts';
import { nodeSha256 } from './hashing.ts';
import { cachedTiles } from './source.ts';
import { type Part, pathThrough, rangeRoot } from './subtrees.ts';

export type { ReadRecords };

/** Without `leaves` blocks that lost some of their records cannot be proven. */
export interface ProveOptions extends PartsOf {
  readonly tiles: TileReader;
  /** Prove against this older checkpoint instead of the newest. */
  readonly head?: Head | undefined;
}

/** Why there is no proof. */
export type NoProof =
  /** No signed block covers the offset yet; sealedEnd is one past the last that one covers. */
  | { readonly kind: 'not-sealed-yet'; readonly sealedEnd: number }
  /** Sealed, but the log no longer holds all records of its block (retention). */
  | { readonly kind: 'not-held'; readonly height: number }
  /** A gap block says that this offset was lost before it could be sealed. */
  | { readonly kind: 'lost'; readonly height: number }
  /** The log's records do not lead to the root that was sealed: they, or the block, were changed. */
  | { readonly kind: 'does-not-match'; readonly height: number };

export type ProveResult =
  | { readonly kind: 'proof'; readonly proof: Proof; readonly height: number; readonly size: number }
  | NoProof;

export type RangeResult =
  | { readonly kind: 'proof'; readonly proof: RangeProof }
  /** The records are more than was allowed for one file: those before `end` would fit. */
  | { readonly kind: 'too-large'; readonly end: number }
  | NoProof;

export type DeviceResult =
  | { readonly kind: 'proof'; readonly proof: DeviceProof }
  /** No such block, no data block, or one sealed before there were summaries. */
  | { readonly kind: 'no-summary' }
  | NoProof;

/** Payload in one file of a range: as base64 it stays well below what a verifier reads. */
export const MAX_RANGE_BYTES = 32 * 1024 * 1024;
/** Lists of devices of this many blocks are kept. */
const LISTS_KEPT = 64;

interface HeadReaders extends Head {
  readonly blocks: BlockLog;
  readonly tree: TileTree;
}

/** Proves records of one data directory; keeps what the next proof is likely to need. */
export class Prover {
  readonly #tiles: TileReader;
  readonly #from: PartsOf;
  readonly #parts: BlockParts;
  readonly #lists = new Map<number, readonly DeviceSummary[]>();
  readonly #fixed: Head | null;
  /** By path of the checkpoint: at most two. */
  readonly #heads = new Map<string, HeadReaders>();

  constructor(options: ProveOptions) {
    this.#tiles = cachedTiles(options.tiles);
    this.#from = options;
    this.#parts = new BlockParts(options);
    this.#fixed = options.head ?? null;
  }

  /** @throws FormatError when the ledger's own files cannot be read (TILE_MISSING, BLOCK_INVALID, …) */
  async prove(offset: number): Promise<ProveResult> {
    const head = await this.#headFor(offset);
    const entry = head && (await head.blocks.covering(offset));
    if (!head || !entry) return { kind: 'not-sealed-yet', sealedEnd: await sealedEnd(head) };
    const { block, bytes } = entry;
    const { height } = block;
    if (block.kind !== 'data') return { kind: 'lost', height };
    const index = offset - block.first;
    const made = await this.#parts.attempt(block, index, index + 1, ({ part, records: [record] }, roots) => {
      if (!record) return { kind: 'not-held' };
      const batchPath = pathThrough(roots, part, index);
      const root = rootFromInclusion(leafAt(part, index), index, block.count, batchPath, nodeSha256);
      return root && equalBytes(root, block.root)
        ? { kind: 'made', value: { record, batchPath } }
        : { kind: 'does-not-match' };
    });
    if (made.kind !== 'made') return { kind: made.kind, height };
    const { record, batchPath } = made.value;
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

  /**
   * Proves all records of offsets first..last, at most MAX_RANGE_RECORDS with `maxBytes` of payload.
   * @throws RangeError for more records; FormatError as prove
   */
  async proveRange(first: number, last: number, maxBytes = MAX_RANGE_BYTES): Promise<RangeResult> {
    if (!(first <= last && last - first < MAX_RANGE_RECORDS))
      throw new RangeError(`a range has 1 to ${MAX_RANGE_RECORDS} records`);
    const head = await this.#headFor(last);
    const ends = head && [await head.blocks.covering(first), await head.blocks.covering(last)];
    if (!head || !ends?.[0] || !ends[1]) return { kind: 'not-sealed-yet', sealedEnd: await sealedEnd(head) };
    const lowest = ends[0].block.height;
    const highest = ends[1].block.height;
    const records: TelemetryRecord[] = [];
    const removed: RemovedRecord[] = [];
    const batchPaths: Uint8Array[][] = [];
    const blocks: BlockEntry[] = [];
    let bytes = 0;
    for (let height: number = lowest; height <= highest; height += 1) {
      const entry = await head.blocks.at(height);
      blocks.push(entry);
      if (entry.block.kind !== 'data') continue;
      const part = await this.#partOf(entry.block, first, last + 1);
      if (part.kind !== 'made') return { kind: part.kind, height };
      const { value } = part;
      for (const record of value.records) {
        bytes += record.payload.length;
        if (bytes > maxBytes) return { kind: 'too-large', end: record.offset };
        records.push(record);
      }
      for (const leaf of value.removed) removed.push(leaf);
      batchPaths.push(value.path);
    }
    const { root, size } = head.checkpoint;
    const span = { begin: lowest, end: highest + 1 };
    const blockPath = await Promise.all(spanRanges(span, size).map((range) => head.tree.range(range)));
    const hashes = blocks.map(({ bytes }) => blockHash(bytes, nodeSha256));
    const found = rootFromSpan(hashes, lowest, size, blockPath, nodeSha256);
    if (!found || !equalBytes(found, root)) return { kind: 'does-not-match', height: highest };
    const texts = blocks.map(({ bytes }) => fromUtf8(bytes, 'block'));
    return {
      kind: 'proof',
      proof: { first, last, records, removed, batchPaths, blocks: texts, blockPath, checkpoint: head.note },
    };
  }

  /** What the block at this height sealed of a device, from the records of the block. @throws FormatError as prove */
  async proveDevice(height: number, device: string): Promise<DeviceResult> {
    const head = await this.#readHead(CHECKPOINT_PATH);
    if (!head || height >= head.checkpoint.size) return { kind: 'no-summary' };
    const { block } = await head.blocks.at(height);
    const commitment = devicesOf(block);
    if (!commitment) return { kind: 'no-summary' };
    let list = this.#lists.get(height);
    if (!list) {
      const tally = new DeviceTally();
      let held = 0;
      const leaves = await readBlockLeaves(block, this.#from, (record) => {
        tally.add(record);
        held += 1;
      });
      if (!leaves || held < block.count) return { kind: 'not-held', height };
      list = tally.take();
      const { devicesRoot } = devicesDetail(list, nodeSha256);
      if (devicesRoot !== block.detail?.devicesRoot) return { kind: 'does-not-match', height };
      keep(this.#lists, height, list, LISTS_KEPT);
    }
    return { kind: 'proof', proof: proveDevice(list, device, nodeSha256) };
  }

  /** The part of a block within [first, end), and the hashes that lead from it to the batch root. */
  #partOf(block: Block, first: number, end: number) {
    const begin = Math.max(first - block.first, 0);
    const stop = Math.min(end - block.first, block.count);
    return this.#parts.attempt(block, begin, stop, ({ part, records }, roots) => {
      const hashes = Array.from({ length: stop - begin }, (_, i) => leafAt(part, begin + i));
      const held = new Set(records.map(({ offset }): number => offset));
      const removed: RemovedRecord[] = hashes
        .map((hash, i) => ({ offset: block.first + begin + i, hash }))
        .filter(({ offset }) => !held.has(offset));
      const ranges = spanRanges({ begin, end: stop }, block.count);
      const path = ranges.map((range) => rangeRoot(roots, part, range.begin, range.end));
      const root = rootFromSpan(hashes, begin, block.count, path, nodeSha256);
      return root && equalBytes(root, block.root)
        ? { kind: 'made', value: { records, removed, path } }
        : { kind: 'does-not-match' };
    });
  }

  /** The newest checkpoint a quorum has cosigned where it covers the offset, else the newest there is. */
  async #headFor(offset: number): Promise<HeadReaders | null> {
    const newest = await this.#readHead(CHECKPOINT_PATH);
    if (this.#fixed) return newest;
    const final = await this.#readHead(FINAL_CHECKPOINT_PATH);
    const isOlder = final !== null && newest !== null && final.checkpoint.size < newest.checkpoint.size;
    return isOlder && (await final.blocks.covering(offset)) ? final : newest;
  }

  async #readHead(path: string): Promise<HeadReaders | null> {
    const head = this.#fixed ?? (await readHead(this.#tiles, path));
    if (!head) return null;
    const known = this.#heads.get(path);
    if (known?.note === head.note) return known;
    const { size } = head.checkpoint;
    const readers = {
      ...head,
      blocks: new BlockLog(this.#tiles, size),
      tree: new TileTree({ read: this.#tiles, size, hash: nodeSha256 }),
    };
    this.#heads.set(path, readers);
    return readers;
  }
}

function leafAt({ begin, leaves }: Part, index: number): Uint8Array {
  const at = (index - begin) * HASH_BYTES;
  return new Uint8Array(leaves.subarray(at, at + HASH_BYTES));
}

function keep<T>(kept: Map<number, T>, height: number, value: T, max: number): void {
  if (kept.size >= max) kept.delete(kept.keys().next().value!);
  kept.set(height, value);
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
