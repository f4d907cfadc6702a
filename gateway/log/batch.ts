// Owns the frame of a Kafka RecordBatch v2: its header, its checksum, and why one is refused. Knows nothing of
// the records inside (record-encoder.ts, record-decoder.ts) or of files.
//
// RecordBatch v2 (KIP-98, magic 2), big-endian:
//
//    0  baseOffset            i64
//    8  batchLength           i32   bytes after this field: 49 + records
//   12  partitionLeaderEpoch  i32   0 here (we have no leaders)
//   16  magic                 i8    2
//   17  crc                   u32   CRC-32C of everything from attributes to the end
//   21  attributes            i16   bits 0-2 codec (0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd), 3 timestamp type
//                                   (0 create time), 4 transactional, 5 control, 6 delete horizon
//   23  lastOffsetDelta       i32
//   27  baseTimestamp         i64   eventMs of the first record
//   35  maxTimestamp          i64   greatest eventMs
//   43  producerId            i64   -1
//   51  producerEpoch         i16   -1
//   53  baseSequence          i32   -1
//   57  recordsCount          i32
//   61  records
//
// A batch from which retention has removed records keeps its offsets and lastOffsetDelta, as after Kafka's compaction:
// then recordsCount is less than the offsets it spans. Whole batches that were removed are stood in for by one empty
// batch, header only, so that base offsets always follow each other.
//
// The checksum does not cover the first 21 bytes. Each of those is checked otherwise: the base offset must follow
// from the batch before, the length decides what is summed, epoch and magic have one allowed value.
import { crc32c } from '@node-rs/crc32';
import { readInt32, readInt64, readUint32, writeInt32, writeInt64 } from './varint.ts';

export const HEADER_BYTES = 61;
/** Bytes before the part that batchLength counts. */
const PREFIX_BYTES = 12;
const CRC_FROM = 21;
const MAGIC = 2;
/** Kafka's own limit on what one batch may count here. */
export const MAX_BATCH_RECORDS = 65_535;
/** No batch we write comes near it; checked before anything is allocated. */
export const MAX_BATCH_BYTES = 64 * 1024 * 1024;

export const CODEC = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 } as const;
const CODEC_MASK = 0x07;
const KNOWN_ATTRIBUTES = CODEC_MASK;

export interface BatchHeader {
  readonly baseOffset: number;
  /** Of the whole batch, header included. */
  readonly sizeBytes: number;
  readonly crc: number;
  readonly attributes: number;
  readonly lastOffset: number;
  readonly baseTimestamp: number;
  readonly maxTimestamp: number;
  readonly count: number;
}

/** Why there is no batch of ours at a position. 'end': zeros, or nothing more. 'short': the file ends inside it. */
export type BatchFault =
  | 'end'
  | 'short'
  | 'bad length'
  | 'bad magic'
  | 'bad leader epoch'
  | 'bad base offset'
  | 'bad record count'
  | 'bad timestamp'
  | 'bad checksum';

/** The header at `at`, of which bytes up to `end` are there; checks all but the checksum. */
export function readHeader(bytes: Uint8Array, at: number, end: number): BatchHeader | BatchFault {
  if (end - at < HEADER_BYTES) return isZero(bytes, at, end) ? 'end' : 'short';
  const length = readInt32(bytes, at + 8);
  if (length === 0 && isZero(bytes, at, at + HEADER_BYTES)) return 'end';
  if (length < HEADER_BYTES - PREFIX_BYTES || length > MAX_BATCH_BYTES - PREFIX_BYTES) return 'bad length';
  if (bytes[at + 16] !== MAGIC) return 'bad magic';
  if (readInt32(bytes, at + 12) !== 0) return 'bad leader epoch';
  const baseOffset = readInt64(bytes, at, end);
  const lastOffset = baseOffset + readInt32(bytes, at + 23);
  if (baseOffset < 0 || !Number.isSafeInteger(lastOffset)) return 'bad base offset';
  const count = readInt32(bytes, at + 57);
  if (count < 0 || count > MAX_BATCH_RECORDS || lastOffset - baseOffset < Math.max(0, count - 1))
    return 'bad record count';
  if (count === 0 && length !== HEADER_BYTES - PREFIX_BYTES) return 'bad record count';
  const baseTimestamp = readInt64(bytes, at + 27, end);
  const maxTimestamp = readInt64(bytes, at + 35, end);
  if (!Number.isSafeInteger(baseTimestamp) || !Number.isSafeInteger(maxTimestamp)) return 'bad timestamp';
  return {
    baseOffset,
    sizeBytes: PREFIX_BYTES + length,
    crc: readUint32(bytes, at + 17),
    attributes: (bytes[at + 21]! << 8) | bytes[at + 22]!,
    lastOffset,
    baseTimestamp,
    maxTimestamp,
    count,
  };
}

/** Whether the whole batch at `at` is there up to `end` and its checksum is right. */
export function checkBatch(
  bytes: Uint8Array,
  at: number,
  end: number,
  header: BatchHeader,
): BatchFault | null {
  if (end - at < header.sizeBytes) return 'short';
  return crc32c(bytes.subarray(at + CRC_FROM, at + header.sizeBytes)) === header.crc ? null : 'bad checksum';
}

/** Names what makes an intact batch foreign to this log, or null. */
export function whyForeign(header: BatchHeader): string | null {
  const codec = header.attributes & CODEC_MASK;
  if (codec !== CODEC.none && codec !== CODEC.zstd) {
    const name = Object.entries(CODEC).find(([, value]) => value === codec)?.[0];
    return name ? `compressed with ${name}` : `compressed with unknown codec ${codec}`;
  }
  if (header.attributes & 0x08) return 'log-append timestamps';
  if (header.attributes & 0x10) return 'transactional batch';
  if (header.attributes & 0x20) return 'control batch';
  if (header.attributes & ~KNOWN_ATTRIBUTES) return `unknown attributes 0x${header.attributes.toString(16)}`;
  return null;
}

export function codecOf(header: BatchHeader): number {
  return header.attributes & CODEC_MASK;
}

/** Writes the header of the batch that fills [at, end): everything but the base offset, which no checksum covers. */
export function sealBatch(
  bytes: Uint8Array,
  at: number,
  end: number,
  batch: {
    count: number;
    baseTimestamp: number;
    maxTimestamp: number;
    codec?: number;
    /** Where records were removed it is more than count - 1. */
    lastOffsetDelta?: number;
  },
): void {
  writeInt32(bytes, at + 8, end - at - PREFIX_BYTES);
  writeInt32(bytes, at + 12, 0);
  bytes[at + 16] = MAGIC;
  bytes[at + 21] = 0;
  bytes[at + 22] = batch.codec ?? CODEC.none;
  writeInt32(bytes, at + 23, batch.lastOffsetDelta ?? batch.count - 1);
  writeInt64(bytes, at + 27, batch.baseTimestamp);
  writeInt64(bytes, at + 35, batch.maxTimestamp);
  // producerId, producerEpoch and baseSequence: all -1, 14 bytes of ones
  bytes.fill(0xff, at + 43, at + 57);
  writeInt32(bytes, at + 57, batch.count);
  writeInt32(bytes, at + 17, crc32c(bytes.subarray(at + CRC_FROM, end)));
}

export function writeBaseOffset(bytes: Uint8Array, at: number, baseOffset: number): void {
  writeInt64(bytes, at, baseOffset);
}

function isZero(bytes: Uint8Array, from: number, to: number): boolean {
  for (let at = from; at < to; at++) if (bytes[at] !== 0) return false;
  return true;
}
