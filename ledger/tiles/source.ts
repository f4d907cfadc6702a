// Reads the block log's files from a directory, by the paths C2SP tlog-tiles gives them and no others. Never writes.
import { readdir, readFile } from 'node:fs/promises';
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
  type TileReader,
  tilePath,
} from '../format/tile.ts';

function isLogPath(path: string): boolean {
  if (path === CHECKPOINT_PATH || path === FINAL_CHECKPOINT_PATH) return true;
  try {
    parseTilePath(path);
    return true;
  } catch (error) {
    if (error instanceof FormatError) return false;
    throw error;
  }
}

/** Files below `<dataDir>/ledger`; null for what is not there and for any path that is not of the log. */
export function directoryTiles(ledgerDir: string): TileReader {
  return async (path) =>
    isLogPath(path) ? ((await fileOrNull(join(ledgerDir, path))) ?? fromWider(ledgerDir, path)) : null;
}

async function fileOrNull(path: string): Promise<Buffer | null> {
  return readFile(path).catch((error: unknown) => ifMissing(error, null));
}

function ifMissing<T>(error: unknown, value: T): T {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT' || code === 'ENOTDIR') return value;
  throw error;
}

/** A partial tile is the front of every wider one: the sealer keeps few, and who asks by an older checkpoint gets it from those. */
async function fromWider(ledgerDir: string, path: string): Promise<Uint8Array | null> {
  if (!path.startsWith('tile/')) return null;
  const tile = parseTilePath(path);
  if (tile.width === TILE_WIDTH) return null;
  const names = await readdir(dirname(join(ledgerDir, path))).catch((error: unknown) => ifMissing(error, []));
  const wider = names.map(Number).filter((width) => width > tile.width && width < TILE_WIDTH);
  for (const width of [...wider.sort((a, b) => a - b), TILE_WIDTH]) {
    // It may go meanwhile, for one wider still.
    const bytes = await fileOrNull(join(ledgerDir, tilePath({ ...tile, width })));
    if (!bytes) continue;
    if (tile.level !== 'entries') return bytes.subarray(0, tile.width * HASH_BYTES);
    try {
      return encodeEntryBundle(decodeEntryBundle(bytes, width).slice(0, tile.width));
    } catch (error) {
      // Damaged: none of this one, as if it were not there.
      if (!(error instanceof FormatError)) throw error;
    }
  }
  return null;
}

/** A full tile or bundle never changes, so the last `maxFiles` of them are kept; everything else is read anew. */
export function cachedTiles(read: TileReader, maxFiles = 64): TileReader {
  const kept = new Map<string, Uint8Array>();
  return async (path) => {
    const known = kept.get(path);
    if (known) {
      kept.delete(path);
      kept.set(path, known);
      return known;
    }
    const bytes = await read(path);
    if (bytes && path.startsWith('tile/') && isLogPath(path) && parseTilePath(path).width === TILE_WIDTH) {
      if (kept.size >= maxFiles) kept.delete(kept.keys().next().value!);
      kept.set(path, bytes);
    }
    return bytes;
  };
}
