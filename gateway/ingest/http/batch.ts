// Many records in one request: splits NDJSON, JSON arrays, CBOR sequences; submits each item, and answers once when the
// last of them is durable or refused. Knows nothing of HTTP.
import { isAscii } from 'node:buffer';
import type { Admission } from '../../admission/admission.ts';
import type { Outcome, RejectReason, ShedReason, Submission } from '../../admission/types.ts';
import { type CborItem, CborReader } from '../../codecs/cbor.ts';
import { arrayElements } from '../../codecs/json-scan.ts';
import { detailOf, type Refused } from './refusal.ts';

const LF = 0x0a;

/** One record of a batch; `problem` says why it cannot be submitted at all. */
export type BatchItem = { readonly number: number } & (
  | { readonly payload: Buffer; readonly json: unknown; readonly problem: null }
  | { readonly payload: Buffer; readonly problem: string }
);

/** The items of `body`, counted from 1; 'too-many' when there are more than `max`; a text: why it is no such batch. */
export type Split = (body: Buffer, max: number) => BatchItem[] | 'too-many' | string;

/** Each line that is not blank is one JSON text. `body` is valid UTF-8. */
export const ndjsonItems: Split = (body, max) => {
  // Parsing from one text spares a text per line; in ASCII, places in the text are places in the bytes.
  const text = isAscii(body) ? body.toString('latin1') : null;
  const items: BatchItem[] = [];
  let number = 0;
  for (let start = 0; start < body.length; ) {
    const found = body.indexOf(LF, start);
    const end = found === -1 ? body.length : found;
    number += 1;
    if (!isBlank(body, start, end)) {
      if (items.length === max) return 'too-many';
      const payload = body.subarray(start, end);
      items.push(
        jsonItem(number, payload, text === null ? payload.toString('utf8') : text.slice(start, end)),
      );
    }
    start = end + 1;
  }
  return items;
};

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

/** Each element of the array is a record: its payload is the element's own text. `body` is valid UTF-8. */
export const jsonArrayItems: Split = (body, max) => {
  let values: unknown;
  try {
    values = JSON.parse(body.toString('utf8'));
  } catch (error) {
    return `the body is not JSON: ${(error as SyntaxError).message}`;
  }
  if (!Array.isArray(values)) return 'the body is not a JSON array';
  if (values.length > max) return 'too-many';
  const payloads = arrayElements(body)!;
  return payloads.map((payload, index) => ({
    number: index + 1,
    payload,
    json: values[index],
    problem: null,
  }));
};

/** Each item of the sequence (RFC 8742) is a record. What follows an item that cannot be read cannot be found. */
export const cborItems: Split = (body, max) => {
  const reader = new CborReader(body);
  const items: BatchItem[] = [];
  while (!reader.done) {
    if (items.length === max) return 'too-many';
    const number = items.length + 1;
    let item: CborItem;
    try {
      item = reader.item();
    } catch (error) {
      items.push({ number, payload: body.subarray(reader.at), problem: (error as Error).message });
      break;
    }
    items.push({ number, payload: item.bytes, json: item.value, problem: null });
  }
  return items;
};

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

/** `shared` is what all records of the batch have in common; a message id gets the line's number behind it. */
export function submitBatch(
  admission: Admission,
  items: readonly BatchItem[],
  shared: Omit<Submission, 'payload' | 'json'>,
  done: (result: BatchResult, refusal: Refused | null) => void,
): void {
  const outcomes = new BatchOutcomes(items.length, done);
  const { messageId } = shared;
  for (const item of items) {
    const { number, payload } = item;
    if (item.problem !== null) {
      admission.countRefusal('http', 'malformed');
      outcomes.add(number, { kind: 'reject', reason: 'malformed', detail: item.problem });
      continue;
    }
    const own = messageId === undefined ? {} : { messageId: `${messageId}/${number}` };
    admission.submit({ ...shared, ...own, payload, json: item.json }, (outcome) =>
      outcomes.add(number, outcome),
    );
  }
}
