// Owns where records lie that are about to be decoded: those of one checked batch, unpacked, or some of them; the marks left
// on the way through them; the copies of the few that are kept. Looks into no record.
import { type BatchHeader, CODEC, codecOf, HEADER_BYTES, MAX_BATCH_BYTES } from './batch.ts';
import { ByteReader, FormFault } from './varint.ts';
import { unpack } from './zstd.ts';

/** Records that follow each other: those of a batch, or some of them. */
export interface RecordRun {
  /** Of the batch: what offsets and times count from, and the last offset there may be. */
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly baseTimestamp: number;
  /** How many records there are; -1: as many as the bytes hold. */
  readonly count: number;
  /** They lie in [from, to), their checksum already checked. */
  readonly bytes: Uint8Array;
  readonly from: number;
  readonly to: number;
}

/** The records of the batch that lies at `at`, unpacked. `whyForeign` must have found nothing against it. */
export class BatchRun implements RecordRun {
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly baseTimestamp: number;
  readonly count: number;
  readonly bytes: Uint8Array;
  readonly from: number;
  readonly to: number;

  constructor(header: BatchHeader, bytes: Uint8Array, at: number) {
    this.baseOffset = header.baseOffset;
    this.lastOffset = header.lastOffset;
    this.baseTimestamp = header.baseTimestamp;
    this.count = header.count;
    const from = at + HEADER_BYTES;
    const to = at + header.sizeBytes;
    const isPacked = codecOf(header) !== CODEC.none;
    this.bytes = isPacked ? unpacked(header, bytes.subarray(from, to)) : bytes;
    this.from = isPacked ? 0 : from;
    this.to = isPacked ? this.bytes.length : to;
  }
}

function unpacked(header: BatchHeader, bytes: Uint8Array): Uint8Array {
  if (codecOf(header) !== CODEC.zstd) throw new FormFault('a codec that is not read here');
  try {
    return unpack(bytes, MAX_BATCH_BYTES);
  } catch (error) {
    throw new FormFault('zstd data does not unpack', { cause: error });
  }
}

export const MARK_EVERY = 64;

/** Where a record of a run begins: `read` records come before it, the last of them with offset delta `previous`. */
class RecordMark {
  readonly read: number;
  readonly previous: number;
  readonly at: number;
  readonly earlier: RecordMark | null;

  constructor(read: number, previous: number, at: number, earlier: RecordMark | null) {
    this.read = read;
    this.previous = previous;
    this.at = at;
    this.earlier = earlier;
  }
}

/**
 * Where every 64th record of a run begins, as far as anyone has walked: so that others need not walk there again. No array,
 * for the same reason as DecodedRecord is no object literal.
 */
export class RecordMarks {
  #last: RecordMark | null = null;

  /** `read` records have been walked, the last with offset delta `previous`; the next begins at `at`. */
  note(read: number, previous: number, at: number): void {
    if (read === (this.#last?.read ?? 0) + MARK_EVERY)
      this.#last = new RecordMark(read, previous, at, this.#last);
  }

  /** The last mark with nothing from `delta` on before it, or null. */
  before(delta: number): RecordMark | null {
    let mark = this.#last;
    while (mark !== null && mark.previous >= delta) mark = mark.earlier;
    return mark;
  }
}

const FIRST_COPIES_BYTES = 4 * 1024;
const MAX_COPIES_BYTES = 64 * 1024;

/** Copies of records, many in one buffer: for few that are wanted among many, so that they do not hold on to all. */
export class RecordCopies {
  #buffer = new Uint8Array(0);
  #used = 0;
  #nextBytes: number;

  /** `firstBytes`: how large the first buffer is, each after it being twice as large; 0: a buffer for each record. */
  constructor(firstBytes = FIRST_COPIES_BYTES) {
    this.#nextBytes = firstBytes;
  }

  /** What `reader` has from here to `end`. */
  take(reader: ByteReader, end: number): ByteReader {
    const length = end - reader.at;
    if (this.#used + length > this.#buffer.length) {
      this.#buffer = Buffer.allocUnsafeSlow(Math.max(length, this.#nextBytes));
      this.#used = 0;
      this.#nextBytes = Math.min(this.#nextBytes * 2, MAX_COPIES_BYTES);
    }
    const at = this.#used;
    this.#buffer.set(reader.bytes.subarray(reader.at, end), at);
    this.#used += length;
    return new ByteReader(this.#buffer, at, at + length);
  }
}
