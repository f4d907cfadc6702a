// The checker's own decoding of the records inside a record batch. Refuses every form that docs/formats.md does not
// describe, with a reason; shares nothing with the writer's codec.
import { zstdDecompressSync } from 'node:zlib';
import type { Offset } from '../format/brand.ts';
import { FormatError } from '../format/errors.ts';
import { isSource, recordSize, type TelemetryRecord } from '../format/record.ts';
import type { RecordBatch } from './segments.ts';

/*
 * record  = varint length, then length bytes:
 *           attributes i8 = 0, timestampDelta varlong, offsetDelta varint,
 *           key (device; null when unknown), value (payload), varint header count, header*
 * header  = varint length, name, varint length, value
 *           topic UTF-8 · type ASCII · src u8 · rx i64 · [seq u64] · [salt 16 bytes] · h.<name> …, in this order
 * varint, varlong: zigzag, 7 bits a byte, least significant first (as in Protocol Buffers)
 */
const CODEC_MASK = 0x07;
const CODEC_NONE = 0;
const CODEC_ZSTD = 4;
const MAX_UNPACKED_BYTES = 256 * 1024 * 1024;
const SALT_BYTES = 16;
const OWN_HEADER_PREFIX = 'h.';
const EMPTY = new Uint8Array(0);

/** Internal: why a batch whose CRC is right still is not one of ours. */
class FormError extends Error {
  override name = 'FormError';
}

export type DecodedBatch =
  | { readonly ok: true; readonly records: readonly TelemetryRecord[] }
  | { readonly ok: false; readonly reason: string };

/** The records of a batch, or why they cannot be what the gateway wrote. */
export function decodeBatch(batch: RecordBatch): DecodedBatch {
  try {
    return { ok: true, records: decodeAll(batch) };
  } catch (error) {
    if (error instanceof FormError || error instanceof FormatError)
      return { ok: false, reason: error.message };
    throw error;
  }
}

function decodeAll(batch: RecordBatch): TelemetryRecord[] {
  const reader = new Reader(bodyOf(batch));
  const records: TelemetryRecord[] = [];
  for (let index = 0; index < batch.count; index += 1) {
    const length = reader.length('record');
    const end = reader.at + length;
    // Retention may have removed records: then offsets rise by more than one.
    const record = decodeRecord(reader, batch, index, records.at(-1)?.offset ?? batch.baseOffset - 1);
    if (reader.at !== end)
      throw new FormError(`record ${index} ends at byte ${reader.at}, its length says ${end}`);
    // Limits that the record bytes have beyond this form, e.g. an empty topic.
    recordSize(record);
    records.push(record);
  }
  if (!reader.atEnd) throw new FormError('there are bytes after the last record');
  return records;
}

