// Opens the single writer of a data directory and is its face: appends, waits, figures, readers, the end. How records
// become durable is group-commit.ts; what lies on disk is behind segment-chain.ts.
import type { Offset } from '../../ledger/format/brand.ts';
import type { RecordInput } from '../../ledger/format/record.ts';
import type { LogConfig } from './config.ts';
import { DiskRoom } from './disk-room.ts';
import { WriterFigures } from './figures.ts';
import { type LogFs, realFs } from './fs.ts';
import type { Refusal } from './group.ts';
import { GroupCommit, NO_OFFSET } from './group-commit.ts';
import { logFolder } from './layout.ts';
import { type DirectoryLock, lockDirectory } from './lock.ts';
import { type FileLogReader, FileReader } from './reader.ts';
import { type RecoveredLog, recoverLog } from './recovery.ts';
import { clearOrphans, settleRewrite } from './retention/settle.ts';
import { SegmentStore } from './rolled-segments.ts';
import { SegmentChain } from './segment-chain.ts';
import { sharedReads } from './shared-reads.ts';
import { writeShutdownMarker } from './shutdown-marker.ts';
import { DurableEnd } from './signal.ts';
import {
  type Log,
  LogError,
  type LogFigures,
  type OnDurable,
  type Recovery,
  type RolledSegments,
  type SpaceMaker,
} from './types.ts';

export type { Log, LogFigures, Recovery, SegmentDamage } from './types.ts';

/** How often is looked whether the segment being written has had its time. */
const AGE_LOOK_MAX_MS = 30_000;

export interface OpenLogOptions {
  readonly dataDir: string;
  readonly config: LogConfig;
  readonly fs?: LogFs;
  /** Unix ms; decides the age of segments. */
  readonly clock?: () => number;
}

/**
 * Claims the data directory (LogError LOCKED when another has it), recovers the log and opens it for appending.
 * Errors of the disk during recovery come through as they are.
 */
export async function openLog(options: OpenLogOptions): Promise<Log> {
  const fs = options.fs ?? realFs;
  const folder = logFolder(options.dataDir);
  await fs.mkdir(folder);
  const lock = lockDirectory(options.dataDir);
  let room: DiskRoom | null = null;
  try {
    const { indexIntervalBytes, reserveBytes } = options.config;
    room = await DiskRoom.open({ fs, folder, reserveBytes });
    await settleRewrite(fs, folder);
    await clearOrphans(fs, folder);
    const recovered = await recoverLog(fs, folder, indexIntervalBytes);
    const log = new SegmentedLog(
      fs,
      folder,
      options.config,
      options.clock ?? Date.now,
      lock,
      room,
      recovered,
    );
    await log.begin(recovered);
    return log;
  } catch (error) {
    await room?.close();
    lock.release();
    throw error;
  }
}

interface DurableWait {
  readonly offset: number;
  readonly done: (error: LogError | null) => void;
}

class SegmentedLog implements Log {
  readonly recovery: Recovery;
  readonly #fs: LogFs;
  readonly #folder: string;
  readonly #config: LogConfig;
  readonly #clock: () => number;
  readonly #lock: DirectoryLock;
  readonly #room: DiskRoom;
  readonly #end = new DurableEnd();
  readonly #figures = new WriterFigures();
  readonly #fatalListeners: ((error: LogError) => void)[] = [];
  readonly #readers = new Set<FileReader>();
  #waits: DurableWait[] = [];
  #chain!: SegmentChain;
  #commit!: GroupCommit;
  #segments!: SegmentStore;
  #ageTimer: NodeJS.Timeout | null = null;
  #failed: LogError | null = null;
  #closing: Promise<void> | null = null;

  constructor(
    fs: LogFs,
    folder: string,
    config: LogConfig,
    clock: () => number,
    lock: DirectoryLock,
    room: DiskRoom,
    recovered: RecoveredLog,
  ) {
    this.#fs = fs;
    this.#folder = folder;
    this.#config = config;
    this.#clock = clock;
    this.#lock = lock;
    this.#room = room;
    this.recovery = recovered.recovery;
  }

