// Refusals of HTTP ingest: one status for each of admission's reasons, as a problem body (RFC 9457).
import type { Outcome, RejectReason, ShedReason } from '../../admission/types.ts';
import type { Problem, ProblemTarget } from '../problem.ts';

export type RefusalCode = RejectReason | ShedReason | 'unsupported-type' | 'method-not-allowed';

/** What this adapter refuses by itself. */
export interface HttpRefusal {
  readonly code: RefusalCode;
  readonly detail: string;
  readonly retryAfterMs?: number;
}

const STATUS: Readonly<Record<RefusalCode, number>> = {
  malformed: 400,
  'bad-topic': 400,
  'not-allowed': 403,
  'method-not-allowed': 405,
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

export function problemOf({ code, detail, retryAfterMs }: HttpRefusal): Problem {
  const retry = retryAfterMs === undefined ? {} : { retryAfterMs };
  return { status: STATUS[code], code, detail, ...retry };
}

export function refusalOf(outcome: Refused): HttpRefusal {
  const { reason: code } = outcome;
  const retry = outcome.kind === 'shed' ? { retryAfterMs: outcome.retryAfterMs } : {};
  return { code, detail: detailOf(outcome), ...retry };
}

/** How a family of routes writes its refusals. `more` are extension members, e.g. the results of a batch. */
export type Refuse = (response: ProblemTarget, problem: Problem, more?: object) => void;
