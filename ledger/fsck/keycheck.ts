// Checks the key index of one segment: its checksums always, and with records at hand that it says of each span and of each
// device and topic what the segment does. Its own reading of the form in docs/formats.md; makes no index.
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import type { TelemetryRecord } from '../format/record.ts';
import { crc32c } from './crc32c.ts';
import type { Findings } from './findings.ts';
import { readIfThere } from './indexcheck.ts';
import { HEADER_BYTES, type KeyBlock, type KeyFile, readBlock, readSpans, SPAN_BYTES } from './keyfile.ts';
import type { RecordBatch, SegmentFile } from './segments.ts';

const KEY_BYTES = 16;
const MAGIC = 0x544d_4b59;
const VERSION = 1;
const FLAG_NO_KEYS = 1;
const FLAG_TIME_INDEX = 2;
const MAX_BYTES = 512 * 1024 * 1024;

/** What the segment itself says of a key. */
interface Found {
  firstMs: number;
  lastMs: number;
  records: number;
  readonly spans: number[];
}

/** Internal: why an index whose checksums are right does not fit its segment. */
class Wrong extends Error {
  readonly position: number;

  constructor(position: number, message: string) {
    super(message);
    this.position = position;
  }
}

const nameOf = (device: string, topic: string): string => `${device.length}:${device}${topic}`;

export class KeyCheck {
  readonly #findings: Findings;
  readonly #segment: SegmentFile;
  readonly #file: string;
  #index: KeyFile | null = null;
  #isWrong = false;
  readonly #found = new Map<string, Found>();
  #span = 0;
  #minMs = Number.MAX_SAFE_INTEGER;
  #maxMs = Number.MIN_SAFE_INTEGER;
  #records = 0;

  constructor(findings: Findings, segment: SegmentFile) {
    this.#findings = findings;
    this.#segment = segment;
    this.#file = `log/${segment.name.replace(/\.log$/, '.keys')}`;
    const path = segment.path.replace(/\.log$/, '.keys');
    const size = statSync(path, { throwIfNoEntry: false })?.size;
    // There may be none yet.
    if (size === undefined) return;
    if (size > MAX_BYTES) this.#wrong(0, `${size} bytes are more than any index has`);
    const bytes = size > MAX_BYTES ? null : readIfThere(path);
    if (bytes) this.#index = this.#parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  }

  /** One finding a file is enough: the index is made again as a whole. */
  #wrong(position: number, message: string): void {
    if (this.#isWrong) return;
    this.#isWrong = true;
    this.#index = null;
    this.#findings.add(
      'warning',
      'INDEX_WRONG',
      { file: this.#file, position },
      `${message}; the gateway makes it again at its next start and reads the segment without it until then`,
    );
  }

  #parse(bytes: Buffer): KeyFile | null {
    const header = bytes.subarray(0, HEADER_BYTES);
    if (header.length < HEADER_BYTES || header.readUInt32BE(0) !== MAGIC) {
      this.#wrong(0, 'no key index');
      return null;
    }
    if (crc32c(header.subarray(0, 92)) !== header.readUInt32BE(92)) {
      this.#wrong(0, 'the header has another checksum');
      return null;
    }
    if (header.readUInt32BE(4) !== VERSION) {
      this.#wrong(4, `version ${header.readUInt32BE(4)} is not known here`);
      return null;
    }
    const [segmentBytes, spanCount, keyCount, flags] = [16, 20, 24, 28].map((at) => header.readUInt32BE(at));
    const base = Number(header.readBigInt64BE(8));
    const spansAt = HEADER_BYTES;
    const tableAt = spansAt + spanCount! * SPAN_BYTES;
    const blocksAt = tableAt + keyCount! * KEY_BYTES;
    if (base !== this.#segment.baseOffset) this.#wrong(8, `it is the index of segment ${base}`);
    else if (blocksAt + header.readUInt32BE(72) !== bytes.length)
      this.#wrong(72, `it has ${bytes.length} bytes, its header says ${blocksAt + header.readUInt32BE(72)}`);
    else if (crc32c(bytes.subarray(spansAt, tableAt)) !== header.readUInt32BE(64))
      this.#wrong(spansAt, 'the spans have another checksum');
    else if (crc32c(bytes.subarray(tableAt, blocksAt)) !== header.readUInt32BE(68))
      this.#wrong(tableAt, 'the key table has another checksum');
    else if ((flags! & FLAG_TIME_INDEX) !== 0) this.#timeIndex(header.readUInt32BE(60));
    const keys = this.#isWrong ? null : this.#keys(bytes, tableAt, blocksAt, keyCount!);
    if (this.#isWrong) return null;
    return {
      segmentBytes: segmentBytes!,
      lastOffset: Number(header.readBigInt64BE(48)),
      records: header.readUInt32BE(56),
      spans: readSpans(bytes, base, spanCount!, segmentBytes!),
      keys: (flags! & FLAG_NO_KEYS) === 0 ? keys : null,
    };
  }

  /** A time index that was shortened looks right by itself; the sum of it here does not. */
  #timeIndex(crc: number): void {
    const path = this.#segment.path.replace(/\.log$/, '.timeindex');
    const times = readIfThere(path);
    if (!times || crc32c(times) === crc) return;
    this.#findings.add(
      'warning',
      'INDEX_WRONG',
      { file: this.#file.replace(/\.keys$/, '.timeindex'), position: 0 },
      'it is not the time index that the key index vouches for; the gateway makes it again',
    );
  }

  #keys(bytes: Buffer, tableAt: number, blocksAt: number, count: number): Map<string, KeyBlock> {
    const keys = new Map<string, KeyBlock>();
    let next = blocksAt;
    for (let number = 0; number < count; number++) {
      const entry = tableAt + number * KEY_BYTES;
      const at = blocksAt + bytes.readUInt32BE(entry + 8);
      const block = bytes.subarray(at, at + bytes.readUInt32BE(entry + 12));
      if (at !== next || block.length < 20) {
        this.#wrong(entry, 'an entry of the key table points beside its block');
        return keys;
      }
      next = at + block.length;
      if (crc32c(block.subarray(4)) !== block.readUInt32BE(0)) {
        this.#wrong(at, 'the block of a key has another checksum');
        return keys;
      }
      const { device, topic, key } = readBlock(block, at);
      const hashes = [device, topic].map((text) => crc32c(text));
      if (hashes[0] !== bytes.readUInt32BE(entry) || hashes[1] !== bytes.readUInt32BE(entry + 4)) {
        this.#wrong(entry, 'an entry of the key table has not the hashes of its block');
        return keys;
      }
      keys.set(nameOf(device.toString(), topic.toString()), key);
    }
    if (next !== bytes.length) this.#wrong(next, 'there are bytes after the last block');
    return keys;
  }

