// Owns reading a segment's index files and finding where in the segment to begin. Trusts no entry that the batch it
// points to does not confirm.
import { join } from 'node:path';
import type { BatchHeader } from './batch.ts';
import type { FileWindow } from './file-window.ts';
import { type LogFs, readSmallFile } from './fs.ts';
import { segmentFile } from './layout.ts';
import {
  MAX_INDEX_BYTES,
  type OffsetEntry,
  type ParsedIndex,
  parseOffsetIndex,
  parseTimeIndex,
  type TimeEntry,
} from './segment-index.ts';
import { batchAt } from './walk.ts';

export interface LoadedIndex<Entry> {
  readonly parsed: ParsedIndex<Entry>;
  /** The file as it is; null where there is none that can be read. */
  readonly bytes: Buffer | null;
}

const NOTHING = { entries: [], whole: false };

export async function loadOffsetIndex(
  fs: LogFs,
  folder: string,
  baseOffset: number,
): Promise<LoadedIndex<OffsetEntry>> {
  const bytes = await readIndexFile(fs, join(folder, segmentFile(baseOffset, 'index')));
  return { bytes, parsed: bytes ? parseOffsetIndex(bytes, baseOffset) : NOTHING };
}

export async function loadTimeIndex(
  fs: LogFs,
  folder: string,
  baseOffset: number,
): Promise<LoadedIndex<TimeEntry>> {
  const bytes = await readIndexFile(fs, join(folder, segmentFile(baseOffset, 'timeindex')));
  return { bytes, parsed: bytes ? parseTimeIndex(bytes, baseOffset) : NOTHING };
}

async function readIndexFile(fs: LogFs, path: string): Promise<Buffer | null> {
  // An index that cannot be read is as good as none: the segment has everything.
  return readSmallFile(fs, path, MAX_INDEX_BYTES).catch(() => null);
}

export interface IndexedPlace {
  /** How many entries lead up to and include this one. */
  readonly entries: number;
  readonly header: BatchHeader;
  readonly position: number;
}

/** The last of `entries` whose batch is there and intact, trying a few; null: begin at the segment's start. */
export async function lastConfirmed(
  window: FileWindow,
  baseOffset: number,
  entries: readonly OffsetEntry[],
): Promise<IndexedPlace | null> {
  for (let count = entries.length; count > Math.max(0, entries.length - 4); count--) {
    const entry = entries[count - 1]!;
    const header = await batchAt(window, entry.position);
    if (typeof header === 'string' || header.lastOffset !== entry.lastOffset) continue;
    if (header.baseOffset < baseOffset) continue;
    return { entries: count, header, position: entry.position };
  }
  return null;
}
