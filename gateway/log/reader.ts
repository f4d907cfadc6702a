// Owns reading the log back, from any thread or process: follows it, waits for more, looks things up. Reads files
// only, never returns what is not durable, and never passes over a damaged place without saying so.
import type { Offset } from '../../ledger/format/brand.ts';
import type { TelemetryRecord } from '../../ledger/format/record.ts';
import { type EndOfLog, FoundEnd } from './end-of-log.ts';
import { isMissing, type LogFs, realFs } from './fs.ts';
import type { KeyIndex } from './key-index-file.ts';
import { logFolder } from './layout.ts';
import { type QuerySource, runQuery } from './query.ts';
import { misformed, unsupported } from './read-errors.ts';
import { RecordCopies, type RecordDecoder, type RecordFilter } from './record-decoder.ts';
import { Seeker } from './seek.ts';
import type { SegmentCursor } from './segment-cursor.ts';
import type { SegmentFile } from './segment-file.ts';
import { SharedReads, sharedReads } from './shared-reads.ts';
import { DurableEnd } from './signal.ts';
import { extentOf, readSpans, SpanFault, visitRecords } from './spans.ts';
import {
  type FetchOptions,
  LogError,
  type LogQuery,
  type QueryPage,
  type SearchableLogReader,
} from './types.ts';
import { FormFault } from './varint.ts';
import type { WalkEnd } from './walk.ts';

export interface OpenReaderOptions {
  readonly dataDir: string;
  /** The writer's; without it (another process) the reader finds the end itself and polls. */
  readonly durableEnd?: SharedArrayBuffer;
  readonly fs?: LogFs;
}

export type FileLogReader = SearchableLogReader;

/** Records of one fetch are to be garbage before a worker's young heap is full. */
const DEFAULT_MAX_BYTES = 256 * 1024;
/** Read by key index in one go. */
const SPANS_MAX_BYTES = 1024 * 1024;
/** Positions remembered, so that this many consumers of one reader go on without seeking. */
const MAX_CURSORS = 4;
/** Newer records are hardly ever covered by an index yet: not asked for there. */
const RECENT_RECORDS = 1000;
/** A look-up: at most so many records, from so little of the segment. */
const FEW_RECORDS = 16;
const FEW_BYTES = 32 * 1024;
/** What a record counts beside its payload against maxBytes. */
const RECORD_OVERHEAD_BYTES = 64;

interface Limits {
  /** Of records. */
  readonly maxBytes: number;
  readonly maxRecords: number;
  /** Of the segments; of each batch all is counted. */
  readonly readBytes: number;
  readonly filter: RecordFilter | null;
  /** Where what the filter lets through is copied to. */
  readonly copies: RecordCopies | null;
}

interface Run {
  readonly records: TelemetryRecord[];
  /** Of the records, as they count against a limit. */
  readonly bytes: number;
  readonly readBytes: number;
  /** Where to go on. */
  readonly next: number;
}

export async function openReader(options: OpenReaderOptions): Promise<FileLogReader> {
  const fs = options.fs ?? realFs;
  const folder = logFolder(options.dataDir);
  if (!options.durableEnd)
    // Whoever finds the end itself may outlive several writers of the folder, and files they cut: it shares nothing.
    return new FileReader(new SharedReads(fs, folder), new FoundEnd(fs, folder));
  return new FileReader(sharedReads(fs, folder), new DurableEnd(options.durableEnd));
}

