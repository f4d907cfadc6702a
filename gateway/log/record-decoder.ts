// Owns the way from the records of one checked batch back to TelemetryRecords, one at a time. Refuses every form
// the encoder does not write (grammar in record-encoder.ts) with a FormFault; never guesses.
import type { Offset } from '../../ledger/format/brand.ts';
import type { Source, TelemetryRecord } from '../../ledger/format/record.ts';
import { SALT_BYTES } from './record-encoder.ts';
import { MARK_EVERY, type RecordCopies, type RecordMarks, type RecordRun } from './record-run.ts';
import type { TextCache } from './text-cache.ts';
import { ByteReader, FormFault } from './varint.ts';

const EMPTY = new Uint8Array(0);
const NO_HEADERS: readonly (readonly [string, Uint8Array])[] = Object.freeze([]);
const ascii = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'latin1'));
const TOPIC = ascii('topic');
const TYPE = ascii('type');
const SRC = ascii('src');
const RX = ascii('rx');
const SEQ = ascii('seq');
const SALT = ascii('salt');

/** Which records are wanted: the others are passed over without being decoded. */
export interface RecordFilter {
  /** UTF-8; null: any. */
  readonly device: Uint8Array | null;
  readonly topic: Uint8Array | null;
  /** fromMs <= eventMs < toMs */
  readonly fromMs: number;
  readonly toMs: number;
}

/** What an index needs of a record. */
export interface RecordGlance {
  /** Where it begins. */
  at: number;
  offset: number;
  eventMs: number;
  /** Where its texts lie in the run's bytes. */
  deviceAt: number;
  deviceBytes: number;
  topicAt: number;
  topicBytes: number;
}

/**
 * A class because of what V8 makes of an object literal here: it learns from the first records, which live long, to
 * allocate all of them in the old heap, where they keep their payloads and whole segment pieces until a full collection.
 */
class DecodedRecord implements TelemetryRecord {
  declare readonly offset: Offset;
  declare readonly eventMs: number;
  declare readonly receivedMs: number;
  declare readonly topic: string;
  declare readonly device: string;
  declare readonly sequence: number | null;
  declare readonly source: Source;
  declare readonly contentType: string;
  declare readonly headers: readonly (readonly [string, Uint8Array])[];
  declare readonly payload: Uint8Array;
  declare readonly salt: Uint8Array;

  constructor(
    offset: Offset,
    eventMs: number,
    receivedMs: number,
    topic: string,
    device: string,
    sequence: number | null,
    source: Source,
    contentType: string,
    headers: readonly (readonly [string, Uint8Array])[],
    payload: Uint8Array,
    salt: Uint8Array,
  ) {
    this.offset = offset;
    this.eventMs = eventMs;
    this.receivedMs = receivedMs;
    this.topic = topic;
    this.device = device;
    this.sequence = sequence;
    this.source = source;
    this.contentType = contentType;
    this.headers = headers;
    this.payload = payload;
    this.salt = salt;
  }
}

/** Walks the records of one run. */
export class RecordDecoder {
  readonly #run: RecordRun;
  readonly #reader: ByteReader;
  readonly #texts: TextCache;
  readonly #marks: RecordMarks | null;
  #read = 0;
  #previous = -1;

  /** Begins at the record with offset `from` or as near before it as `marks` know. */
  constructor(run: RecordRun, texts: TextCache, from = 0, marks: RecordMarks | null = null) {
    this.#run = run;
    this.#texts = texts;
    this.#marks = marks;
    this.#reader = new ByteReader(run.bytes, run.from, run.to);
    const mark = marks?.before(from - run.baseOffset);
    if (!mark) return;
    this.#read = mark.read;
    this.#previous = mark.previous;
    this.#reader.at = mark.at;
  }

