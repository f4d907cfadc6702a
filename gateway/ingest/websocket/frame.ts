// One text frame as docs/protocols.md has it. The payload is taken as it stands in the frame, byte for byte.
//
//   → {"id":1,"topic":"…","device":"…","sequence":5,"eventMs":1763600000000,"payload":…}
//   ← {"ack":1,"offset":17} | {"ack":1,"offset":null,"duplicate":true} | {"id":1,"error":{"code":"…","detail":"…"}}
import { SOURCE } from '../../../ledger/format/record.ts';
import type { Outcome, ShedReason, Submission } from '../../admission/types.ts';
import { memberFinder } from '../../codecs/json-scan.ts';

export type FrameId = string | number;
export type Frame =
  | { readonly id: FrameId; readonly submission: Submission }
  | { readonly id: FrameId | null; readonly problem: string };

const ID_CHARACTERS_MAX = 128;
const MEMBERS: ReadonlySet<string> = new Set(['id', 'topic', 'device', 'sequence', 'eventMs', 'payload']);
const findPayload = memberFinder('payload');

/** The bytes of `frame` are kept as the payload (a view). */
export function readFrame(frame: Buffer): Frame {
  let message: unknown;
  try {
    message = JSON.parse(frame.toString('utf8'));
  } catch (error) {
    return { id: null, problem: `the frame is not JSON: ${(error as SyntaxError).message}` };
  }
  if (typeof message !== 'object' || message === null || Array.isArray(message)) {
    return { id: null, problem: 'the frame is not a JSON object' };
  }
  const {
    id,
    topic,
    device = null,
    sequence = null,
    eventMs = null,
    payload,
  } = message as Record<string, unknown>;
  const usableId = typeof id === 'number' || (typeof id === 'string' && id.length <= ID_CHARACTERS_MAX);
  if (!usableId) return { id: null, problem: 'id must be a number, or a string of at most 128 characters' };
  const problem = memberProblem({ topic, device, sequence, eventMs });
  if (problem !== null) return { id, problem };
  for (const name in message)
    if (!MEMBERS.has(name)) return { id, problem: `unknown member ${JSON.stringify(name.slice(0, 64))}` };
  const bytes = findPayload(frame);
  if (bytes === null) return { id, problem: 'payload is missing' };
  return {
    id,
    submission: {
      source: SOURCE.websocket,
      topic: topic as string,
      device: device as string | null,
      fallbackDevice: '',
      contentType: 'application/json',
      payload: bytes,
      sequence: sequence as number | null,
      eventMs: eventMs as number | null,
      json: payload,
    },
  };
}

function memberProblem(message: {
  topic: unknown;
  device: unknown;
  sequence: unknown;
  eventMs: unknown;
}): string | null {
  const { topic, device, sequence, eventMs } = message;
  if (typeof topic !== 'string') return 'topic must be a string';
  if (device !== null && (typeof device !== 'string' || device === ''))
    return 'device must be a string that is not empty';
  if (sequence !== null && !(Number.isSafeInteger(sequence) && (sequence as number) >= 0)) {
    return 'sequence must be a whole number from 0 to 2^53-1';
  }
  if (eventMs !== null && !Number.isSafeInteger(eventMs))
    return 'eventMs must be unix milliseconds, a whole number';
  return null;
}

const SHED_DETAIL: Readonly<Record<ShedReason, string>> = {
  overloaded: 'more records wait for the disk than the gateway holds',
  'rate-limited': 'records come faster than the gateway is set to take them',
  'disk-full': 'the disk is full',
  unavailable: 'the gateway is stopping',
};

export function answerOf(id: FrameId, outcome: Outcome): string {
  const ack = typeof id === 'number' ? String(id) : JSON.stringify(id);
  if (outcome.kind === 'stored') return `{"ack":${ack},"offset":${outcome.offset}}`;
  if (outcome.kind === 'duplicate') return `{"ack":${ack},"offset":null,"duplicate":true}`;
  const { reason: code } = outcome;
  const error =
    outcome.kind === 'reject'
      ? { code, detail: outcome.detail }
      : { code, detail: SHED_DETAIL[outcome.reason], retryAfterMs: outcome.retryAfterMs };
  return JSON.stringify({ id, error });
}

export const problemAnswer = (id: FrameId | null, detail: string) =>
  JSON.stringify({ id, error: { code: 'malformed', detail } });
