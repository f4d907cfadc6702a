// Many records in one request: splits NDJSON, JSON arrays, CBOR sequences; submits each item, and answers once when the
// last of them is durable or refused. Knows nothing of HTTP.
import type { Admission } from '../../admission/admission.ts';
import type { Outcome, Part, RejectReason, Shared, ShedReason } from '../../admission/types.ts';
import { type CborItem, CborReader } from '../../codecs/cbor.ts';
import { JsonLine } from '../../codecs/json-lines.ts';
import { ArrayElements } from '../../codecs/json-scan.ts';
import { ANY_NAMES } from '../../codecs/pointer.ts';
import { detailOf, type Refused } from './refusal.ts';
import type { Sliced } from './slices.ts';

const LF = 0x0a;

/** One record of a batch. */
export interface BatchItem extends Part {
  readonly number: number;
  readonly payload: Buffer;
  /** Why it cannot be submitted at all. */
  readonly problem: string | null;
}

/** What a batch may be. */
export interface BatchLimits {
  readonly maxBatchLines: number;
  readonly maxPayloadBytes: number;
}

/** The items, counted from 1; 'too-many' when there are more than may be; a text: why it is no such batch. */
export type BatchItems = BatchItem[] | 'too-many' | string;

/**
 * Reads the items of a body; may be interrupted after each few hundred of them. `looked`: admission's namesLookedFor(),
 * of the topic they are for.
 */
export type Split = (body: Buffer, limits: BatchLimits, looked: number) => Sliced<BatchItems>;

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
export function* ndjsonItems(body: Buffer, limits: BatchLimits, looked: number): Sliced<BatchItems> {
  const { maxBatchLines, maxPayloadBytes } = limits;
  const items: BatchItem[] = [];
  const pace = new Pace();
  const line = new JsonLine();
  /** Lines of a batch are alike: after one that had to be parsed, the next are parsed right away. */
  let mayGiveNothing = looked !== ANY_NAMES;
  let number = 0;
  for (let start = 0; start < body.length; ) {
    // What is too long is refused anyway: it is not worth the time.
    const isLong = body.length - start > maxPayloadBytes && lineEnd(body, start) - start > maxPayloadBytes;
    const isJson = mayGiveNothing && !isLong && line.read(body, start);
    const end = isJson ? line.end : lineEnd(body, start);
    number += 1;
    if (isJson || !isBlank(body, start, end)) {
      if (items.length === maxBatchLines) return 'too-many';
      const payload = body.subarray(start, end);
      const givesNothing = isJson && (line.nameLengths & looked) === 0;
      mayGiveNothing &&= givesNothing || !isJson;
      if (givesNothing || isLong)
        items.push({ number, payload, json: undefined, givesNothing, problem: null });
      else items.push(jsonItem(number, payload));
    }
    if (pace.due(end - start)) yield;
    start = end + 1;
  }
  return items;
}

function lineEnd(body: Buffer, start: number): number {
  const found = body.indexOf(LF, start);
  return found === -1 ? body.length : found;
}

function isBlank(bytes: Buffer, start: number, end: number): boolean {
  for (let at = start; at < end; at += 1) {
    const byte = bytes[at]!;
    if (byte !== 0x20 && byte !== 0x0d && byte !== 0x09) return false;
  }
  return true;
}

function jsonItem(number: number, payload: Buffer): BatchItem {
  try {
    const json = JSON.parse(payload.toString('utf8')) as unknown;
    return { number, payload, json, givesNothing: false, problem: null };
  } catch (error) {
    const problem = (error as SyntaxError).message;
    return { number, payload, json: undefined, givesNothing: false, problem };
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
    const item = jsonItem(number, payload);
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
  shared: Shared,
  done: (result: BatchResult, refusal: Refused | null) => void,
): Sliced<void> {
  const outcomes = new BatchOutcomes(items.length, done);
  const pace = new Pace();
  const onOutcome = (outcome: Outcome, place: number) => outcomes.add(items[place]!.number, outcome);
  const submit = (from: number, to: number) =>
    shared.messageId === undefined
      ? admission.submitParts(shared, items, from, to, onOutcome)
      : submitNamed(admission, items.slice(from, to), shared, outcomes);
  let from = 0;
  for (const [place, { number, payload, problem }] of items.entries()) {
    const isDue = pace.due(payload.length);
    if (isDue || problem !== null) {
      submit(from, place);
      from = place;
    }
    if (isDue) yield;
    if (problem === null) continue;
    from = place + 1;
    admission.countRefusal('http', 'malformed');
    outcomes.add(number, { kind: 'reject', reason: 'malformed', detail: problem });
  }
  submit(from, items.length);
}

function submitNamed(
  admission: Admission,
  items: readonly BatchItem[],
  shared: Shared,
  outcomes: BatchOutcomes,
): void {
  for (const { number, payload, json, givesNothing = false } of items) {
    const messageId = `${shared.messageId}/${number}`;
    admission.submit({ ...shared, messageId, payload, json, givesNothing }, (outcome) =>
      outcomes.add(number, outcome),
    );
  }
}
