// Owns the form of a segment's key index and making one: spans of the segment small enough to read for one record, and
// for every (topic, device) the spans that hold its records. Only ever a hint: what is read by it is summed again.
//
// `<base offset>.keys`, big-endian, written anew as the segment grows and once more when it is closed. varuint: 7 bits a byte, least significant first.
//
//   header, 96 bytes
//      0  magic            4 bytes  "TMKY"
//      4  version          u32      1
//      8  baseOffset       i64
//     16  segmentBytes     u32      it covers the segment up to here: all of it once it is closed
//     20  spanCount        u32
//     24  keyCount         u32
//     28  flags            u32      bit 0: too many keys, none are listed
//                                   bit 1: timeIndexCrc vouches for a time index that was found right
//                                   bit 2: the segment was closed, and all of it is covered
//     32  minMs, maxMs     i64 i64  least and greatest eventMs; minMs > maxMs where there are no records
//     48  lastOffset       i64      the last offset it covers
//     56  recordCount      u32
//     60  timeIndexCrc     u32      CRC-32C of `.timeindex`
//     64  spansCrc         u32      CRC-32C of the spans
//     68  keysCrc          u32      CRC-32C of the key table
//     72  blocksBytes      u32
//     76  zero             16 bytes
//     92  headerCrc        u32      CRC-32C of bytes 0 to 91
//   spans, 40 bytes each, ascending, without gap: each ends where the next begins, the last at segmentBytes
//      0  position         u32
//      4  crc              u32      CRC-32C of the span's bytes
//      8  firstOffset      u32      - baseOffset
//     12  batchBase        u32      base offset - baseOffset of the batch whose records go on here;
//                                   2^32 - 1 where the span begins with a batch and holds only whole ones, or the
//                                   header and first records of one
//     16  baseTimestamp    i64      of that batch; else 0
//     24  minMs, maxMs     i64 i64
//   key table, 16 bytes each, ascending by the two hashes
//      0  deviceHash       u32      CRC-32C of the device id
//      4  topicHash        u32      CRC-32C of the topic
//      8  at, length       u32 u32  of its block, counted from the first block
//   blocks, one for each key
//      crc                 u32      CRC-32C of the rest
//      firstMs, lastMs     i64 i64  least and greatest eventMs
//      device, topic       varuint length + UTF-8, each
//      records             varuint
//      spans               varuint count, then varuint number of each - number of the one before - 1 (from -1)
import { crc32c } from '@node-rs/crc32';
import { type BatchHeader, CODEC, codecOf, whyForeign } from './batch.ts';
import { type Key, KeyTable, viewOf } from './key-table.ts';
import { RecordDecoder, type RecordGlance } from './record-decoder.ts';
import { BatchRun } from './record-run.ts';
import { TextCache } from './text-cache.ts';
import { writeInt32, writeInt64 } from './varint.ts';

export const KEY_INDEX_MAGIC = 0x544d_4b59;
export const KEY_INDEX_VERSION = 1;
export const KEY_HEADER_BYTES = 96;
export const SPAN_BYTES = 40;
export const KEY_ENTRY_BYTES = 16;
export const WHOLE_BATCHES = 0xffff_ffff;
export const FLAG = { withoutKeys: 1, timeIndexVouched: 2, complete: 4 } as const;
/** A span is closed at the first record or batch boundary past this. */
const SPAN_TARGET_BYTES = 8 * 1024;
/** … and before a batch that would make it larger than this. */
const MAX_SPAN_BYTES = 10 * 1024;

export interface FinishedKeyIndex {
  readonly bytes: Buffer;
  readonly records: number;
  readonly keys: number;
}

