// What one message says, as docs/protocols.md has it: a JSON object in a text message, a CBOR map in a binary one.
// Payloads are taken as they stand in the message, byte for byte.
//
//   record = {id, topic, payload, device?, sequence?, eventMs?, messageId?, contentType? (bytes in CBOR only)}
//   batch  = {id, batch: [record without id, …]}
//   hello  = {hello: {session?, acked?}}
import { SOURCE } from '../../../ledger/format/record.ts';
import type { Submission } from '../../admission/types.ts';
import { CborError, CborReader } from '../../codecs/cbor.ts';
import { arrayElements, memberFinder } from '../../codecs/json-scan.ts';

export type FrameId = string | number;

export interface Problem {
  readonly problem: string;
}
export interface Hello {
  /** Null: the client wants one. */
  readonly session: string | null;
  /** The last id whose ack the client has seen. */
  readonly acked: number;
}
export type Frame =
  | { readonly kind: 'record'; readonly id: FrameId; readonly submission: Submission }
  | { readonly kind: 'batch'; readonly id: FrameId; readonly items: readonly (Submission | Problem)[] }
  | { readonly kind: 'hello'; readonly hello: Hello }
  | { readonly kind: 'problem'; readonly id: FrameId | null; readonly problem: string };

/** A record's members, and where its payload stands; null: there is none. */
interface Members {
  readonly values: Readonly<Record<string, unknown>>;
  readonly payload: Buffer | null;
}

const ID_CHARACTERS_MAX = 128;
const SESSION = /^[\x21-\x7e]{1,64}$/;
const MESSAGE_ID = /^[\x21-\x7e]{1,128}$/;
const CONTENT_TYPE = /^[\x20-\x7e]{0,255}$/;
const RECORD_MEMBERS = ['topic', 'device', 'sequence', 'eventMs', 'messageId', 'contentType', 'payload'];
const OF_RECORD: ReadonlySet<string> = new Set(['id', ...RECORD_MEMBERS]);
const OF_ELEMENT: ReadonlySet<string> = new Set(RECORD_MEMBERS);
const OF_BATCH: ReadonlySet<string> = new Set(['id', 'batch']);
const OF_HELLO: ReadonlySet<string> = new Set(['hello']);
const IN_HELLO: ReadonlySet<string> = new Set(['session', 'acked']);

const findPayload = memberFinder('payload');
const findBatch = memberFinder('batch');

const malformed = (id: FrameId | null, problem: string): Frame => ({ kind: 'problem', id, problem });
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value);

/** The bytes of `message`, which is valid UTF-8, are kept as the payload (a view). */
export function readJsonFrame(message: Buffer, maxBatch: number): Frame {
  let values: unknown;
  try {
    values = JSON.parse(message.toString('utf8'));
  } catch (error) {
    return malformed(null, `the frame is not JSON: ${(error as SyntaxError).message}`);
  }
  if (!isObject(values)) return malformed(null, 'the frame is not a JSON object');
  if ('batch' in values) {
    const { batch } = values;
    const elements = () => {
      const spans = arrayElements(findBatch(message)!)!;
      return (batch as unknown[]).map((element, index) =>
        isObject(element) ? { values: element, payload: findPayload(spans[index]!) } : null,
      );
    };
    return batchFrame(values, Array.isArray(batch) ? batch.length : -1, maxBatch, () =>
      elements().map((members) => elementOf(members, jsonPayload)),
    );
  }
  return 'hello' in values
    ? helloFrame(values)
    : recordFrame({ values, payload: findPayload(message) }, jsonPayload);
}

export function readCborFrame(message: Buffer, maxBatch: number): Frame {
  try {
    const spans = new Map<string, Buffer>();
    const members = cborMembers(message, (name, span) => spans.set(name, span));
    if (members === null) return malformed(null, 'the frame is not a CBOR map');
    const { values } = members;
    if ('batch' in values) {
      const { batch } = values;
      return batchFrame(values, Array.isArray(batch) ? batch.length : -1, maxBatch, () => {
        const items: (Submission | Problem)[] = [];
        new CborReader(spans.get('batch')!).eachElement((span) =>
          items.push(elementOf(cborMembers(span), cborPayload)),
        );
        return items;
      });
    }
    return 'hello' in values ? helloFrame(values) : recordFrame(members, cborPayload);
  } catch (error) {
    if (error instanceof CborError) return malformed(null, `the frame is not CBOR: ${error.message}`);
    throw error;
  }
}

/** Null when `bytes` hold no map, or more than one item. */
function cborMembers(bytes: Buffer, each?: (name: string, span: Buffer) => void): Members | null {
  const reader = new CborReader(bytes);
  const values = Object.create(null) as Record<string, unknown>;
  let payload: Buffer | null = null;
  const isMap = reader.eachMember((name, value, span) => {
    values[name] = value;
    if (name === 'payload') payload = span;
    each?.(name, span);
  });
  return isMap && reader.done ? { values, payload } : null;
}

