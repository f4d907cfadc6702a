// One shape for every refusal over HTTP (RFC 9457), whether of a route, an ingest request or a WebSocket upgrade.
// Says nothing of what happened inside the gateway.
import { STATUS_CODES } from 'node:http';
import type { FastifyReply } from 'fastify';

export interface Problem {
  readonly status: number;
  /** Stable, for programs; `detail` is for people and may change. */
  readonly code: string;
  readonly detail: string;
  /** Sent as Retry-After, rounded up to whole seconds. */
  readonly retryAfterMs?: number;
}

export const PROBLEM_TYPE = 'application/problem+json';

/** The body as JSON text; `more` are extension members, e.g. the per-line results of a batch. */
export function problemText({ status, code, detail }: Problem, more: object = {}): string {
  const title = STATUS_CODES[status] ?? 'Error';
  return JSON.stringify({ type: 'about:blank', title, status, detail, code, ...more });
}

/** Value of WWW-Authenticate on every 401. */
export const CHALLENGE = 'Bearer realm="tidemark", Basic realm="tidemark", charset="UTF-8"';

/** Value of the Retry-After header: whole seconds, at least one. */
export const retryAfterSeconds = (retryAfterMs: number) =>
  String(Math.max(1, Math.ceil(retryAfterMs / 1000)));

export function sendProblem(reply: FastifyReply, problem: Problem, more: object = {}): FastifyReply {
  const { status, retryAfterMs } = problem;
  if (retryAfterMs !== undefined) reply.header('retry-after', retryAfterSeconds(retryAfterMs));
  if (status === 401) reply.header('www-authenticate', CHALLENGE);
  return reply
    .code(status)
    .header('cache-control', 'no-store')
    .type(PROBLEM_TYPE)
    .send(problemText(problem, more));
}

/** Node's ServerResponse fits. */
export interface ProblemTarget {
  writeHead(status: number, head: Record<string, string | number>): { write(text: string): unknown };
}

/**
 * The same where there is no fastify: head and whole body by node's own response, which the caller ends. `type` is for
 * clients that read no other.
 */
export function writeProblem(
  response: ProblemTarget,
  problem: Problem,
  more: object = {},
  type = PROBLEM_TYPE,
): void {
  const { status, retryAfterMs } = problem;
  const text = problemText(problem, more);
  const head: Record<string, string | number> = {
    'content-type': type,
    'content-length': Buffer.byteLength(text),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
  };
  if (retryAfterMs !== undefined) head['retry-after'] = retryAfterSeconds(retryAfterMs);
  if (status === 401) head['www-authenticate'] = CHALLENGE;
  response.writeHead(status, head).write(text);
}
