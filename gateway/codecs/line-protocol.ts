// Reads InfluxDB line protocol, and says where each line stands so that it can be stored byte for byte. Refuses what
// InfluxDB refuses, in its words; knows nothing of topics or of who writes.
//
//   line        = measurement *("," tag) 1*SP field *("," field) [1*SP timestamp]
//   tag         = key "=" value            in measurement, keys and tag values a backslash keeps , = and space
//   field value = float | int "i" | uint "u" | boolean | DQUOTE text DQUOTE      in text, \" and \\ are escaped
//
// A line ends with LF (CR LF is taken too), but not inside a quoted text; lines that begin with # are comments.

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const QUOTE = 0x22;
const HASH = 0x23;
const COMMA = 0x2c;
const EQUALS = 0x3d;
const BACKSLASH = 0x5c;

export type FieldValue = number | bigint | boolean | string;

export interface LinePoint {
  readonly measurement: string;
  readonly tags: readonly (readonly [key: string, value: string])[];
  readonly fields: readonly (readonly [key: string, value: FieldValue])[];
  /** Decimal digits as sent, in the writer's precision; null where the line has none. */
  readonly timestamp: string | null;
}

export class LineProtocolError extends Error {
  override name = 'LineProtocolError';
}

export interface ProtocolLine {
  /** Counted from 1, blank lines and comments included. */
  readonly number: number;
  /** Without its line end (a view). */
  readonly bytes: Buffer;
}

/** The lines that are neither blank nor comments; null when there are more than `linesMax`. */
export function protocolLines(body: Buffer, linesMax: number): ProtocolLine[] | null {
  const lines: ProtocolLine[] = [];
  for (const line of eachLine(body)) {
    if (line === null) continue;
    if (lines.length === linesMax) return null;
    lines.push(line);
  }
  return lines;
}

/** Bytes that are looked through between two places where that may be interrupted; a line counts some besides its own. */
const STEP_BYTES = 64 * 1024;
const LINE_BYTES = 256;

/** The same one by one; null now and then, so that whoever asks can do something else in between. */
export function* eachLine(body: Buffer): Generator<ProtocolLine | null, void, void> {
  let number = 1;
  let left = STEP_BYTES;
  for (let start = 0; start < body.length; ) {
    let from = start;
    while (from < body.length && (body[from] === SPACE || body[from] === 0x09)) from += 1;
    const found = body.indexOf(LF, from);
    const plain = found === -1 ? body.length : found;
    const comment = body[from] === HASH;
    // Looked for in this line only: a body without any quote would be gone through for each of its lines.
    const quotes = !comment && body.subarray(from, plain).includes(QUOTE);
    const end = quotes ? yield* quotedLineEnd(body, from, plain) : plain;
    const trimmed = end > from && body[end - 1] === CR ? end - 1 : end;
    if (!comment && trimmed > from) yield { number, bytes: body.subarray(from, trimmed) };
    number += 1;
    left -= end - start + LINE_BYTES;
    if (left <= 0) {
      left = STEP_BYTES;
      yield null;
    }
    start = end + 1;
  }
}

/** Position of the LF that ends the line beginning at `from`: one inside a field's quoted text does not. `plain`: the first. */
function* quotedLineEnd(body: Buffer, from: number, plain: number): Generator<null, number, void> {
  let quoted = false;
  let inFields = false;
  let pauseAt = from + STEP_BYTES;
  for (let at = from; at < body.length; at += 1) {
    const byte = body[at]!;
    if (byte === BACKSLASH) at += 1;
    else if (byte === SPACE && !quoted) inFields = true;
    else if (byte === QUOTE && inFields && (quoted || body[at - 1] === EQUALS)) quoted = !quoted;
    else if (byte === LF && !quoted) return at;
    if (at >= pauseAt) {
      pauseAt = at + STEP_BYTES;
      yield null;
    }
  }
  // A quote that never closes: the line is wrong, and what follows it must not be lost with it.
  return quoted ? plain : body.length;
}

const INTEGER = /^-?[0-9]{1,20}$/;
const FLOAT = /^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$/;
const TRUE = new Set(['t', 'T', 'true', 'True', 'TRUE']);
const FALSE = new Set(['f', 'F', 'false', 'False', 'FALSE']);
const INT64_MAX = 2n ** 63n - 1n;
const UINT64_MAX = 2n ** 64n - 1n;

class LineReader {
  readonly #line: Buffer;
  at = 0;

  constructor(line: Buffer) {
    this.#line = line;
  }

  get done(): boolean {
    return this.at >= this.#line.length;
  }

  is(byte: number): boolean {
    return this.#line[this.at] === byte;
  }

  skipSpaces(): void {
    while (this.is(SPACE)) this.at += 1;
  }

  /** Text up to one of the two or three stops; a backslash before one of `escaped` keeps it. */
  text(stops: readonly number[], escaped: readonly number[]): string {
    const line = this.#line;
    const start = this.at;
    let at = start;
    let escapes = false;
    for (; at < line.length && !stops.includes(line[at]!); at += 1) {
      if (line[at] === BACKSLASH && escaped.includes(line[at + 1]!)) {
        escapes = true;
        at += 1;
      }
    }
    this.at = at;
    const text = line.toString('utf8', start, at);
    return escapes ? text.replaceAll(/\\([,= ])/g, '$1') : text;
  }