  /**
   * The next record whose offset is at least `from`, and which the filter lets through; null after the last. Others are
   * not decoded. With `copies` what is returned holds on to a copy, not to the run's bytes.
   */
  next(
    from: number,
    filter: RecordFilter | null = null,
    copies: RecordCopies | null = null,
  ): TelemetryRecord | null {
    const reader = this.#reader;
    const run = this.#run;
    while (run.count < 0 ? reader.at < reader.end : this.#read < run.count) {
      if (this.#read % MARK_EVERY === 0 && this.#read > 0)
        this.#marks?.note(this.#read, this.#previous, reader.at);
      const end = reader.length() + reader.at;
      if (end < reader.at) throw new FormFault('a record has no length');
      if (reader.byte() !== 0) throw new FormFault('a record has attributes');
      const eventMs = reader.varlongPlus(run.baseTimestamp);
      const delta = reader.varint();
      if (delta <= this.#previous || run.baseOffset + delta > run.lastOffset) {
        throw new FormFault('offsets inside the batch are out of order');
      }
      this.#previous = delta;
      this.#read += 1;
      const offset = run.baseOffset + delta;
      const wanted = offset >= from && (filter === null || this.#passes(filter, eventMs));
      const record = wanted ? this.#decode(end, offset as Offset, eventMs, copies) : null;
      reader.at = end;
      if (this.#read === run.count && reader.at !== reader.end)
        throw new FormFault('bytes after the last record');
      if (record !== null) return record;
    }
    return null;
  }

  /**
   * Steps to the next record and tells only what an index needs of it, in `into`; false after the last. Its headers
   * beyond the topic are not looked at.
   */
  glance(into: RecordGlance): boolean {
    const reader = this.#reader;
    const run = this.#run;
    if (run.count < 0 ? reader.at >= reader.end : this.#read >= run.count) return false;
    into.at = reader.at;
    const end = reader.length() + reader.at;
    if (end < reader.at) throw new FormFault('a record has no length');
    if (reader.byte() !== 0) throw new FormFault('a record has attributes');
    into.eventMs = reader.varlongPlus(run.baseTimestamp);
    const delta = reader.varint();
    if (delta <= this.#previous || run.baseOffset + delta > run.lastOffset)
      throw new FormFault('offsets inside the batch are out of order');
    this.#previous = delta;
    this.#read += 1;
    into.offset = run.baseOffset + delta;
    const deviceBytes = Math.max(0, reader.length());
    into.deviceAt = reader.at;
    into.deviceBytes = deviceBytes;
    reader.at += deviceBytes;
    const valueBytes = reader.length();
    if (valueBytes < 0) throw new FormFault('a value is null');
    reader.at += valueBytes;
    if (reader.varint() < 4) throw new FormFault('headers are missing');
    const topicBytes = expect(reader, TOPIC);
    into.topicAt = reader.at;
    into.topicBytes = topicBytes;
    if (reader.at + topicBytes > end) throw new FormFault('a record is longer or shorter than it says');
    reader.at = end;
    if (this.#read === run.count && end !== reader.end) throw new FormFault('bytes after the last record');
    return true;
  }

  /** Looks ahead at key and topic; stays where it is. */
  #passes(filter: RecordFilter, eventMs: number): boolean {
    if (eventMs < filter.fromMs || eventMs >= filter.toMs) return false;
    const reader = this.#reader;
    const from = reader.at;
    const deviceBytes = Math.max(0, reader.length());
    let passes = filter.device === null || isAt(reader, filter.device, deviceBytes);
    if (passes && filter.topic !== null) {
      reader.at += deviceBytes;
      const valueBytes = reader.length();
      if (valueBytes < 0) throw new FormFault('a value is null');
      reader.at += valueBytes;
      if (reader.varint() < 4) throw new FormFault('headers are missing');
      const topicBytes = expect(reader, TOPIC);
      passes = isAt(reader, filter.topic, topicBytes);
    }
    reader.at = from;
    return passes;
  }

  #decode(end: number, offset: Offset, eventMs: number, copies: RecordCopies | null): TelemetryRecord {
    const reader = copies ? copies.take(this.#reader, end) : this.#reader;
    const until = copies ? reader.end : end;
    const bytes = reader.bytes;
    const deviceBytes = reader.length();
    if (deviceBytes === 0) throw new FormFault('a key is empty');
    const device = deviceBytes < 0 ? '' : this.#texts.get(bytes, reader.at, reader.at + deviceBytes);
    if (deviceBytes > 0) reader.at += deviceBytes;
    const payload = view(reader, reader.length());
    let left = reader.varint() - 4;
    if (left < 0) throw new FormFault('headers are missing');

    const topicBytes = expect(reader, TOPIC);
    const topic = this.#texts.get(bytes, reader.at, reader.at + topicBytes);
    reader.at += topicBytes;
    const typeBytes = expect(reader, TYPE);
    const contentType = this.#texts.get(bytes, reader.at, reader.at + typeBytes);
    reader.at += typeBytes;
    if (expect(reader, SRC) !== 1) throw new FormFault('header src is not 1 byte');
    const source = reader.byte() as Source;
    if (expect(reader, RX) !== 8) throw new FormFault('header rx is not 8 bytes');
    const receivedMs = reader.int64();
    let sequence: number | null = null;
    if (left > 0 && isNext(reader, SEQ)) {
      if (expect(reader, SEQ) !== 8) throw new FormFault('header seq is not 8 bytes');
      sequence = reader.int64();
      if (sequence < 0) throw new FormFault('header seq is negative');
      left -= 1;
    }
    let salt = EMPTY;
    if (left > 0 && isNext(reader, SALT)) {
      if (expect(reader, SALT) !== SALT_BYTES) throw new FormFault('header salt is not 16 bytes');
      salt = view(reader, SALT_BYTES);
      left -= 1;
    }
    const headers = left === 0 ? NO_HEADERS : this.#headers(reader, left);
    if (reader.at !== until) throw new FormFault('a record is longer or shorter than it says');
    return new DecodedRecord(
      offset,
      eventMs,
      receivedMs,
      topic,
      device,
      sequence,
      source,
      contentType,
      headers,
      payload,
      salt,
    );
  }

  #headers(reader: ByteReader, count: number): (readonly [string, Uint8Array])[] {
    const headers: (readonly [string, Uint8Array])[] = [];
    for (let index = 0; index < count; index++) {
      const nameBytes = reader.length();
      if (nameBytes < 3 || reader.bytes[reader.at] !== 0x68 || reader.bytes[reader.at + 1] !== 0x2e) {
        throw new FormFault('an unknown header');
      }
      const name = this.#texts.get(reader.bytes, reader.at + 2, reader.at + nameBytes);
      reader.at += nameBytes;
      headers.push([name, view(reader, reader.length())]);
    }
    return headers;
  }
}

/** Whether the `length` bytes that come next are these. */
function isAt(reader: ByteReader, text: Uint8Array, length: number): boolean {
  if (length !== text.length) return false;
  const { bytes, at } = reader;
  // The end first: it is where names that were numbered differ.
  for (let index = length - 1; index >= 0; index--) if (bytes[at + index] !== text[index]) return false;
  return true;
}

function view(reader: ByteReader, length: number): Uint8Array<ArrayBuffer> {
  if (length < 0) throw new FormFault('a value is null');
  if (length === 0) return EMPTY;
  const from = reader.at;
  reader.at += length;
  return new Uint8Array(reader.bytes.buffer as ArrayBuffer, reader.bytes.byteOffset + from, length);
}

/** Steps over the header name, which must be `name`; returns the length of its value, which fits. */
function expect(reader: ByteReader, name: Uint8Array): number {
  if (!isNext(reader, name)) throw new FormFault('headers are not those of a Tidemark record');
  reader.at += 1 + name.length;
  const length = reader.length();
  if (length < 0) throw new FormFault('a header value is null');
  return length;
}

function isNext(reader: ByteReader, name: Uint8Array): boolean {
  const { bytes, at } = reader;
  if (at + 1 + name.length > reader.end || bytes[at] !== name.length * 2) return false;
  for (let index = 0; index < name.length; index++) if (bytes[at + 1 + index] !== name[index]) return false;
  return true;
}
