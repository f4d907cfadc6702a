// Refusals of HTTP ingest: one status for each of admission's reasons.
import type { FastifyReply } from 'fastify';
import type { Outcome, RejectReason, ShedReason } from '../../admission/types.ts';
import { sendProblem } from '../problem.ts';

export type RefusalCode = RejectReason | ShedReason | 'unsupported-type';

const STATUS: Readonly<Record<RefusalCode, number>> = {
  malformed: 400,
  'bad-topic': 400,
  'not-allowed': 403,
  invalid: 400,
  'too-large': 413,
  'unsupported-type': 415,
  overloaded: 429,
  'rate-limited': 429,
  'disk-full': 503,
  unavailable: 503,
};

const SHED_DETAIL: Readonly<Record<ShedReason, string>> = {
  overloaded: 'more records wait for the disk than the gateway holds',
  'rate-limited': 'records come faster than the gateway is set to take them',
  'disk-full': 'the disk is full',
  unavailable: 'the gateway is stopping',
};

export type Refused = Extract<Outcome, { kind: 'reject' | 'shed' }>;

export const detailOf = (outcome: Refused) =>
  outcome.kind === 'reject' ? outcome.detail : SHED_DETAIL[outcome.reason];

/** `more` are extension members, e.g. the per-line results of a batch. */
export function sendRefusal(reply: FastifyReply, code: RefusalCode, detail: string, more?: object): void {
  sendProblem(reply, { status: STATUS[code], code, detail }, more);
}

export function sendRefused(reply: FastifyReply, outcome: Refused, more?: object): void {
  const { reason: code } = outcome;
  const retry = outcome.kind === 'shed' ? { retryAfterMs: outcome.retryAfterMs } : {};
  sendProblem(reply, { status: STATUS[code], code, detail: detailOf(outcome), ...retry }, more);
}
