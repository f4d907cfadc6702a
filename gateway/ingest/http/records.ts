// POST /api/v1/ingest/<topic…>: one record, or a batch of them, answered after durability. Bodies are kept byte for byte
// as the device meant them: decompressed, and a batch's record as it stands in the batch.
import { isUtf8 } from 'node:buffer';
import { SOURCE } from '../../../ledger/format/record.ts';
import type { Principal } from '../../access/types.ts';
import type { Outcome, Shared } from '../../admission/types.ts';
import { CborError, decodeCbor } from '../../codecs/cbor.ts';
import { isCbor, isJsonMediaType } from '../../codecs/content-type.ts';
import { JsonLine } from '../../codecs/json-lines.ts';
import { ANY_NAMES } from '../../codecs/pointer.ts';
import { cborItems, jsonArrayItems, ndjsonItems, type Split, submitBatch } from './batch.ts';
import type { Exchange } from './exchange.ts';
import { LaneRequest } from './lane-exchange.ts';
import type { HttpRefusal } from './refusal.ts';
import { decodedPath, type IngestHead, readHead } from './request.ts';

export const INGEST_PREFIX = '/api/v1/ingest/';

const NDJSON_TYPES: ReadonlySet<string> = new Set([
  'application/x-ndjson',
  'application/ndjson',
  'application/jsonl',
  'application/x-jsonlines',
]);

export const JSON_HEAD = [
  'content-type',
  'application/json; charset=utf-8',
  'cache-control',
  'no-store',
  'x-content-type-options',
  'nosniff',
] as const;

/** The kind of batch and the content type of its records; null: the body is one record. */
interface BatchKind {
  readonly split: Split;
  readonly contentType: string;
  readonly isText: boolean;
}

const NDJSON: BatchKind = { split: ndjsonItems, contentType: 'application/json', isText: true };
const JSON_ARRAY: BatchKind = { split: jsonArrayItems, contentType: 'application/json', isText: true };
const CBOR_SEQUENCE: BatchKind = { split: cborItems, contentType: 'application/cbor', isText: false };

export function ingestRecords(exchange: Exchange): void {
  exchange.enter(undefined, (principal) => {
    const head = headOf(exchange);
    if ('code' in head) exchange.refuse(head);
    else receiveRecords(exchange, principal, head);
  });
}

function headOf({ request, path }: Exchange): IngestHead | HttpRefusal {
  const lane = request instanceof LaneRequest ? request.head : null;
  if (lane !== null && lane.read !== null) return lane.read;
  const topic = decodedPath(path.slice(INGEST_PREFIX.length));
  const head =
    topic === null
      ? { code: 'malformed' as const, detail: 'the topic in the path is not percent-encoded UTF-8' }
      : readHead(request, topic);
  if (lane !== null) lane.read = head;
  return head;
}

function receiveRecords(exchange: Exchange, principal: Principal, head: IngestHead): void {
  if (!principal.mayPublish(head.topic)) {
    exchange.refuse({ code: 'not-allowed', detail: 'these credentials may not write to this topic' });
    return;
  }
  const kind = batchKind(exchange, head);
  if (kind === 'unknown') {
    const detail =
      'batch=array is the only kind of batch there is besides the content types, and is for JSON';
    exchange.refuse({ code: 'malformed', detail });
    return;
  }
  const { maxBatchBytes, maxPayloadBytes } = exchange.parts.config;
  exchange.receive(kind === null ? maxPayloadBytes : maxBatchBytes, (body) => {
    const isText = kind?.isText ?? isJsonMediaType(head.mediaType);
    if (isText && !isUtf8(body))
      exchange.refuse({ code: 'malformed', detail: 'the body is not valid UTF-8' });
    else if (kind === null)
      submitOne(exchange, submissionOf(exchange, principal, head), head.mediaType, body);
    else submitMany(exchange, { principal, head, kind }, body);
  });
}