export class FileReader implements SearchableLogReader {
  readonly #shared: SharedReads;
  readonly #seeker: Seeker;
  readonly #end: EndOfLog;
  readonly #onClose: (() => void) | undefined;
  /** Idle positions, the last used at the end. A fetch takes one out while it works with it. */
  #cursors: SegmentCursor[] = [];
  /** Where reads by key index stopped, the last at the end: going on from there is reading on, not seeking. */
  #ends: number[] = [];
  /** For look-ups; a read takes it out while it works with it. */
  #small: Buffer | null = null;
  #closed = false;
  /** Closes idle positions in files that are gone from the folder, so that their space is free. */
  readonly #letGo = (): void => {
    const gone = this.#cursors.filter((cursor) => cursor.file.isGone);
    this.#cursors = this.#cursors.filter((cursor) => !cursor.file.isGone);
    for (const cursor of gone) void cursor.close().catch(() => {});
  };

  constructor(shared: SharedReads, end: EndOfLog, onClose?: () => void) {
    this.#shared = shared.join(this.#letGo);
    this.#seeker = new Seeker(shared);
    this.#end = end;
    this.#onClose = onClose;
  }

  async start(): Promise<Offset> {
    await this.#seeker.list();
    return (this.#seeker.first ?? 0) as Offset;
  }

  async end(): Promise<Offset> {
    return (await this.#end.get()) as Offset;
  }

  async fetch(from: Offset, options: FetchOptions = {}): Promise<TelemetryRecord[]> {
    if (!Number.isSafeInteger(from) || from < 0) throw new RangeError(`no such offset: ${from}`);
    const deadline = performance.now() + (options.maxWaitMs ?? 0);
    const maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES;
    const maxRecords = options.maxRecords ?? Number.POSITIVE_INFINITY;
    const enoughBytes = Math.min(options.minBytes ?? 1, maxBytes);
    let found: TelemetryRecord[] = [];
    let bytes = 0;
    let next: number = from;
    for (;;) {
      this.#checkOpen();
      const end = await this.#end.get(next);
      if (next < end) {
        const run = await this.#readNext(next, end, {
          maxBytes: maxBytes - bytes,
          maxRecords: maxRecords - found.length,
          readBytes: Number.POSITIVE_INFINITY,
          filter: null,
          copies: null,
        }).catch((error: unknown) => {
          if (found.length === 0) throw error;
          return null;
        });
        if (run === null) return found;
        found = found.length === 0 ? run.records : found.concat(run.records);
        bytes += run.bytes;
        next = run.next;
        if (found.length > 0 && (found.length >= maxRecords || bytes >= enoughBytes)) return found;
        if (next < end) continue;
      }
      const grown = await this.#end.waitBeyond(next, deadline - performance.now(), options.signal);
      if (!grown) {
        this.#checkOpen();
        return found;
      }
    }
  }

  async query(query: LogQuery): Promise<QueryPage> {
    this.#checkOpen();
    const end = await this.#end.get();
    const start = await this.start();
    return runQuery(this.#querySource(end), query, start, end);
  }

  async offsetForTime(eventMs: number): Promise<Offset | null> {
    for (let from: Offset | undefined; ; ) {
      const page = await this.query({ fromMs: eventMs, limit: 1, fromOffset: from });
      if (page.records.length > 0) return page.records[0]!.offset;
      if (page.complete) return null;
      from = page.next;
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#end.cancelWaits();
    for (const cursor of this.#cursors.splice(0)) await cursor.close();
    await this.#shared.release(this.#letGo);
    this.#onClose?.();
  }

  #checkOpen(): void {
    if (this.#closed) throw new LogError('CLOSED', 'the reader is closed');
  }

  // ---- reading on

  /** Records of [from, end), as many as the limits allow; when none, where to look next. */
  async #readNext(from: number, end: number, limits: Limits): Promise<Run> {
    const cursor = this.#takeCursor(from);
    if (cursor) return this.#read(cursor, from, end, limits);
    return (
      (await this.#readByIndex(from, end, limits)) ??
      (await this.#read(await this.#seeker.seek(from, end), from, end, limits))
    );
  }

  async #read(start: SegmentCursor | null, from: number, end: number, limits: Limits): Promise<Run> {
    const { maxBytes, maxRecords, filter } = limits;
    const records: TelemetryRecord[] = [];
    let bytes = 0;
    let readBytes = 0;
    let cursor = start;
    if (cursor === null) return { records, bytes, readBytes, next: end };
    let want = Math.max(from, cursor.next);
    const enough = () => records.length >= maxRecords || (bytes >= maxBytes && records.length > 0);
    try {
      while (want < end && !enough()) {
        if (cursor.decoder === null) {
          if (readBytes >= limits.readBytes) break;
          const wantBytes = filter ? limits.readBytes - readBytes : maxBytes - bytes;
          const stop: WalkEnd | null = await cursor.readBatch(want, end, wantBytes);
          if (stop) {
            if (records.length > 0) break;
            const onward: SegmentCursor | null = await this.#seeker.pass(cursor, stop, want, end);
            if (onward === null) return { records, bytes, readBytes, next: end };
            cursor = onward;
            want = Math.max(want, cursor.next);
            continue;
          }
          if (cursor.decoder === null) {
            if (records.length > 0) break;
            throw unsupported(cursor.file.name, cursor.header!, cursor.position);
          }
          readBytes += cursor.header!.sizeBytes;
        }
        const decoder: RecordDecoder = cursor.decoder;
        const late = filter !== null && cursor.header!.maxTimestamp < filter.fromMs;
        const record = late ? null : decoder.next(want, filter, limits.copies);
        if (record === null) {
          cursor.next = cursor.header!.lastOffset + 1;
          cursor.decoder = null;
          want = Math.max(want, cursor.next);
          continue;
        }
        records.push(record);
        bytes += record.payload.length + RECORD_OVERHEAD_BYTES;
        want = record.offset + 1;
        cursor.next = want;
      }
      if (cursor.header && want > cursor.header.lastOffset) cursor.decoder = null;
      // Position and offset belong together between batches, and the decoder knows where it is inside one; stopped
      // before a batch that cannot be returned they may not, and the next fetch seeks.
      if (cursor.decoder || cursor.header === null || cursor.header.lastOffset + 1 === cursor.next)
        this.#putCursor(cursor);
      else await cursor.close();
      return { records, bytes, readBytes, next: want };
    } catch (error) {
      await cursor.close().catch(() => {});
      if (!(error instanceof FormFault)) throw error;
      if (records.length > 0) return { records, bytes, readBytes, next: want };
      throw misformed(cursor.file.name, cursor.header!, cursor.position, from, error);
    }
  }

  #takeCursor(from: number): SegmentCursor | null {
    const index = this.#cursors.findIndex((cursor) => cursor.next === from);
    return index < 0 ? null : this.#cursors.splice(index, 1)[0]!;
  }

  #putCursor(cursor: SegmentCursor): void {
    this.#cursors.push(cursor);
    const surplus = this.#closed
      ? this.#cursors.splice(0)
      : this.#cursors.splice(0, Math.max(0, this.#cursors.length - MAX_CURSORS));
    for (const old of surplus) void old.close().catch(() => {});
  }

  // ---- by key index

  /** Records from anywhere that a key index covers, read without the rest of their batches; null elsewhere. */
  async #readByIndex(from: number, end: number, limits: Limits): Promise<Run | null> {
    const ended = this.#ends.indexOf(from);
    if (ended >= 0) {
      // The second read in a row: from now on by a cursor, which reads ahead and shares what it reads.
      this.#ends.splice(ended, 1);
      return null;
    }
    const place = await this.#seeker.knownPlaceOf(from);
    if (!place || from < place.base) return null;
    if (place.until === Number.POSITIVE_INFINITY && from >= end - RECENT_RECORDS) return null;
    const run = await this.#withIndex(place.base, (file, index) =>
      this.#readSpans(file, index, from, Math.min(place.until, end), limits),
    );
    if (!run) return null;
    this.#ends.push(run.next);
    if (this.#ends.length > MAX_CURSORS) this.#ends.shift();
    return run;
  }

  async #readSpans(
    file: SegmentFile,
    index: KeyIndex,
    from: number,
    until: number,
    limits: Limits,
  ): Promise<Run | null> {
    const { spanCount, lastOffset } = index.summary;
    const covered = Math.min(lastOffset + 1, until);
    if (from >= covered) return null;
    const wantBytes = Math.min(limits.maxBytes, SPANS_MAX_BYTES);
    const first = index.spanOf(from);
    // Where offsets are missing it takes more, which are then read on from.
    const last = index.lastSpanFor(first, Math.min(from + limits.maxRecords, covered), wantBytes);
    const { length } = extentOf(index, first, last);
    // Few records are copied out of a buffer that is used again: what a look-up leaves behind is as large as its answer.
    const few = limits.maxRecords <= FEW_RECORDS && length <= FEW_BYTES;
    const copies = few ? new RecordCopies(0) : null;
    const buffer = few ? (this.#small ?? Buffer.allocUnsafeSlow(FEW_BYTES)) : Buffer.allocUnsafeSlow(length);
    if (few) this.#small = null;
    const records: TelemetryRecord[] = [];
    let bytes = 0;
    let next = from;
    try {
      const read = await readSpans(this.#seeker.fs, file, index, first, last, buffer);
      const enough = () => records.length >= limits.maxRecords || bytes >= limits.maxBytes;
      for (let number = first; number <= last && !enough(); number++) {
        visitRecords(index, read, number, next, limits.filter, this.#seeker.texts, copies, (record) => {
          records.push(record);
          bytes += record.payload.length + RECORD_OVERHEAD_BYTES;
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

  async #withIndex<T>(
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

  #querySource(end: number): QuerySource {
    return {
      fs: this.#seeker.fs,
      texts: this.#seeker.texts,
      isOutside: (base, until, fromMs, toMs) => this.#shared.isOutside(base, until, fromMs, toMs),
      segmentAt: async (offset) => this.#seeker.placeOf(offset),
      withIndex: (base, act) => this.#withIndex(base, act),
      scan: async (from, until, filter, { maxRecords, readBytes, copies }) => {
        const limits = { maxBytes: Number.POSITIVE_INFINITY, maxRecords, readBytes, filter, copies };
        const cursor = this.#takeCursor(from) ?? (await this.#seeker.seek(from, end));
        return this.#read(cursor, from, Math.min(until, end), limits);
      },
    };
  }
}
