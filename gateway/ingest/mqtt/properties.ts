// The properties of MQTT 5 (§2.2.2.2): which packet may carry which, how often, and in what form. Reads and writes them;
// what they mean is others' business.
//
//   properties = length(varint) *(identifier(varint) value)
import type { FieldReader } from './fields.ts';
import { malformed, protocolError } from './reason.ts';

export const PROPERTY = {
  payloadFormat: 0x01,
  messageExpiry: 0x02,
  contentType: 0x03,
  responseTopic: 0x08,
  correlationData: 0x09,
  subscriptionId: 0x0b,
  sessionExpiry: 0x11,
  assignedClientId: 0x12,
  serverKeepAlive: 0x13,
  authMethod: 0x15,
  authData: 0x16,
  requestProblem: 0x17,
  willDelay: 0x18,
  requestResponse: 0x19,
  responseInformation: 0x1a,
  serverReference: 0x1c,
  reasonString: 0x1f,
  receiveMaximum: 0x21,
  topicAliasMaximum: 0x22,
  topicAlias: 0x23,
  maximumQos: 0x24,
  retainAvailable: 0x25,
  userProperty: 0x26,
  maximumPacketSize: 0x27,
  wildcardAvailable: 0x28,
  subscriptionIdAvailable: 0x29,
  sharedAvailable: 0x2a,
} as const;

/** What a client may send: each letter a packet. W is the will inside CONNECT, A the four acknowledgements. */
type Place = 'connect' | 'will' | 'publish' | 'ack' | 'subscribe' | 'unsubscribe' | 'disconnect' | 'auth';
type Form = 'flag' | 'u16' | 'u32' | 'varint' | 'text' | 'name' | 'binary' | 'pair';

interface Rule {
  readonly form: Form;
  readonly places: readonly Place[];
  /** Zero is a protocol error. */
  readonly nonZero?: true;
}

const EVERYWHERE: readonly Place[] = [
  'connect',
  'will',
  'publish',
  'ack',
  'subscribe',
  'unsubscribe',
  'disconnect',
  'auth',
];
const CONTENT: readonly Place[] = ['publish', 'will'];

const RULES: Readonly<Record<number, Rule>> = {
  [PROPERTY.payloadFormat]: { form: 'flag', places: CONTENT },
  [PROPERTY.messageExpiry]: { form: 'u32', places: CONTENT },
  [PROPERTY.contentType]: { form: 'text', places: CONTENT },
  [PROPERTY.responseTopic]: { form: 'name', places: CONTENT },
  [PROPERTY.correlationData]: { form: 'binary', places: CONTENT },
  // A client must not send it in PUBLISH [MQTT-3.3.4-6].
  [PROPERTY.subscriptionId]: { form: 'varint', places: ['subscribe'], nonZero: true },
  [PROPERTY.sessionExpiry]: { form: 'u32', places: ['connect', 'disconnect'] },
  [PROPERTY.assignedClientId]: { form: 'text', places: [] },
  [PROPERTY.serverKeepAlive]: { form: 'u16', places: [] },
  [PROPERTY.authMethod]: { form: 'text', places: ['connect', 'auth'] },
  [PROPERTY.authData]: { form: 'binary', places: ['connect', 'auth'] },
  [PROPERTY.requestProblem]: { form: 'flag', places: ['connect'] },
  [PROPERTY.willDelay]: { form: 'u32', places: ['will'] },
  [PROPERTY.requestResponse]: { form: 'flag', places: ['connect'] },
  [PROPERTY.responseInformation]: { form: 'text', places: [] },
  // Only servers send it [MQTT 5 §3.14.2.2.5].
  [PROPERTY.serverReference]: { form: 'text', places: [] },
  [PROPERTY.reasonString]: { form: 'text', places: ['ack', 'disconnect', 'auth'] },
  [PROPERTY.receiveMaximum]: { form: 'u16', places: ['connect'], nonZero: true },
  [PROPERTY.topicAliasMaximum]: { form: 'u16', places: ['connect'] },
  [PROPERTY.topicAlias]: { form: 'u16', places: ['publish'] },
  [PROPERTY.maximumQos]: { form: 'flag', places: [] },
  [PROPERTY.retainAvailable]: { form: 'flag', places: [] },
  [PROPERTY.userProperty]: { form: 'pair', places: EVERYWHERE },
  [PROPERTY.maximumPacketSize]: { form: 'u32', places: ['connect'], nonZero: true },
  [PROPERTY.wildcardAvailable]: { form: 'flag', places: [] },
  [PROPERTY.subscriptionIdAvailable]: { form: 'flag', places: [] },
  [PROPERTY.sharedAvailable]: { form: 'flag', places: [] },
};

export interface Properties {
  readonly numbers: ReadonlyMap<number, number>;
  readonly texts: ReadonlyMap<number, string>;
  readonly binaries: ReadonlyMap<number, Buffer>;
  readonly user: readonly (readonly [name: string, value: string])[];
  /** Those of a message that its subscribers get unchanged [MQTT-3.3.2-4 …-18]: as they came, in their order. */
  readonly passedOn: Buffer;
}

