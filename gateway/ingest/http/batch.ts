// Many records in one request: splits NDJSON, JSON arrays, CBOR sequences; submits each item, and answers once when the
// last of them is durable or refused. Knows nothing of HTTP.
import { isAscii } from 'node:buffer';
import type { Admission } from '../../admission/admission.ts';
import type { Outcome, RejectReason, ShedReason, Submission } from '../../admission/types.ts';
import { type CborItem, CborReader } from '../../codecs/cbor.ts';
import { ArrayElements } from '../../codecs/json-scan.ts';
import { detailOf, type Refused } from './refusal.ts';
import type { Sliced } from './slices.ts';

const LF = 0x0a;

/** One record of a batch; `problem` says why it cannot be submitted at all. */
export type BatchItem = { readonly number: number } & (
  | { readonly payload: Buffer; readonly json: unknown; readonly problem: null }
  | { readonly payload: Buffer; readonly problem: string }
);

/** What a batch may be. */
export interface BatchLimits {
  readonly maxBatchLines: number;
  readonly maxPayloadBytes: number;
}

/** The items, counted from 1; 'too-many' when there are more than may be; a text: why it is no such batch. */
export type BatchItems = BatchItem[] | 'too-many' | string;

/** Reads the items of a body; may be interrupted after each few hundred of them. */
export type Split = (body: Buffer, limits: BatchLimits) => Sliced<BatchItems>;

/** Work between two places where it may be interrupted: bytes, of which each item counts some besides its own. */
const SLICE_BYTES = 64 * 1024;
const ITEM_BYTES = 512;

/** Counts work; `due` says once for each slice that it may be interrupted. */
class Pace {
  #left = SLICE_BYTES;

  due(bytes: number): boolean {
    this.#left -= bytes + ITEM_BYTES;
    if (this.#left > 0) return false;
    this.#left = SLICE_BYTES;
    return true;
  }
}

/** Each line that is not blank is one JSON text. `body` is valid UTF-8. */
export function* ndjsonItems(body: Buffer, limits: BatchLimits): Sliced<BatchItems> {
  // Parsing from one text spares a text per line; in ASCII, places in the text are places in the bytes.
  const text = isAscii(body) ? body.toString('latin1') : null;
  const items: BatchItem[] = [];
  const pace = new Pace();
  let number = 0;
  for (let start = 0; start < body.length; ) {
    const found = body.indexOf(LF, start);
    const end = found === -1 ? body.length : found;
    number += 1;
    if (!isBlank(body, start, end)) {
      if (items.length === limits.maxBatchLines) return 'too-many';
      const payload = body.subarray(start, end);
      // What is too long is refused anyway: it is not worth the time.
      if (payload.length > limits.maxPayloadBytes)
        items.push({ number, payload, json: undefined, problem: null });
      else
        items.push(
          jsonItem(number, payload, text === null ? payload.toString('utf8') : text.slice(start, end)),
        );
    }
    if (pace.due(end - start)) yield;
    start = end + 1;
  }
  return items;
}

function isBlank(bytes: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at += 1) {
    const byte = bytes[at]!;
    if (byte !== 0x20 && byte !== 0x0d && byte !== 0x09) return false;
  }
  return true;
}

function jsonItem(number: number, payload: Buffer, text: string): BatchItem {
  try {
    return { number, payload, json: JSON.parse(text) as unknown, problem: null };
  } catch (error) {
    return { number, payload, problem: (error as SyntaxError).message };
  }
}

/**
 * Each element of the array is a record: its payload is the element's own text. `body` is valid UTF-8. Elements are
 * parsed one by one: an array is a JSON text exactly when each element is and nothing but commas stands between them.
 */
export function* jsonArrayItems(body: Buffer, limits: BatchLimits): Sliced<BatchItems> {
  const elements = new ArrayElements(body);
  if (!elements.isArray) return 'the body is not a JSON array';
  const items: BatchItem[] = [];
  const pace = new Pace();
  for (let payload = elements.next(); payload !== null; payload = elements.next()) {
    const number = items.length + 1;
    if (number > limits.maxBatchLines) return 'too-many';
    const item = jsonItem(number, payload, payload.toString('utf8'));
    if (item.problem !== null) return `the body is not JSON: element ${number}: ${item.problem}`;
    items.push(item);
    if (pace.due(payload.length)) yield;
  }
  return elements.isWhole ? items : 'the body is not JSON: the array is not followed by its end';
}

