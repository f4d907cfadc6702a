// Owns the loop that turns appended records into durable ones: two groups swapped, one batch in flight, answers in
// offset order. Knows segments only as something that takes a batch, and nothing of readers.
//
// A record's way, and what a crash means on it:
//
//   add       taken into the group being gathered          a crash loses it; nobody was told it was safe
//   write     its batch gets the next offsets, pwrite       torn at worst: cut when the log is opened again
//   sync      fdatasync returns                             from here on it is found again
//   answer    durable end moves, readers wake, callbacks    a device that did not hear sends again: admission drops it
import type { Offset } from '../../ledger/format/brand.ts';
import type { RecordInput } from '../../ledger/format/record.ts';
import { BatchWriter, type WriteOutcome, type WrittenBatch } from './batch-writer.ts';
import type { LogConfig } from './config.ts';
import type { DiskRoom } from './disk-room.ts';
import { Durability } from './durability.ts';
import type { WriterFigures } from './figures.ts';
import { Group, type GroupBatch, type Refusal } from './group.ts';
import type { Roll, SegmentChain } from './segment-chain.ts';
import type { LogError, OnDurable } from './types.ts';
import { Packer } from './zstd.ts';

export const NO_OFFSET = -1 as Offset;
/** With so few records waiting, the ingest thread has nothing better to do than to sync them itself. */
const AT_ONCE_RECORDS = 8;

export interface GroupCommitOptions {
  readonly config: LogConfig;
  readonly chain: SegmentChain;
  readonly room: DiskRoom;
  readonly figures: WriterFigures;
  readonly clock: () => number;
  readonly nextOffset: number;
  /** Everything before `end` is durable. Called before the records' own callbacks. */
  readonly onAdvance: (end: number) => void;
  /** The error for records that did not fit on the disk. */
  readonly diskFull: (cause: Error, records: number) => LogError;
  /** Writing has failed for good; `fail` must be called. */
  readonly onDead: (cause: Error) => void;
}

export class GroupCommit {
  readonly #options: GroupCommitOptions;
  readonly #writer: BatchWriter;
  readonly #durability: Durability;
  #nextOffset: number;
  /** Taken in since the group in flight was closed. */
  #gathering: Group;
  /** In flight, or empty. */
  #writing: Group;
  /** First batch of #writing not yet answered. */
  #batchIndex = 0;
  /** A group is under way; when it ends the next one follows at once. */
  #busy = false;
  #scheduled = false;
  /** The group in flight is all that this turn of the event loop brought, and small. */
  #atOnce = false;
  /** The segment has a write under way: its files must not be closed. */
  #inFlight = false;
  #writeBeganMs = 0;
  #failed = false;
  #whenIdle: (() => void) | null = null;
  /** Who asked for a new segment; served between two batches. */
  #rolls: ((outcome: Roll | null) => void)[] = [];

