// Owns reading records from anywhere in the log by the key index of their segment: a few KiB for one record, however large
// its batch. Refuses what no index covers, or what one says wrongly: that is read the long way by reader.ts.
import type { TelemetryRecord } from '../../ledger/format/record.ts';
import { isMissing } from './fs.ts';
import type { KeyIndex } from './key-index-file.ts';
import type { RecordFilter } from './record-decoder.ts';
import { RecordCopies } from './record-run.ts';
import type { Seeker } from './seek.ts';
import type { SegmentFile } from './segment-file.ts';
import type { SharedReads } from './shared-reads.ts';
import { extentOf, readSpans, SpanFault, visitRecords } from './spans.ts';

/** Read in one go. */
const SPANS_MAX_BYTES = 1024 * 1024;
/** Newer records are hardly ever covered by an index yet: not asked for there. */
const RECENT_RECORDS = 1000;
/** Ends of reads remembered, for as many consumers of one reader. */
const MAX_ENDS = 4;
/** A look-up: at most so many records, from so little of the segment. */
const FEW_RECORDS = 16;
const FEW_BYTES = 32 * 1024;
/** What a record counts beside its payload against maxBytes. */
const RECORD_OVERHEAD_BYTES = 64;

export interface ReadLimits {
  /** Of records. */
  readonly maxBytes: number;
  readonly maxRecords: number;
  /** Of the segments; of each batch all is counted. */
  readonly readBytes: number;
  readonly filter: RecordFilter | null;
  /** Where what the filter lets through is copied to. */
  readonly copies: RecordCopies | null;
}

export interface Run {
  readonly records: TelemetryRecord[];
  /** Of the records, as they count against a limit. */
  readonly bytes: number;
  readonly readBytes: number;
  /** Where to go on. */
  readonly next: number;
}

/** What a record counts against maxBytes. */
export function countedBytes(record: TelemetryRecord): number {
  return record.payload.length + RECORD_OVERHEAD_BYTES;
}

export class Lookups {
  readonly #shared: SharedReads;
  readonly #seeker: Seeker;
  /** Where reads stopped, the last at the end: going on from there is reading on, not looking up. */
  readonly #ends: number[] = [];
  /** For few records; a read takes it out while it works with it. */
  #small: Buffer | null = null;

  constructor(shared: SharedReads, seeker: Seeker) {
    this.#shared = shared;
    this.#seeker = seeker;
  }

  /** Records from anywhere that a key index covers, read without the rest of their batches; null elsewhere. */
  async read(from: number, end: number, limits: ReadLimits): Promise<Run | null> {
    const ended = this.#ends.indexOf(from);
    if (ended >= 0) {
      // The second read in a row: from now on by a cursor, which reads ahead and shares what it reads.
      this.#ends.splice(ended, 1);
      return null;
    }
    const place = await this.#seeker.knownPlaceOf(from);
    if (!place || from < place.base) return null;
    if (place.until === Number.POSITIVE_INFINITY && from >= end - RECENT_RECORDS) return null;
    const run = await this.withIndex(place.base, (file, index) =>
      this.#readSpans(file, index, from, Math.min(place.until, end), limits),
    );
    if (!run) return null;
    this.#ends.push(run.next);
    if (this.#ends.length > MAX_ENDS) this.#ends.shift();
    return run;
  }

  async #readSpans(
    file: SegmentFile,
    index: KeyIndex,
    from: number,
    until: number,
    limits: ReadLimits,
  ): Promise<Run | null> {
    const { spanCount, lastOffset } = index.summary;
    const covered = Math.min(lastOffset + 1, until);
    if (from >= covered) return null;
    const wantBytes = Math.min(limits.maxBytes, SPANS_MAX_BYTES);
    const first = index.spanOf(from);
    // Where offsets are missing it takes more, which are then read on from.
    const last = index.lastSpanFor(first, Math.min(from + limits.maxRecords, covered), wantBytes);
    const records: TelemetryRecord[] = [];
    let bytes = 0;
    let next = from;
    try {
      const { length } = extentOf(index, first, last);
      // Few records are copied out of a buffer that is used again: what a look-up leaves behind is as large as its answer.
      const few = limits.maxRecords <= FEW_RECORDS && length <= FEW_BYTES;
      const copies = few ? new RecordCopies(0) : null;
      const buffer = few
        ? (this.#small ?? Buffer.allocUnsafeSlow(FEW_BYTES))
        : Buffer.allocUnsafeSlow(length);
      if (few) this.#small = null;
      const read = await readSpans(this.#seeker.fs, file, index, first, last, buffer);
      const enough = () => records.length >= limits.maxRecords || bytes >= limits.maxBytes;
      for (let number = first; number <= last && !enough(); number++) {
        visitRecords(index, read, number, next, limits.filter, this.#seeker.texts, copies, (record) => {
          records.push(record);
          bytes += countedBytes(record);
          next = record.offset + 1;
          return !enough();
        });
        if (!enough())
          next = Math.max(next, number + 1 < spanCount ? index.span(number + 1).firstOffset : covered);
      }
      if (few) this.#small = buffer;
      return { records, bytes, readBytes: read.bytes.length, next };
    } catch (error) {
      if (!(error instanceof SpanFault)) throw error;
      return null;
    }
  }

  /** Runs `act` with the segment's file and key index, if it has one that fits. */
  async withIndex<T>(
    base: number,
    act: (file: SegmentFile, index: KeyIndex) => Promise<T>,
  ): Promise<T | null> {
    let file: SegmentFile;
    try {
      file = await this.#shared.open(base);
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
    try {
      const index = await file.keyIndex();
      if (index) this.#shared.noteTimes(base, index.summary);
      return index ? await index.using(() => act(file, index)) : null;
    } finally {
      await file.release();
    }
  }
}