const NO_BYTES = Buffer.alloc(0);
export const NO_PROPERTIES: Properties = {
  numbers: new Map(),
  texts: new Map(),
  binaries: new Map(),
  user: [],
  passedOn: NO_BYTES,
};

const NOT_PASSED_ON: ReadonlySet<number> = new Set([
  PROPERTY.topicAlias,
  PROPERTY.messageExpiry,
  PROPERTY.willDelay,
]);

/** The properties that begin where `fields` is. @throws PacketFault */
export function readProperties(fields: FieldReader, place: Place): Properties {
  const length = fields.varint();
  if (length === 0) return NO_PROPERTIES;
  const part = fields.part(length);
  const numbers = new Map<number, number>();
  const texts = new Map<number, string>();
  const binaries = new Map<number, Buffer>();
  const user: [string, string][] = [];
  const kept: Buffer[] = [];
  while (part.left > 0) {
    const start = part.at;
    const id = part.varint();
    const rule = RULES[id];
    if (rule === undefined) throw malformed(`property 0x${id.toString(16)} is unknown`);
    const { form } = rule;
    if (form === 'pair') user.push([part.text(), part.text()]);
    else {
      if (numbers.has(id) || texts.has(id) || binaries.has(id)) {
        throw protocolError(`property 0x${id.toString(16)} stands twice`);
      }
      if (form === 'text') texts.set(id, part.text());
      else if (form === 'name') texts.set(id, part.name());
      else if (form === 'binary') binaries.set(id, part.binary());
      else {
        const number = numberOf(part, form);
        if (form === 'flag' && number > 1) throw protocolError(`property 0x${id.toString(16)} is not 0 or 1`);
        if (rule.nonZero && number === 0) throw protocolError(`property 0x${id.toString(16)} is 0`);
        numbers.set(id, number);
      }
    }
    if (!rule.places.includes(place))
      throw protocolError(`property 0x${id.toString(16)} has no place in this packet`);
    if (!NOT_PASSED_ON.has(id)) kept.push(part.since(start));
  }
  const passedOn =
    place !== 'publish' && place !== 'will'
      ? NO_BYTES
      : kept.length === 1
        ? kept[0]!
        : kept.length === 0
          ? NO_BYTES
          : Buffer.concat(kept);
  return { numbers, texts, binaries, user, passedOn };
}

function numberOf(part: FieldReader, form: 'flag' | 'u16' | 'u32' | 'varint'): number {
  if (form === 'flag') return part.u8();
  if (form === 'u16') return part.u16();
  return form === 'u32' ? part.u32() : part.varint();
}

export function varintBytes(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x20_0000 ? 3 : 4;
}

/** Writes it at `at`; returns where it ends. */
export function writeVarint(into: Buffer, value: number, at: number): number {
  let left = value;
  let position = at;
  while (left >= 0x80) {
    into[position++] = (left & 0x7f) | 0x80;
    left >>>= 7;
  }
  into[position++] = left;
  return position;
}

/** Gathers properties to be sent. All identifiers are below 0x80: one byte. */
export class PropertyWriter {
  readonly #parts: Buffer[] = [];
  #bytes = 0;

  /** Their length, without the length field in front. */
  get bytes(): number {
    return this.#bytes;
  }

  raw(bytes: Buffer): this {
    if (bytes.length > 0) this.#push(bytes);
    return this;
  }

  flag(id: number, value: number): this {
    return this.#push(Buffer.from([id, value]));
  }

  u16(id: number, value: number): this {
    return this.#push(Buffer.from([id, value >> 8, value & 0xff]));
  }

  u32(id: number, value: number): this {
    const bytes = Buffer.allocUnsafe(5);
    bytes[0] = id;
    bytes.writeUInt32BE(value, 1);
    return this.#push(bytes);
  }

  varint(id: number, value: number): this {
    const bytes = Buffer.allocUnsafe(1 + varintBytes(value));
    bytes[0] = id;
    writeVarint(bytes, value, 1);
    return this.#push(bytes);
  }

  text(id: number, value: string): this {
    const length = Buffer.byteLength(value);
    const bytes = Buffer.allocUnsafe(3 + length);
    bytes[0] = id;
    bytes.writeUInt16BE(length, 1);
    bytes.write(value, 3, 'utf8');
    return this.#push(bytes);
  }

  /** With the length field in front. */
  finish(): Buffer {
    const head = Buffer.allocUnsafe(varintBytes(this.#bytes));
    writeVarint(head, this.#bytes, 0);
    return Buffer.concat([head, ...this.#parts], head.length + this.#bytes);
  }

  #push(bytes: Buffer): this {
    this.#parts.push(bytes);
    this.#bytes += bytes.length;
    return this;
  }
}
