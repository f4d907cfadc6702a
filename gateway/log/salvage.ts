// Owns the judgement of what follows a place in a segment where no batch can be read: nothing (zeros), a torn write,
// or damage with good batches after it. Changes nothing on disk.
//
// What it rests on: the writer never has more than one batch in flight, so a batch that was cut short by a crash
// has nothing after it. Payloads may hold anything, also the bytes of a well-formed batch: a good batch found by
// search counts only where no torn batch can contain it.
import { type BatchHeader, HEADER_BYTES, MAX_BATCH_BYTES, readHeader } from './batch.ts';
import type { FileWindow } from './file-window.ts';
import type { OffsetEntry } from './segment-index.ts';
import { ByteReader, FormFault } from './varint.ts';
import { batchAt, type WalkEnd, walk } from './walk.ts';

const READ_BYTES = 256 * 1024;

export interface Resumption {
  readonly position: number;
  readonly offset: number;
}

/** One past the last byte that is not zero in [from, to), or `from`. */
export async function endOfData(window: FileWindow, from: number, to: number): Promise<number> {
  let end = from;
  for (let at = from; at < to; ) {
    const present = Math.min(await window.load(at, 1, READ_BYTES), to - at);
    if (present === 0) break;
    for (let index = present - 1; index >= 0; index--) {
      if (window.bytes[window.at(at) + index] !== 0) {
        end = at + index + 1;
        break;
      }
    }
    at += present;
  }
  return end;
}

/**
 * Where reading can go on after `stop`, or null when nothing after it can be told apart from a torn write.
 * `entries` are the segment's index entries: the writer adds one only after its batch is durable, so one that
 * points past `stop` at a good batch settles the matter.
 */
export async function findResumption(
  window: FileWindow,
  stop: WalkEnd,
  dataEnd: number,
  entries: readonly OffsetEntry[],
): Promise<Resumption | null> {
  const claimed = await claimedEnd(window, stop);
  if (claimed !== null) {
    const next = await follower(window, claimed, stop);
    if (next) return next;
  }
  const walked = await endByRecords(window, stop, dataEnd);
  if (walked !== null && walked !== claimed) {
    const next = await follower(window, walked, stop);
    if (next) return next;
  }
  const indexed = await firstIndexed(window, stop, entries);
  return (await search(window, stop, indexed?.position ?? dataEnd, claimed)) ?? indexed;
}

/** Where the unreadable batch says it ends, when its header otherwise looks like the one expected. */
async function claimedEnd(window: FileWindow, stop: WalkEnd): Promise<number | null> {
  const present = await window.load(stop.position, HEADER_BYTES, READ_BYTES);
  const at = window.at(stop.position);
  const header = readHeader(window.bytes, at, at + present);
  if (typeof header === 'string' || header.baseOffset !== stop.offset) return null;
  return stop.position + header.sizeBytes;
}

async function follower(window: FileWindow, position: number, stop: WalkEnd): Promise<Resumption | null> {
  const header = await batchAt(window, position);
  return isLater(header, stop) ? { position, offset: header.baseOffset } : null;
}

function isLater(header: BatchHeader | string, stop: WalkEnd): header is BatchHeader {
  // At least one record was in what cannot be read; far-off offsets are no continuation either.
  return (
    typeof header !== 'string' && header.baseOffset > stop.offset && header.baseOffset - stop.offset < 2 ** 31
  );
}

async function firstIndexed(
  window: FileWindow,
  stop: WalkEnd,
  entries: readonly OffsetEntry[],
): Promise<Resumption | null> {
  for (const entry of entries) {
    if (entry.position <= stop.position) continue;
    const header = await batchAt(window, entry.position);
    if (isLater(header, stop) && header.lastOffset === entry.lastOffset) {
      return { position: entry.position, offset: header.baseOffset };
    }
  }
  return null;
}

/**
 * Looks at every byte of [stop, until) for a good batch from which good batches follow up to `until` (the end of the
 * data, or a batch the index vouches for). Inside what the unreadable batch claims as its own nothing counts.
 */
async function search(
  window: FileWindow,
  stop: WalkEnd,
  until: number,
  claimed: number | null,
): Promise<Resumption | null> {
  let at = Math.max(stop.position + 1, claimed ?? 0);
  while (at < until) {
    const present = Math.min(await window.load(at, HEADER_BYTES, READ_BYTES), until - at + HEADER_BYTES);
    if (present < HEADER_BYTES) return null;
    const from = window.at(at);
    const bytes = window.bytes;
    let found = -1;
    for (let index = 0; index + HEADER_BYTES <= present; index++) {
      if (bytes[from + index + 16] !== 2 || bytes[from + index + 12] !== 0) continue;
      if (isLater(readHeader(bytes, from + index, from + present), stop)) {
        found = index;
        break;
      }
    }
    if (found < 0) {
      at += present - HEADER_BYTES + 1;
      continue;
    }
    at += found;
    const next = await follower(window, at, stop);
    if (next) {
      const end = await walk(window, next.position, next.offset);
      if (end.position >= until) return next;
    }
    at += 1;
  }
  return null;
}

/**
 * Where the records of an unreadable batch end by their own lengths: the true end when only the length field of the
 * batch is wrong. A batch inside a payload cannot lie there.
 */
async function endByRecords(window: FileWindow, stop: WalkEnd, dataEnd: number): Promise<number | null> {
  const within = Math.min(dataEnd - stop.position, MAX_BATCH_BYTES);
  if (within < HEADER_BYTES) return null;
  const present = await window.load(stop.position, within, READ_BYTES);
  if (present < HEADER_BYTES) return null;
  const from = window.at(stop.position);
  const count = window.bytes.readInt32BE(from + 57);
  const reader = new ByteReader(window.bytes, from + HEADER_BYTES, from + present);
  try {
    for (let index = 0; index < count; index++) {
      const length = reader.length();
      if (length < 1) return null;
      reader.at += length;
    }
  } catch (error) {
    if (error instanceof FormFault) return null;
    throw error;
  }
  return stop.position + (reader.at - from);
}
