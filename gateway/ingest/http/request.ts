// Reads what an ingest request says besides its body: topic, device, counter, time, content type.
import type { FastifyRequest } from 'fastify';
import { eventMsOf } from '../../admission/given.ts';

export interface IngestHead {
  readonly topic: string;
  readonly device: string | null;
  readonly sequence: number | null;
  readonly eventMs: number | null;
  /** As the client sent it; '' when it sent none. */
  readonly contentType: string;
  /** The content type's essence, lower case: `application/json`. */
  readonly mediaType: string;
}

export type HeadProblem = { readonly code: 'malformed' | 'unsupported-type'; readonly detail: string };

const WHOLE = /^(0|[1-9][0-9]{0,15})$/;
const MILLISECONDS = /^-?(0|[1-9][0-9]{0,15})$/;
const ASCII = /^[\x20-\x7e]{0,255}$/;

export function readHead(request: FastifyRequest): IngestHead | HeadProblem {
  const { headers } = request;
  const contentType = headers['content-type'] ?? '';
  if (!ASCII.test(contentType))
    return { code: 'unsupported-type', detail: 'Content-Type is longer than 255 bytes or not ASCII' };
  const encoding = headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity') {
    return { code: 'unsupported-type', detail: `Content-Encoding ${encoding} is not supported` };
  }
  const device = textHeader(headers['tidemark-device']);
  const sequence = textHeader(headers['tidemark-sequence']);
  const eventTime = textHeader(headers['tidemark-event-time']);
  if (device === '') return { code: 'malformed', detail: 'Tidemark-Device is empty' };
  if (sequence !== null && !(WHOLE.test(sequence) && Number.isSafeInteger(Number(sequence)))) {
    return { code: 'malformed', detail: 'Tidemark-Sequence must be a whole number from 0 to 2^53-1' };
  }
  const eventMs = eventTime !== null && MILLISECONDS.test(eventTime) ? eventMsOf(Number(eventTime)) : null;
  if (eventTime !== null && eventMs === null) {
    return { code: 'malformed', detail: 'Tidemark-Event-Time must be unix milliseconds' };
  }
  return {
    topic: (request.params as { '*': string })['*'],
    device,
    sequence: sequence === null ? null : Number(sequence),
    eventMs,
    contentType,
    mediaType: contentType.split(';', 1)[0]!.trim().toLowerCase(),
  };
}

/** Node gives header bytes as Latin-1; a device id is UTF-8. What is not UTF-8 becomes U+FFFD, which admission refuses. */
function textHeader(value: string | string[] | undefined): string | null {
  if (value === undefined) return null;
  const text = Array.isArray(value) ? value.join(',') : value;
  return Buffer.from(text, 'latin1').toString('utf8');
}