  quoted(): string {
    const line = this.#line;
    const start = this.at + 1;
    for (let at = start; at < line.length; at += 1) {
      if (line[at] === BACKSLASH) at += 1;
      else if (line[at] === QUOTE) {
        this.at = at + 1;
        return line.toString('utf8', start, at).replaceAll(/\\(["\\])/g, '$1');
      }
    }
    throw new LineProtocolError('unbalanced quotes');
  }

  word(): string {
    const start = this.at;
    while (!this.done && !this.is(COMMA) && !this.is(SPACE)) this.at += 1;
    return this.#line.toString('latin1', start, this.at);
  }
}

const NAME_STOPS = [COMMA, SPACE];
const KEY_STOPS = [EQUALS, COMMA, SPACE];
const KEPT = [COMMA, EQUALS, SPACE];

/** The point on one line, which must be valid UTF-8. Throws LineProtocolError. */
export function parseLine(line: Buffer): LinePoint {
  const reader = new LineReader(line);
  const measurement = reader.text(NAME_STOPS, [COMMA, SPACE]);
  if (measurement === '') throw new LineProtocolError('missing measurement');
  const tags: [string, string][] = [];
  while (reader.is(COMMA)) {
    reader.at += 1;
    const key = reader.text(KEY_STOPS, KEPT);
    if (key === '') throw new LineProtocolError('missing tag key');
    if (!reader.is(EQUALS)) throw new LineProtocolError('missing tag value');
    reader.at += 1;
    const value = reader.text(KEY_STOPS, KEPT);
    if (value === '') throw new LineProtocolError('missing tag value');
    if (reader.is(EQUALS)) throw new LineProtocolError('invalid tag format');
    if (tags.some(([other]) => other === key)) throw new LineProtocolError('duplicate tags');
    tags.push([key, value]);
  }
  reader.skipSpaces();
  const fields = readFields(reader);
  reader.skipSpaces();
  const timestamp = reader.done ? null : reader.word();
  reader.skipSpaces();
  if (timestamp !== null && (!isTimestamp(timestamp) || !reader.done))
    throw new LineProtocolError('bad timestamp');
  return { measurement, tags, fields, timestamp };
}

function readFields(reader: LineReader): [string, FieldValue][] {
  const fields: [string, FieldValue][] = [];
  if (reader.done) throw new LineProtocolError('missing fields');
  for (;;) {
    const key = reader.text(KEY_STOPS, KEPT);
    if (key === '') throw new LineProtocolError('missing field key');
    if (!reader.is(EQUALS)) throw new LineProtocolError('missing field value');
    reader.at += 1;
    fields.push([key, reader.is(QUOTE) ? reader.quoted() : fieldValue(reader.word())]);
    if (!reader.is(COMMA)) break;
    reader.at += 1;
  }
  if (!reader.done && !reader.is(SPACE)) throw new LineProtocolError('invalid field format');
  return fields;
}

function fieldValue(word: string): FieldValue {
  if (word === '') throw new LineProtocolError('missing field value');
  const last = word.at(-1);
  if (last === 'i' || last === 'u') {
    const digits = word.slice(0, -1);
    if (INTEGER.test(digits)) {
      const value = BigInt(digits);
      if (last === 'i' && value <= INT64_MAX && value >= -INT64_MAX - 1n) return value;
      if (last === 'u' && value >= 0n && value <= UINT64_MAX) return value;
      throw new LineProtocolError('value out of range');
    }
  }
  if (FLOAT.test(word)) {
    const value = Number(word);
    if (!Number.isFinite(value)) throw new LineProtocolError('value out of range');
    return value;
  }
  if (TRUE.has(word)) return true;
  if (FALSE.has(word)) return false;
  throw new LineProtocolError('invalid boolean or number');
}

function isTimestamp(text: string): boolean {
  if (!/^-?[0-9]{1,19}$/.test(text)) return false;
  return text.length < 19 || (BigInt(text) <= INT64_MAX && BigInt(text) >= -INT64_MAX - 1n);
}

export const PRECISIONS = ['ns', 'us', 'ms', 's', 'm', 'h'] as const;
export type Precision = (typeof PRECISIONS)[number];

const DIVISOR: Readonly<Partial<Record<Precision, bigint>>> = { ns: 1_000_000n, us: 1_000n };
const FACTOR: Readonly<Partial<Record<Precision, number>>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Unix ms, rounded down; null where that is no safe integer. */
export function timestampMs(timestamp: string, precision: Precision): number | null {
  const divisor = DIVISOR[precision];
  if (divisor === undefined) {
    const ms = Number(timestamp) * FACTOR[precision]!;
    return Number.isSafeInteger(ms) ? ms : null;
  }
  const value = BigInt(timestamp);
  const ms = value / divisor;
  return Number(value < 0n && value % divisor !== 0n ? ms - 1n : ms);
}
