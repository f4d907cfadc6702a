// A tree of known size and root read from tiles: nodes and proofs. Trusts no tile: compare its root. Writes nothing.
import { FormatError } from './errors.ts';
import { copyBytes, equalBytes, nodeHash, type Sha256, sha256 } from './hash.ts';
import {
  consistencyRanges,
  foldNodes,
  inclusionRanges,
  type LeafRange,
  type NodeId,
  rangeNodes,
} from './merkle.ts';
import { TILE_WIDTH, type TileId, type TileReader, tileHashes, tilePath, tileWidth } from './tile.ts';

/** Hashes kept per tree, in tiles; the oldest go first. 64 tiles are 512 KiB and cover any one proof; as much again for the nodes made of them. */
const MAX_CACHED_TILES = 64;
const TILE_HEIGHT = 8;

export interface TileTreeOptions {
  readonly read: TileReader;
  /** From a checkpoint. Every tile is asked for with the width it has at this size, then full. */
  readonly size: number;
  readonly hash?: Sha256;
}

/** Reads hashes of one tree size. Its answers are only as good as a comparison of root() with a signed root. */
export class TileTree {
  readonly size: number;
  readonly #read: TileReader;
  readonly #hash: Sha256;
  readonly #cache = new Map<string, Promise<TileNodes>>();

  constructor(options: TileTreeOptions) {
    this.size = options.size;
    this.#read = options.read;
    this.#hash = options.hash ?? sha256;
  }

  /** Root of the whole tree, from the tiles. Throws TILE_MISSING or TILE_INVALID. */
  root(): Promise<Uint8Array> {
    return this.range({ begin: 0, end: this.size });
  }

  /** Hash of a subtree range. */
  async range(range: LeafRange): Promise<Uint8Array> {
    const nodes = await Promise.all(rangeNodes(range).map((node) => this.node(node)));
    return foldNodes(nodes, this.#hash);
  }

  /** Hash of one perfect subtree. */
  async node(node: NodeId): Promise<Uint8Array> {
    const level = Math.floor(node.level / TILE_HEIGHT);
    const height = node.level % TILE_HEIGHT;
    const width = TILE_WIDTH / 2 ** height;
    const tile = await this.#tile(level, Math.floor(node.index / width));
    const found = tile.row(height)[node.index % width];
    if (!found) {
      throw new FormatError(
        'RANGE_INVALID',
        `a tree of ${this.size} has no node ${node.index} at level ${node.level}`,
      );
    }
    return copyBytes(found);
  }

  leafHash(index: number): Promise<Uint8Array> {
    return this.node({ level: 0, index });
  }

  /** Inclusion path of a leaf. Throws RANGE_INVALID, TILE_MISSING, TILE_INVALID. */
  async inclusionProof(index: number): Promise<Uint8Array[]> {
    return Promise.all(inclusionRanges(index, this.size).map((range) => this.range(range)));
  }

  /** Consistency proof from an older size to this one. */
  async consistencyProof(oldSize: number): Promise<Uint8Array[]> {
    return Promise.all(consistencyRanges(oldSize, this.size).map((range) => this.range(range)));
  }

  #tile(level: number, index: number): Promise<TileNodes> {
    const width = tileWidth(level, index, this.size);
    const key = `${level}/${index}`;
    let tile = this.#cache.get(key);
    if (!tile) {
      const hashes =
        width === 0
          ? Promise.resolve([])
          : readTile(this.#read, { level, index, width }).then((bytes) => tileHashes(bytes, width));
      tile = hashes.then((row) => new TileNodes(row, this.#hash));
      if (this.#cache.size >= MAX_CACHED_TILES) this.#cache.delete(this.#cache.keys().next().value!);
      this.#cache.set(key, tile);
      // A failed read may succeed later: do not keep it.
      tile.catch(() => this.#cache.delete(key));
    }
    return tile;
  }
}

/** The perfect subtrees within a tile, each hashed once. */
class TileNodes {
  readonly #rows: Uint8Array[][];
  readonly #hash: Sha256;

  constructor(hashes: Uint8Array[], hash: Sha256) {
    this.#rows = [hashes];
    this.#hash = hash;
  }

  /** Roots over 2^height hashes each, from the left. */
  row(height: number): readonly Uint8Array[] {
    const known = this.#rows[height];
    if (known) return known;
    const below = this.row(height - 1);
    const row = Array.from({ length: Math.floor(below.length / 2) }, (_, i) =>
      nodeHash(below[2 * i]!, below[2 * i + 1]!, this.#hash),
    );
    this.#rows[height] = row;
    return row;
  }
}

/**
 * Bytes of a hash tile with exactly its width: the partial tile, or the front of the full one when the partial has
 * been cleared away. Throws TILE_MISSING.
 */
async function readTile(read: TileReader, tile: TileId): Promise<Uint8Array> {
  const path = tilePath(tile);
  const bytes = await read(path);
  if (bytes) return bytes;
  const full = tile.width < TILE_WIDTH ? await read(tilePath({ ...tile, width: TILE_WIDTH })) : null;
  if (!full) throw new FormatError('TILE_MISSING', `no ${path}`, { facts: { path } });
  tileHashes(full, TILE_WIDTH);
  return full.subarray(0, tile.width * 32);
}

/** Whether a tree read from tiles has the root that a checkpoint names. */
export async function hasRoot(tree: TileTree, root: Uint8Array): Promise<boolean> {
  return equalBytes(await tree.root(), root);
}
