// Canonical bytes of a record (the leaf data of a batch tree), version 1. Knows neither JSON nor segments.
import type { Offset } from './brand.ts';
import { FormatError } from './errors.ts';
import { copyBytes, type Sha256, sha256 } from './hash.ts';
import { isSource, type TelemetryRecord } from './record-types.ts';
import { fromUtf8, writeUtf8 } from './text.ts';

/*
 * Record bytes, version 1, big-endian:
 *
 *   version      u8 = 1
 *   salt         u8 length (0 or 16), bytes
 *   offset       u64
 *   eventMs      i64
 *   receivedMs   i64
 *   topic        u16 length, UTF-8
 *   device       u16 length, UTF-8
 *   sequence     u8 present (0|1), u64 when present
 *   source       u8
 *   contentType  u8 length, ASCII
 *   headers      u16 count, then per header: u8 length, name, u16 length, value; sorted by name bytes, unique
 *   payload      u32 length, bytes
 */
export const RECORD_VERSION = 1;
const FIXED_BYTES = 1 + 1 + 8 + 8 + 8 + 2 + 2 + 1 + 1 + 1 + 2 + 4;
const TWO_32 = 2 ** 32;

type Header = readonly [name: string, value: Uint8Array];

function invalid(message: string, facts: Record<string, string | number> = {}): FormatError {
  return new FormatError('RECORD_INVALID', message, { facts });
}

/** Bytes that encodeRecordInto will write. Throws RECORD_INVALID when the record breaks a limit of RecordInput. */
export function recordSize(record: TelemetryRecord): number {
  const { salt, headers, sequence } = record;
  if (salt.length !== 0 && salt.length !== 16) throw invalid(`salt has ${salt.length} bytes, not 0 or 16`);
  checkWhole(record.offset, 'offset');
  checkTime(record.eventMs, 'eventMs');
  checkTime(record.receivedMs, 'receivedMs');
  if (sequence !== null) checkWhole(sequence, 'sequence');
  if (!isSource(record.source)) throw invalid(`unknown source ${record.source}`);
  const topicBytes = utf8Length(record.topic, 'topic');
  if (topicBytes === 0) throw invalid('topic is empty');
  let size = FIXED_BYTES + salt.length + topicBytes + utf8Length(record.device, 'device');
  if (sequence !== null) size += 8;
  size += asciiLength(record.contentType, 'contentType');
  if (headers.length > 0xffff) throw invalid(`${headers.length} headers`);
  for (const [name, value] of headers) {
    if (name.length === 0) throw invalid('a header has no name');
    if (value.length > 0xffff) throw invalid(`header ${name} has ${value.length} bytes`);
    size += 3 + asciiLength(name, 'header name') + value.length;
  }
  if (record.payload.length >= TWO_32) throw invalid(`payload has ${record.payload.length} bytes`);
  return size + record.payload.length;
}

/** Writes the record bytes into `target` at `position` (room: recordSize); returns the position after them. */
export function encodeRecordInto(record: TelemetryRecord, target: Uint8Array, position: number): number {
  let at = position;
  target[at++] = RECORD_VERSION;
  target[at++] = record.salt.length;
  target.set(record.salt, at);
  at = write64(target, at + record.salt.length, record.offset);
  at = write64(target, at, record.eventMs);
  at = write64(target, at, record.receivedMs);
  at = writeText16(target, at, record.topic);
  at = writeText16(target, at, record.device);
  if (record.sequence === null) {
    target[at++] = 0;
  } else {
    target[at++] = 1;
    at = write64(target, at, record.sequence);
  }
  target[at++] = record.source;
  at = writeText8(target, at, record.contentType);
  const headers = sortedHeaders(record.headers);
  at = write16(target, at, headers.length);
  for (const [name, value] of headers) {
    at = write16(target, writeText8(target, at, name), value.length);
    target.set(value, at);
    at += value.length;
  }
  at = write32(target, at, record.payload.length);
  target.set(record.payload, at);
  return at + record.payload.length;
}

/** Canonical bytes of a record. Throws RECORD_INVALID when it breaks a limit of RecordInput. */
export function encodeRecord(record: TelemetryRecord): Uint8Array {
  const bytes = new Uint8Array(recordSize(record));
  encodeRecordInto(record, bytes, 0);
  return bytes;
}

/** Leaf hash of a record in its batch tree: SHA-256(0x00 ‖ record bytes). */
export function recordLeafHash(record: TelemetryRecord, hash: Sha256 = sha256): Uint8Array {
  const bytes = new Uint8Array(1 + recordSize(record));
  encodeRecordInto(record, bytes, 1);
  return hash(bytes);
}

/** The same for many records one after another, into one buffer that is reused: for the sealer. Not reentrant. */
export function createRecordHasher(hash: Sha256 = sha256): (record: TelemetryRecord) => Uint8Array {
  let scratch = new Uint8Array(1024);
  return (record) => {
    const size = 1 + recordSize(record);
    if (size > scratch.length) scratch = new Uint8Array(2 * size);
    // The scratch keeps its first byte 0, the leaf prefix.
    encodeRecordInto(record, scratch, 1);
    return hash(scratch.subarray(0, size));
  };
}