/** What becomes of the payload member, given where it stands; a text: why it cannot be one. */
type PayloadOf = (
  span: Buffer,
  value: unknown,
  contentType: string | null,
) => Pick<Submission, 'payload' | 'contentType' | 'json'> | string;

const jsonPayload: PayloadOf = (payload, json, contentType) =>
  contentType === null
    ? { payload, contentType: 'application/json', json }
    : 'contentType is for byte strings, which JSON does not have';

const cborPayload: PayloadOf = (span, value, contentType) => {
  if (Buffer.isBuffer(value)) return { payload: value, contentType: contentType ?? '' };
  return contentType === null
    ? { payload: span, contentType: 'application/cbor', json: value }
    : 'contentType is for byte strings';
};

function idOf(id: unknown): FrameId | null {
  if (typeof id === 'number') return Number.isFinite(id) ? id : null;
  return typeof id === 'string' && id.length <= ID_CHARACTERS_MAX ? id : null;
}

const BAD_ID = 'id must be a number, or a string of at most 128 characters';

function unknownMember(values: object, known: ReadonlySet<string>): string | null {
  for (const name in values)
    if (!known.has(name)) return `unknown member ${JSON.stringify(name.slice(0, 64))}`;
  return null;
}

function recordFrame(members: Members, payloadOf: PayloadOf): Frame {
  const id = idOf(members.values.id);
  if (id === null) return malformed(null, BAD_ID);
  const submission = submissionOf(members, OF_RECORD, payloadOf);
  return 'problem' in submission ? malformed(id, submission.problem) : { kind: 'record', id, submission };
}

function batchFrame(
  values: Readonly<Record<string, unknown>>,
  length: number,
  max: number,
  read: () => (Submission | Problem)[],
): Frame {
  const id = idOf(values.id);
  if (id === null) return malformed(null, BAD_ID);
  const unknown = unknownMember(values, OF_BATCH);
  if (unknown !== null) return malformed(id, unknown);
  if (length < 1) return malformed(id, 'batch must be an array of records that is not empty');
  if (length > max) return malformed(id, `batch has more than ${max} records`);
  return { kind: 'batch', id, items: read() };
}

const elementOf = (members: Members | null, payloadOf: PayloadOf): Submission | Problem =>
  members === null ? { problem: 'not an object' } : submissionOf(members, OF_ELEMENT, payloadOf);

function helloFrame(values: Readonly<Record<string, unknown>>): Frame {
  const { hello } = values;
  if (!isObject(hello)) return malformed(null, 'hello must be an object');
  const unknown = unknownMember(values, OF_HELLO) ?? unknownMember(hello, IN_HELLO);
  if (unknown !== null) return malformed(null, unknown);
  const { session = null, acked = 0 } = hello;
  if (session !== null && !(typeof session === 'string' && SESSION.test(session)))
    return malformed(null, 'session must be 1 to 64 visible ASCII characters');
  if (!(Number.isSafeInteger(acked) && (acked as number) >= 0))
    return malformed(null, 'acked must be a whole number from 0 to 2^53-1');
  return { kind: 'hello', hello: { session, acked: acked as number } };
}

function submissionOf(
  { values, payload }: Members,
  known: ReadonlySet<string>,
  payloadOf: PayloadOf,
): Submission | Problem {
  const problem = memberProblem(values) ?? unknownMember(values, known);
  if (problem !== null) return { problem };
  if (payload === null) return { problem: 'payload is missing' };
  const {
    topic,
    device = null,
    sequence = null,
    eventMs = null,
    messageId = null,
    contentType = null,
  } = values;
  const stored = payloadOf(payload, values.payload, contentType as string | null);
  if (typeof stored === 'string') return { problem: stored };
  return {
    source: SOURCE.websocket,
    topic: topic as string,
    device: device as string | null,
    fallbackDevice: '',
    sequence: sequence as number | null,
    eventMs: eventMs as number | null,
    ...(messageId === null ? {} : { messageId: messageId as string }),
    ...stored,
  };
}

function memberProblem(values: Readonly<Record<string, unknown>>): string | null {
  const {
    topic,
    device = null,
    sequence = null,
    eventMs = null,
    messageId = null,
    contentType = null,
  } = values;
  if (typeof topic !== 'string') return 'topic must be a string';
  if (device !== null && (typeof device !== 'string' || device === ''))
    return 'device must be a string that is not empty';
  if (sequence !== null && !(Number.isSafeInteger(sequence) && (sequence as number) >= 0))
    return 'sequence must be a whole number from 0 to 2^53-1';
  if (eventMs !== null && !Number.isSafeInteger(eventMs))
    return 'eventMs must be unix milliseconds, a whole number';
  if (messageId !== null && !(typeof messageId === 'string' && MESSAGE_ID.test(messageId)))
    return 'messageId must be 1 to 128 visible ASCII characters';
  if (contentType !== null && !(typeof contentType === 'string' && CONTENT_TYPE.test(contentType)))
    return 'contentType must be at most 255 ASCII characters';
  return null;
}
