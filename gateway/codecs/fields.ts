// The numeric fields of a record, for windows and models. Never throws: a payload that is not understood has none.

import { decodeCbor } from './cbor.ts';
import { isCbor, isLineProtocol } from './content-type.ts';
import { lineFields } from './line-fields.ts';
import { type Pointer, resolvePointer } from './pointer.ts';
import type { TopicMatch, TopicTemplates } from './template.ts';

/** [field name, value]; values are finite. */
export type NumericField = readonly [field: string, value: number];

/** Numbers nested deeper than this are not looked for. */
export const FIELD_DEPTH_MAX = 8;
/** Further numbers of one record are left out. */
export const FIELDS_MAX = 64;
/** Larger payloads are pictures or files rather than measurements, and parsing them would stall a stage. */
export const FIELD_PAYLOAD_BYTES_MAX = 262_144;

const NUMBER = /^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$/;
const NEVER_NUMBERS =
  /^(image|audio|video|font)\/|^application\/(cbor|octet-stream|x-protobuf|protobuf|zip|gzip)\b/i;

interface FieldRecord {
  readonly topic: string;
  readonly contentType: string;
  readonly payload: Uint8Array;
}

/** Position of the first byte that is not JSON white space. */
function firstByteAt(payload: Uint8Array): number {
  let at = 0;
  while (
    at < payload.length &&
    (payload[at] === 0x20 || payload[at] === 0x0a || payload[at] === 0x0d || payload[at] === 0x09)
  )
    at += 1;
  return at;
}

/** The same bytes; no new view where there is a Buffer already. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * Parses a payload that can be JSON with members or elements, or a bare number; undefined for anything else.
 * Content types that are surely binary are not tried.
 */
export function parseJsonPayload(payload: Uint8Array, contentType: string): unknown {
  const first = payload[firstByteAt(payload)];
  if (first === undefined) return undefined;
  const structured = first === 0x7b || first === 0x5b;
  const numeric = first === 0x2d || (first >= 0x30 && first <= 0x39);
  if (!structured && !numeric) return undefined;
  if (contentType !== '' && NEVER_NUMBERS.test(contentType)) return undefined;
  const text = asBuffer(payload).toString('utf8');
  if (numeric) {
    const trimmed = text.trim();
    return NUMBER.test(trimmed) ? Number(trimmed) : undefined;
  }
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The value of a payload that is CBOR by its content type, or else can be JSON; undefined for anything else. */
export function structuredPayload(payload: Uint8Array, contentType: string): unknown {
  if (!isCbor(contentType)) return parseJsonPayload(payload, contentType);
  try {
    return decodeCbor(asBuffer(payload));
  } catch {
    return undefined;
  }
}

function same(path: readonly string[], pointer: Pointer | null): boolean {
  if (pointer?.tokens.length !== path.length) return false;
  for (let at = path.length - 1; at >= 0; at -= 1) if (pointer.tokens[at] !== path[at]) return false;
  return true;
}

class Collector {
  readonly fields: NumericField[] = [];
  readonly #path: string[];
  /** Leading parts of the path that no field is named by. */
  readonly #unnamed: number;
  readonly #metric: string | null;
  readonly #time: Pointer | null;
  readonly #sequence: Pointer | null;

  constructor({ metric, time, sequence, value }: TopicMatch) {
    this.#metric = metric;
    this.#time = time;
    this.#sequence = sequence;
    this.#path = value === null ? [] : [...value.tokens];
    // Without a metric the last part of the pointer is all that can name the value.
    this.#unnamed = metric === null ? Math.max(0, this.#path.length - 1) : this.#path.length;
  }

  visit(value: unknown): void {
    if (typeof value === 'number') {
      const isMeasured = !same(this.#path, this.#time) && !same(this.#path, this.#sequence);
      if (isMeasured && Number.isFinite(value)) this.fields.push([this.#name(), value]);
      return;
    }
    if (typeof value !== 'object' || value === null || this.#path.length >= FIELD_DEPTH_MAX) return;
    if (ArrayBuffer.isView(value)) return;
    for (const key in value) {
      if (this.fields.length >= FIELDS_MAX) return;
      this.#path.push(key);
      this.visit((value as Record<string, unknown>)[key]);
      this.#path.pop();
    }
  }

  /** Metric and path, joined by dots, without a last `value`; `value` when nothing else names the number. */
  #name(): string {
    // Most payloads are flat.
    if (this.#metric === null && this.#path.length === this.#unnamed + 1) return this.#path[this.#unnamed]!;
    const path = this.#path.slice(this.#unnamed);
    const own = path.at(-1) === 'value' ? path.slice(0, -1) : path;
    const parts = this.#metric === null ? own : [this.#metric, ...own];
    return parts.length === 0 ? 'value' : parts.join('.');
  }
}

/** The record's numbers in payload order, each named as docs/protocols.md says. */
export function numericFields(record: FieldRecord, templates: TopicTemplates): NumericField[] {
  if (record.payload.length > FIELD_PAYLOAD_BYTES_MAX) return [];
  const match = templates.match(record.topic);
  if (isLineProtocol(record.contentType)) return lineFields(record, match.metric, FIELDS_MAX);
  const value = structuredPayload(record.payload, record.contentType);
  if (value === undefined) return [];
  const collector = new Collector(match);
  collector.visit(match.value === null ? value : resolvePointer(value, match.value));
  return collector.fields;
}