/** Takes the batches of one segment in order, and writes the index of those it has. */
export class KeyIndexBuilder {
  readonly #baseOffset: number;
  readonly #texts = new TextCache();
  readonly #glance: RecordGlance = {
    at: 0,
    offset: 0,
    eventMs: 0,
    deviceAt: 0,
    deviceBytes: 0,
    topicAt: 0,
    topicBytes: 0,
  };
  #keys: KeyTable | null = new KeyTable();
  #spans: Buffer = Buffer.alloc(64 * SPAN_BYTES);
  #spanCount = 0;
  #records = 0;
  #minMs = Number.MAX_SAFE_INTEGER;
  #maxMs = Number.MIN_SAFE_INTEGER;
  #next: number;
  #position = 0;
  // The span that is open: where it began, its checksum so far, its times.
  #openFrom = -1;
  #openCrc = 0;
  #openMinMs = 0;
  #openMaxMs = 0;

  constructor(baseOffset: number) {
    this.#baseOffset = baseOffset;
    this.#next = baseOffset;
  }

  /** The offset and position that come next. */
  get next(): number {
    return this.#next;
  }

  get position(): number {
    return this.#position;
  }

  /** Adds the checked batch that lies at `at`. False when it holds records that are not read here: give up. */
  add(header: BatchHeader, bytes: Uint8Array, at: number): boolean {
    if (whyForeign(header) !== null) return false;
    const end = at + header.sizeBytes;
    const splits = codecOf(header) === CODEC.none && header.sizeBytes > SPAN_TARGET_BYTES;
    // Beside others it would only be read in vain.
    if (splits || this.#position - this.#openFrom + header.sizeBytes > MAX_SPAN_BYTES) this.#close();
    if (this.#openFrom < 0) this.#open(this.#position, header.baseOffset, WHOLE_BATCHES, 0);
    const run = new BatchRun(header, bytes, at);
    const decoder = new RecordDecoder(run, this.#texts);
    const texts = viewOf(run.bytes);
    let summed = at;
    const record = this.#glance;
    while (decoder.glance(record)) {
      const recordAt = record.at;
      if (splits && recordAt - summed >= SPAN_TARGET_BYTES) {
        this.#sum(bytes, summed, recordAt);
        this.#close();
        const position = this.#position + recordAt - at;
        this.#open(position, record.offset, header.baseOffset - this.#baseOffset, header.baseTimestamp);
        summed = recordAt;
      }
      this.#records += 1;
      if (record.eventMs < this.#openMinMs) this.#openMinMs = record.eventMs;
      if (record.eventMs > this.#openMaxMs) this.#openMaxMs = record.eventMs;
      this.#keys?.note(texts, record, record.eventMs, this.#spanCount - 1);
    }
    if (this.#keys?.isTooLarge) this.#keys = null;
    this.#sum(bytes, summed, end);
    this.#position += header.sizeBytes;
    this.#next = header.lastOffset + 1;
    if (splits || this.#position - this.#openFrom >= SPAN_TARGET_BYTES) this.#close();
    return true;
  }

  #open(position: number, firstOffset: number, batchBase: number, baseTimestamp: number): void {
    const at = this.#spanCount * SPAN_BYTES;
    if (at === this.#spans.length) {
      const larger = Buffer.alloc(this.#spans.length * 2);
      this.#spans.copy(larger);
      this.#spans = larger;
    }
    this.#spanCount += 1;
    writeInt32(this.#spans, at, position);
    writeInt32(this.#spans, at + 8, firstOffset - this.#baseOffset);
    writeInt32(this.#spans, at + 12, batchBase);
    writeInt64(this.#spans, at + 16, baseTimestamp);
    this.#openFrom = position;
    this.#openCrc = 0;
    this.#openMinMs = Number.MAX_SAFE_INTEGER;
    this.#openMaxMs = Number.MIN_SAFE_INTEGER;
  }

  #sum(bytes: Uint8Array, from: number, to: number): void {
    this.#openCrc = crc32c(bytes.subarray(from, to), this.#openCrc);
  }

  #close(): void {
    if (this.#openFrom < 0) return;
    const at = (this.#spanCount - 1) * SPAN_BYTES;
    writeInt32(this.#spans, at + 4, this.#openCrc);
    writeInt64(this.#spans, at + 24, this.#openMinMs);
    writeInt64(this.#spans, at + 32, this.#openMaxMs);
    this.#minMs = Math.min(this.#minMs, this.#openMinMs);
    this.#maxMs = Math.max(this.#maxMs, this.#openMaxMs);
    this.#openFrom = -1;
  }

  /**
   * The whole file. More may be added after it, unless the segment is `closed`. `timeIndex`: bytes of the segment's, where
   * it was found right.
   */
  finish(closed: boolean, timeIndex: Uint8Array | null = null): FinishedKeyIndex {
    this.#close();
    const spans = this.#spans.subarray(0, this.#spanCount * SPAN_BYTES);
    const { table, blocks, keyCount } = this.#writeKeys();
    const header = Buffer.alloc(KEY_HEADER_BYTES);
    const flags =
      (this.#keys ? 0 : FLAG.withoutKeys) |
      (timeIndex ? FLAG.timeIndexVouched : 0) |
      (closed ? FLAG.complete : 0);
    writeInt32(header, 0, KEY_INDEX_MAGIC);
    writeInt32(header, 4, KEY_INDEX_VERSION);
    writeInt64(header, 8, this.#baseOffset);
    writeInt32(header, 16, this.#position);
    writeInt32(header, 20, this.#spanCount);
    writeInt32(header, 24, keyCount);
    writeInt32(header, 28, flags);
    writeInt64(header, 32, this.#minMs);
    writeInt64(header, 40, this.#maxMs);
    writeInt64(header, 48, this.#next - 1);
    writeInt32(header, 56, this.#records);
    writeInt32(header, 60, timeIndex ? crc32c(timeIndex) : 0);
    writeInt32(header, 64, crc32c(spans));
    writeInt32(header, 68, crc32c(table));
    writeInt32(header, 72, blocks.length);
    writeInt32(header, 92, crc32c(header.subarray(0, 92)));
    const bytes = Buffer.concat([header, spans, table, blocks]);
    return { bytes, records: this.#records, keys: keyCount };
  }

  #writeKeys(): { table: Buffer; blocks: Buffer; keyCount: number } {
    const held = this.#keys;
    const keys = Array.from({ length: held?.count ?? 0 }, (_, number) => {
      const { device, topic } = held!.texts(number);
      return { number, hash: crc32c(device), topicHash: crc32c(topic) };
    });
    keys.sort((a, b) => a.hash - b.hash || a.topicHash - b.topicHash);
    const table = Buffer.alloc(keys.length * KEY_ENTRY_BYTES);
    const blocks: Buffer[] = [];
    let blocksBytes = 0;
    for (const [index, { number, hash, topicHash }] of keys.entries()) {
      const block = keyBlock(held!.key(number));
      const at = index * KEY_ENTRY_BYTES;
      writeInt32(table, at, hash);
      writeInt32(table, at + 4, topicHash);
      writeInt32(table, at + 8, blocksBytes);
      writeInt32(table, at + 12, block.length);
      blocks.push(block);
      blocksBytes += block.length;
    }
    return { table, blocks: Buffer.concat(blocks), keyCount: keys.length };
  }
}

function keyBlock({ device, topic, spans, firstMs, lastMs, records }: Key): Buffer {
  const block = Buffer.alloc(20 + 4 * 5 + device.length + topic.length + spans.length * 5);
  writeInt64(block, 4, firstMs);
  writeInt64(block, 12, lastMs);
  let at = 20;
  for (const text of [device, topic]) {
    at = writeVaruint(block, at, text.length);
    block.set(text, at);
    at += text.length;
  }
  at = writeVaruint(block, at, records);
  at = writeVaruint(block, at, spans.length);
  let previous = -1;
  for (const span of spans) {
    at = writeVaruint(block, at, span - previous - 1);
    previous = span;
  }
  writeInt32(block, 0, crc32c(block.subarray(4, at)));
  return block.subarray(0, at);
}

function writeVaruint(into: Uint8Array, at: number, value: number): number {
  let left = value;
  let next = at;
  while (left > 0x7f) {
    into[next++] = (left & 0x7f) | 0x80;
    left >>>= 7;
  }
  into[next++] = left;
  return next;
}
