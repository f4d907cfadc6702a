// One NDJSON request: each line a record of its own, one answer when the last of them is durable or refused.
import { SOURCE } from '../../../ledger/format/record.ts';
import type { Admission } from '../../admission/admission.ts';
import type { Outcome, RejectReason, ShedReason } from '../../admission/types.ts';
import { detailOf, type Refused } from './refusal.ts';
import type { IngestHead } from './request.ts';

const LF = 0x0a;

export interface Line {
  /** Counted from 1, blank lines included. */
  readonly number: number;
  readonly bytes: Buffer;
}

/** The lines that are not blank; null when there are more than `maxLines`. */
export function splitLines(body: Buffer, maxLines: number): Line[] | null {
  const lines: Line[] = [];
  let number = 0;
  for (let start = 0; start < body.length; ) {
    const found = body.indexOf(LF, start);
    const end = found === -1 ? body.length : found;
    number += 1;
    const bytes = body.subarray(start, end);
    if (!isBlank(bytes)) {
      if (lines.length === maxLines) return null;
      lines.push({ number, bytes });
    }
    start = end + 1;
  }
  return lines;
}

function isBlank(bytes: Buffer): boolean {
  for (const byte of bytes) if (byte !== 0x20 && byte !== 0x0d && byte !== 0x09) return false;
  return true;
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
  /** The first refusal that a retry can heal, else the first; null when there is none. */
  readonly refusal: Refused | null;
}

class Collector {
  #accepted = 0;
  #duplicates = 0;
  #first: number | null = null;
  #last: number | null = null;
  #refusal: Refused | null = null;
  readonly #errors: LineError[] = [];

  add(line: number, outcome: Outcome): void {
    if (outcome.kind === 'stored') {
      this.#accepted += 1;
      this.#first = Math.min(this.#first ?? outcome.offset, outcome.offset);
      this.#last = Math.max(this.#last ?? outcome.offset, outcome.offset);
    } else if (outcome.kind === 'duplicate') this.#duplicates += 1;
    else {
      if (this.#refusal === null || (this.#refusal.kind === 'reject' && outcome.kind === 'shed'))
        this.#refusal = outcome;
      this.#errors.push({ line, reason: outcome.reason, detail: detailOf(outcome) });
    }
  }

  result(): BatchResult {
    return {
      accepted: this.#accepted,
      duplicates: this.#duplicates,
      rejected: this.#errors.length,
      firstOffset: this.#first,
      lastOffset: this.#last,
      errors: this.#errors.sort((a, b) => a.line - b.line),
      refusal: this.#refusal,
    };
  }
}

/** `body` is valid UTF-8. Calls `done` once, when every line has its outcome. */
export function submitBatch(
  admission: Admission,
  head: IngestHead,
  lines: readonly Line[],
  done: (result: BatchResult) => void,
): void {
  const collector = new Collector();
  let open = lines.length;
  const settle = (line: number, outcome: Outcome) => {
    collector.add(line, outcome);
    open -= 1;
    if (open === 0) done(collector.result());
  };
  for (const { number, bytes } of lines) {
    let json: unknown;
    try {
      json = JSON.parse(bytes.toString('utf8'));
    } catch (error) {
      admission.countRefusal('http', 'malformed');
      settle(number, { kind: 'reject', reason: 'malformed', detail: (error as SyntaxError).message });
      continue;
    }
    const { topic, device } = head;
    const submission = {
      source: SOURCE.http,
      topic,
      device,
      fallbackDevice: '',
      contentType: 'application/json',
      payload: bytes,
      sequence: null,
      eventMs: null,
      json,
    } as const;
    admission.submit(submission, (outcome) => settle(number, outcome));
  }
}