  /** The next batch of the segment with its records, in file order. */
  batch(batch: RecordBatch, records: readonly TelemetryRecord[]): void {
    const index = this.#index;
    if (index && batch.position < index.segmentBytes)
      this.#judged(() => this.#compare(index, batch, records));
  }

  /** After the last batch, all of which could be read: what the index says beside it. */
  end(): void {
    const index = this.#index;
    if (index) this.#judged(() => this.#compareWhole(index));
  }

  #judged(compare: () => void): void {
    try {
      compare();
    } catch (error) {
      if (!(error instanceof Wrong)) throw error;
      this.#wrong(error.position, error.message);
    }
  }

  #compare(index: KeyFile, batch: RecordBatch, records: readonly TelemetryRecord[]): void {
    for (const { offset, eventMs, device, topic } of records) {
      while (this.#span + 1 < index.spans.length && offset >= index.spans[this.#span + 1]!.firstOffset)
        this.#closeSpan(index);
      const span = index.spans[this.#span]!;
      if (offset < span.firstOffset)
        throw new Wrong(span.at, `the span is said to begin at offset ${span.firstOffset}, after ${offset}`);
      if (
        span.batchBase !== null &&
        (span.batchBase !== batch.baseOffset || span.baseTimestampMs !== batch.baseTimestampMs)
      )
        throw new Wrong(span.at, `the span is said to go on in a batch other than that of offset ${offset}`);
      this.#records += 1;
      this.#minMs = Math.min(this.#minMs, eventMs);
      this.#maxMs = Math.max(this.#maxMs, eventMs);
      this.#note(nameOf(device, topic), eventMs);
    }
  }

  #note(name: string, eventMs: number): void {
    let found = this.#found.get(name);
    if (!found) {
      found = { firstMs: eventMs, lastMs: eventMs, records: 0, spans: [] };
      this.#found.set(name, found);
    }
    found.records += 1;
    found.firstMs = Math.min(found.firstMs, eventMs);
    found.lastMs = Math.max(found.lastMs, eventMs);
    if (found.spans.at(-1) !== this.#span) found.spans.push(this.#span);
  }

  #closeSpan(index: KeyFile): void {
    const { at, minMs, maxMs } = index.spans[this.#span]!;
    if (minMs !== this.#minMs || maxMs !== this.#maxMs)
      throw new Wrong(at, `the span's records are not of the times ${minMs} to ${maxMs}`);
    this.#span += 1;
    this.#minMs = Number.MAX_SAFE_INTEGER;
    this.#maxMs = Number.MIN_SAFE_INTEGER;
  }

  #compareWhole(index: KeyFile): void {
    while (this.#span < index.spans.length) this.#closeSpan(index);
    if (this.#records !== index.records)
      throw new Wrong(56, `it says ${index.records} records, there are ${this.#records}`);
    this.#sums(index);
    if (!index.keys) return;
    for (const [name, found] of this.#found) {
      const key = index.keys.get(name);
      if (!key) throw new Wrong(HEADER_BYTES, 'a device and topic of the segment are not listed');
      const isRight =
        key.firstMs === found.firstMs &&
        key.lastMs === found.lastMs &&
        key.records === found.records &&
        key.spans.length === found.spans.length &&
        key.spans.every((span, at) => span === found.spans[at]);
      if (!isRight) throw new Wrong(key.at, 'the block does not list the records of its device and topic');
    }
    if (index.keys.size !== this.#found.size)
      throw new Wrong(HEADER_BYTES, 'it lists a device and topic that have no record here');
  }

  /** The spans' own sums, over the segment as it is read anew. */
  #sums({ spans, segmentBytes }: KeyFile): void {
    const fd = openSync(this.#segment.path, 'r');
    try {
      let next = 0;
      for (const { at, position, end, crc } of spans) {
        if (position !== next || end < position || end > segmentBytes)
          throw new Wrong(at, 'the span does not begin where the one before it ends');
        next = end;
        const bytes = Buffer.alloc(end - position);
        const read = readSync(fd, bytes, 0, bytes.length, position);
        if (read < bytes.length || crc32c(bytes) !== crc)
          throw new Wrong(at, `bytes ${position} to ${end - 1} of the segment have another checksum`);
      }
      if (next !== segmentBytes) throw new Wrong(16, 'the last span does not end where the index does');
    } finally {
      closeSync(fd);
    }
  }
}
