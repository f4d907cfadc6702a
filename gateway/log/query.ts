// Owns looking through the log for records of a device, a topic or a time: goes from segment to segment, by key index
// as far as there is one, from end to end where there is none. Reads no more than it was allowed to.
import type { Offset } from '../../ledger/format/brand.ts';
import type { TelemetryRecord } from '../../ledger/format/record.ts';
import type { LogFs } from './fs.ts';
import type { KeyIndex } from './key-index-file.ts';
import type { RecordFilter } from './record-decoder.ts';
import { RecordCopies } from './record-run.ts';
import type { SegmentFile } from './segment-file.ts';
import { type SpanBytes, SpanFault, SpanReads, visitRecords } from './spans.ts';
import type { TextCache } from './text-cache.ts';
import type { LogQuery, QueryPage } from './types.ts';

const DEFAULT_LIMIT = 1000;
const DEFAULT_READ_BYTES = 32 * 1024 * 1024;
/** Spans that lie together are read together up to this. */
const RUN_BYTES = 256 * 1024;
/** … and up to this when few records are wanted. */
const SHORT_RUN_BYTES = 32 * 1024;
const FEW_RECORDS = 10;
/** Reads on their way at once where the disk itself must be asked: as many as the thread pool has threads. */
const READ_AHEAD = 4;

/** What a query needs of the reader it belongs to. */
export interface QuerySource {
  readonly fs: LogFs;
  readonly texts: TextCache;
  /** Whether the closed segment of these offsets is known to have no record of these times. */
  isOutside(base: number, until: number, fromMs: number, toMs: number): boolean;
  /** The segment that holds `offset`, or the first one after it, and where it ends. */
  segmentAt(offset: number): Promise<{ base: number; until: number } | null>;
  /** Runs `act` with the segment's file and key index, if it has one that fits. */
  withIndex<T>(base: number, act: (file: SegmentFile, index: KeyIndex) => Promise<T>): Promise<T | null>;
  /** Reads [from, until) from end to end, stopping after about `readBytes`; `next` is where to go on. */
  scan(
    from: number,
    until: number,
    filter: RecordFilter,
    limits: { readonly maxRecords: number; readonly readBytes: number; readonly copies: RecordCopies },
  ): Promise<{ records: TelemetryRecord[]; next: number; readBytes: number }>;
}

/** A query as it goes. */
class Search {
  readonly records: TelemetryRecord[] = [];
  readonly query: LogQuery;
  readonly filter: RecordFilter;
  readonly limit: number;
  readonly maxReadBytes: number;
  readonly copies = new RecordCopies();
  next: number;
  readBytes = 0;

  constructor(query: LogQuery, from: number) {
    this.query = query;
    this.next = from;
    this.limit = query.limit ?? DEFAULT_LIMIT;
    this.maxReadBytes = query.maxReadBytes ?? DEFAULT_READ_BYTES;
    this.filter = {
      device: query.device === undefined ? null : Buffer.from(query.device),
      topic: query.topic === undefined ? null : Buffer.from(query.topic),
      fromMs: query.fromMs ?? Number.NEGATIVE_INFINITY,
      toMs: query.toMs ?? Number.POSITIVE_INFINITY,
    };
  }

  get full(): boolean {
    return this.records.length >= this.limit || this.readBytes >= this.maxReadBytes;
  }
}

export async function runQuery(
  source: QuerySource,
  query: LogQuery,
  start: number,
  end: number,
): Promise<QueryPage> {
  const search = new Search(query, Math.max(start, query.fromOffset ?? start));
  while (search.next < end && !search.full) {
    const segment = await source.segmentAt(search.next);
    if (!segment || segment.base >= end) {
      search.next = end;
      break;
    }
    search.next = Math.max(search.next, segment.base);
    const until = Math.min(segment.until, end);
    const { fromMs, toMs } = search.filter;
    if (segment.until <= end && source.isOutside(segment.base, segment.until, fromMs, toMs)) {
      search.next = segment.until;
      continue;
    }
    const began = { count: search.records.length, next: search.next };
    try {
      const done = await byIndex(source, search, segment.base, until);
      if (done === null) await byScan(source, search, until);
    } catch (error) {
      // What was found is not held back by what cannot be read after it.
      if (search.records.length > began.count || search.next > began.next) break;
      throw error;
    }
  }
  const { records, next, readBytes } = search;
  return { records, next: next as Offset, complete: next >= end, readBytes };
}

