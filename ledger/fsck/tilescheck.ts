// Recomputes every hash tile of a block log from its blocks and compares it with the stored one, as blocks come by.
// Reads through any TileReader; holds one unfinished tile a level.
import { equalBytes, HASH_BYTES } from '../format/hash.ts';
import { MerkleRange } from '../format/merkle.ts';
import { encodeEntryBundle, TILE_WIDTH, type TileId, type TileReader, tilePath } from '../format/tile.ts';
import type { Findings } from './findings.ts';
import { nodeSha256 } from './hashing.ts';

const TILE_HEIGHT = 8;

export interface TilesCheckOptions {
  readonly read: TileReader;
  /** Size of the checkpoint: tiles are looked for as they stand in a tree of this size. */
  readonly size: number;
  readonly findings: Findings;
  /** Widths of partial files that are there besides, each held against the front of its tile. Default none. */
  readonly partialWidths?: (level: TileId['level'], index: number) => readonly number[];
  /** Put before paths in findings, e.g. 'ledger/'. */
  readonly prefix: string;
}

interface Tail {
  index: number;
  items: Uint8Array[];
}

export class TilesCheck {
  readonly #options: TilesCheckOptions;
  readonly #entries: Tail = { index: 0, items: [] };
  readonly #levels: Tail[] = [];
  readonly #completed: { level: number; tail: Tail }[] = [];
  readonly #tree = new MerkleRange({
    hash: nodeSha256,
    onNode: (height, _index, hash) => {
      if (height % TILE_HEIGHT !== 0) return;
      const level = height / TILE_HEIGHT;
      const tail = this.#levels[level] ?? { index: 0, items: [] };
      this.#levels[level] = tail;
      tail.items.push(hash);
      if (tail.items.length < TILE_WIDTH) return;
      this.#completed.push({ level, tail: { ...tail } });
      tail.items = [];
      tail.index += 1;
    },
  });

  constructor(options: TilesCheckOptions) {
    this.#options = options;
  }

  /** The next block: its bytes and leaf hash. */
  async add(bytes: Uint8Array, hash: Uint8Array): Promise<void> {
    this.#entries.items.push(bytes);
    this.#tree.append(hash);
    for (let done = this.#completed.shift(); done; done = this.#completed.shift()) {
      await this.#compare(done.level, done.tail);
    }
    if (this.#entries.items.length === TILE_WIDTH) {
      await this.#compare('entries', this.#entries);
      this.#entries.items = [];
      this.#entries.index += 1;
    }
  }

  /** After the last block: the partial tiles at the edge. */
  async end(): Promise<void> {
    await this.#compare('entries', this.#entries);
    for (const [level, tail] of this.#levels.entries()) await this.#compare(level, tail);
  }

  async #compare(level: TileId['level'], { index, items }: Tail): Promise<void> {
    const { read, findings, prefix, partialWidths } = this.#options;
    const width = items.length;
    if (width === 0) return;
    const bytesOf = (count: number) =>
      level === 'entries'
        ? encodeEntryBundle(items.slice(0, count))
        : new Uint8Array(Buffer.concat(items.slice(0, count)));
    const others = (partialWidths?.(level, index) ?? []).filter((other) => other < width);
    for (const other of [...others, width]) {
      const path = tilePath({ level, index, width: other });
      const stored =
        (await read(path)) ??
        (other < TILE_WIDTH ? await this.#frontOfFull(level, index, bytesOf(other).length) : null);
      if (!stored) {
        findings.add(
          'error',
          'TILE_MISSING',
          { file: prefix + path },
          'missing; the gateway makes hash tiles again at its next start',
          { index, width: other },
        );
        continue;
      }
      const expected = bytesOf(other);
      if (equalBytes(stored, expected)) continue;
      const position = firstDifference(stored, expected);
      const what =
        level === 'entries' ? 'the bundle' : `hash ${Math.floor(position / HASH_BYTES)} of the tile`;
      findings.add(
        'error',
        'TILE_WRONG',
        { file: prefix + path, position },
        `${what} is not what the blocks lead to`,
        { index, width: other },
      );
    }
  }

  /** A partial tile may be gone once its full one stands (the checkpoint read is then older than the tiles). */
  async #frontOfFull(level: TileId['level'], index: number, bytes: number): Promise<Uint8Array | null> {
    const full = await this.#options.read(tilePath({ level, index, width: TILE_WIDTH }));
    return full?.subarray(0, bytes) ?? null;
  }
}

function firstDifference(a: Uint8Array, b: Uint8Array): number {
  const shorter = Math.min(a.length, b.length);
  for (let at = 0; at < shorter; at += 1) if (a[at] !== b[at]) return at;
  return shorter;
}
