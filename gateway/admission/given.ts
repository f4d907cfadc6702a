// What a device says about its own record inside a JSON or CBOR payload, or in line protocol: its time and its counter.
// Guesses nothing: a value of another form counts as not given.
import { isCbor, isLineProtocol } from '../codecs/content-type.ts';
import { asBuffer, structuredPayload } from '../codecs/fields.ts';
import { lineTimeMs } from '../codecs/line-fields.ts';
import { mayContain, type Pointer, resolvePointer } from '../codecs/pointer.ts';
import type { TopicMatch } from '../codecs/template.ts';
import type { Part, Shared } from './types.ts';

const ISO_8601 = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d([.,]\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?$/;
const ZONE = /(Z|[+-]\d\d:?\d\d)$/;

type Given = Pick<Shared, 'eventMs' | 'sequence' | 'contentType'>;

/** First bytes of a JSON text that can have members: white space, `{`, `[`. */
const MAY_BEGIN_JSON: ReadonlySet<number> = new Set([0x20, 0x09, 0x0a, 0x0d, 0x7b, 0x5b]);

/** Unix ms from a number of unix ms or an ISO 8601 text (UTC where it names no zone); null for anything else. */
export function eventMsOf(value: unknown): number | null {
  if (typeof value === 'number') {
    const ms = Math.floor(value);
    return Number.isSafeInteger(ms) ? ms : null;
  }
  if (typeof value !== 'string' || !ISO_8601.test(value)) return null;
  const text = value.replace(',', '.');
  const ms = Date.parse(text.includes('T') && !ZONE.test(text) ? `${text}Z` : text);
  return Number.isNaN(ms) ? null : ms;
}

export function sequenceOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 ? value : null;
}

/**
 * Device time and counter of submissions, one after the other. The answer stands in its fields until the next
 * read(): this runs for every record, and need not leave an object behind for each.
 */
export class GivenReader {
  eventMs: number | null = null;
  sequence: number | null = null;

  /** The protocol's word wins over the payload's. The payload is parsed only when it can contain what is missing. */
  read({ eventMs, sequence, contentType }: Given, part: Part, match: TopicMatch): void {
    this.eventMs = eventMs;
    this.sequence = sequence;
    const time = eventMs === null ? match.time : null;
    const counter = sequence === null ? match.sequence : null;
    const { payload, json } = part;
    if ((time === null && counter === null) || payload.length === 0 || part.givesNothing) return;
    const first = payload[0]!;
    if (json !== undefined) this.#readValue(json, time, counter);
    else if (MAY_BEGIN_JSON.has(first)) {
      const text = asBuffer(payload).toString('latin1');
      const wantsTime = time !== null && mayContain(text, time);
      const wantsCounter = counter !== null && mayContain(text, counter);
      if (!wantsTime && !wantsCounter) return;
      const value = structuredPayload(payload, contentType);
      this.#readValue(value, wantsTime ? time : null, wantsCounter ? counter : null);
    } else this.#readOther(payload, contentType, time, counter, first);
  }

  #readValue(value: unknown, time: Pointer | null, counter: Pointer | null): void {
    if (time !== null) this.eventMs = eventMsOf(resolvePointer(value, time));
    if (counter !== null) this.sequence = sequenceOf(resolvePointer(value, counter));
  }

  /** `first`: the payload's first byte. No CBOR map or array begins below 0x80. */
  #readOther(
    payload: Uint8Array,
    contentType: string,
    time: Pointer | null,
    counter: Pointer | null,
    first: number,
  ): void {
    if (first >= 0x80 && isCbor(contentType)) {
      this.#readValue(structuredPayload(payload, contentType), time, counter);
    } else if (time !== null && isLineProtocol(contentType)) {
      this.eventMs = lineTimeMs(payload, contentType);
    }
  }
}
