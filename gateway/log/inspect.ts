// Owns finding out what one segment file holds when the log is opened: how far it is good, what is damaged, what is
// torn, and its indexes. Changes nothing; recovery.ts acts on the findings.
import { join } from 'node:path';
import { crc32c } from '@node-rs/crc32';
import type { Offset } from '../../ledger/format/brand.ts';
import { FileWindow } from './file-window.ts';
import type { LogFs } from './fs.ts';
import { lastConfirmed, loadOffsetIndex, loadTimeIndex } from './index-load.ts';
import { readKeyIndexHeader } from './key-index-file.ts';
import { segmentFile } from './layout.ts';
import { endOfData, findResumption } from './salvage.ts';
import { IndexBuilder } from './segment-index.ts';
import type { SegmentDamage } from './types.ts';
import { type WalkEnd, walk } from './walk.ts';

export interface Inspection {
  readonly baseOffset: number;
  readonly sizeBytes: number;
  readonly createdMs: number;
  readonly modifiedMs: number;
  /** First byte after the last good batch, and the offset that comes there. */
  readonly position: number;
  readonly offset: number;
  /** Why reading stopped there: 'end' when nothing but zeros follows. */
  readonly fault: WalkEnd['fault'];
  /** One past the last byte after `position` that is not zero; `position` when there is none. */
  readonly dataEnd: number;
  /** Up to here the indexes vouch that it was durable: they get no entry before that. */
  readonly durableTo: number;
  readonly damage: SegmentDamage[];
  readonly builder: IndexBuilder;
  /** The index files agree with the segment as far as they go. */
  readonly indexGood: boolean;
  /** … and are complete, as those of a closed segment must be. */
  readonly indexComplete: boolean;
}

/** Reads from the last indexed position on; all of the segment where its indexes are missing or wrong. */
export async function inspectSegment(
  fs: LogFs,
  folder: string,
  baseOffset: number,
  indexIntervalBytes: number,
): Promise<Inspection> {
  const file = segmentFile(baseOffset, 'log');
  const path = join(folder, file);
  const { sizeBytes, createdMs, modifiedMs } = await fs.stat(path);
  const fd = await fs.open(path, 'read');
  try {
    const window = new FileWindow(fs, fd);
    const offsets = await loadOffsetIndex(fs, folder, baseOffset);
    const times = await loadTimeIndex(fs, folder, baseOffset);
    const entries = offsets.parsed.entries;
    const timesWhole =
      times.parsed.whole && (await isVouched(fs, folder, baseOffset, sizeBytes, times.bytes));
    const place = timesWhole ? await lastConfirmed(window, baseOffset, entries) : null;
    const builder = new IndexBuilder(baseOffset, indexIntervalBytes);
    let stop: WalkEnd = { position: 0, offset: baseOffset, fault: 'end' };
    let durableTo = 0;
    const earlier = times.parsed.entries.filter(
      (entry) => place && entry.lastOffset <= place.header.lastOffset,
    );
    if (place && builder.resume(entries.slice(0, place.entries), earlier, place.header)) {
      stop = {
        ...stop,
        position: place.position + place.header.sizeBytes,
        offset: place.header.lastOffset + 1,
      };
      durableTo = stop.position;
    }
    const damage: SegmentDamage[] = [];
    let dataEnd = 0;
    for (;;) {
      stop = await walk(window, stop.position, stop.offset, (header, position) => {
        builder.add(header, position);
      });
      dataEnd = await endOfData(window, stop.position, sizeBytes);
      if (dataEnd === stop.position) {
        stop = { ...stop, fault: 'end' };
        break;
      }
      const next = await findResumption(window, stop, dataEnd, entries);
      if (!next) break;
      damage.push(damaged(file, stop, next.position, next.offset, stop.fault));
      stop = { ...stop, ...next };
    }
    const offsetBytes = builder.offsetBytes;
    const timeBytes = builder.closedTimeBytes();
    return {
      baseOffset,
      sizeBytes,
      createdMs,
      modifiedMs,
      position: stop.position,
      offset: stop.offset,
      fault: stop.fault,
      dataEnd,
      durableTo,
      damage,
      builder,
      indexGood: isPrefix(offsets.bytes, offsetBytes) && isPrefix(times.bytes, timeBytes),
      indexComplete: offsets.bytes?.equals(offsetBytes) === true && times.bytes?.equals(timeBytes) === true,
    };
  } finally {
    await fs.close(fd);
  }
}

/**
 * Whether the time index is the one that the segment's key index vouches for, if it does. One that lost entries at its
 * end can look whole: nothing in it says how many there were.
 */
async function isVouched(
  fs: LogFs,
  folder: string,
  baseOffset: number,
  segmentBytes: number,
  timeIndex: Buffer | null,
): Promise<boolean> {
  const keys = await readKeyIndexHeader(fs, join(folder, segmentFile(baseOffset, 'keys')));
  if (keys?.baseOffset !== baseOffset || keys.segmentBytes !== segmentBytes || keys.timeIndexCrc === null)
    return true;
  return timeIndex !== null && crc32c(timeIndex) === keys.timeIndexCrc;
}

export function damaged(
  file: string,
  stop: WalkEnd,
  end: number,
  resume: number,
  reason: string,
): SegmentDamage {
  return {
    file,
    position: stop.position,
    bytes: end - stop.position,
    offset: stop.offset as Offset,
    resume: resume as Offset,
    reason,
  };
}

function isPrefix(part: Buffer | null, whole: Buffer): boolean {
  return part !== null && part.length <= whole.length && part.equals(whole.subarray(0, part.length));
}