function batchKind(exchange: Exchange, { mediaType }: IngestHead): BatchKind | null | 'unknown' {
  const asked = exchange.query.get('batch');
  if (asked !== null) return asked === 'array' && isJsonMediaType(mediaType) ? JSON_ARRAY : 'unknown';
  if (NDJSON_TYPES.has(mediaType)) return NDJSON;
  return mediaType === 'application/cbor-seq' ? CBOR_SEQUENCE : null;
}

function submissionOf({ request }: Exchange, principal: Principal, head: IngestHead): Shared {
  const { topic, device, sequence, eventMs, contentType, messageId } = head;
  return {
    source: SOURCE.http,
    connection: request.socket,
    topic,
    device: principal.device ?? device,
    fallbackDevice: '',
    contentType,
    sequence,
    eventMs,
    ...(messageId === null ? {} : { messageId }),
  };
}

function submitOne(exchange: Exchange, shared: Shared, mediaType: string, payload: Buffer): void {
  const { admission } = exchange.parts;
  const answer = (outcome: Outcome) => answerOne(exchange, outcome);
  try {
    if (isJsonMediaType(mediaType)) {
      const givesNothing = isJsonWithout(admission.namesLookedFor(shared.topic), payload);
      const json = givesNothing ? undefined : (JSON.parse(payload.toString('utf8')) as unknown);
      admission.submit({ ...shared, payload, json, givesNothing }, answer);
    } else if (isCbor(shared.contentType))
      admission.submit({ ...shared, payload, json: decodeCbor(payload) }, answer);
    else admission.submit({ ...shared, payload }, answer);
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof CborError)) throw error;
    const what = error instanceof CborError ? 'CBOR' : 'JSON';
    exchange.refuse({ code: 'malformed', detail: `the body is not ${what}: ${error.message}` });
  }
}

const line = new JsonLine();

/** It surely is JSON and has none of these names: it need not be parsed. */
const isJsonWithout = (looked: number, payload: Buffer): boolean =>
  looked !== ANY_NAMES &&
  line.read(payload, 0) &&
  line.end === payload.length &&
  (line.nameLengths & looked) === 0;

function answerOne(exchange: Exchange, outcome: Outcome): void {
  if (outcome.kind === 'stored') exchange.answer(202, JSON_HEAD, `{"offset":${outcome.offset}}`);
  else if (outcome.kind === 'duplicate')
    exchange.answer(202, JSON_HEAD, `{"offset":${outcome.offset ?? null},"duplicate":true}`);
  else exchange.refused(outcome);
}

function submitMany(
  exchange: Exchange,
  { principal, head, kind }: { principal: Principal; head: IngestHead; kind: BatchKind },
  body: Buffer,
): void {
  const { admission, config } = exchange.parts;
  if (head.sequence !== null || head.eventMs !== null) {
    const detail = 'Tidemark-Sequence and Tidemark-Event-Time speak of one record, not of a batch';
    exchange.refuse({ code: 'malformed', detail });
    return;
  }
  const looked = admission.namesLookedFor(head.topic);
  exchange.sliced(kind.split(body, config, looked), (items) => {
    if (items === 'too-many') {
      const detail = `the batch has more than ${config.maxBatchLines} records`;
      exchange.refuse({ code: 'too-large', detail });
    } else if (typeof items === 'string') exchange.refuse({ code: 'malformed', detail: items });
    else if (items.length === 0) exchange.refuse({ code: 'malformed', detail: 'the batch has no records' });
    else {
      const shared = { ...submissionOf(exchange, principal, head), contentType: kind.contentType };
      const submitting = submitBatch(admission, items, shared, (result, refusal) => {
        if (result.accepted + result.duplicates > 0) exchange.answer(202, JSON_HEAD, asciiJson(result));
        else if (refusal?.kind === 'shed') exchange.refused(refusal, result);
        else exchange.refusedBatch(result);
      });
      exchange.sliced(submitting);
    }
  });
}

/** So that its length in bytes is its length. */
function asciiJson(value: object): string {
  return JSON.stringify(value).replaceAll(
    /[\x80-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