async function byScan(source: QuerySource, search: Search, until: number): Promise<void> {
  while (search.next < until && !search.full) {
    const found = await source.scan(search.next, until, search.filter, {
      maxRecords: search.limit - search.records.length,
      readBytes: search.maxReadBytes - search.readBytes,
      copies: search.copies,
    });
    for (const record of found.records) search.records.push(record);
    search.readBytes += found.readBytes;
    search.next = Math.max(found.next, search.next + 1);
  }
}

/** Null when the index has nothing to say of search.next: it must be read from there on. */
async function byIndex(
  source: QuerySource,
  search: Search,
  base: number,
  until: number,
): Promise<true | null> {
  return source.withIndex(base, async (file, index) => {
    const { summary } = index;
    const { fromMs, toMs } = search.filter;
    const covered = Math.min(summary.lastOffset + 1, until);
    if (covered <= search.next) return null;
    if (summary.maxMs < fromMs || summary.minMs >= toMs) {
      search.next = covered;
      return true;
    }
    try {
      await readRuns(source, search, file, index, await plan(index, search));
      if (!search.full) search.next = covered;
      return true;
    } catch (error) {
      if (error instanceof SpanFault) return null;
      throw error;
    }
  });
}

interface SpanRun {
  readonly first: number;
  last: number;
}

async function readRuns(
  source: QuerySource,
  search: Search,
  file: SegmentFile,
  index: KeyIndex,
  runs: readonly SpanRun[],
): Promise<void> {
  const reads = new SpanReads(source.fs, READ_AHEAD);
  const started: (SpanBytes | Promise<SpanBytes>)[] = [];
  let waits = false;
  try {
    for (const [number, run] of runs.entries()) {
      if (search.full) return;
      const ahead = () => number + (waits ? READ_AHEAD : 1);
      while (started.length < Math.min(runs.length, ahead())) {
        const next = runs[started.length]!;
        const read = reads.start(file, index, next.first, next.last);
        waits = read instanceof Promise;
        if (read instanceof Promise) read.catch(() => {});
        started.push(read);
      }
      const begun = started[number]!;
      const read = begun instanceof Promise ? await begun : begun;
      search.readBytes += read.bytes.length;
      take(source, search, index, read, run.last);
    }
  } finally {
    // The file must stay open for those that are under way.
    await Promise.allSettled(started.filter((read) => read instanceof Promise));
  }
}

/** Runs of neighbouring spans that may hold what is looked for. */
async function plan(index: KeyIndex, search: Search): Promise<SpanRun[]> {
  const { fromMs, toMs } = search.filter;
  const listed = await index.spansOf(search.query, fromMs, toMs);
  const from = index.spanOf(search.next);
  const runs: SpanRun[] = [];
  const runBytes = search.limit <= FEW_RECORDS ? SHORT_RUN_BYTES : RUN_BYTES;
  const count = listed?.length ?? index.summary.spanCount;
  for (let at = listed ? 0 : from; at < count; at++) {
    const number = listed ? listed[at]! : at;
    if (number < from || !index.mayHold(number, fromMs, toMs)) continue;
    const run = runs.at(-1);
    const { position, end } = index.span(number);
    if (run?.last === number - 1 && end - index.span(run.first).position <= runBytes) run.last = number;
    else if (end > position) runs.push({ first: number, last: number });
  }
  return runs;
}

function take(source: QuerySource, search: Search, index: KeyIndex, read: SpanBytes, last: number): void {
  const { records, filter, copies, limit } = search;
  for (let number = read.first; number <= last; number++) {
    visitRecords(index, read, number, search.next, filter, source.texts, copies, (record) => {
      records.push(record);
      search.next = record.offset + 1;
      return records.length < limit;
    });
    if (records.length >= limit) return;
    // All of this span has been looked at.
    const { spanCount, lastOffset } = index.summary;
    const after = number + 1 < spanCount ? index.span(number + 1).firstOffset : lastOffset + 1;
    search.next = Math.max(search.next, after);
  }
}
