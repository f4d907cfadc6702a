// Owns the way from a RecordInput to the bytes of one Kafka record, written into a buffer that has room. Refuses
// records outside the limits of ledger/format/record.ts. One call, no allocation.
//
// Record (inside a RecordBatch v2):
//
//   length          varint    bytes after this field
//   attributes      i8        0
//   timestampDelta  varlong   eventMs - baseTimestamp
//   offsetDelta     varint
//   key             varint length (-1 = null) + bytes     device, UTF-8; null when ''
//   value           varint length + bytes                 payload
//   headers         varint count, then each: varint length + name, varint length + value; always in this order:
//     "topic"  UTF-8
//     "type"   content type, ASCII
//     "src"    1 byte, SOURCE
//     "rx"     receivedMs, i64
//     "seq"    u64, only where the device numbers its records
//     "salt"   16 bytes, only where the topic is private
//     "h.<name>" …  the record's own headers, in the order given
import type { RecordInput } from '../../ledger/format/record.ts';
import { varintSize, varlongSize, writeInt64, writeVarint, writeVarlong } from './varint.ts';

export const SALT_BYTES = 16;
const U16_MAX = 65_535;
const U8_MAX = 255;

/** Header name with its varint length in front, as it stands in the record. */
const named = (name: string): Uint8Array =>
  Uint8Array.from([name.length * 2, ...Buffer.from(name, 'latin1')]);
const TOPIC = named('topic');
const TYPE = named('type');
const SRC = named('src');
const RX = named('rx');
const SEQ = named('seq');
const SALT = named('salt');

/** Returned by `writeRecord` when topic or device are not ASCII: call again with their UTF-8 lengths. */
export const NOT_ASCII = -1;

/** Why the log cannot hold this record, or null. Lengths of topic and device in UTF-8 are checked by `textLengths`. */
export function whyInvalid(record: RecordInput): string | null {
  if (!Number.isSafeInteger(record.eventMs)) return 'eventMs must be a safe integer';
  if (!Number.isSafeInteger(record.receivedMs)) return 'receivedMs must be a safe integer';
  if (record.topic.length === 0 || record.topic.length > U16_MAX) return 'topic must have 1..65535 bytes';
  if (record.device.length > U16_MAX) return 'device must have at most 65535 bytes';
  const sequence = record.sequence;
  if (sequence !== null && !(Number.isSafeInteger(sequence) && sequence >= 0)) {
    return 'sequence must be null or 0..2^53-1';
  }
  if (!(record.source >= 1 && record.source <= U8_MAX && Number.isInteger(record.source)))
    return 'source must be 1..255';
  if (record.contentType.length > U8_MAX || !isAscii(record.contentType)) {
    return 'contentType must be at most 255 bytes of ASCII';
  }
  if (record.salt.length !== 0 && record.salt.length !== SALT_BYTES) return 'salt must have 0 or 16 bytes';
  return record.headers.length === 0 ? null : whyInvalidHeaders(record.headers);
}

function whyInvalidHeaders(headers: RecordInput['headers']): string | null {
  if (headers.length > U16_MAX) return 'at most 65535 headers';
  for (const [name, value] of headers) {
    if (name.length === 0 || name.length > U8_MAX || !isAscii(name))
      return 'header names must be 1..255 bytes of ASCII';
    if (value.length > U16_MAX) return `header ${name} must have at most 65535 bytes`;
  }
  if (new Set(headers.map(([name]) => name)).size !== headers.length) return 'header names must be unique';
  return null;
}

function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) > 0x7f) return false;
  return true;
}

/** Lengths in bytes of topic and device as the record stores them. */
export interface TextLengths {
  topic: number;
  device: number;
}

/** The UTF-8 lengths, or why the text cannot be stored so that it reads back the same. */
export function textLengths(record: RecordInput): TextLengths | string {
  if (!record.topic.isWellFormed() || !record.device.isWellFormed())
    return 'topic and device must be well-formed Unicode';
  const topic = Buffer.byteLength(record.topic);
  const device = Buffer.byteLength(record.device);
  if (topic > U16_MAX) return 'topic must have 1..65535 bytes';
  if (device > U16_MAX) return 'device must have at most 65535 bytes';
  return { topic, device };
}