  async begin(recovered: RecoveredLog): Promise<void> {
    const onDead = (cause: Error) => this.#fail(cause);
    await this.#room.begin();
    this.#chain = await SegmentChain.open(
      {
        fs: this.#fs,
        folder: this.#folder,
        config: this.#config,
        clock: this.#clock,
        mayGrow: (bytes) => this.#room.mayGrow(bytes),
        onSyncFailed: onDead,
      },
      recovered,
    );
    this.#commit = new GroupCommit({
      config: this.#config,
      chain: this.#chain,
      room: this.#room,
      figures: this.#figures,
      clock: this.#clock,
      nextOffset: recovered.end,
      onAdvance: (end) => this.#advance(end),
      diskFull: (cause, records) => this.#diskFull(cause, records),
      onDead,
    });
    if (this.#failed) this.#commit.fail(this.#failed);
    this.#segments = new SegmentStore({
      fs: this.#fs,
      folder: this.#folder,
      chain: this.#chain,
      roll: () => this.#roll(),
    });
    this.#end.advance(recovered.end);
    // Without it the records of a gateway that hears nothing more would never come into a closed segment, and stay.
    const lookMs = Math.min(this.#config.segmentAgeMs / 4, AGE_LOOK_MAX_MS);
    this.#ageTimer = setInterval(() => this.#rollAged(), lookMs).unref();
  }

  #rollAged(): void {
    if (this.#whyClosed() || this.#room.full || !this.#chain.checkAge()) return;
    // It is tried again with the next look.
    this.#segments.roll().catch(() => {});
  }

  get segments(): RolledSegments {
    return this.#segments;
  }

  get durableEnd(): SharedArrayBuffer {
    return this.#end.shared;
  }

  useSpaceMaker(maker: SpaceMaker): void {
    if (this.#config.whenFull === 'drop-oldest') this.#room.useSpaceMaker(maker);
  }

  append(record: RecordInput, onDurable: OnDurable): void {
    const closed = this.#whyClosed();
    const refusal = closed ? null : this.#commit.add(record, onDurable);
    if (!closed && !refusal) return;
    const error = closed ?? this.#refused(refusal!, 1);
    queueMicrotask(() => onDurable(error, NO_OFFSET));
  }

  appendAll(records: readonly RecordInput[]): Promise<Offset> {
    return new Promise((resolve, reject) => {
      const closed = this.#whyClosed();
      if (closed) {
        reject(closed);
        return;
      }
      if (records.length === 0) {
        resolve(this.#commit.nextOffset as Offset);
        return;
      }
      let left = records.length;
      let first: Offset | null = null;
      let failure: LogError | null = null;
      const settle: OnDurable = (error, offset) => {
        if (error) failure ??= error;
        else first ??= offset;
        left -= 1;
        if (left > 0) return;
        if (failure) reject(failure);
        else if (offset < this.#end.get()) resolve(first as Offset);
        // Synced at intervals: a stage that saves its cursor beside what it appended must not be ahead of the log.
        else this.whenDurable(offset, (lost) => (lost ? reject(lost) : resolve(first as Offset)));
      };
      const refusal = this.#commit.addAll(records, settle);
      if (refusal) reject(this.#refused(refusal, records.length));
    });
  }

  whenDurable(offset: Offset, done: (error: LogError | null) => void): void {
    const closed = this.#whyClosed();
    if (offset < this.#end.get()) queueMicrotask(() => done(null));
    else if (closed) queueMicrotask(() => done(closed));
    else this.#waits.push({ offset, done });
  }

  async openReader(): Promise<FileLogReader> {
    const end = new DurableEnd(this.#end.shared);
    const reader: FileReader = new FileReader(sharedReads(this.#fs, this.#folder), end, () =>
      this.#readers.delete(reader),
    );
    this.#readers.add(reader);
    return reader;
  }

  onFatal(listener: (error: LogError) => void): void {
    const failed = this.#failed;
    if (failed) queueMicrotask(() => listener(failed));
    else this.#fatalListeners.push(listener);
  }

  figures(): LogFigures {
    const { rate, refused, ...counters } = this.#figures;
    return {
      ...counters,
      refused: { ...refused },
      start: this.#chain.start,
      end: this.#end.get(),
      bytes: this.#chain.bytes,
      segments: this.#chain.count,
      recordsPerSecond: rate.perSecond(this.#clock()),
      pendingBytes: this.#commit.pendingBytes,
      pendingRecords: this.#commit.pendingRecords,
      maxPendingBytes: this.#config.maxPendingBytes,
      unsyncedBytes: this.#commit.unsyncedBytes,
      diskFull: counters.diskFull || this.#room.full !== null,
      diskFreeBytes: this.#room.freeBytes,
      reserve: this.#room.reserve,
      failed: this.#failed !== null,
    };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#ageTimer) clearInterval(this.#ageTimer);
    await this.#segments.close();
    await this.#commit.drained();
    await this.#room.close();
    for (const reader of [...this.#readers]) await reader.close();
    if (!this.#failed) {
      const segment = this.#chain.active;
      const end = this.#commit.nextOffset;
      const failure = await this.#chain.seal();
      const shutdown = { segment: segment.baseOffset, sizeBytes: segment.position, end };
      if (failure) this.#fail(failure.error);
      // Without it the next start looks at the tail as after a crash, and finds it whole.
      else if (!this.#failed) await writeShutdownMarker(this.#fs, this.#folder, shutdown).catch(() => {});
    } else await this.#chain.abandon();
    const closed = new LogError('CLOSED', 'the log is closed');
    for (const wait of this.#waits.splice(0)) wait.done(closed);
    this.#end.close();
    this.#lock.release();
  }

  async #roll(): Promise<void> {
    const closed = this.#whyClosed();
    if (closed) throw closed;
    const outcome = await this.#commit.roll();
    if (this.#failed) throw this.#failed;
    if (outcome === null) return;
    if (outcome.kind !== 'rolled') throw outcome.error;
    await outcome.closed;
  }

  #whyClosed(): LogError | null {
    return this.#failed ?? (this.#closing ? new LogError('CLOSED', 'the log is closed') : null);
  }

  #advance(end: number): void {
    this.#end.advance(end);
    if (this.#waits.length === 0) return;
    const due = this.#waits.filter((wait) => wait.offset < end);
    this.#waits = this.#waits.filter((wait) => wait.offset >= end);
    for (const wait of due) queueMicrotask(() => wait.done(null));
  }

  #refused(refusal: Refusal, records: number): LogError {
    this.#figures.refused[refusal.code] += records;
    switch (refusal.code) {
      case 'RECORD_INVALID':
        return new LogError('RECORD_INVALID', refusal.reason);
      case 'RECORD_TOO_LARGE': {
        const facts = { sizeBytes: refusal.sizeBytes, maxBytes: this.#config.maxRecordBytes };
        const message = `a record of ${facts.sizeBytes} bytes passes the limit of ${facts.maxBytes}`;
        return new LogError('RECORD_TOO_LARGE', message, {
          facts,
          hint: 'raise log.maxRecordBytes or send less at once',
        });
      }
      case 'BUFFER_FULL': {
        const facts = {
          pendingBytes: this.#commit.pendingBytes,
          maxPendingBytes: this.#config.maxPendingBytes,
        };
        const message = `${facts.pendingBytes} bytes wait for the disk already`;
        return new LogError('BUFFER_FULL', message, { facts, hint: 'retry shortly' });
      }
    }
  }

  #diskFull(cause: Error, records: number): LogError {
    this.#figures.refused.DISK_FULL += records;
    this.#figures.diskFull = true;
    return new LogError('DISK_FULL', `the disk takes no more records: ${cause.message}`, {
      facts: { folder: this.#folder, records },
      hint: 'free some space: appending resumes by itself',
      cause,
    });
  }

  #fail(cause: Error): void {
    if (this.#failed) return;
    const error = new LogError('SYNC_FAILED', `the log can no longer be written: ${cause.message}`, {
      facts: { folder: this.#folder, end: this.#end.get() },
      hint: 'check the disk; the process must end, because what the system still holds in memory cannot be trusted',
      cause,
    });
    this.#failed = error;
    // Not there yet where the zeros ahead of the segment fail while the log is being opened.
    this.#commit?.fail(error);
    for (const wait of this.#waits.splice(0)) wait.done(error);
    for (const listener of this.#fatalListeners) listener(error);
  }
}
