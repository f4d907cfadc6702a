// The JSON form of a record in proof files and HTTP answers. Strict: every member, nothing else.
import { fromBase64, toBase64 } from './base64.ts';
import type { Offset } from './brand.ts';
import { FormatError } from './errors.ts';
import { recordSize } from './record-bytes.ts';
import type { Source, TelemetryRecord } from './record-types.ts';

/** All fields of the record bytes; byte strings are standard base64. `source` is the wire value (see SOURCE). */
export interface RecordJson {
  readonly offset: number;
  readonly eventMs: number;
  readonly receivedMs: number;
  readonly topic: string;
  readonly device: string;
  readonly sequence: number | null;
  readonly source: Source;
  readonly contentType: string;
  readonly headers: readonly (readonly [name: string, valueBase64: string])[];
  readonly payload: string;
  readonly salt: string;
}

export const RECORD_JSON_KEYS = [
  'offset',
  'eventMs',
  'receivedMs',
  'topic',
  'device',
  'sequence',
  'source',
  'contentType',
  'headers',
  'payload',
  'salt',
] as const satisfies readonly (keyof RecordJson)[];

export function recordToJson(record: TelemetryRecord): RecordJson {
  return {
    offset: record.offset,
    eventMs: record.eventMs,
    receivedMs: record.receivedMs,
    topic: record.topic,
    device: record.device,
    sequence: record.sequence,
    source: record.source,
    contentType: record.contentType,
    headers: record.headers.map(([name, value]) => [name, toBase64(value)] as const),
    payload: toBase64(record.payload),
    salt: toBase64(record.salt),
  };
}

/** Reads a parsed JSON value strictly. Throws RECORD_INVALID naming the member, BASE64_INVALID for bad bytes. */
export function recordFromJson(value: unknown): TelemetryRecord {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid('record is not an object');
  const members = value as Record<string, unknown>;
  for (const key of Object.keys(members)) {
    if (!(RECORD_JSON_KEYS as readonly string[]).includes(key))
      throw invalid(`record has an unknown member ${JSON.stringify(key)}`);
  }
  for (const key of RECORD_JSON_KEYS) if (!Object.hasOwn(members, key)) throw invalid(`record has no ${key}`);
  const record: TelemetryRecord = {
    offset: numberOf(members.offset, 'offset') as Offset,
    eventMs: numberOf(members.eventMs, 'eventMs'),
    receivedMs: numberOf(members.receivedMs, 'receivedMs'),
    topic: textOf(members.topic, 'topic'),
    device: textOf(members.device, 'device'),
    sequence: members.sequence === null ? null : numberOf(members.sequence, 'sequence'),
    source: numberOf(members.source, 'source') as Source,
    contentType: textOf(members.contentType, 'contentType'),
    headers: headersOf(members.headers),
    payload: fromBase64(textOf(members.payload, 'payload'), 'payload'),
    salt: fromBase64(textOf(members.salt, 'salt'), 'salt'),
  };
  // Limits are those of the record bytes.
  recordSize(record);
  return record;
}

function headersOf(value: unknown): TelemetryRecord['headers'] {
  if (!Array.isArray(value)) throw invalid('headers is not an array');
  return value.map((header: unknown) => {
    if (!Array.isArray(header) || header.length !== 2) throw invalid('a header is not [name, base64]');
    return [
      textOf(header[0], 'header name'),
      fromBase64(textOf(header[1], 'header value'), 'header value'),
    ] as const;
  });
}

function numberOf(value: unknown, what: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || Object.is(value, -0)) {
    throw invalid(`${what} is not a whole number up to 2^53-1`);
  }
  return value;
}

function textOf(value: unknown, what: string): string {
  if (typeof value !== 'string') throw invalid(`${what} is not a string`);
  return value;
}

function invalid(message: string): FormatError {
  return new FormatError('RECORD_INVALID', message);
}
