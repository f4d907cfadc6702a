// C2SP tlog-tiles: which tiles a tree has, their paths, and entry bundles. Reads and writes no files.

import { parseDecimal } from './decimal.ts';
import { FormatError } from './errors.ts';
import { HASH_BYTES } from './hash.ts';

/** Hashes in a full tile, entries in a full bundle. */
export const TILE_WIDTH = 256;
export const CHECKPOINT_PATH = 'checkpoint';
/** Beside it: the newest checkpoint that a quorum has cosigned, while the newest of all may still be pending. */
export const FINAL_CHECKPOINT_PATH = 'checkpoint.final';

/** Bytes at a path below the log's prefix (`checkpoint`, `tile/0/000`), or null where there is nothing. */
export type TileReader = (path: string) => Promise<Uint8Array | null>;

export interface TileId {
  readonly level: number | 'entries';
  readonly index: number;
  /** 1..256; less than 256 is a partial tile. */
  readonly width: number;
}

/*
 * path = "tile/" ( level | "entries" ) "/" index [ ".p/" width ]
 * index: groups of three digits, all but the last begin with "x": 1234067 = x001/x234/067
 */
export function tilePath(tile: TileId): string {
  const { level, index, width } = tile;
  const knownLevel = level === 'entries' || (Number.isInteger(level) && level >= 0 && level <= 63);
  if (
    !knownLevel ||
    !Number.isSafeInteger(index) ||
    index < 0 ||
    !Number.isInteger(width) ||
    width < 1 ||
    width > TILE_WIDTH
  ) {
    throw new FormatError('TILE_PATH_INVALID', 'no such tile', { facts: { level, index, width } });
  }
  const digits = String(index);
  const padded = digits.padStart(Math.ceil(digits.length / 3) * 3, '0');
  const groups = padded.match(/.{3}/g) ?? [];
  const number = groups.map((group, i) => (i < groups.length - 1 ? `x${group}` : group)).join('/');
  return `tile/${level}/${number}${width < TILE_WIDTH ? `.p/${width}` : ''}`;
}

/** Reads a tile path strictly (one spelling per tile). Throws TILE_PATH_INVALID. */
export function parseTilePath(path: string): TileId {
  const match =
    /^tile\/(entries|[0-9]{1,2})\/((?:x[0-9]{3}\/){0,5}[0-9]{3})(?:\.p\/([1-9][0-9]{0,2}))?$/.exec(path);
  if (match) {
    const level = match[1] === 'entries' ? 'entries' : Number(match[1]);
    const index = Number(match[2]!.replaceAll(/[x/]/g, ''));
    const width =
      match[3] === undefined ? TILE_WIDTH : parseDecimal(match[3], 'tile width', 'TILE_PATH_INVALID');
    const tile: TileId = { level, index, width };
    const sound = Number.isSafeInteger(index) && width <= TILE_WIDTH && (level === 'entries' || level <= 63);
    if (sound && tilePath(tile) === path) return tile;
  }
  throw new FormatError('TILE_PATH_INVALID', `not a tile path: ${path.slice(0, 100)}`, {
    facts: { path: path.slice(0, 100) },
  });
}

/** Leaves under one hash of a tile at this level: 256^level. */
export function leavesPerHash(level: number): number {
  return TILE_WIDTH ** level;
}

/** Hashes that a level holds in a tree of `size` leaves. */
export function levelLength(level: number, size: number): number {
  return Math.floor(size / leavesPerHash(level));
}

/** The tile `index` of a level as it stands in a tree of `size`: its width then, or 0 when it is not there. */
export function tileWidth(level: number | 'entries', index: number, size: number): number {
  const length = levelLength(level === 'entries' ? 0 : level, size);
  return Math.max(0, Math.min(TILE_WIDTH, length - index * TILE_WIDTH));
}

/**
 * Tiles and bundles that are new or wider in a tree of `newSize` compared with `oldSize`: what a writer must
 * store before it signs the new size. Entries first, then levels upwards, indexes ascending.
 */
export function newTiles(oldSize: number, newSize: number): TileId[] {
  const tiles: TileId[] = [];
  const addLevel = (level: number | 'entries') => {
    const scale = level === 'entries' ? 0 : level;
    const before = levelLength(scale, oldSize);
    const after = levelLength(scale, newSize);
    for (let index = Math.floor(before / TILE_WIDTH); before < after && index * TILE_WIDTH < after; index++) {
      tiles.push({ level, index, width: tileWidth(level, index, newSize) });
    }
    return after;
  };
  addLevel('entries');
  for (let level = 0; addLevel(level) > 0; level++);
  return tiles;
}

/** Hashes of a tile, views into its bytes. Throws TILE_INVALID when it does not hold exactly `width`. */
export function tileHashes(bytes: Uint8Array, width: number): Uint8Array[] {
  if (bytes.length !== width * HASH_BYTES) {
    throw new FormatError('TILE_INVALID', `a tile of ${width} hashes has ${bytes.length} bytes`, {
      facts: { width, bytes: bytes.length },
    });
  }
  return Array.from({ length: width }, (_, i) => bytes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES));
}

/*
 * bundle = ( u16 big-endian length, entry bytes )*        1..256 entries
 */
export function encodeEntryBundle(entries: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(entries.reduce((sum, entry) => sum + 2 + entry.length, 0));
  let at = 0;
  for (const entry of entries) {
    if (entry.length > 0xffff) throw new FormatError('BUNDLE_INVALID', `an entry has ${entry.length} bytes`);
    bytes[at] = entry.length >>> 8;
    bytes[at + 1] = entry.length;
    bytes.set(entry, at + 2);
    at += 2 + entry.length;
  }
  return bytes;
}

/** Entries of a bundle, views into its bytes. Throws BUNDLE_INVALID unless it is exactly `width` whole entries. */
export function decodeEntryBundle(bytes: Uint8Array, width: number): Uint8Array[] {
  const entries: Uint8Array[] = [];
  let at = 0;
  while (at < bytes.length) {
    const begin = at + 2;
    const end = begin + ((bytes[at]! << 8) | (bytes[at + 1] ?? 0));
    if (begin > bytes.length || end > bytes.length || entries.length === TILE_WIDTH) {
      throw new FormatError('BUNDLE_INVALID', `an entry bundle is cut short or too long at byte ${at}`, {
        facts: { at },
      });
    }
    entries.push(bytes.subarray(begin, end));
    at = end;
  }
  if (entries.length !== width) {
    throw new FormatError('BUNDLE_INVALID', `an entry bundle holds ${entries.length} entries, not ${width}`, {
      facts: { entries: entries.length, width },
    });
  }
  return entries;
}
