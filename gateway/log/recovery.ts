// Owns putting the log folder in order when the writer opens it: cuts a torn tail, trims leftover zeros, makes bad
// indexes again, and reports damage, which it keeps. Runs under the directory lock, before anything is appended.
import { join } from 'node:path';
import type { Offset } from '../../ledger/format/brand.ts';
import type { SegmentState } from './active-segment.ts';
import { datasync, type FsError, isDiskFull, type LogFs, readFully, writeFully } from './fs.ts';
import { replaceIndexFiles } from './index-files.ts';
import { damaged, type Inspection, inspectSegment } from './inspect.ts';
import { listSegments, segmentFile } from './layout.ts';
import { readShutdownMarker, removeShutdownMarker } from './shutdown-marker.ts';
import type { Recovery, SegmentDamage } from './types.ts';

/**
 * No batch in flight is larger than this (the limits of config.ts plus its frame), so no torn tail is either: more than
 * that which cannot be read is damage.
 */
export const MAX_TORN_BYTES = 17 * 1024 * 1024;
const REWRITE_PIECE_BYTES = 1024 * 1024;

const INDEX = /^(\d{20})\.[a-z]*index$/;

export interface ClosedSegment {
  readonly baseOffset: number;
  /** One past its last offset. */
  readonly endOffset: number;
  /** Changes when retention puts a smaller one in its place. */
  sizeBytes: number;
  readonly maxEventMs: number | null;
  readonly lastWrittenMs: number;
}

export interface RecoveredLog {
  readonly closed: ClosedSegment[];
  /** The segment to go on with; null: begin a new one at `end`. */
  readonly active: SegmentState | null;
  readonly end: number;
  readonly recovery: Recovery;
}

interface Findings {
  truncatedBytes: number;
  readonly damage: SegmentDamage[];
  readonly rebuilt: string[];
}

/** Errors of the disk come through as they are: a log that cannot be read through is not opened. */
export async function recoverLog(
  fs: LogFs,
  folder: string,
  indexIntervalBytes: number,
): Promise<RecoveredLog> {
  const began = performance.now();
  const marker = await readShutdownMarker(fs, folder);
  // A killed run may have begun a segment whose name is not on the disk yet: what is appended to it now would go with it.
  if (marker === null) await fs.syncDirectory(folder);
  const bases = await dropLeftovers(fs, folder, await listSegments(fs, folder), indexIntervalBytes);
  await dropOrphans(fs, folder, bases[0] ?? 0);
  const findings: Findings = { truncatedBytes: 0, damage: [], rebuilt: [] };
  const closed: ClosedSegment[] = [];
  for (const [index, base] of bases.slice(0, -1).entries()) {
    const inspection = await inspectSegment(fs, folder, base, indexIntervalBytes);
    closed.push(await putClosedInOrder(fs, folder, inspection, bases[index + 1]!, findings));
  }

  let end = 0;
  let active: SegmentState | null = null;
  let inspected: Inspection | null = null;
  const last = bases.at(-1);
  if (last !== undefined) {
    const inspection = await inspectSegment(fs, folder, last, indexIntervalBytes);
    const cleanEnd = marker && marker.segment === last ? marker.end : null;
    const outcome = await putLastInOrder(fs, folder, inspection, cleanEnd, findings);
    end = outcome.end;
    if (outcome.keep) {
      const { baseOffset, position, createdMs, modifiedMs, builder } = inspection;
      const allocatedEnd = outcome.sizeBytes;
      active = { baseOffset, position, allocatedEnd, createdMs, lastWrittenMs: modifiedMs, builder };
    } else if (outcome.sizeBytes > 0) closed.push(closedSegment(inspection, end, outcome.sizeBytes));
    inspected = inspection;
  }
  if (marker && marker.end > end) {
    // The last run closed the log further on than anything that is left. Its offsets are spent.
    const file = segmentFile(marker.segment, 'log');
    const stop = { position: 0, offset: end, fault: 'end' } as const;
    if (last !== marker.segment)
      findings.damage.push(damaged(file, stop, marker.sizeBytes, marker.end, 'file is missing'));
    end = marker.end;
    if (active && inspected) closed.push(closedSegment(inspected, end, active.position));
    active = null;
  }
  // A crash before this leaves the marker of an unchanged log; after it, the next start knows that it was a crash.
  await removeShutdownMarker(fs, folder);
  const recovery: Recovery = {
    unclean: marker === null && last !== undefined,
    truncatedBytes: findings.truncatedBytes,
    at: end as Offset,
    damage: findings.damage,
    rebuiltIndexes: findings.rebuilt,
    tookMs: performance.now() - began,
  };
  return { closed, active, end, recovery };
}

