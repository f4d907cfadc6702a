// JSON with one spelling per value (RFC 8785: sorted keys, no spaces, shortest numbers). Refuses the rest.
import { FormatError } from './errors.ts';

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

/** Deeper values are refused: nothing we sign needs them, and recursion must end. */
const MAX_DEPTH = 16;

/** Canonical text of a value. Throws JSON_INVALID for what JSON cannot say exactly (NaN, lone surrogates). */
export function canonicalJson(value: JsonValue): string {
  return write(value, 0);
}

/** Reads canonical text; any other spelling (spaces, key order, duplicates, 1.0) is refused with JSON_INVALID. */
export function parseCanonicalJson(text: string): JsonValue {
  let value: JsonValue;
  try {
    value = JSON.parse(text) as JsonValue;
  } catch (cause) {
    throw new FormatError('JSON_INVALID', 'not JSON', { cause });
  }
  if (write(value, 0) !== text) throw new FormatError('JSON_INVALID', 'not canonical JSON');
  return value;
}

export function isJsonObject(value: JsonValue): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function write(value: JsonValue, depth: number): string {
  if (depth > MAX_DEPTH) throw new FormatError('JSON_INVALID', `JSON nested deeper than ${MAX_DEPTH}`);
  if (typeof value === 'number' && !Number.isFinite(value))
    throw new FormatError('JSON_INVALID', `${value} is not JSON`);
  if (typeof value === 'string' && !value.isWellFormed()) {
    throw new FormatError('JSON_INVALID', 'a string has a lone surrogate');
  }
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((item: JsonValue) => write(item, depth + 1)).join(',')}]`;
  const object = value as JsonObject;
  // Default sort compares UTF-16 units, which is what RFC 8785 §3.2.3 asks for.
  const members = Object.keys(object)
    .sort()
    .map((key) => `${write(key, depth + 1)}:${write(object[key]!, depth + 1)}`);
  return `{${members.join(',')}}`;
}