  constructor(options: GroupCommitOptions) {
    this.#options = options;
    this.#nextOffset = options.nextOffset;
    const { config, chain, room, onDead } = options;
    this.#gathering = new Group(config);
    this.#writing = new Group(config);
    this.#durability = new Durability({
      sync: config.sync,
      maxUnsyncedBytes: config.maxPendingBytes,
      chain,
      onSynced: (batches, syncMs) => this.#onSynced(batches, syncMs),
      onDead,
    });
    const flush = () => this.#durability.flush();
    this.#writer = new BatchWriter({ chain, room, packer: new Packer(config.compression), flush });
  }

  get nextOffset(): number {
    return this.#nextOffset;
  }

  /** Bytes taken in and not yet answered. */
  get pendingBytes(): number {
    const batch = this.#writing.batches[this.#batchIndex];
    return this.#gathering.length + (batch ? this.#writing.length - batch.start : 0);
  }

  get unsyncedBytes(): number {
    return this.#durability.unsyncedBytes;
  }

  get pendingRecords(): number {
    const batch = this.#writing.batches[this.#batchIndex];
    return this.#gathering.callbacks.length + (batch ? this.#writing.callbacks.length - batch.first : 0);
  }

  add(record: RecordInput, onDurable: OnDurable): Refusal | null {
    const refusal = this.#gathering.add(
      record,
      onDurable,
      this.#options.config.maxPendingBytes - this.pendingBytes,
    );
    if (refusal === null) this.#schedule();
    return refusal;
  }

  addAll(records: readonly RecordInput[], onDurable: OnDurable): Refusal | null {
    const refusal = this.#gathering.addAll(
      records,
      onDurable,
      this.#options.config.maxPendingBytes - this.pendingBytes,
    );
    if (refusal === null) this.#schedule();
    return refusal;
  }

  /** Resolves when nothing is waiting, in flight or unsynced; after `fail`, when nothing is in flight. */
  async drained(): Promise<void> {
    const waiting = this.#busy || this.#gathering.callbacks.length > 0;
    if (this.#inFlight || (!this.#failed && waiting)) {
      await new Promise<void>((resolve) => {
        this.#whenIdle = resolve;
      });
    }
    await this.#durability.flush();
  }

  /** Begins a new segment between two batches; null when there was nothing to close, or the writer is dead. */
  roll(): Promise<Roll | null> {
    return new Promise((resolve) => {
      this.#rolls.push(resolve);
      this.#schedule();
    });
  }

  /** Answers everyone who waits with `error` and writes nothing more. */
  fail(error: LogError): void {
    this.#failed = true;
    this.#writer.stop();
    this.#durability.stop();
    const batch = this.#writing.batches[this.#batchIndex];
    const unanswered = [
      ...(batch ? this.#writing.callbacks.slice(batch.first) : []),
      ...this.#gathering.callbacks,
    ];
    this.#writing.clear();
    this.#gathering.clear();
    this.#batchIndex = 0;
    for (const callback of unanswered) answer(callback, error, NO_OFFSET);
    this.#answerRolls(null);
    if (!this.#inFlight) this.#whenIdle?.();
  }

  /** Idle: what arrives in this turn of the event loop shares a sync. Busy: the end of the sync in flight goes on. */
  #schedule(): void {
    if (this.#busy || this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (!this.#busy && !this.#failed) this.#startGroup(true);
    });
  }

  /** `isIdle`: nothing was under way. */
  #startGroup(isIdle = false): void {
    if (this.#rolls.length > 0 && this.#options.chain.active.position > 0) {
      this.#busy = true;
      this.#roll(() => this.#startGroup());
      return;
    }
    this.#answerRolls(null);
    if (this.#gathering.callbacks.length === 0) {
      this.#busy = false;
      this.#whenIdle?.();
      return;
    }
    const group = this.#gathering;
    this.#gathering = this.#writing;
    this.#writing = group;
    this.#batchIndex = 0;
    this.#busy = true;
    this.#atOnce = isIdle && group.callbacks.length <= AT_ONCE_RECORDS;
    this.#nextBatch();
  }

  #nextBatch(): void {
    const group = this.#writing;
    // The last batch may have been begun for a record that was then refused.
    if (this.#batchIndex >= group.batches.length || group.batches[this.#batchIndex]!.count === 0) {
      group.clear();
      this.#batchIndex = 0;
      this.#startGroup();
      return;
    }
    const batch = group.batches[this.#batchIndex]!;
    this.#inFlight = true;
    this.#writeBeganMs = performance.now();
    this.#writer.write(group.buffer, batch, this.#nextOffset, (outcome) => this.#onOutcome(batch, outcome));
  }

  #onOutcome(batch: GroupBatch, outcome: WriteOutcome): void {
    if (outcome.kind === 'written') {
      this.#options.figures.wrote(performance.now() - this.#writeBeganMs);
      this.#nextOffset = outcome.batch.lastOffset + 1;
      // One a turn: what follows in the same turn would keep the event loop from the sockets.
      const atOnce = this.#atOnce;
      this.#atOnce = false;
      this.#durability.written(outcome.batch, atOnce, (synced) => {
        this.#inFlight = false;
        if (this.#failed || !synced) this.#whenIdle?.();
        else this.#onWritten(batch, outcome.batch);
      });
      return;
    }
    this.#inFlight = false;
    if (this.#failed) this.#whenIdle?.();
    else if (outcome.kind === 'refused') this.#refuseGroup(outcome.error);
    else if (outcome.error) this.#options.onDead(outcome.error);
  }

  #roll(next: () => void): void {
    this.#inFlight = true;
    this.#writer.roll(this.#nextOffset).then(
      (outcome) => {
        this.#inFlight = false;
        this.#answerRolls(outcome);
        if (this.#failed) this.#whenIdle?.();
        else next();
      },
      (error: Error) => {
        this.#inFlight = false;
        this.#options.onDead(error);
      },
    );
  }

  #answerRolls(outcome: Roll | null): void {
    for (const resolve of this.#rolls.splice(0)) resolve(outcome);
  }

  /** Its producers may hear; what gathered meanwhile is on its way to the disk before they do. */
  #onWritten(batch: GroupBatch, written: WrittenBatch): void {
    const { figures, clock } = this.#options;
    this.#batchIndex += 1;
    figures.written(batch.count, written.sizeBytes, written.plainBytes, clock());
    const base = this.#nextOffset - batch.count;
    // The next one may reuse the group.
    const callbacks = this.#writing.callbacks.slice(batch.first, batch.first + batch.count);
    this.#nextBatch();
    for (let index = 0; index < callbacks.length; index++)
      answer(callbacks[index]!, null, (base + index) as Offset);
    // What they appended need not wait for another turn.
    if (!this.#busy && !this.#failed) this.#startGroup();
  }

  /** Readers may have them. */
  #onSynced(batches: readonly WrittenBatch[], syncMs: number): void {
    const { chain, figures, clock, onAdvance } = this.#options;
    const nowMs = clock();
    for (const batch of batches) chain.active.index(batch, batch.position, nowMs);
    figures.synced(syncMs);
    onAdvance(batches.at(-1)!.lastOffset + 1);
  }

  /** Refuses what is left of the group in flight; its offsets go to the records that come next. */
  #refuseGroup(cause: Error): void {
    const group = this.#writing;
    const refused = group.callbacks.slice(group.batches[this.#batchIndex]!.first);
    this.#batchIndex = group.batches.length;
    const error = this.#options.diskFull(cause, refused.length);
    for (const callback of refused) answer(callback, error, NO_OFFSET);
    this.#nextBatch();
  }
}

/** A producer's error is its own: it must not keep the others from hearing. */
function answer(callback: OnDurable, error: LogError | null, offset: Offset): void {
  try {
    callback(error, offset);
  } catch (thrown) {
    process.nextTick(() => {
      throw thrown;
    });
  }
}
