// The log's public contract: what producers (ingest, windows, models) and consumers (every stage) may use.
// Files, segments and syncs are behind it.
import type { Offset } from '../../ledger/format/brand.ts';
import { CodedError } from '../../ledger/format/errors.ts';
import type { RecordInput, TelemetryRecord } from '../../ledger/format/record.ts';

/**
 * Called once per append: after fdatasync has returned for the record (with `log.sync: {intervalMs}`: after it has
 * been written), or with why it was refused (the offset is then -1 and means nothing). Never called from inside
 * append. Accepted records hear back in offset order.
 */
export type OnDurable = (error: LogError | null, offset: Offset) => void;

export interface LogAppender {
  /**
   * Takes the record into the group being gathered; `onDurable` is called once it is on disk. Records get
   * offsets in call order. Never throws for a full disk or a full buffer: those arrive as a LogError.
   */
  append(record: RecordInput, onDurable: OnDurable): void;
  /**
   * Appends several records, in order and contiguous; resolves with the first offset when all are durable, rejects
   * with a LogError. Up to `maxBatchBytes` and 65,535 records they share one record batch: all or nothing, also in
   * a crash. More than that may be kept in part (a prefix) when it rejects or the power fails.
   */
  appendAll(records: readonly RecordInput[]): Promise<Offset>;
}

export interface FetchOptions {
  /** Stop after about this many bytes of records (at least one record is returned). Default 256 KiB. */
  maxBytes?: number;
  /** Stop after this many records. Default no limit but maxBytes. */
  maxRecords?: number;
  /**
   * Wait until this many bytes of records are durable (as they count for maxBytes, and not beyond it). Default 1: any
   * record will do. What there is when the wait ends is returned.
   */
  minBytes?: number;
  /** Wait up to this long for `minBytes`. Default 0: return what there is. */
  maxWaitMs?: number;
  signal?: AbortSignal;
}

export interface LogReader {
  /** First offset still held. */
  start(): Promise<Offset>;
  /** One past the last durable offset. */
  end(): Promise<Offset>;
  /**
   * Durable records from `from` on, in offset order. When `from` is below start(), begins at start()
   * (retention may leave holes: look at the offsets). An aborted wait gives []. A damaged batch throws
   * SEGMENT_DAMAGED when it is the first thing to return, with facts `file`, `position`, `offset`, `reason` and
   * `resume` (the next readable offset): going on past the hole is the caller's decision. Payloads, header values
   * and salts are views of a shared read buffer: copy what is kept for long or posted to another thread.
   */
  fetch(from: Offset, options?: FetchOptions): Promise<TelemetryRecord[]>;
  close(): Promise<void>;
}

/** What to look for. Left out: anything. */
export interface LogQuery {
  readonly device?: string | undefined;
  readonly topic?: string | undefined;
  /** fromMs <= eventMs < toMs */
  readonly fromMs?: number | undefined;
  readonly toMs?: number | undefined;
  /** Records before it are not looked at. Default start(). */
  readonly fromOffset?: Offset | undefined;
  /** At most this many records. Default 1,000. */
  readonly limit?: number | undefined;
  /** Stop once about this many bytes of segments have been read, whether or not anything was found. Default 32 MiB. */
  readonly maxReadBytes?: number | undefined;
}

export interface QueryPage {
  /** In offset order. */
  readonly records: TelemetryRecord[];
  /** Where to go on. */
  readonly next: Offset;
  /** Everything up to the end of the log, as it was at the time, has been looked at. */
  readonly complete: boolean;
  /** Bytes of segments that were read for it. */
  readonly readBytes: number;
}

/** A LogReader that can also look up by time, device and topic. */
export interface SearchableLogReader extends LogReader {
  /** Offset of the first record whose eventMs is at least `eventMs`, or null when there is none. */
  offsetForTime(eventMs: number): Promise<Offset | null>;
  /**
   * The next records that fit, in offset order. Closed segments are read by their key index where they have one, and
   * otherwise, like the segment being written, from end to end: `maxReadBytes` bounds that. Damage throws as in fetch.
   */
  query(query: LogQuery): Promise<QueryPage>;
}

/** What openLog found and did. */
export interface Recovery {
  /** The last run did not close the log (crash, kill, power cut). */
  readonly unclean: boolean;
  /** Bytes of a torn tail that were cut: an unfinished batch, never acknowledged. */
  readonly truncatedBytes: number;
  /** End of the log after recovery: the offset the next record gets. */
  readonly at: Offset;
  /** Damage before the tail: kept as it is, never cut. */
  readonly damage: readonly SegmentDamage[];
  /** Index files that were missing, short or wrong and have been made again from their segment. */
  readonly rebuiltIndexes: readonly string[];
  readonly tookMs: number;
}

export interface SegmentDamage {
  /** File name inside `log/`. */
  readonly file: string;
  /** Where in the file it begins, and how many bytes cannot be read. */
  readonly position: number;
  readonly bytes: number;
  /** Offsets [offset, resume) cannot be read. */
  readonly offset: Offset;
  readonly resume: Offset;
  readonly reason: string;
}

