// Owns the files `log/<base offset>.leaves`: leaf hashes of removed records whose block still has records held from that
// segment on. Trusts none of them: whoever uses a hash recomputes the sealed batch root with it.
import { join } from 'node:path';
import { FormatError } from '../../../ledger/format/errors.ts';
import {
  decodeLeaves,
  encodeLeaves,
  type LeafRun,
  leavesOf,
  mergeLeaves,
} from '../../../ledger/format/leaves.ts';
import { type LogFs, readSmallFile, realFs, replaceFile } from '../fs.ts';
import { listSegments, logFolder, segmentFile } from '../layout.ts';

/** 32 bytes for each of the records a segment of 1 GiB may hold, with room to spare. */
const MAX_LEAVES_BYTES = 512 * 1024 * 1024;

const pathOf = (folder: string, baseOffset: number) =>
  join(folder, segmentFile(baseOffset, 'log')).replace(/log$/, 'leaves');

/** Runs of the file; none where there is no file, or none that can be read. */
export async function readLeaves(fs: LogFs, folder: string, baseOffset: number): Promise<LeafRun[]> {
  const bytes = await readSmallFile(fs, pathOf(folder, baseOffset), MAX_LEAVES_BYTES).catch(() => null);
  if (!bytes) return [];
  try {
    return decodeLeaves(bytes);
  } catch (error) {
    if (error instanceof FormatError) return [];
    throw error;
  }
}

/** Adds runs to the file; the old or the new one is there after a crash. */
export async function addLeaves(
  fs: LogFs,
  folder: string,
  baseOffset: number,
  runs: readonly LeafRun[],
): Promise<void> {
  if (runs.length === 0) return;
  const merged = mergeLeaves(await readLeaves(fs, folder, baseOffset), runs);
  await replaceFile(fs, pathOf(folder, baseOffset), encodeLeaves(merged));
}

/** Hashes of removed records in [from, to) that were kept, by offset. */
export async function findLeaves(
  fs: LogFs,
  folder: string,
  from: number,
  to: number,
): Promise<Map<number, Uint8Array>> {
  const found = new Map<number, Uint8Array>();
  const bases = await listSegments(fs, folder);
  for (const [index, base] of bases.entries()) {
    // A file holds hashes of its own segment, and those of the block that reaches into it from before.
    const next = bases[index + 1] ?? Number.POSITIVE_INFINITY;
    if (next <= from || (base >= to && index > 0)) continue;
    for (const { offset, hash } of leavesOf(await readLeaves(fs, folder, base), from, to))
      found.set(offset, hash);
  }
  return found;
}

/** `findLeaves` for who makes proofs of this data directory. */
export function leafSource(
  dataDir: string,
  fs: LogFs = realFs,
): (from: number, to: number) => Promise<Map<number, Uint8Array>> {
  return (from, to) => findLeaves(fs, logFolder(dataDir), from, to);
}
