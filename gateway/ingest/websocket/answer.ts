// What the gateway says to a WebSocket client, in the encoding the client speaks. Decides nothing.
import type { Outcome, RejectReason, ShedReason } from '../../admission/types.ts';
import { encodeCbor } from '../../codecs/cbor-write.ts';
import type { FrameId } from './frame.ts';

export type Encoding = 'json' | 'cbor';

export interface AnswerError {
  readonly code: RejectReason | ShedReason | 'protocol';
  readonly detail: string;
  readonly retryAfterMs?: number;
}

const SHED_DETAIL: Readonly<Record<ShedReason, string>> = {
  overloaded: 'more records wait for the disk than the gateway holds',
  'rate-limited': 'records come faster than the gateway is set to take them',
  'disk-full': 'the disk is full',
  unavailable: 'the gateway is stopping',
};

export const TAKEN_OVER: AnswerError = {
  code: 'protocol',
  detail: 'another connection has taken over this session',
};

export type Refused = Extract<Outcome, { kind: 'reject' | 'shed' }>;

export function errorOf(outcome: Refused): AnswerError {
  const { reason: code } = outcome;
  return outcome.kind === 'reject'
    ? { code, detail: outcome.detail }
    : { code, detail: SHED_DETAIL[outcome.reason], retryAfterMs: outcome.retryAfterMs };
}

export interface BatchAnswer {
  accepted: number;
  duplicates: number;
  firstOffset: number | null;
  lastOffset: number | null;
  /** `at`: place in the batch, from 0. */
  readonly errors: { readonly at: number; readonly error: AnswerError }[];
}

export interface Refusal {
  readonly id: number;
  readonly at?: number;
  readonly error: AnswerError;
}

export type Answer =
  | { readonly ack: FrameId; readonly offset: number | null; readonly duplicate?: true }
  | ({ readonly ack: FrameId } & BatchAnswer)
  | { readonly id: FrameId | null; readonly at?: number; readonly error: AnswerError }
  | { readonly acked: number; readonly credit: number }
  | {
      readonly welcome: {
        readonly session: string;
        readonly resumed: boolean;
        readonly last: number;
        readonly credit: number;
        readonly refused: readonly Refusal[];
      };
    };

export function encoded(answer: Answer, encoding: Encoding): string | Buffer {
  return encoding === 'json' ? JSON.stringify(answer) : encodeCbor(answer);
}

/** The commonest answer, made without building it first. */
export function storedAnswer(id: FrameId, offset: number, encoding: Encoding): string | Buffer {
  if (encoding === 'cbor') return encodeCbor({ ack: id, offset });
  return `{"ack":${typeof id === 'number' ? id : JSON.stringify(id)},"offset":${offset}}`;
}
