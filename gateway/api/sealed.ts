// Reads the newest sealed blocks out of the ledger directory, as far as the signed checkpoint covers them.
// Signs, writes and verifies nothing: who wants proof asks for one.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { toBase64 } from '../../ledger/format/base64.ts';
import { type Block, blockHash } from '../../ledger/format/block.ts';
import { FormatError } from '../../ledger/format/errors.ts';
import { TILE_WIDTH, type TileReader } from '../../ledger/format/tile.ts';
import { type BlockEntry, BlockLog, readHead } from '../../ledger/tiles/blocks.ts';
import { nodeSha256 } from '../../ledger/tiles/hashing.ts';

/** Newest blocks that can be listed. */
export const KEPT_BLOCKS = 100;

export interface BlockSummary {
  readonly height: number;
  readonly kind: Block['kind'];
  readonly first: number;
  readonly count: number;
  /** Batch root, base64. */
  readonly root: string;
  readonly sealedMs: number;
  /** Leaf hash in the block log, base64; `previous` of the next block. */
  readonly hash: string;
  /** Names of the rules that made its records critical; null for other blocks. */
  readonly critical: readonly string[] | null;
}

export interface CriticalPage {
  /** Newest first. */
  readonly critical: readonly BlockSummary[];
  /** Give it as `before` to go on; null when the chain was looked through. */
  readonly next: number | null;
}

/** Blocks looked at for one page of critical ones. */
const CRITICAL_LOOK_BACK = 4_096;

export interface SealedFigures {
  readonly blocks: number;
  /** First offset no signed block covers. */
  readonly sealed: number;
  readonly checkpointSize: number;
  /** When the newest signed block was sealed, unix ms; null while there is none. */
  readonly checkpointMs: number | null;
  /** Whether the policy's quorum has cosigned the newest; with no authority: signed by this gateway. */
  readonly final: boolean;
  /** Size of the newest checkpoint of which that holds. */
  readonly finalSize: number;
  /** Why the newest blocks cannot be read (the figures are then the last that could be); null while all is well. */
  readonly problem: string | null;
}

export class SealedBlocks {
  readonly #tiles: TileReader;
  readonly #finalSize: () => number;
  #note = '';
  /** Oldest first. */
  #blocks: readonly BlockSummary[] = [];
  #problem: string | null = null;
  #reading: Promise<readonly BlockSummary[]> | null = null;

  /** @param finalSize as the sealer last said it */
  constructor(tiles: TileReader, finalSize: () => number) {
    this.#tiles = tiles;
    this.#finalSize = finalSize;
  }

  async figures(): Promise<SealedFigures> {
    const last = (await this.#current()).at(-1);
    const blocks = last ? last.height + 1 : 0;
    const finalSize = Math.min(blocks, this.#finalSize());
    return {
      blocks,
      sealed: last ? last.first + last.count : 0,
      checkpointSize: blocks,
      checkpointMs: last?.sealedMs ?? null,
      final: blocks > 0 && finalSize >= blocks,
      finalSize,
      problem: this.#problem,
    };
  }

  /** Newest first. */
  async newest(limit: number): Promise<BlockSummary[]> {
    return (await this.#current()).slice(-limit).reverse();
  }

  /**
   * Blocks of critical records below height `before`, newest first. Looks at no more than CRITICAL_LOOK_BACK blocks, so that
   * a page may be empty and still have a next.
   */
  async critical(limit: number, before: number | null): Promise<CriticalPage> {
    const head = await readHead(this.#tiles);
    const size = head?.checkpoint.size ?? 0;
    const log = new BlockLog(this.#tiles, size);
    const critical: BlockSummary[] = [];
    let height = Math.min(size, before ?? size);
    const end = Math.max(0, height - CRITICAL_LOOK_BACK);
    while (height > end && critical.length < limit) {
      height -= 1;
      const entry = await log.at(height);
      if (entry.block.detail?.critical !== undefined) critical.push(summary(entry));
      if (height % TILE_WIDTH === 0) await nextTurn();
    }
    return { critical, next: height > 0 ? height : null };
  }

  /** Several callers at once share one reading of the directory. */
  #current(): Promise<readonly BlockSummary[]> {
    this.#reading ??= this.#refreshOrKeep().finally(() => {
      this.#reading = null;
    });
    return this.#reading;
  }

  /** A damaged ledger must not take the figures of the whole gateway with it. */
  async #refreshOrKeep(): Promise<readonly BlockSummary[]> {
    try {
      const blocks = await this.#refresh();
      this.#problem = null;
      return blocks;
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      this.#problem = `${error.code}: ${error.message}`;
      return this.#blocks;
    }
  }

  async #refresh(): Promise<readonly BlockSummary[]> {
    const head = await readHead(this.#tiles);
    if (!head) return [];
    if (head.note === this.#note) return this.#blocks;
    const { size } = head.checkpoint;
    const oldest = Math.max(0, size - KEPT_BLOCKS);
    const blocks = this.#blocks.filter((block) => block.height >= oldest && block.height < size);
    const log = new BlockLog(this.#tiles, size);
    for (let height = (blocks.at(-1)?.height ?? oldest - 1) + 1; height < size; height++) {
      blocks.push(summary(await log.at(height)));
    }
    this.#blocks = blocks;
    this.#note = head.note;
    return blocks;
  }
}

function summary({ block, bytes }: BlockEntry): BlockSummary {
  const { height, kind, first, count, root, sealedMs } = block;
  return {
    height,
    kind,
    first,
    count,
    root: toBase64(root),
    sealedMs,
    hash: toBase64(blockHash(bytes, nodeSha256)),
    critical: rulesOf(block.detail?.critical),
  };
}

const rulesOf = (critical: unknown): string[] | null =>
  Array.isArray(critical) ? critical.filter((rule) => typeof rule === 'string') : null;
