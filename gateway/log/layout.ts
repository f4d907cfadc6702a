// Owns the names of the files in `<dataDir>/log`. Touches no file contents.
//
//   <20-digit base offset>.log        record batches, the last segment with zeros after its end
//   <20-digit base offset>.index      sparse offset index       (segment-index.ts)
//   <20-digit base offset>.timeindex  sparse time index
//   <20-digit base offset>.keys       spans and keys of a closed segment (key-index.ts)
//   clean                             marker of a clean shutdown (shutdown-marker.ts)
//   reserve                           space kept for others on a full disk (disk-room.ts)
import { join } from 'node:path';
import { isMissing, type LogFs } from './fs.ts';

const SEGMENT = /^(\d{20})\.log$/;

export function logFolder(dataDir: string): string {
  return join(dataDir, 'log');
}

export type SegmentFileKind = 'log' | 'index' | 'timeindex' | 'keys';

export function segmentFile(baseOffset: number, kind: SegmentFileKind): string {
  return `${String(baseOffset).padStart(20, '0')}.${kind}`;
}

/** Base offsets of the segments in the folder, ascending; none when the folder does not exist. */
export async function listSegments(fs: LogFs, folder: string): Promise<number[]> {
  let names: string[];
  try {
    names = await fs.readdir(folder);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
  return names
    .map((name) => SEGMENT.exec(name)?.[1])
    .filter((digits) => digits !== undefined)
    .map(Number)
    .filter(Number.isSafeInteger)
    .sort((a, b) => a - b);
}

/** Index of the last element that is at most `value`, or -1. */
export function lastAtMost(sorted: readonly number[], value: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