/**
 * Removes empty segments that begin inside the one before: left where a new segment could not be begun (its removal may
 * not have reached the disk) and the old one grew on.
 */
async function dropLeftovers(
  fs: LogFs,
  folder: string,
  bases: readonly number[],
  indexIntervalBytes: number,
): Promise<number[]> {
  const kept: number[] = [];
  for (const base of bases) {
    const path = join(folder, segmentFile(base, 'log'));
    const before = kept.at(-1);
    if (before !== undefined && (await fs.stat(path)).sizeBytes === 0) {
      const { offset } = await inspectSegment(fs, folder, before, indexIntervalBytes);
      if (offset > base) {
        await fs.unlink(path);
        await fs.syncDirectory(folder);
        continue;
      }
    }
    kept.push(base);
  }
  return kept;
}

/** Removes indexes before the first segment: theirs was dropped, and a crash kept them from going with it. */
async function dropOrphans(fs: LogFs, folder: string, start: number): Promise<void> {
  for (const name of await fs.readdir(folder)) {
    const base = INDEX.exec(name)?.[1];
    if (base !== undefined && Number(base) < start) await fs.unlink(join(folder, name)).catch(() => {});
  }
}

/** A closed segment must end where the next one begins; whatever else it ends in is damage, except zeros. */
async function putClosedInOrder(
  fs: LogFs,
  folder: string,
  inspection: Inspection,
  nextBase: number,
  findings: Findings,
): Promise<ClosedSegment> {
  const { baseOffset, position, offset, dataEnd, fault } = inspection;
  const file = segmentFile(baseOffset, 'log');
  findings.damage.push(...inspection.damage);
  if (dataEnd > position) {
    findings.damage.push(damaged(file, inspection, dataEnd, nextBase, fault));
  } else if (offset !== nextBase) {
    findings.damage.push(
      damaged(file, inspection, position, nextBase, `ends at offset ${offset}, not ${nextBase}`),
    );
  } else if (inspection.sizeBytes > position) {
    // A crash between beginning the next segment and cutting this one's zeros.
    await cut(fs, join(folder, file), position);
  }
  if (!inspection.indexComplete) {
    inspection.builder.addTime();
    await replaceIndexFiles(fs, folder, inspection.builder);
    findings.rebuilt.push(segmentFile(baseOffset, 'index'), segmentFile(baseOffset, 'timeindex'));
  }
  return closedSegment(inspection, nextBase, Math.max(position, dataEnd));
}

function closedSegment(inspection: Inspection, endOffset: number, sizeBytes: number): ClosedSegment {
  const { baseOffset, modifiedMs, builder } = inspection;
  const maxEventMs = Number.isFinite(builder.maxTimestamp) ? builder.maxTimestamp : null;
  return { baseOffset, endOffset, sizeBytes, maxEventMs, lastWrittenMs: modifiedMs };
}

/**
 * Cuts what a crash left after the last good batch. After a clean shutdown (`cleanEnd` known) nothing can be torn: then,
 * and where there is damage, the segment is kept as it is and `keep` is false.
 */
