// Decides whether a submission can be a record at all, and makes the record: topic, device, limits, schema, clock and
// the headers that are the gateway's word. Knows nothing of what was accepted before, nor of how full the gateway is.
import type { RecordInput } from '../../ledger/format/record.ts';
import { CLOCK_HEADER, type ClockFlag, clockFlag } from '../codecs/clock.ts';
import { ANY_NAMES } from '../codecs/pointer.ts';
import { TopicTemplates } from '../codecs/template.ts';
import type { IngestConfig } from './config.ts';
import { fingerprint, type Pending } from './duplicates.ts';
import { GivenReader } from './given.ts';
import {
  MESSAGE_ID_BYTES_MAX,
  MESSAGE_ID_HEADER,
  messageDigest,
  type PendingMessage,
} from './message-ids.ts';
import {
  GIVEN_TIME,
  type Headers,
  headerText,
  INVALID_HEADER,
  NO_HEADERS,
  QUARANTINE_PREFIX,
  RESERVED_PREFIX,
} from './record.ts';
import { type Misfit, PayloadSchemas } from './schemas.ts';
import { deviceProblem, TopicRules, type TopicVerdict } from './topics.ts';
import type { Outcome, Part, RejectReason, Shared, Submission } from './types.ts';

const NO_BYTES = new Uint8Array(0);
/** Fingerprints are unsigned. */
const NO_PRINT = -1;
/** What a record takes beside its payload, more or less. */
const RECORD_OVERHEAD_BYTES = 256;
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
const UNUSABLE_ID = /[\u0000-\u001f\u007f\ufffd]/;

type Rejection = Extract<Outcome, { kind: 'reject' }>;

const reject = (reason: RejectReason, detail: string): Rejection => ({ kind: 'reject', reason, detail });

/** A record that may be stored, and how its repetition is told. */
export interface Candidate {
  readonly record: RecordInput;
  /** Of topic, payload and given time; negative where the record is not numbered. */
  readonly print: number;
  /** Of device and message id, or null where the device named none. */
  readonly digest: string | null;
  readonly clock: ClockFlag | null;
  readonly misfit: Misfit['mode'] | null;
  readonly unacknowledged: boolean;
  /** Whose turn it takes when the log is busy. */
  readonly lane: object | string;
  /** What it takes while it waits, more or less. */
  readonly bytes: number;
  /** Its place in its batch. */
  readonly place: number;
  /** Who is told; where it waits, and who waits for it. Admission's to set. */
  done: (outcome: Outcome, place: number) => void;
  pending: Pending | PendingMessage | null;
  next: Candidate | null;
}

/** What has been decided for one record, or for all records of a batch. */
export interface Common {
  readonly shared: Shared;
  readonly verdict: TopicVerdict;
  readonly device: string;
  readonly receivedMs: number;
  readonly messageId: string | null;
  readonly misfit: Misfit | null;
}

export class Judge {
  readonly topics: TopicRules;
  readonly #config: IngestConfig;
  readonly #schemas: PayloadSchemas;
  readonly #given = new GivenReader();

  constructor(config: IngestConfig) {
    this.#config = config;
    this.topics = new TopicRules(new TopicTemplates(config.templates), config);
    this.#schemas = new PayloadSchemas(config.schemas);
  }

  judge(submission: Submission, receivedMs: number, done: Candidate['done']): Candidate | Rejection {
    const verdict = this.topics.verdict(submission.topic);
    const device = deviceOf(submission, verdict);
    const refusal = this.#tooLarge(submission) ?? this.#refusal(submission, verdict, device);
    if (refusal !== null) return refusal;
    const misfit = this.#schemas.misfit(submission);
    if (misfit?.mode === 'reject') return reject('invalid', misfit.detail);
    const messageId = messageIdOf(submission);
    const problem = messageId === null ? null : idProblem(messageId);
    if (problem !== null) return reject('malformed', problem);
    const shared = submission;
    return this.#candidate({ shared, verdict, device, receivedMs, messageId, misfit }, submission, 0, done);
  }

  namesLookedFor(topic: string): number {
    const { time, sequence } = this.topics.verdict(topic).match;
    return this.#schemas.concern(topic) ? ANY_NAMES : (time?.nameBits ?? 0) | (sequence?.nameBits ?? 0);
  }