/** Each item of the sequence (RFC 8742) is a record. What follows an item that cannot be read cannot be found. */
export function* cborItems(body: Buffer, limits: BatchLimits): Sliced<BatchItems> {
  const reader = new CborReader(body);
  const items: BatchItem[] = [];
  const pace = new Pace();
  while (!reader.done) {
    if (items.length === limits.maxBatchLines) return 'too-many';
    const number = items.length + 1;
    let item: CborItem;
    try {
      item = reader.item();
    } catch (error) {
      items.push({ number, payload: body.subarray(reader.at), problem: (error as Error).message });
      break;
    }
    items.push({ number, payload: item.bytes, json: item.value, problem: null });
    if (pace.due(item.bytes.length)) yield;
  }
  return items;
}

export interface LineError {
  readonly line: number;
  readonly reason: RejectReason | ShedReason;
  readonly detail: string;
}

export interface BatchResult {
  readonly accepted: number;
  readonly duplicates: number;
  readonly rejected: number;
  readonly firstOffset: number | null;
  readonly lastOffset: number | null;
  /** In line order. */
  readonly errors: readonly LineError[];
}

/** Gathers outcomes; calls `done` once, when `count` of them have come. */
export class BatchOutcomes {
  readonly #done: (result: BatchResult, refusal: Refused | null) => void;
  #open: number;
  #accepted = 0;
  #duplicates = 0;
  #first = -1;
  #last = -1;
  #refusal: Refused | null = null;
  readonly #errors: LineError[] = [];

  /** `refusal`: the first that a retry can heal, else the first; null when there is none. */
  constructor(count: number, done: (result: BatchResult, refusal: Refused | null) => void) {
    this.#open = count;
    this.#done = done;
  }

  add(line: number, outcome: Outcome): void {
    if (outcome.kind === 'stored') {
      const { offset } = outcome;
      if (this.#accepted === 0 || offset < this.#first) this.#first = offset;
      if (offset > this.#last) this.#last = offset;
      this.#accepted += 1;
    } else if (outcome.kind === 'duplicate') this.#duplicates += 1;
    else {
      if (this.#refusal === null || (this.#refusal.kind === 'reject' && outcome.kind === 'shed'))
        this.#refusal = outcome;
      this.#errors.push({ line, reason: outcome.reason, detail: detailOf(outcome) });
    }
    this.#open -= 1;
    if (this.#open === 0) this.#done(this.#result(), this.#refusal);
  }

  #result(): BatchResult {
    return {
      accepted: this.#accepted,
      duplicates: this.#duplicates,
      rejected: this.#errors.length,
      firstOffset: this.#accepted === 0 ? null : this.#first,
      lastOffset: this.#accepted === 0 ? null : this.#last,
      errors: this.#errors.sort((a, b) => a.line - b.line),
    };
  }
}

/**
 * Submits them in order; may be interrupted after each few hundred. `done` hears when the last is durable or refused.
 * `shared` is what all records of the batch have in common; a message id gets the line's number behind it.
 */
export function* submitBatch(
  admission: Admission,
  items: readonly BatchItem[],
  shared: Omit<Submission, 'payload' | 'json'>,
  done: (result: BatchResult, refusal: Refused | null) => void,
): Sliced<void> {
  const outcomes = new BatchOutcomes(items.length, done);
  const { messageId } = shared;
  const pace = new Pace();
  for (const item of items) {
    const { number, payload } = item;
    if (pace.due(payload.length)) yield;
    if (item.problem !== null) {
      admission.countRefusal('http', 'malformed');
      outcomes.add(number, { kind: 'reject', reason: 'malformed', detail: item.problem });
      continue;
    }
    const own = messageId === undefined ? shared : { ...shared, messageId: `${messageId}/${number}` };
    admission.submit({ ...own, payload, json: item.json }, (outcome) => outcomes.add(number, outcome));
  }
}
