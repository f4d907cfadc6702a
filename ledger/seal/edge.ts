// The growing right edge of the block log: what must be known to append blocks and to write the tiles they change.
// Holds no full tile once it is saved, and touches no file.

import { leafHash } from '../format/hash.ts';
import { MerkleRange } from '../format/merkle.ts';
import { encodeEntryBundle, newTiles, TILE_WIDTH, type TileId, tilePath } from '../format/tile.ts';
import { nodeSha256 } from '../tiles/hashing.ts';

/** One tile or entry bundle as it is to stand on disk. */
export interface TileFile {
  readonly tile: TileId;
  /** Path below the ledger folder. */
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** Hashes (or blocks) of one level from index `from` (a multiple of 256) on. */
interface Tail {
  from: number;
  items: Uint8Array[];
}

/** A tile of level L holds the tree's hashes of height 8 L. */
const TILE_HEIGHT = 8;

export class TreeEdge {
  readonly #blocks: Tail = { from: 0, items: [] };
  readonly #levels: Tail[] = [];
  readonly #tree = new MerkleRange({
    hash: nodeSha256,
    onNode: (height, _index, hash) => {
      if (height % TILE_HEIGHT !== 0) return;
      const level = height / TILE_HEIGHT;
      const tail = this.#levels[level] ?? { from: 0, items: [] };
      this.#levels[level] = tail;
      tail.items.push(hash);
    },
  });
  #savedSize = 0;

  /** Number of blocks appended. */
  get size(): number {
    return this.#tree.size;
  }

  root(): Uint8Array {
    return this.#tree.root();
  }

  /** Appends a block's bytes; returns its leaf hash, the next block's `previous`. */
  append(block: Uint8Array): Uint8Array {
    const hash = leafHash(block, nodeSha256);
    this.#blocks.items.push(block);
    this.#tree.append(hash);
    return hash;
  }

  /** Tiles and bundles that are new or wider since saved(): entries first, then levels upwards. */
  unsaved(): TileFile[] {
    return newTiles(this.#savedSize, this.size).map((tile) => this.#file(tile));
  }

  /** Partial tiles of the tree as it stands: at most one a level. */
  partials(): TileFile[] {
    return newTiles(0, this.size)
      .filter((tile) => tile.width < TILE_WIDTH)
      .map((tile) => this.#file(tile));
  }

  /** What was unsaved is on disk; full tiles need not be remembered. */
  saved(): void {
    this.#savedSize = this.size;
    for (const tail of [this.#blocks, ...this.#levels]) {
      const full = tail.items.length - (tail.items.length % TILE_WIDTH);
      tail.items.splice(0, full);
      tail.from += full;
    }
  }

  #file(tile: TileId): TileFile {
    const tail = tile.level === 'entries' ? this.#blocks : this.#levels[tile.level];
    const at = tile.index * TILE_WIDTH - (tail?.from ?? 0);
    if (!tail || at < 0) throw new RangeError(`tile ${tilePath(tile)} is saved and no longer held`);
    const items = tail.items.slice(at, at + tile.width);
    const bytes = tile.level === 'entries' ? encodeEntryBundle(items) : Buffer.concat(items);
    return { tile, path: tilePath(tile), bytes };
  }
}
