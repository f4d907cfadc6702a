// The ledger folder as the checker sees it: its files by path, which partial tiles there are, what does not belong.
// Reads only; shares nothing with the writer.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { FormatError } from '../format/errors.ts';
import { HASH_BYTES } from '../format/hash.ts';
import {
  CHECKPOINT_PATH,
  decodeEntryBundle,
  encodeEntryBundle,
  FINAL_CHECKPOINT_PATH,
  parseTilePath,
  TILE_WIDTH,
  type TileId,
  type TileReader,
  tilePath,
} from '../format/tile.ts';

/** Unfinished files of the sealer; a crash may leave some, the next start removes them. */
const INCOMING = '.incoming';

export function ledgerFolder(dataDir: string): string {
  return join(dataDir, 'ledger');
}

/**
 * Files of a ledger by path. Of partial tiles the sealer keeps few, and goes on while it is looked at: one that is not there
 * (any more) is read from the front of a wider one.
 */
export function directoryReader(folder: string): TileReader {
  return async (path) => readOrNull(join(folder, path)) ?? frontOfWider(folder, path);
}

function frontOfWider(folder: string, path: string): Uint8Array | null {
  const tile = tileAt(path);
  if (!tile || tile.width === TILE_WIDTH) return null;
  const names = [...filesBelow(dirname(join(folder, path)), '')].map(Number);
  const wider = names.filter((width) => width > tile.width && width < TILE_WIDTH).sort((a, b) => a - b);
  for (const width of [...wider, TILE_WIDTH]) {
    const bytes = readOrNull(join(folder, tilePath({ ...tile, width })));
    if (!bytes) continue;
    if (tile.level !== 'entries') return bytes.subarray(0, tile.width * HASH_BYTES);
    try {
      return encodeEntryBundle(decodeEntryBundle(bytes, width).slice(0, tile.width));
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
    }
  }
  return null;
}

export function readOrNull(path: string): Uint8Array | null {
  try {
    return readFileSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw error;
  }
}

export interface LedgerListing {
  readonly tiles: readonly TileId[];
  /** Paths that are no tile's. */
  readonly strays: readonly string[];
  partialWidths(level: TileId['level'], index: number): readonly number[];
}

export function listLedger(folder: string): LedgerListing {
  const tiles: TileId[] = [];
  const strays: string[] = [];
  const partials = new Map<string, number[]>();
  for (const path of filesBelow(folder, '')) {
    if (path === CHECKPOINT_PATH || path === FINAL_CHECKPOINT_PATH) continue;
    if (path.startsWith(`${INCOMING}/`)) continue;
    const tile = tileAt(path);
    if (!tile) {
      strays.push(path);
      continue;
    }
    tiles.push(tile);
    if (tile.width === TILE_WIDTH) continue;
    const key = `${tile.level}/${tile.index}`;
    const widths = partials.get(key) ?? [];
    widths.push(tile.width);
    partials.set(key, widths);
  }
  for (const widths of partials.values()) widths.sort((a, b) => a - b);
  return { tiles, strays, partialWidths: (level, index) => partials.get(`${level}/${index}`) ?? [] };
}

function tileAt(path: string): TileId | null {
  try {
    return parseTilePath(path);
  } catch (error) {
    if (error instanceof FormatError) return null;
    throw error;
  }
}

function* filesBelow(folder: string, prefix: string): Generator<string> {
  let entries: { name: string; isDirectory(): boolean }[];
  try {
    entries = readdirSync(folder, { withFileTypes: true });
  } catch (error) {
    // Partial tiles may be cleared away while we look.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  for (const entry of entries) {
    const path = prefix + entry.name;
    if (entry.isDirectory()) yield* filesBelow(join(folder, entry.name), `${path}/`);
    else yield path;
  }
}