/** Bytes of the record after its length field. */
export function bodySize(
  record: RecordInput,
  timestampDelta: number | bigint,
  offsetDelta: number,
  topicBytes: number,
  deviceBytes: number,
): number {
  let size = 1 + varlongSize(timestampDelta) + varintSize(offsetDelta);
  size += deviceBytes === 0 ? 1 : varintSize(deviceBytes) + deviceBytes;
  size += varintSize(record.payload.length) + record.payload.length;
  size += varintSize(headerCount(record));
  size += TOPIC.length + varintSize(topicBytes) + topicBytes;
  size += TYPE.length + varintSize(record.contentType.length) + record.contentType.length;
  size += SRC.length + 2 + RX.length + 9;
  if (record.sequence !== null) size += SEQ.length + 9;
  if (record.salt.length !== 0) size += SALT.length + 1 + SALT_BYTES;
  for (const [name, value] of record.headers) {
    size += varintSize(name.length + 2) + 2 + name.length + varintSize(value.length) + value.length;
  }
  return size;
}

function headerCount(record: RecordInput): number {
  return 4 + (record.sequence !== null ? 1 : 0) + (record.salt.length !== 0 ? 1 : 0) + record.headers.length;
}

/** Writes the record at `at`; returns the position after it, or NOT_ASCII when `ascii` was promised wrongly. */
export function writeRecord(
  into: Buffer,
  start: number,
  record: RecordInput,
  size: number,
  timestampDelta: number | bigint,
  offsetDelta: number,
  topicBytes: number,
  deviceBytes: number,
  ascii: boolean,
): number {
  let at = writeVarint(into, start, size);
  into[at++] = 0;
  at = writeVarlong(into, at, timestampDelta);
  at = writeVarint(into, at, offsetDelta);
  if (deviceBytes === 0) {
    at = writeVarint(into, at, -1);
  } else {
    at = writeVarint(into, at, deviceBytes);
    at = ascii ? writeAscii(into, at, record.device) : at + into.write(record.device, at, 'utf8');
    if (at === NOT_ASCII) return NOT_ASCII;
  }
  at = writeBytes(into, at, record.payload);
  at = writeVarint(into, at, headerCount(record));
  at = writeName(into, at, TOPIC);
  at = writeVarint(into, at, topicBytes);
  at = ascii ? writeAscii(into, at, record.topic) : at + into.write(record.topic, at, 'utf8');
  if (at === NOT_ASCII) return NOT_ASCII;
  at = writeName(into, at, TYPE);
  at = writeVarint(into, at, record.contentType.length);
  at = writeAscii(into, at, record.contentType);
  at = writeName(into, at, SRC);
  into[at++] = 2;
  into[at++] = record.source;
  at = writeLong(into, writeName(into, at, RX), record.receivedMs);
  if (record.sequence !== null) at = writeLong(into, writeName(into, at, SEQ), record.sequence);
  if (record.salt.length !== 0) at = writeBytes(into, writeName(into, at, SALT), record.salt);
  for (const [name, value] of record.headers) {
    at = writeVarint(into, at, name.length + 2);
    into[at++] = 0x68;
    into[at++] = 0x2e;
    at = writeAscii(into, at, name);
    at = writeBytes(into, at, value);
  }
  return at;
}

function writeName(into: Uint8Array, at: number, name: Uint8Array): number {
  for (let index = 0; index < name.length; index++) into[at + index] = name[index]!;
  return at + name.length;
}

function writeLong(into: Uint8Array, at: number, value: number): number {
  into[at] = 16;
  writeInt64(into, at + 1, value);
  return at + 9;
}

function writeBytes(into: Uint8Array, at: number, bytes: Uint8Array): number {
  const from = writeVarint(into, at, bytes.length);
  // Below some tens of bytes a loop is quicker than the call into the engine.
  if (bytes.length < 48)
    for (let index = 0; index < bytes.length; index++) into[from + index] = bytes[index]!;
  else into.set(bytes, from);
  return from + bytes.length;
}

function writeAscii(into: Uint8Array, at: number, text: string): number {
  let all = 0;
  for (let index = 0; index < text.length; index++) {
    const unit = text.charCodeAt(index);
    all |= unit;
    into[at + index] = unit;
  }
  return all > 0x7f ? NOT_ASCII : at + text.length;
}
