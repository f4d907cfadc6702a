// Owns reading the log back, from any thread or process: follows it, waits for more, looks things up. Reads files
// only, never returns what is not durable, and never passes over a damaged place without saying so.
import type { Offset } from '../../ledger/format/brand.ts';
import type { TelemetryRecord } from '../../ledger/format/record.ts';
import { type EndOfLog, FoundEnd } from './end-of-log.ts';
import { type LogFs, realFs } from './fs.ts';
import { logFolder } from './layout.ts';
import { countedBytes, Lookups, type ReadLimits, type Run } from './lookups.ts';
import { type QuerySource, runQuery } from './query.ts';
import { misformed, unsupported } from './read-errors.ts';
import type { RecordDecoder } from './record-decoder.ts';
import { Seeker } from './seek.ts';
import type { SegmentCursor } from './segment-cursor.ts';
import { SharedReads, sharedReads } from './shared-reads.ts';
import { DurableEnd } from './signal.ts';
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
/** Positions remembered, so that this many consumers of one reader go on without seeking. */
const MAX_CURSORS = 4;

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
  readonly #lookups: Lookups;
  readonly #end: EndOfLog;
  readonly #onClose: (() => void) | undefined;
  /** Idle positions, the last used at the end. A fetch takes one out while it works with it. */
  #cursors: SegmentCursor[] = [];
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
    this.#lookups = new Lookups(shared, this.#seeker);
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
  async #readNext(from: number, end: number, limits: ReadLimits): Promise<Run> {
    const cursor = this.#takeCursor(from);
    if (cursor) return this.#read(cursor, from, end, limits);
    return (
      (await this.#lookups.read(from, end, limits)) ??
      (await this.#read(await this.#seeker.seek(from, end), from, end, limits))
    );
  }

  async #read(start: SegmentCursor | null, from: number, end: number, limits: ReadLimits): Promise<Run> {
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
        bytes += countedBytes(record);
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

  #querySource(end: number): QuerySource {
    return {
      fs: this.#seeker.fs,
      texts: this.#seeker.texts,
      isOutside: (base, until, fromMs, toMs) => this.#shared.isOutside(base, until, fromMs, toMs),
      segmentAt: async (offset) => this.#seeker.placeOf(offset),
      withIndex: (base, act) => this.#lookups.withIndex(base, act),
      scan: async (from, until, filter, { maxRecords, readBytes, copies }) => {
        const limits = { maxBytes: Number.POSITIVE_INFINITY, maxRecords, readBytes, filter, copies };
        const cursor = this.#takeCursor(from) ?? (await this.#seeker.seek(from, end));
        return this.#read(cursor, from, Math.min(until, end), limits);
      },
    };
  }
}
