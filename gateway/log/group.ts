// Owns the records gathered between two syncs: encoded straight into one growing buffer, cut into record batches.
// Knows offsets only as deltas: the base is written when a batch goes to disk, so a refused batch costs no number.
import type { RecordInput } from '../../ledger/format/record.ts';
import { HEADER_BYTES, MAX_BATCH_RECORDS } from './batch.ts';
import { bodySize, NOT_ASCII, textLengths, whyInvalid, writeRecord } from './record-encoder.ts';
import type { OnDurable } from './types.ts';
import { difference, varintSize } from './varint.ts';

export interface GroupLimits {
  readonly maxBatchBytes: number;
  readonly maxRecordBytes: number;
}

/** One record batch inside the group's buffer: bytes [start, end), callbacks [first, first + count). */
export interface GroupBatch {
  readonly start: number;
  end: number;
  readonly first: number;
  count: number;
  readonly baseTimestamp: number;
  maxTimestamp: number;
}

export type Refusal =
  | { readonly code: 'RECORD_INVALID'; readonly reason: string }
  | { readonly code: 'RECORD_TOO_LARGE'; readonly sizeBytes: number }
  | { readonly code: 'BUFFER_FULL' };

interface GroupMark {
  readonly length: number;
  readonly batches: number;
  readonly callbacks: number;
  readonly batch: GroupBatch | null;
}

const FIRST_CAPACITY = 256 * 1024;
const BUFFER_FULL: Refusal = { code: 'BUFFER_FULL' };

export class Group {
  readonly #limits: GroupLimits;
  buffer: Buffer = Buffer.allocUnsafeSlow(FIRST_CAPACITY);
  length = 0;
  readonly batches: GroupBatch[] = [];
  readonly callbacks: OnDurable[] = [];
  #quiet = 0;

  constructor(limits: GroupLimits) {
    this.#limits = limits;
  }

  /** Takes one record, using at most `budgetBytes`; null when taken. */
  add(record: RecordInput, onDurable: OnDurable, budgetBytes: number): Refusal | null {
    const reason = whyInvalid(record);
    if (reason !== null) return { code: 'RECORD_INVALID', reason };
    return this.#add(record, onDurable, budgetBytes, record.topic.length, record.device.length, true);
  }

  /** Takes all or none; in one batch where they fit into one. */
  addAll(records: readonly RecordInput[], onDurable: OnDurable, budgetBytes: number): Refusal | null {
    const mark = this.#mark();
    const refusal = this.#addRun(records, onDurable, budgetBytes);
    if (
      refusal === null &&
      this.batches.length - mark.batches === 1 &&
      mark.batch !== null &&
      mark.batches > 0
    ) {
      // They straddle a border. Records appended together should stand or fall together: give them a batch of their own.
      const began = this.batches[mark.batches]!.first;
      if (began !== mark.callbacks) {
        this.#rollback(mark);
        this.#begin(records[0]!.eventMs);
        const again = this.#addRun(records, onDurable, budgetBytes);
        if (again !== null) this.#rollback(mark);
        return again;
      }
    }
    if (refusal !== null) this.#rollback(mark);
    return refusal;
  }

  #addRun(records: readonly RecordInput[], onDurable: OnDurable, budgetBytes: number): Refusal | null {
    const before = this.length;
    for (const record of records) {
      const refusal = this.add(record, onDurable, budgetBytes - (this.length - before));
      if (refusal !== null) return refusal;
    }
    return null;
  }

  #add(
    record: RecordInput,
    onDurable: OnDurable,
    budgetBytes: number,
    topicBytes: number,
    deviceBytes: number,
    ascii: boolean,
  ): Refusal | null {
    let batch = this.batches.at(-1);
    let delta = batch ? difference(record.eventMs, batch.baseTimestamp) : 0;
    let size = bodySize(record, delta, batch ? batch.count : 0, topicBytes, deviceBytes);
    let total = size + varintSize(size);
    if (total > this.#limits.maxRecordBytes) return { code: 'RECORD_TOO_LARGE', sizeBytes: total };
    if (total + HEADER_BYTES > budgetBytes) return BUFFER_FULL;
    const fits =
      batch !== undefined &&
      batch.count < MAX_BATCH_RECORDS &&
      (batch.count === 0 || batch.end - batch.start + total <= this.#limits.maxBatchBytes);
    if (!batch || !fits) {
      batch = this.#begin(record.eventMs);
      delta = 0;
      size = bodySize(record, 0, 0, topicBytes, deviceBytes);
      total = size + varintSize(size);
    }
    this.#reserve(total);
    const at = this.length;
    const end = writeRecord(
      this.buffer,
      at,
      record,
      size,
      delta,
      batch.count,
      topicBytes,
      deviceBytes,
      ascii,
    );
    if (end === NOT_ASCII) {
      const lengths = textLengths(record);
      if (typeof lengths === 'string') return { code: 'RECORD_INVALID', reason: lengths };
      return this.#add(record, onDurable, budgetBytes, lengths.topic, lengths.device, false);
    }
    this.length = end;
    batch.end = end;
    batch.count += 1;
    if (record.eventMs > batch.maxTimestamp) batch.maxTimestamp = record.eventMs;
    this.callbacks.push(onDurable);
    return null;
  }

  #begin(baseTimestamp: number): GroupBatch {
    const last = this.batches.at(-1);
    // A batch left empty by a refused record is used again.
    if (last && last.count === 0) {
      this.batches.pop();
      this.length = last.start;
    }
    this.#reserve(HEADER_BYTES);
    const start = this.length;
    this.length += HEADER_BYTES;
    const first = this.callbacks.length;
    const batch = { start, end: this.length, first, count: 0, baseTimestamp, maxTimestamp: baseTimestamp };
    this.batches.push(batch);
    return batch;
  }

  #reserve(bytes: number): void {
    const needed = this.length + bytes;
    if (needed <= this.buffer.length) return;
    let capacity = this.buffer.length * 2;
    while (capacity < needed) capacity *= 2;
    const larger = Buffer.allocUnsafeSlow(capacity);
    this.buffer.copy(larger, 0, 0, this.length);
    this.buffer = larger;
  }

  #mark(): GroupMark {
    const last = this.batches.at(-1);
    return {
      length: this.length,
      batches: this.batches.length,
      callbacks: this.callbacks.length,
      batch: last ? { ...last } : null,
    };
  }

  #rollback(mark: GroupMark): void {
    this.length = mark.length;
    this.batches.length = mark.batches;
    this.callbacks.length = mark.callbacks;
    if (mark.batch) this.batches[mark.batches - 1] = { ...mark.batch };
  }

  /** Empty again, ready for the next group. A buffer a burst made large is given back after a quiet while. */
  clear(): void {
    this.#quiet = this.length * 8 < this.buffer.length ? this.#quiet + 1 : 0;
    if (this.#quiet >= 64 && this.buffer.length > FIRST_CAPACITY) {
      this.buffer = Buffer.allocUnsafeSlow(this.buffer.length / 2);
      this.#quiet = 0;
    }
    this.length = 0;
    this.batches.length = 0;
    this.callbacks.length = 0;
  }
}