/** Reads record bytes, strictly: what it returns encodes to the same bytes. Throws RECORD_INVALID. */
export function decodeRecord(bytes: Uint8Array): TelemetryRecord {
  const cursor = new Cursor(bytes);
  const version = cursor.u8();
  if (version !== RECORD_VERSION) throw invalid(`unknown record version ${version}`, { version });
  const salt = cursor.bytes(cursor.u8());
  const offset = cursor.u64('offset') as Offset;
  const eventMs = cursor.i64('eventMs');
  const receivedMs = cursor.i64('receivedMs');
  const topic = cursor.text(cursor.u16(), 'topic');
  const device = cursor.text(cursor.u16(), 'device');
  const present = cursor.u8();
  if (present > 1) throw invalid(`sequence marker is ${present}, not 0 or 1`);
  const sequence = present === 1 ? cursor.u64('sequence') : null;
  const source = cursor.u8();
  if (!isSource(source)) throw invalid(`unknown source ${source}`);
  const contentType = cursor.text(cursor.u8(), 'contentType');
  const headers: Header[] = [];
  for (let left = cursor.u16(); left > 0; left--) {
    const name = cursor.text(cursor.u8(), 'header name');
    const before = headers.at(-1);
    if (before && before[0] >= name) throw invalid('headers are not sorted by name, each once');
    headers.push([name, cursor.bytes(cursor.u16())]);
  }
  const payload = cursor.bytes(cursor.u32());
  cursor.end();
  const record: TelemetryRecord = {
    ...{ offset, eventMs, receivedMs, topic, device, sequence, source },
    ...{ contentType, headers, payload, salt },
  };
  recordSize(record);
  return record;
}

function checkWhole(value: number, what: string): void {
  if (!Number.isSafeInteger(value) || value < 0)
    throw invalid(`${what} is not a whole number from 0 to 2^53-1: ${value}`);
}

function checkTime(value: number, what: string): void {
  if (!Number.isSafeInteger(value)) throw invalid(`${what} is not a whole number of milliseconds: ${value}`);
}

/** UTF-8 length without encoding; lone surrogates and more than 65,535 bytes are refused. */
function utf8Length(text: string, what: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    if (unit < 0x800) bytes += 1;
    else if (unit < 0xd800 || unit > 0xdfff) bytes += 2;
    else {
      const next = text.charCodeAt(++i);
      if (unit > 0xdbff || !(next >= 0xdc00 && next <= 0xdfff)) throw invalid(`${what} has a lone surrogate`);
      // A pair is two units and four bytes.
      bytes += 2;
    }
  }
  if (bytes > 0xffff) throw invalid(`${what} has ${bytes} bytes`);
  return bytes;
}

function asciiLength(text: string, what: string): number {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) throw invalid(`${what} is not ASCII`);
  if (text.length > 255) throw invalid(`${what} has ${text.length} bytes`);
  return text.length;
}

function sortedHeaders(headers: readonly Header[]): readonly Header[] {
  if (headers.length < 2) return headers;
  const sorted = [...headers].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  for (let i = 1; i < sorted.length; i++) {
    if (sorted[i]![0] === sorted[i - 1]![0]) throw invalid(`header ${sorted[i]![0]} is there twice`);
  }
  return sorted;
}

function write16(target: Uint8Array, at: number, value: number): number {
  target[at] = value >>> 8;
  target[at + 1] = value;
  return at + 2;
}

function write32(target: Uint8Array, at: number, value: number): number {
  return write16(target, write16(target, at, value >>> 16), value & 0xffff);
}

/** u64 and, in two's complement, i64: safe integers only. */
function write64(target: Uint8Array, at: number, value: number): number {
  const high = Math.floor(value / TWO_32);
  return write32(target, write32(target, at, high >>> 0), (value - high * TWO_32) >>> 0);
}

/** Short ASCII, the usual case, is copied by hand: encodeInto costs more than the copy. */
function writeText(target: Uint8Array, at: number, text: string): number {
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit > 0x7f) return at + writeUtf8(text, target, at);
    target[at + i] = unit;
  }
  return at + text.length;
}

function writeText16(target: Uint8Array, at: number, text: string): number {
  const end = writeText(target, at + 2, text);
  write16(target, at, end - at - 2);
  return end;
}

function writeText8(target: Uint8Array, at: number, text: string): number {
  target[at] = text.length;
  return writeText(target, at + 1, text);
}

/** Reads forwards and never past the end. */
class Cursor {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  #take(length: number): number {
    const at = this.#at;
    if (length > this.#bytes.length - at)
      throw invalid(`record bytes end after ${this.#bytes.length}`, { at, length });
    this.#at += length;
    return at;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }
  u16(): number {
    return this.#view.getUint16(this.#take(2));
  }
  u32(): number {
    return this.#view.getUint32(this.#take(4));
  }
  u64(what: string): number {
    return safe(this.#view.getBigUint64(this.#take(8)), what);
  }
  i64(what: string): number {
    return safe(this.#view.getBigInt64(this.#take(8)), what);
  }
  bytes(length: number): Uint8Array {
    const at = this.#take(length);
    return copyBytes(this.#bytes, at, at + length);
  }
  text(length: number, what: string): string {
    return fromUtf8(this.bytes(length), what, 'RECORD_INVALID');
  }
  end(): void {
    const left = this.#bytes.length - this.#at;
    if (left > 0) throw invalid(`${left} bytes after the record`, { left });
  }
}

function safe(value: bigint, what: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw invalid(`${what} is beyond 2^53-1: ${value}`);
  return number;
}
