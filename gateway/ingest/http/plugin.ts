// POST /api/v1/ingest/<topic…>: one record, or an NDJSON batch, answered after durability. Bodies are kept byte for
// byte. Who may call is decided before, by the guard of the server it is put into.
import { isUtf8 } from 'node:buffer';
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { SOURCE } from '../../../ledger/format/record.ts';
import type { Admission } from '../../admission/admission.ts';
import type { IngestConfig } from '../../admission/config.ts';
import type { Outcome } from '../../admission/types.ts';
import { splitLines, submitBatch } from './batch.ts';
import { sendRefusal, sendRefused } from './refusal.ts';
import { type IngestHead, readHead } from './request.ts';

export interface HttpIngestOptions {
  readonly admission: Admission;
  readonly config: IngestConfig;
}

const NO_BYTES = Buffer.alloc(0);
const JSON_TYPE = /^application\/(json|[a-z0-9.-]+\+json)$/;
const NDJSON_TYPES = ['application/x-ndjson', 'application/ndjson'];

/** Adds the routes in a scope of their own: the parent's body parsers and error handler stay as they are. */
export async function httpIngest(app: FastifyInstance, options: HttpIngestOptions): Promise<void> {
  await app.register(async (scope) => {
    const { config, admission } = options;
    scope.removeAllContentTypeParsers();
    const keep = (_request: FastifyRequest, body: Buffer, done: (error: null, body: Buffer) => void) =>
      done(null, body);
    scope.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: config.maxPayloadBytes }, keep);
    scope.addContentTypeParser(NDJSON_TYPES, { parseAs: 'buffer', bodyLimit: config.maxBatchBytes }, keep);
    scope.setErrorHandler<FastifyError>((error, _request, reply) => onError(error, reply, admission));
    scope.post('/api/v1/ingest/*', (request, reply) => ingest(request, reply, options));
  });
}

function ingest(
  request: FastifyRequest,
  reply: FastifyReply,
  { admission, config }: HttpIngestOptions,
): void {
  const head = readHead(request);
  if ('code' in head) {
    admission.countRefusal('http', 'malformed');
    sendRefusal(reply, head.code, head.detail);
    return;
  }
  const body = (request.body as Buffer | undefined) ?? NO_BYTES;
  const text = JSON_TYPE.test(head.mediaType) || NDJSON_TYPES.includes(head.mediaType);
  if (text && !isUtf8(body)) refuse(reply, admission, 'malformed', 'the body is not valid UTF-8');
  else if (NDJSON_TYPES.includes(head.mediaType)) ingestLines(reply, admission, head, { body, config });
  else ingestOne(reply, admission, head, body);
}

function refuse(
  reply: FastifyReply,
  admission: Admission,
  reason: 'malformed' | 'too-large',
  detail: string,
): void {
  admission.countRefusal('http', reason);
  sendRefusal(reply, reason, detail);
}

function ingestOne(reply: FastifyReply, admission: Admission, head: IngestHead, payload: Buffer): void {
  const { topic, device, sequence, eventMs, contentType } = head;
  const submission = {
    source: SOURCE.http,
    topic,
    device,
    fallbackDevice: '',
    contentType,
    payload,
    sequence,
    eventMs,
  };
  const answer = (outcome: Outcome) => sendOutcome(reply, outcome);
  if (!JSON_TYPE.test(head.mediaType)) {
    admission.submit(submission, answer);
    return;
  }
  let json: unknown;
  try {
    json = JSON.parse(payload.toString('utf8'));
  } catch (error) {
    refuse(reply, admission, 'malformed', `the body is not JSON: ${(error as SyntaxError).message}`);
    return;
  }
  admission.submit({ ...submission, json }, answer);
}

function sendOutcome(reply: FastifyReply, outcome: Outcome): void {
  if (outcome.kind === 'stored') send202(reply, `{"offset":${outcome.offset}}`);
  else if (outcome.kind === 'duplicate') send202(reply, '{"offset":null,"duplicate":true}');
  else sendRefused(reply, outcome);
}

function send202(reply: FastifyReply, json: string): void {
  reply.code(202).type('application/json; charset=utf-8').send(json);
}

function ingestLines(
  reply: FastifyReply,
  admission: Admission,
  head: IngestHead,
  { body, config }: { body: Buffer; config: IngestConfig },
): void {
  if (head.sequence !== null || head.eventMs !== null) {
    refuse(
      reply,
      admission,
      'malformed',
      'Tidemark-Sequence and Tidemark-Event-Time speak of one record, not of a batch',
    );
    return;
  }
  const lines = splitLines(body, config.maxBatchLines);
  if (lines === null) {
    refuse(reply, admission, 'too-large', `the batch has more than ${config.maxBatchLines} lines`);
    return;
  }
  if (lines.length === 0) {
    refuse(reply, admission, 'malformed', 'the batch has no lines');
    return;
  }
  submitBatch(admission, head, lines, ({ refusal, ...result }) => {
    const none = result.accepted + result.duplicates === 0;
    if (!none) send202(reply, JSON.stringify(result));
    else if (refusal?.kind === 'shed') sendRefused(reply, refusal, result);
    else sendRefusal(reply, 'malformed', 'no line was accepted', result);
  });
}

/** What fastify refused before the handler: a body too long, cut short, or not coming. Failures are the server's. */
function onError(error: FastifyError, reply: FastifyReply, admission: Admission): void {
  const status = error.statusCode ?? 500;
  if (status === 413) refuse(reply, admission, 'too-large', 'the body is longer than the gateway takes');
  else if (status === 415) {
    admission.countRefusal('http', 'malformed');
    sendRefusal(reply, 'unsupported-type', error.message);
  } else if (status < 500) refuse(reply, admission, 'malformed', error.message);
  else throw error;
}
