// Reads what an ingest request says besides its body: topic, device, counter, time, message id, content type.
import type { IncomingMessage } from 'node:http';
import { eventMsOf } from '../../admission/given.ts';
import { mediaTypeOf } from '../../codecs/content-type.ts';
import type { HttpRefusal } from './refusal.ts';

export interface IngestHead {
  readonly topic: string;
  /** As the request names it; a principal that is a device wins over it. */
  readonly device: string | null;
  readonly sequence: number | null;
  readonly eventMs: number | null;
  /** Idempotency-Key; null where there is none. */
  readonly messageId: string | null;
  /** As the client sent it; '' when it sent none. */
  readonly contentType: string;
  /** The content type's essence, lower case: `application/json`. */
  readonly mediaType: string;
}

const WHOLE = /^(0|[1-9][0-9]{0,15})$/;
const MILLISECONDS = /^-?(0|[1-9][0-9]{0,15})$/;
const ASCII = /^[\x20-\x7e]{0,255}$/;
const MESSAGE_ID = /^[\x21-\x7e]{1,128}$/;

const malformed = (detail: string): HttpRefusal => ({ code: 'malformed', detail });

/** Everything but the topic, which each family of routes finds in a place of its own. */
export function readHead(
  { headers }: Pick<IncomingMessage, 'headers'>,
  topic: string,
): IngestHead | HttpRefusal {
  const contentType = headers['content-type'] ?? '';
  if (!ASCII.test(contentType))
    return { code: 'unsupported-type', detail: 'Content-Type is longer than 255 bytes or not ASCII' };
  const device = textHeader(headers['tidemark-device']);
  const sequence = textHeader(headers['tidemark-sequence']);
  const eventTime = textHeader(headers['tidemark-event-time']);
  if (device === '') return malformed('Tidemark-Device is empty');
  if (sequence !== null && !(WHOLE.test(sequence) && Number.isSafeInteger(Number(sequence))))
    return malformed('Tidemark-Sequence must be a whole number from 0 to 2^53-1');
  const eventMs = eventTime !== null && MILLISECONDS.test(eventTime) ? eventMsOf(Number(eventTime)) : null;
  if (eventTime !== null && eventMs === null)
    return malformed('Tidemark-Event-Time must be unix milliseconds');
  const messageId = messageIdOf(headers['idempotency-key']);
  if (messageId === '') return malformed('Idempotency-Key must be 1 to 128 visible ASCII characters');
  return {
    topic,
    device,
    sequence: sequence === null ? null : Number(sequence),
    eventMs,
    messageId,
    contentType,
    mediaType: mediaTypeOf(contentType),
  };
}

/** The key as a plain or a quoted text (draft-ietf-httpapi-idempotency-key-header); '' where it is neither. */
function messageIdOf(header: string | string[] | undefined): string | null {
  if (header === undefined) return null;
  const text = Array.isArray(header) ? header.join(',') : header;
  const quoted = /^"(.*)"$/.exec(text);
  const key = quoted ? quoted[1]!.replaceAll(/\\(["\\])/g, '$1') : text;
  return MESSAGE_ID.test(key) ? key : '';
}

/** Node gives header bytes as Latin-1; a device id is UTF-8. What is not UTF-8 becomes U+FFFD, which admission refuses. */
function textHeader(value: string | string[] | undefined): string | null {
  if (value === undefined) return null;
  const text = Array.isArray(value) ? value.join(',') : value;
  return Buffer.from(text, 'latin1').toString('utf8');
}

/** A percent-encoded part of a path, or null where the encoding is wrong. */
export function decodedPath(text: string): string | null {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return null;
  }
}
