// One PUBLISH of a client: its bytes understood, and seen as a submission. Refuses what the standard forbids of it.
//
//   PUBLISH = topic(text) [id(u16)] [properties] payload                  MQTT 3.1.1 §3.3
import { isUtf8 } from 'node:buffer';
import { SOURCE } from '../../../ledger/format/record.ts';
import type { Submission } from '../../admission/types.ts';
import { checkResponseTopic, type Version } from './decode.ts';
import { FieldReader, isUsableName } from './fields.ts';
import { type Message, own, type Qos } from './message.ts';
import { NO_PROPERTIES, PROPERTY, type Properties, readProperties } from './properties.ts';
import { malformed, PacketFault, protocolError, REASON } from './reason.ts';
import type { Session } from './session.ts';

export type PublishState = 'waiting' | 'submitted' | 'accepted' | 'refused';

/** What is the same for every publish stands on the prototype: one of these is made for each. */
export class Publish implements Submission {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly packetId: number;
  readonly properties: Properties;
  readonly session: Session;
  state: PublishState = 'waiting';
  /** Nothing new: a QoS 2 publish that is stored already. */
  repeats = false;
  reason: number = REASON.success;
  /** Why it is refused, as admission names it; for the gateway's log. */
  cause = '';
  detail = '';
  next: Publish | null = null;
  /** Retransmissions that came while this one was on its way to the disk. */
  followers: Publish[] | null = null;

  constructor(
    session: Session,
    topic: string,
    payload: Uint8Array,
    qos: Qos,
    retain: boolean,
    packetId: number,
    properties: Properties,
  ) {
    this.session = session;
    this.topic = topic;
    this.payload = payload;
    this.qos = qos;
    this.retain = retain;
    this.packetId = packetId;
    this.properties = properties;
  }

  get source(): typeof SOURCE.mqtt {
    return SOURCE.mqtt;
  }
  get device(): string | null {
    return this.session.device;
  }
  get fallbackDevice(): string {
    return this.session.clientId;
  }
  get unacknowledged(): boolean {
    return this.qos === 0;
  }
  get contentType(): string {
    return recordContentType(this.properties);
  }
  get headers(): readonly (readonly [string, Uint8Array])[] {
    return this.properties === NO_PROPERTIES ? NO_HEADERS : recordHeaders(this.properties);
  }
  /** The first user property of the name. */
  get messageId(): string | undefined {
    return this.properties.user.find(([name]) => name === MESSAGE_ID)?.[1];
  }
  get connection(): Session {
    return this.session;
  }
  get sequence(): null {
    return null;
  }
  get eventMs(): null {
    return null;
  }
}

const NO_HEADERS: readonly (readonly [string, Uint8Array])[] = [];
const MESSAGE_ID = 'message-id';
const MAX_CONTENT_TYPE = 255;
const MAX_HEADER_NAME = 250;
const PRINTABLE = /^[\x20-\x7e]*$/;

export function recordContentType({ texts }: Properties): string {
  const type = texts.get(PROPERTY.contentType) ?? '';
  return type.length <= MAX_CONTENT_TYPE && PRINTABLE.test(type) ? type : '';
}

/**
 * The properties as headers of the record: `user.<name>` for a user property (percent-encoded where it is not printable
 * ASCII; `user.<name>#2` the second of a name), `mqtt.…` for the others.
 */
export function recordHeaders(properties: Properties): readonly (readonly [string, Uint8Array])[] {
  const headers = new Map<string, Uint8Array>();
  const { texts, numbers, binaries, user } = properties;
  const type = texts.get(PROPERTY.contentType);
  if (type !== undefined && recordContentType(properties) === '')
    headers.set('mqtt.content-type', Buffer.from(type));
  const responseTopic = texts.get(PROPERTY.responseTopic);
  if (responseTopic !== undefined) headers.set('mqtt.response-topic', Buffer.from(responseTopic));
  const correlation = binaries.get(PROPERTY.correlationData);
  if (correlation !== undefined) headers.set('mqtt.correlation-data', correlation);
  for (const [name, id] of NUMBERS) {
    const number = numbers.get(id);
    if (number !== undefined) headers.set(name, Buffer.from(String(number)));
  }
  for (const [name, value] of user) {
    const plain = `user.${PRINTABLE.test(name) ? name : encodeURIComponent(name)}`.slice(0, MAX_HEADER_NAME);
    let key = plain;
    for (let count = 2; headers.has(key); count += 1) key = `${plain}#${count}`;
    headers.set(key, Buffer.from(value));
  }
  return [...headers];
}

const NUMBERS: readonly (readonly [string, number])[] = [
  ['mqtt.payload-format', PROPERTY.payloadFormat],
  ['mqtt.message-expiry', PROPERTY.messageExpiry],
];

/** Decodes the publishes of one connection: topics repeat from packet to packet, and aliases stand for them. */
export class PublishReader {
  readonly #version: Version;
  readonly #maxAlias: number;
  readonly #maxUserProperties: number;
  readonly #aliases = new Map<number, string>();
  #topicBytes: Buffer = Buffer.alloc(0);
  #topic = '';
  #reason: number = REASON.success;
  #detail = '';

