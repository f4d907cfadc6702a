// Reads the block log's files from a directory, by the paths C2SP tlog-tiles gives them and no others. Never writes.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { FormatError } from '../format/errors.ts';
import { CHECKPOINT_PATH, parseTilePath, TILE_WIDTH, type TileReader } from '../format/tile.ts';

function isLogPath(path: string): boolean {
  if (path === CHECKPOINT_PATH) return true;
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
  return async (path) => {
    if (!isLogPath(path)) return null;
    try {
      return await readFile(join(ledgerDir, path));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' || code === 'ENOTDIR') return null;
      throw error;
    }
  };
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
    if (bytes && isLogPath(path) && path !== CHECKPOINT_PATH && parseTilePath(path).width === TILE_WIDTH) {
      if (kept.size >= maxFiles) kept.delete(kept.keys().next().value!);
      kept.set(path, bytes);
    }
    return bytes;
  };
}
