// The batch being gathered: leaf hashes of consecutive records until it is cut into a block's count, root and
// times. Refuses a record that does not follow the one before it; keeps hashes, never records.
import type { Offset } from '../format/brand.ts';
import { type DeviceSummary, DeviceTally } from '../format/devices.ts';
import { createRecordHasher, type TelemetryRecord } from '../format/record.ts';
import { HASH_BYTES, rootInPlace } from '../tiles/batchtree.ts';
import { sha256Into } from '../tiles/hashing.ts';
import { SUBTREES_FROM, subtreesInPlace, subtreesOf } from '../tiles/subtrees.ts';

export interface CutBatch {
  readonly first: Offset;
  readonly count: number;
  /** RFC 6962 root over the records' leaf hashes. */
  readonly root: Uint8Array;
  readonly eventMinMs: number;
  readonly eventMaxMs: number;
  /** Roots of its subtrees, side by side; null where it is too small for them to be kept. */
  readonly subtrees: Buffer | null;
  /** Who sent how much of it; see ledger/format/devices.ts. */
  readonly devices: readonly DeviceSummary[];
}

export class Batch {
  readonly #recordsMax: number;
  readonly #hashes: Buffer;
  readonly #hashRecord: (record: TelemetryRecord) => Uint8Array;
  readonly #devices = new DeviceTally();
  #first: number;
  #count = 0;
  #eventMinMs = 0;
  #eventMaxMs = 0;

  /** @param first the offset the next record must have */
  constructor(first: number, recordsMax: number) {
    this.#first = first;
    this.#recordsMax = recordsMax;
    this.#hashes = Buffer.alloc(recordsMax * HASH_BYTES);
    this.#hashRecord = createRecordHasher((data) => {
      sha256Into(data, this.#hashes, this.#count * HASH_BYTES);
      return this.#hashes;
    });
  }

  get count(): number {
    return this.#count;
  }

  get full(): boolean {
    return this.#count === this.#recordsMax;
  }

  /** One past the last record taken. */
  get next(): number {
    return this.#first + this.#count;
  }

  /** Takes the next record. @throws RangeError when it is not the record at `next`, or the batch is full. */
  add(record: TelemetryRecord): void {
    if (record.offset !== this.next || this.full) {
      throw new RangeError(
        `record ${record.offset} does not follow: the batch needs ${this.full ? 'none' : this.next}`,
      );
    }
    this.#hashRecord(record);
    this.#devices.add(record);
    if (this.#count === 0) {
      this.#eventMinMs = record.eventMs;
      this.#eventMaxMs = record.eventMs;
    } else {
      if (record.eventMs < this.#eventMinMs) this.#eventMinMs = record.eventMs;
      if (record.eventMs > this.#eventMaxMs) this.#eventMaxMs = record.eventMs;
    }
    this.#count += 1;
  }

  /** What was gathered, and begins the next batch. */
  cut(): CutBatch {
    const subtrees = subtreesInPlace(this.#hashes, this.#count);
    const cut: CutBatch = {
      first: this.#first as Offset,
      count: this.#count,
      subtrees: this.#count < SUBTREES_FROM ? null : Buffer.from(subtrees),
      root: rootInPlace(this.#hashes, subtreesOf(this.#count)),
      eventMinMs: this.#eventMinMs,
      eventMaxMs: this.#eventMaxMs,
      devices: this.#devices.take(),
    };
    this.#first += this.#count;
    this.#count = 0;
    return cut;
  }
}