function bodyOf(batch: RecordBatch): Uint8Array {
  const codec = batch.attributes & CODEC_MASK;
  if ((batch.attributes & ~CODEC_MASK) !== 0 || (codec !== CODEC_NONE && codec !== CODEC_ZSTD)) {
    throw new FormError(`unknown attributes 0x${(batch.attributes & 0xffff).toString(16)}`);
  }
  if (codec === CODEC_NONE) return batch.body;
  try {
    return zstdDecompressSync(batch.body, { maxOutputLength: MAX_UNPACKED_BYTES });
  } catch (cause) {
    throw new FormError(`zstd: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
}

function decodeRecord(reader: Reader, batch: RecordBatch, index: number, previous: number): TelemetryRecord {
  if (reader.byte() !== 0) throw new FormError(`record ${index} has attributes`);
  const eventMs = reader.varlongPlus(batch.baseTimestampMs);
  const delta = reader.varint();
  const offset = batch.baseOffset + delta;
  if (offset <= previous || offset > batch.lastOffset)
    throw new FormError(`record ${index} has offset delta ${delta}`);
  if (!Number.isSafeInteger(eventMs) || eventMs > batch.maxTimestampMs) {
    throw new FormError(`record ${index} has the impossible time ${eventMs}`);
  }
  const keyLength = reader.varint();
  if (keyLength === 0 || keyLength < -1)
    throw new FormError(`record ${index} has a key of ${keyLength} bytes`);
  const device = keyLength === -1 ? '' : reader.text(keyLength);
  const payload = reader.bytes(reader.length('payload'));
  const headers = readHeaders(reader);
  return {
    offset: offset as Offset,
    eventMs,
    device,
    payload,
    ...namedHeaders(headers, index),
  };
}

type Header = readonly [name: string, value: Uint8Array];

function readHeaders(reader: Reader): Header[] {
  const headers: Header[] = [];
  for (let left = reader.length('header count'); left > 0; left -= 1) {
    const name = reader.text(reader.length('header name'));
    headers.push([name, reader.bytes(reader.length('header value'))]);
  }
  return headers;
}

type NamedHeaders = Omit<TelemetryRecord, 'offset' | 'eventMs' | 'device' | 'payload'>;

function namedHeaders(headers: readonly Header[], index: number): NamedHeaders {
  let at = 0;
  const take = (name: string, bytes?: number): Uint8Array | null => {
    const header = headers[at];
    if (header?.[0] !== name) return null;
    if (bytes !== undefined && header[1].length !== bytes) {
      throw new FormError(`record ${index}: header ${name} has ${header[1].length} bytes, not ${bytes}`);
    }
    at += 1;
    return header[1];
  };
  const must = (name: string, bytes?: number): Uint8Array => {
    const value = take(name, bytes);
    if (!value) throw new FormError(`record ${index} has no header ${name} where it belongs`);
    return value;
  };
  const topic = textOf(must('topic'));
  const contentType = textOf(must('type'));
  const source = must('src', 1)[0]!;
  if (!isSource(source)) throw new FormError(`record ${index} has the unknown source ${source}`);
  const receivedMs = int64(must('rx', 8), 'rx');
  const sequenceBytes = take('seq', 8);
  const sequence = sequenceBytes && int64(sequenceBytes, 'seq');
  if (sequence !== null && sequence < 0) throw new FormError(`record ${index} has a negative sequence`);
  const salt = take('salt', SALT_BYTES) ?? EMPTY;
  const own = headers.slice(at).map(([name, value]): Header => {
    if (!name.startsWith(OWN_HEADER_PREFIX))
      throw new FormError(`record ${index} has the unknown header ${name}`);
    return [name.slice(OWN_HEADER_PREFIX.length), value];
  });
  return { topic, contentType, source, receivedMs, sequence, salt, headers: own };
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function textOf(bytes: Uint8Array): string {
  // Nearly all text here is short ASCII, for which the decoder's set-up costs more than the work.
  if (isAscii(bytes)) return asciiOf(bytes);
  try {
    return decoder.decode(bytes);
  } catch {
    throw new FormError('text that is not UTF-8');
  }
}

function isAscii(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += 1) if (bytes[at]! > 0x7f) return false;
  return true;
}

function asciiOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
}

function int64(bytes: Uint8Array, what: string): number {
  let high = 0;
  let low = 0;
  for (let at = 0; at < 4; at += 1) {
    high = (high << 8) | bytes[at]!;
    low = (low << 8) | bytes[at + 4]!;
  }
  const value = high * 2 ** 32 + (low >>> 0);
  if (!Number.isSafeInteger(value)) throw new FormError(`${what} is beyond 2^53`);
  return value;
}

/** Reads forwards and never past the end. */
class Reader {
  at = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get atEnd(): boolean {
    return this.at === this.#bytes.length;
  }

  byte(): number {
    const value = this.#bytes[this.at];
    if (value === undefined) throw new FormError('the batch ends inside a record');
    this.at += 1;
    return value;
  }

  /** Zigzag varint. */
  varint(): number {
    const value = this.#zigzag();
    const plain = typeof value === 'number' ? value : Number(value);
    if (!Number.isSafeInteger(plain)) throw new FormError('a number beyond 2^53');
    return plain;
  }

  /** Zigzag varlong added to `base`, exactly: two times may lie 2^54 apart. */
  varlongPlus(base: number): number {
    const value = this.#zigzag();
    return typeof value === 'number' ? base + value : Number(BigInt(base) + value);
  }

  #zigzag(): number | bigint {
    let value = 0;
    let scale = 1;
    // Seven groups of seven bits are exact as a number; what is longer goes on as a bigint.
    for (let group = 0; group < 7; group += 1) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
      scale *= 128;
    }
    let long = BigInt(value);
    for (let shift = 49n; ; shift += 7n) {
      const byte = this.byte();
      long |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) break;
      if (shift === 63n) throw new FormError('a number of more than 10 bytes');
    }
    return BigInt.asIntN(64, (long >> 1n) ^ -(long & 1n));
  }

  length(what: string): number {
    const value = this.varint();
    if (value < 0) throw new FormError(`a negative ${what}`);
    return value;
  }

  bytes(length: number): Uint8Array {
    if (length > this.#bytes.length - this.at) throw new FormError('the batch ends inside a record');
    this.at += length;
    return this.#bytes.subarray(this.at - length, this.at);
  }

  text(length: number): string {
    return textOf(this.bytes(length));
  }
}
