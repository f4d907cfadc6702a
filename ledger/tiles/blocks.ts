// Finds blocks in the block log: by height, by the offset they cover, the newest. Trusts the directory it reads:
// who wants certainty verifies a proof or audits.
import { type Block, parseBlock } from '../format/block.ts';
import { type Checkpoint, parseCheckpoint } from '../format/checkpoint.ts';
import { FormatError } from '../format/errors.ts';
import { parseNote } from '../format/note.ts';
import { fromUtf8 } from '../format/text.ts';
import {
  CHECKPOINT_PATH,
  decodeEntryBundle,
  TILE_WIDTH,
  type TileReader,
  tilePath,
  tileWidth,
} from '../format/tile.ts';

export interface Head {
  readonly checkpoint: Checkpoint;
  /** The signed note, exactly as served. */
  readonly note: string;
}

export interface BlockEntry {
  readonly block: Block;
  readonly bytes: Uint8Array;
}

/** The served checkpoint, null before the first. @throws FormatError when it is not a checkpoint note. */
export async function readHead(read: TileReader, path: string = CHECKPOINT_PATH): Promise<Head | null> {
  const bytes = await read(path);
  if (!bytes) return null;
  const note = fromUtf8(bytes, 'checkpoint', 'CHECKPOINT_INVALID');
  return { note, checkpoint: parseCheckpoint(parseNote(note).text) };
}

/** Bundles of 256 blocks kept decoded: a binary search visits the same few again and again. */
const BUNDLES_KEPT = 32;
/** First offsets of blocks kept: those that every search of a long log looks at. */
const FIRSTS_KEPT = 8_192;

/** Blocks below one tree size. Use a new one when the checkpoint grows; reading through cachedTiles keeps it cheap. */
export class BlockLog {
  readonly size: number;
  readonly #read: TileReader;
  readonly #bundles = new Map<number, Promise<Uint8Array[]>>();
  readonly #firsts = new Map<number, number>();

  constructor(read: TileReader, size: number) {
    this.#read = read;
    this.size = size;
  }

  /** @throws RangeError beyond the tree, FormatError TILE_MISSING, BUNDLE_INVALID, BLOCK_INVALID */
  async at(height: number): Promise<BlockEntry> {
    if (!Number.isInteger(height) || height < 0 || height >= this.size) {
      throw new RangeError(`no block ${height} in a log of ${this.size}`);
    }
    const entries = await this.#bundle(Math.floor(height / TILE_WIDTH));
    const bytes = entries[height % TILE_WIDTH]!;
    return { block: parseBlock(bytes), bytes };
  }

  /** The newest blocks, newest first. */
  async last(count: number): Promise<BlockEntry[]> {
    const entries: BlockEntry[] = [];
    for (let height = this.size - 1; height >= 0 && entries.length < count; height -= 1) {
      entries.push(await this.at(height));
    }
    return entries;
  }

  /** The block that covers an offset, or null when no block of this tree does. */
  async covering(offset: number): Promise<BlockEntry | null> {
    // `first` never falls along the chain, and of several blocks with one `first` only the last covers anything:
    // the last block whose first is at most the offset is the only one that can.
    let low = 0;
    let high = this.size;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if ((await this.#firstAt(middle)) <= offset) low = middle + 1;
      else high = middle;
    }
    const found = low > 0 ? await this.at(low - 1) : null;
    return found && offset < found.block.first + found.block.count ? found : null;
  }

  async #firstAt(height: number): Promise<number> {
    const known = this.#firsts.get(height);
    if (known !== undefined) return known;
    const { first } = (await this.at(height)).block;
    if (this.#firsts.size >= FIRSTS_KEPT) this.#firsts.delete(this.#firsts.keys().next().value!);
    this.#firsts.set(height, first);
    return first;
  }

  #bundle(index: number): Promise<Uint8Array[]> {
    let entries = this.#bundles.get(index);
    if (!entries) {
      entries = this.#readBundle(index);
      if (this.#bundles.size >= BUNDLES_KEPT) this.#bundles.delete(this.#bundles.keys().next().value!);
      this.#bundles.set(index, entries);
      entries.catch(() => this.#bundles.delete(index));
    }
    return entries;
  }

  async #readBundle(index: number): Promise<Uint8Array[]> {
    const width = tileWidth('entries', index, this.size);
    // The partial bundle of this size may be gone once the full one stands.
    for (const stored of new Set([width, TILE_WIDTH])) {
      const bytes = await this.#read(tilePath({ level: 'entries', index, width: stored }));
      if (bytes) return decodeEntryBundle(bytes, stored).slice(0, width);
    }
    const path = tilePath({ level: 'entries', index, width });
    throw new FormatError('TILE_MISSING', `no ${path}`, {
      facts: { path },
      hint: 'run `tidemark fsck`',
    });
  }
}