  constructor(version: Version, maxAlias: number, maxUserProperties: number) {
    this.#version = version;
    this.#maxAlias = maxAlias;
    this.#maxUserProperties = maxUserProperties;
  }

  /** One whose `reason` is not success is to be refused. @throws PacketFault */
  read(session: Session, firstByte: number, bytes: Buffer, start: number, end: number): Publish {
    const qos = (firstByte >> 1) & 3;
    if (qos === 3) throw malformed('QoS 3'); // [MQTT-3.3.1-4]
    if (qos === 0 && firstByte & 8) throw malformed('DUP with QoS 0'); // [MQTT-3.3.1-2]
    if (end - start < 2) throw malformed('PUBLISH ends too soon');
    const topicEnd = start + 2 + ((bytes[start]! << 8) | bytes[start + 1]!);
    let at = topicEnd + (qos === 0 ? 0 : 2);
    if (at > end) throw malformed('PUBLISH ends too soon');
    const packetId = qos === 0 ? 0 : (bytes[topicEnd]! << 8) | bytes[topicEnd + 1]!;
    if (qos > 0 && packetId === 0) throw malformed('packet identifier 0'); // [MQTT-2.3.1-1]
    let topic = this.#topicAt(bytes, start + 2, topicEnd);
    let properties = NO_PROPERTIES;
    if (this.#version === 5) {
      if (at < end && bytes[at] === 0) at += 1;
      else {
        const fields = new FieldReader(bytes, at, end);
        properties = readProperties(fields, 'publish');
        at = fields.at;
        topic = this.#withProperties(topic, properties, bytes, at, end);
      }
    }
    // [MQTT-4.7.3-1]
    if (topic === '') throw this.#version === 5 ? protocolError('no topic') : malformed('the topic is empty');
    const payload = bytes.subarray(at, end);
    const retain = (firstByte & 1) === 1;
    const publish = new Publish(session, topic, payload, qos as Qos, retain, packetId, properties);
    if (this.#reason !== REASON.success) {
      publish.reason = this.#reason;
      publish.detail = this.#detail;
      this.#reason = REASON.success;
    }
    return publish;
  }

  #withProperties(topic: string, properties: Properties, bytes: Buffer, at: number, end: number): string {
    checkResponseTopic(properties);
    if (properties.user.length > this.#maxUserProperties) {
      this.#reason = REASON.quotaExceeded;
      this.#detail = `more than ${this.#maxUserProperties} user properties`;
    } else if (properties.numbers.get(PROPERTY.payloadFormat) === 1 && !isUtf8(bytes.subarray(at, end))) {
      this.#reason = REASON.payloadFormatInvalid;
      this.#detail = 'the payload is not the UTF-8 it is said to be';
    }
    const alias = properties.numbers.get(PROPERTY.topicAlias);
    if (alias === undefined) return topic;
    // [MQTT5-3.3.2-8] [MQTT5-3.3.2-9]
    if (alias === 0 || alias > this.#maxAlias) {
      throw new PacketFault(REASON.topicAliasInvalid, `topic alias ${alias}`);
    }
    if (topic !== '') {
      this.#aliases.set(alias, topic);
      return topic;
    }
    const meant = this.#aliases.get(alias);
    // A topic alias that was never set is a protocol error [MQTT5-3.3.4]
    if (meant === undefined) throw protocolError(`topic alias ${alias} stands for nothing`);
    return meant;
  }

  #topicAt(bytes: Buffer, start: number, end: number): string {
    const length = end - start;
    const known = this.#topicBytes;
    if (known.length === length) {
      let at = 0;
      while (at < length && known[at] === bytes[start + at]) at += 1;
      if (at === length) return this.#topic;
    }
    const view = bytes.subarray(start, end);
    if (!isUtf8(view)) throw malformed('the topic is not UTF-8'); // [MQTT-1.5.3-1]
    const topic = view.toString('utf8');
    if (topic.includes('\0')) throw malformed('the topic has U+0000'); // [MQTT-1.5.3-2]
    // [MQTT-3.3.2-2]. What else is wrong with a topic, admission says.
    if (/[+#]/.test(topic)) throw malformed('the topic has a wildcard');
    if (!isUsableName(topic)) {
      if (this.#version === 5) throw malformed('the topic has control characters');
      this.#reason = REASON.topicNameInvalid;
      this.#detail = 'the topic has control characters';
      return topic;
    }
    this.#topicBytes = Buffer.from(view);
    this.#topic = topic;
    return topic;
  }
}

/** For subscribers; its bytes are its own. */
export function messageOf({ topic, payload, qos, retain, properties, session }: Publish): Message {
  const expiry = properties.numbers.get(PROPERTY.messageExpiry);
  return {
    topic,
    payload: own(payload),
    qos,
    retain,
    properties: own(properties.passedOn),
    expiresMs: expiry === undefined ? 0 : Date.now() + expiry * 1_000,
    publisher: session.clientId,
  };
}
