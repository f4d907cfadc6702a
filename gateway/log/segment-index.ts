// Owns the two sparse indexes of a segment, in Kafka's on-disk form. An index is only ever a hint: whoever uses an
// entry checks the batch it points to, and an index can always be made again from its segment.
//
//   .index      entries of 8 bytes:  last offset of a batch - base offset  i32, position of that batch  i32
//   .timeindex  entries of 12 bytes: greatest timestamp so far  i64, last offset of the batch it is in - base offset  i32
//
// Both ascend strictly in every column. Big-endian.
import type { BatchHeader } from './batch.ts';
import { readInt32, readInt64, writeInt32, writeInt64 } from './varint.ts';

export const OFFSET_ENTRY_BYTES = 8;
export const TIME_ENTRY_BYTES = 12;
/** More than a segment of 1 GiB indexed every KiB can have. */
export const MAX_INDEX_BYTES = 16 * 1024 * 1024;

/** What an index keeps of a batch. */
export type IndexedBatch = Pick<BatchHeader, 'lastOffset' | 'maxTimestamp' | 'sizeBytes'>;

export interface OffsetEntry {
  readonly lastOffset: number;
  readonly position: number;
}

export interface TimeEntry {
  readonly timestamp: number;
  readonly lastOffset: number;
}

class EntryBuffer {
  bytes: Buffer = Buffer.alloc(1024);
  length = 0;

  /** Room for one more entry; returns where it begins. */
  grow(entryBytes: number): number {
    if (this.length + entryBytes > this.bytes.length) {
      const larger = Buffer.alloc(this.bytes.length * 2);
      this.bytes.copy(larger, 0, 0, this.length);
      this.bytes = larger;
    }
    this.length += entryBytes;
    return this.length - entryBytes;
  }

  get written(): Buffer {
    return this.bytes.subarray(0, this.length);
  }
}

/** Collects the entries of one segment as its batches become durable. */
export class IndexBuilder {
  readonly baseOffset: number;
  readonly #intervalBytes: number;
  readonly #offsets = new EntryBuffer();
  readonly #times = new EntryBuffer();
  #sinceEntry = 0;
  #maxTimestamp = Number.NEGATIVE_INFINITY;
  #maxTimestampOffset = 0;
  #indexedTimestamp = Number.NEGATIVE_INFINITY;

  constructor(baseOffset: number, intervalBytes: number) {
    this.baseOffset = baseOffset;
    this.#intervalBytes = intervalBytes;
  }

  get offsetBytes(): Buffer {
    return this.#offsets.written;
  }

  get timeBytes(): Buffer {
    return this.#times.written;
  }

  get maxTimestamp(): number {
    return this.#maxTimestamp;
  }

  /**
   * Continues from entries read back from disk, the last of `offsets` being that of `last`. False when `times` cannot be
   * all there were up to it: then the indexes must be made again from the start.
   */
  resume(offsets: readonly OffsetEntry[], times: readonly TimeEntry[], last: IndexedBatch): boolean {
    if (last.maxTimestamp > (times.at(-1)?.timestamp ?? Number.NEGATIVE_INFINITY)) return false;
    for (const entry of offsets) this.#addOffset(entry.lastOffset, entry.position);
    for (const entry of times) {
      this.#maxTimestamp = entry.timestamp;
      this.#maxTimestampOffset = entry.lastOffset;
      this.addTime();
    }
    this.#sinceEntry = last.sizeBytes;
    return true;
  }

  add(header: IndexedBatch, position: number): void {
    if (header.maxTimestamp > this.#maxTimestamp) {
      this.#maxTimestamp = header.maxTimestamp;
      this.#maxTimestampOffset = header.lastOffset;
    }
    if (this.#sinceEntry > this.#intervalBytes) {
      this.#addOffset(header.lastOffset, position);
      this.addTime();
      this.#sinceEntry = 0;
    }
    this.#sinceEntry += header.sizeBytes;
  }

  #addOffset(lastOffset: number, position: number): void {
    const at = this.#offsets.grow(OFFSET_ENTRY_BYTES);
    writeInt32(this.#offsets.bytes, at, lastOffset - this.baseOffset);
    writeInt32(this.#offsets.bytes, at + 4, position);
  }

  /** Records the greatest timestamp so far, if it is new. Called once more when the segment is closed. */
  addTime(): void {
    if (this.#maxTimestamp <= this.#indexedTimestamp) return;
    const at = this.#times.grow(TIME_ENTRY_BYTES);
    writeInt64(this.#times.bytes, at, this.#maxTimestamp);
    writeInt32(this.#times.bytes, at + 8, this.#maxTimestampOffset - this.baseOffset);
    this.#indexedTimestamp = this.#maxTimestamp;
  }

  /** The time index as it would be were the segment closed now. */
  closedTimeBytes(): Buffer {
    if (this.#maxTimestamp <= this.#indexedTimestamp) return this.timeBytes;
    const last = Buffer.alloc(TIME_ENTRY_BYTES);
    writeInt64(last, 0, this.#maxTimestamp);
    writeInt32(last, 8, this.#maxTimestampOffset - this.baseOffset);
    return Buffer.concat([this.timeBytes, last]);
  }
}

/** Entries up to the first that cannot be right, and whether that was all of them. */
export interface ParsedIndex<Entry> {
  readonly entries: readonly Entry[];
  readonly whole: boolean;
}

export function parseOffsetIndex(bytes: Uint8Array, baseOffset: number): ParsedIndex<OffsetEntry> {
  const entries: OffsetEntry[] = [];
  // The first batch, at 0, never has an entry: zeros left by a crash are none either.
  let previous: OffsetEntry = { lastOffset: baseOffset, position: 0 };
  for (let at = 0; at + OFFSET_ENTRY_BYTES <= bytes.length; at += OFFSET_ENTRY_BYTES) {
    const entry = { lastOffset: baseOffset + readInt32(bytes, at), position: readInt32(bytes, at + 4) };
    if (entry.lastOffset <= previous.lastOffset || entry.position <= previous.position) break;
    entries.push(entry);
    previous = entry;
  }
  return { entries, whole: entries.length * OFFSET_ENTRY_BYTES === bytes.length };
}

export function parseTimeIndex(bytes: Uint8Array, baseOffset: number): ParsedIndex<TimeEntry> {
  const entries: TimeEntry[] = [];
  let previous: TimeEntry = { timestamp: Number.NEGATIVE_INFINITY, lastOffset: baseOffset - 1 };
  for (let at = 0; at + TIME_ENTRY_BYTES <= bytes.length; at += TIME_ENTRY_BYTES) {
    const entry = {
      timestamp: readInt64(bytes, at, bytes.length),
      lastOffset: baseOffset + readInt32(bytes, at + 8),
    };
    if (entry.lastOffset <= previous.lastOffset || entry.timestamp <= previous.timestamp) break;
    if (!Number.isSafeInteger(entry.timestamp)) break;
    entries.push(entry);
    previous = entry;
  }
  return { entries, whole: entries.length * TIME_ENTRY_BYTES === bytes.length };
}

/** Index of the last entry whose batch ends before `offset`, or -1: from there on `offset` must follow. */
export function lastEndingBefore(entries: readonly OffsetEntry[], offset: number): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (entries[middle]!.lastOffset < offset) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