/** Figures of the writer, for status, metrics and pressure. Counters run from openLog. */
export interface LogFigures {
  readonly start: number;
  readonly end: number;
  /** Bytes of all segments, without preallocated space. */
  readonly bytes: number;
  readonly segments: number;
  /** Over the last full seconds. */
  readonly recordsPerSecond: number;
  readonly appendedRecords: number;
  readonly appendedBytes: number;
  /** The same before compression. */
  readonly plainBytes: number;
  readonly batches: number;
  readonly syncs: number;
  readonly syncMsTotal: number;
  readonly syncMsMax: number;
  /** The longest write of a batch, before its sync. */
  readonly writeMsMax: number;
  /** Bytes and records taken in and not yet answered; pendingBytes against maxPendingBytes is the log's pressure. */
  readonly pendingBytes: number;
  readonly pendingRecords: number;
  readonly maxPendingBytes: number;
  /** Bytes answered and not yet synced: always 0 but with `log.sync: {intervalMs}`. */
  readonly unsyncedBytes: number;
  readonly refused: Readonly<
    Record<'DISK_FULL' | 'BUFFER_FULL' | 'RECORD_TOO_LARGE' | 'RECORD_INVALID', number>
  >;
  /** Records are being refused for want of space. */
  readonly diskFull: boolean;
  /** Free space on the log's disk as last seen, at most some seconds ago; null where the file system does not say. */
  readonly diskFreeBytes: number | null;
  /** The file that keeps the last bytes of the disk for the ledger and the state; 'none' when it is switched off. */
  readonly reserve: 'held' | 'given-up' | 'none';
  readonly failed: boolean;
}

/** A segment that is closed: complete, synced, never written again but by `RolledSegments`. */
export interface RolledSegment {
  readonly baseOffset: Offset;
  /** One past its last offset: where the next segment begins. */
  readonly endOffset: Offset;
  readonly sizeBytes: number;
  /** The greatest eventMs in it, as devices gave it; null when not known. */
  readonly maxEventMs: number | null;
  /** Unix ms of the gateway's clock when the last record went in (the file's own time after a restart). */
  readonly lastWrittenMs: number;
}

/**
 * `log.segments`: the one way to take closed segments away or put others in their place. Calls are queued one behind the other, and
 * none touches the segment being written. Readers that have a file open read on in what it was; others find it gone
 * (a fetch below start() begins at start()) or see the new one. Errors of the disk come through as they are.
 */
export interface RolledSegments {
  /** Oldest first. */
  list(): readonly RolledSegment[];
  /**
   * Removes the oldest segment with all files that carry its name, durably, and resolves with the bytes of the segment.
   * RangeError when `baseOffset` is not the oldest of `list()`: held offsets stay one range. Whether a cursor or the
   * sealer still needs it is the caller's to know.
   */
  dropOldest(baseOffset: Offset): Promise<number>;
  /**
   * Puts drafts, complete and synced by the caller, in place of a segment's files: `log` is required and must hold the
   * same range of offsets without a gap between its batches (a batch may keep fewer records than its range, also none);
   * other kinds ('index', 'timeindex', …) replace theirs, and those not given are removed. Drafts must lie in the log's
   * folder. Crash-safe: the old or the new segment is there, indexes at worst missing.
   */
  replace(baseOffset: Offset, drafts: Readonly<Record<string, string>> & { log: string }): Promise<void>;
  /** Closes the segment being written, unless it is empty, so that it can be listed. For tests, backups and small disks. */
  roll(): Promise<void>;
}

/**
 * Frees disk space when the log finds none. Given by retention with `log.useSpaceMaker(maker)`; asked under
 * `log.whenFull: drop-oldest` before records are refused. Without one, or under `reject-new`, they are refused.
 */
export interface SpaceMaker {
  /** Tries to free at least `bytes`; resolves with the bytes freed, 0 when nothing may go. Must not append. */
  makeRoom(bytes: number): Promise<number>;
}

/** The single writer of one data directory. */
export interface Log extends LogAppender {
  readonly segments: RolledSegments;
  /** Heard under `log.whenFull: drop-oldest` only. */
  useSpaceMaker(maker: SpaceMaker): void;
  /** Shared with reader threads: see signal.ts. */
  readonly durableEnd: SharedArrayBuffer;
  readonly recovery: Recovery;
  figures(): LogFigures;
  /** Calls back once the record at `offset` is durable (at once, in a microtask, when it already is). */
  whenDurable(offset: Offset, done: (error: LogError | null) => void): void;
  /** A reader for this thread, woken by the writer. */
  openReader(): Promise<SearchableLogReader>;
  /** Hears once when the writer dies (SYNC_FAILED): say why and exit non-zero. At once if it already has. */
  onFatal(listener: (error: LogError) => void): void;
  /** Writes what was taken in, syncs, marks the shutdown as clean and releases the data directory. */
  close(): Promise<void>;
}

export type LogErrorCode =
  | 'DISK_FULL' // ENOSPC: the group was refused, nothing of it is kept; retry when space returns
  | 'BUFFER_FULL' // too many bytes wait for the disk: retry shortly
  | 'RECORD_TOO_LARGE'
  | 'RECORD_INVALID'
  | 'SYNC_FAILED' // fdatasync failed: the writer is dead, the process must end
  | 'CLOSED'
  | 'LOCKED' // another process has this data directory
  | 'SEGMENT_DAMAGED'
  | 'BATCH_UNSUPPORTED' // an intact batch of a kind this log does not read: foreign compression, control batch
  | 'OFFSET_NOT_HELD';

export class LogError extends CodedError<LogErrorCode> {
  override name = 'LogError';
}