  /** What holds for every record that has this in common; null: each must be judged by itself. */
  common(shared: Shared, receivedMs: number): Common | null {
    if (shared.messageId !== undefined || shared.headers !== undefined) return null;
    const verdict = this.topics.verdict(shared.topic);
    const device = deviceOf(shared, verdict);
    if (this.#schemas.concern(shared.topic) || this.#refusal(shared, verdict, device) !== null) return null;
    return { shared, verdict, device, receivedMs, messageId: null, misfit: null };
  }

  judgePart(common: Common, part: Part, place: number, done: Candidate['done']): Candidate | Rejection {
    return this.#tooLarge(part) ?? this.#candidate(common, part, place, done);
  }

  #candidate(common: Common, part: Part, place: number, done: Candidate['done']): Candidate {
    const { shared, verdict, device, receivedMs, messageId, misfit } = common;
    const { payload } = part;
    this.#given.read(shared, part, verdict.match);
    const { eventMs, sequence } = this.#given;
    const clock = eventMs === null ? null : clockFlag(eventMs, receivedMs, this.#config.clock);
    const byId = messageId !== null && this.#config.duplicates.messageIds > 0;
    const bySequence = !byId && sequence !== null && this.#config.duplicates.window > 0;
    const print = byId || bySequence ? fingerprint(verdict.crc, payload, byId ? null : eventMs) : NO_PRINT;
    // The log tells a given time by its difference from the receipt; where there is none, a header says it.
    const sameTime = shared.eventMs === receivedMs;
    const quarantined = misfit?.mode === 'quarantine';
    const headers = shared.headers ?? NO_HEADERS;
    const isPlain = messageId === null && clock === null && misfit === null && !sameTime;
    return {
      record: {
        eventMs: eventMs ?? receivedMs,
        receivedMs,
        topic: quarantined ? QUARANTINE_PREFIX + shared.topic : shared.topic,
        device,
        sequence,
        source: shared.source,
        contentType: shared.contentType,
        headers: isPlain ? headers : withOurs(headers, { messageId, clock, misfit, sameTime }),
        payload,
        salt: NO_BYTES,
      },
      print,
      digest: byId ? messageDigest(device, messageId) : null,
      clock,
      misfit: misfit?.mode ?? null,
      unacknowledged: shared.unacknowledged === true,
      lane: shared.connection ?? device,
      bytes: payload.length + RECORD_OVERHEAD_BYTES,
      place,
      done,
      pending: null,
      next: null,
    };
  }

  #tooLarge({ payload }: Part): Rejection | null {
    const { maxPayloadBytes } = this.#config;
    return payload.length > maxPayloadBytes
      ? reject('too-large', `the payload has ${payload.length} bytes, the limit is ${maxPayloadBytes}`)
      : null;
  }

  #refusal({ headers }: Shared, verdict: TopicVerdict, device: string): Rejection | null {
    const { maxDeviceBytes } = this.#config;
    if (verdict.problem !== null) return reject('bad-topic', verdict.problem);
    const named = device === verdict.match.device;
    const problem = named ? verdict.deviceProblem : deviceProblem(device, maxDeviceBytes);
    if (problem !== null) return reject('malformed', problem);
    const reserved = headers?.find(([name]) => name.startsWith(RESERVED_PREFIX));
    return reserved
      ? reject(
          'malformed',
          `the header ${reserved[0]} belongs to the gateway, as all that begin with ${RESERVED_PREFIX}`,
        )
      : null;
  }
}

const deviceOf = ({ device, fallbackDevice }: Shared, { match }: TopicVerdict): string =>
  device ?? match.device ?? fallbackDevice;

function messageIdOf({ messageId, headers }: Shared): string | null {
  return messageId ?? (headers ? headerText(headers, MESSAGE_ID_HEADER) : null);
}

interface Ours {
  readonly messageId: string | null;
  readonly clock: ClockFlag | null;
  readonly misfit: Misfit | null;
  readonly sameTime: boolean;
}

function withOurs(headers: Headers, { messageId, clock, misfit, sameTime }: Ours): Headers {
  const addId = messageId !== null && !headers.some(([name]) => name === MESSAGE_ID_HEADER);
  if (!addId && clock === null && misfit === null && !sameTime) return headers;
  const all = [...headers];
  if (addId) all.push([MESSAGE_ID_HEADER, Buffer.from(messageId)]);
  if (clock !== null) all.push([CLOCK_HEADER, Buffer.from(clock)]);
  if (misfit) all.push([INVALID_HEADER, Buffer.from(misfit.detail)]);
  if (sameTime) all.push(GIVEN_TIME);
  return all;
}

function idProblem(id: string): string | null {
  if (id === '') return 'the message id is empty';
  if (Buffer.byteLength(id) > MESSAGE_ID_BYTES_MAX)
    return `the message id is longer than ${MESSAGE_ID_BYTES_MAX} bytes`;
  return UNUSABLE_ID.test(id) ? 'the message id has control characters or is not valid UTF-8' : null;
}