async function putLastInOrder(
  fs: LogFs,
  folder: string,
  inspection: Inspection,
  cleanEnd: number | null,
  findings: Findings,
): Promise<{ keep: boolean; end: number; sizeBytes: number }> {
  const { baseOffset, position, offset, dataEnd, fault } = inspection;
  const file = segmentFile(baseOffset, 'log');
  const path = join(folder, file);
  findings.damage.push(...inspection.damage);
  if (!inspection.indexGood && inspection.builder.offsetBytes.length > 0) {
    findings.rebuilt.push(segmentFile(baseOffset, 'index'), segmentFile(baseOffset, 'timeindex'));
  }
  let end = offset;
  let keep = inspection.damage.length === 0;
  let sizeBytes = inspection.sizeBytes;
  const unreadable = dataEnd - position;
  if (cleanEnd !== null && (unreadable > 0 || offset < cleanEnd)) {
    end = Math.max(offset, cleanEnd);
    findings.damage.push(
      damaged(file, inspection, dataEnd, end, unreadable > 0 ? fault : 'bytes are missing'),
    );
    keep = false;
  } else if (unreadable > MAX_TORN_BYTES) {
    findings.damage.push(damaged(file, inspection, dataEnd, end, fault));
    keep = false;
  } else if (unreadable > 0) {
    // Never acknowledged: the sync that would have covered it did not return.
    findings.truncatedBytes += unreadable;
    await cut(fs, path, position);
    sizeBytes = position;
  }
  if (cleanEnd === null && unreadable <= MAX_TORN_BYTES) {
    // What was read may still be only in the page cache of a killed process: it counts as durable from here on.
    await writeAgain(fs, path, inspection.durableTo, position);
    await sync(fs, path);
  } else if (unreadable === 0) await sync(fs, path);
  if (!keep) {
    await sync(fs, path);
    if (end === baseOffset) {
      // Not one record of it can be read, and the name is needed.
      await setAside(fs, folder, file);
      return { keep, end, sizeBytes: 0 };
    }
    inspection.builder.addTime();
    await replaceIndexFiles(fs, folder, inspection.builder);
  }
  return { keep, end, sizeBytes };
}

async function cut(fs: LogFs, path: string, sizeBytes: number): Promise<void> {
  const fd = await fs.open(path, 'write');
  try {
    await fs.ftruncate(fd, sizeBytes);
    await datasync(fs, fd);
  } finally {
    await fs.close(fd);
  }
}

async function sync(fs: LogFs, path: string): Promise<void> {
  const fd = await fs.open(path, 'write');
  try {
    await datasync(fs, fd);
  } finally {
    await fs.close(fd);
  }
}

/**
 * Writes bytes [from, to) over themselves. Where the last run died of a failed sync the system may hold them for clean: it
 * shows them until it needs the memory, and no sync brings them to the disk. The batch in flight can be such, and with
 * `log.sync: {intervalMs}` all since the last sync; what the indexes have an entry for cannot.
 */
async function writeAgain(fs: LogFs, path: string, from: number, to: number): Promise<void> {
  if (from >= to) return;
  const bytes = Buffer.alloc(Math.min(to - from, REWRITE_PIECE_BYTES));
  const fd = await fs.open(path, 'write');
  try {
    for (let at = from; at < to; ) {
      const read = await readFully(fs, fd, bytes, Math.min(bytes.length, to - at), at);
      if (read === 0) return;
      await writeFully(fs, fd, bytes.subarray(0, read), at);
      at += read;
    }
  } catch (error) {
    // A file system that never writes in place wants new space even for this; being full must not keep the log shut.
    if (!isDiskFull(error as FsError)) throw error;
  } finally {
    await fs.close(fd);
  }
}

async function setAside(fs: LogFs, folder: string, file: string): Promise<void> {
  const taken = new Set(await fs.readdir(folder));
  for (let number = 1; ; number++) {
    const name = `${file}.damaged-${number}`;
    if (taken.has(name)) continue;
    await fs.rename(join(folder, file), join(folder, name));
    await fs.syncDirectory(folder);
    return;
  }
}
