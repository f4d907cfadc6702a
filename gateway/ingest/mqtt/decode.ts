// Decodes the packets a client may send, strictly: what the standard forbids is a PacketFault. Clause numbers are those
// of MQTT 3.1.1, and of MQTT 5 where they begin with 5. PUBLISH has its quick way in publish-scan.ts.
//
//   CONNECT      = protocol(text) level(u8) flags(u8) keep-alive(u16) [properties] client [will] [user] [password]
//   SUBSCRIBE    = id(u16) [properties] 1*(filter(text) options(u8))
//   UNSUBSCRIBE  = id(u16) [properties] 1*filter(text)
//   PUBACK …     = id(u16) [reason(u8) [properties]]
//   DISCONNECT   = [reason(u8) [properties]]
import { FieldReader } from './fields.ts';
import type { Qos } from './message.ts';
import { NO_PROPERTIES, PROPERTY, type Properties, readProperties } from './properties.ts';
import { malformed, PacketFault, protocolError, REASON } from './reason.ts';
import { filterProblem } from './topic-filter.ts';

/** 3: MQTT 3.1. 4: MQTT 3.1.1. */
export type Version = 3 | 4 | 5;

export interface Will {
  readonly topic: string;
  readonly payload: Buffer;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly properties: Properties;
}

export interface Connect {
  readonly version: Version;
  readonly clean: boolean;
  readonly keepAliveSeconds: number;
  readonly clientId: string;
  readonly will: Will | null;
  readonly username: string | undefined;
  readonly password: Buffer | undefined;
  readonly properties: Properties;
}

export interface Subscription {
  readonly filter: string;
  readonly qos: Qos;
  readonly noLocal: boolean;
  readonly retainAsPublished: boolean;
  /** 0: retained messages are sent. 1: only for a new subscription. 2: never. */
  readonly retainHandling: 0 | 1 | 2;
  /** 0: none. */
  readonly id: number;
}

/** The version is known only once part of the packet has been read: a fault after that must be answered in it. */
export interface ConnectAttempt {
  version: Version | null;
}

export function decodeConnect(
  bytes: Buffer,
  start: number,
  end: number,
  headerFlags: number,
  attempt: ConnectAttempt,
): Connect {
  const fields = new FieldReader(bytes, start, end);
  const protocol = fields.text();
  const level = fields.u8();
  if (protocol !== 'MQTT' && protocol !== 'MQIsdp') throw malformed('not MQTT'); // [MQTT-3.1.2-1]
  const version = level & 0x7f;
  const known = protocol === 'MQTT' ? version === 4 || version === 5 : version === 3;
  if (!known) throw new PacketFault(REASON.unsupportedVersion, `protocol level ${level}`); // [MQTT-3.1.2-2]
  attempt.version = version as Version;
  // Bridges set bit 7 of the level; only brokers of one kind understand it.
  if (level !== version) throw new PacketFault(REASON.unsupportedVersion, 'bridge connections are not taken');
  if (version !== 3 && headerFlags !== 0) throw malformed('flags of CONNECT'); // [MQTT-2.2.2-2]
  const flags = fields.u8();
  // [MQTT-3.1.2-3]; MQTT 3.1 says nothing of it.
  if (version > 3 && flags & 1) throw malformed('the reserved flag of CONNECT is set');
  const hasWill = (flags & 0x04) !== 0;
  const willQos = (flags >> 3) & 3;
  const willRetain = (flags & 0x20) !== 0;
  const hasPassword = (flags & 0x40) !== 0;
  const hasUsername = (flags & 0x80) !== 0;
  // [MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT-3.1.2-14] [MQTT-3.1.2-15]
  if (willQos === 3 || (!hasWill && (willQos > 0 || willRetain))) throw malformed('will flags');
  if (version < 5 && hasPassword && !hasUsername) throw malformed('a password without a user'); // [MQTT-3.1.2-22]
  const keepAliveSeconds = fields.u16();
  const properties = version === 5 ? readProperties(fields, 'connect') : NO_PROPERTIES;
  if (properties.binaries.has(PROPERTY.authData) && !properties.texts.has(PROPERTY.authMethod)) {
    throw protocolError('authentication data without a method');
  }
  const clientId = fields.name();
  const will = hasWill ? decodeWill(fields, version as Version, willQos as Qos, willRetain) : null;
  const username = hasUsername ? fields.name() : undefined;
  const password = hasPassword ? fields.binary() : undefined;
  fields.end();
  return {
    version: version as Version,
    clean: (flags & 2) !== 0,
    keepAliveSeconds,
    clientId,
    will,
    username,
    password,
    properties,
  };
}

function decodeWill(fields: FieldReader, version: Version, qos: Qos, retain: boolean): Will {
  const properties = version === 5 ? readProperties(fields, 'will') : NO_PROPERTIES;
  const topic = fields.name();
  if (topic === '' || /[+#]/.test(topic)) throw malformed('the topic of the will'); // [MQTT-3.3.2-2]
  checkResponseTopic(properties);
  return { topic, payload: fields.binary(), qos, retain, properties };
}

/** [MQTT5-3.3.2-14] */
export function checkResponseTopic(properties: Properties): void {
  const topic = properties.texts.get(PROPERTY.responseTopic);
  if (topic !== undefined && (topic === '' || /[+#]/.test(topic)))
    throw protocolError('the response topic has a wildcard or is empty');
}

export interface Subscribe {
  readonly packetId: number;
  readonly subscriptions: readonly Subscription[];
}

export function decodeSubscribe(bytes: Buffer, start: number, end: number, version: Version): Subscribe {
  const fields = new FieldReader(bytes, start, end);
  const packetId = readPacketId(fields);
  const properties = version === 5 ? readProperties(fields, 'subscribe') : NO_PROPERTIES;
  const id = properties.numbers.get(PROPERTY.subscriptionId) ?? 0;
  const subscriptions: Subscription[] = [];
  while (fields.left > 0) {
    const filter = readFilter(fields);
    const options = fields.u8();
    const qos = options & 3;
    const retainHandling = (options >> 4) & 3;
    // [MQTT-3-8.3-4] [MQTT5-3.8.3-4] [MQTT5-3.8.3-5]
    if (qos === 3 || options & (version === 5 ? 0xc0 : 0xfc)) throw malformed('subscription options');
    if (retainHandling === 3) throw protocolError('retain handling 3');
    const noLocal = (options & 4) !== 0;
    if (noLocal && filter.startsWith('$share/')) throw protocolError('a shared subscription without local'); // [MQTT5-3.8.3-4]
    subscriptions.push({
      filter,
      qos: qos as Qos,
      noLocal,
      retainAsPublished: (options & 8) !== 0,
      retainHandling: retainHandling as 0 | 1 | 2,
      id,
    });
  }
  if (subscriptions.length === 0) throw malformed('SUBSCRIBE without a filter'); // [MQTT-3.8.3-3]
  return { packetId, subscriptions };
}

export interface Unsubscribe {
  readonly packetId: number;
  readonly filters: readonly string[];
}

export function decodeUnsubscribe(bytes: Buffer, start: number, end: number, version: Version): Unsubscribe {
  const fields = new FieldReader(bytes, start, end);
  const packetId = readPacketId(fields);
  if (version === 5) readProperties(fields, 'unsubscribe');
  const filters: string[] = [];
  while (fields.left > 0) filters.push(readFilter(fields));
  if (filters.length === 0) throw malformed('UNSUBSCRIBE without a filter'); // [MQTT-3.10.3-2]
  return { packetId, filters };
}

function readFilter(fields: FieldReader): string {
  const filter = fields.name();
  const problem = filterProblem(filter);
  if (problem !== null) throw malformed(problem); // [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.3-1]
  return filter;
}

function readPacketId(fields: FieldReader): number {
  const packetId = fields.u16();
  if (packetId === 0) throw malformed('packet identifier 0'); // [MQTT-2.3.1-1]
  return packetId;
}

export type AckKind = 'puback' | 'pubrec' | 'pubrel' | 'pubcomp';

const ACK_REASONS: Readonly<Record<AckKind, ReadonlySet<number>>> = {
  puback: new Set([0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]),
  pubrec: new Set([0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]),
  pubrel: new Set([0x00, 0x92]),
  pubcomp: new Set([0x00, 0x92]),
};

/** An acknowledgement of more than two bytes, or of another version. Its packet identifier and reason. */
export function decodeAck(
  bytes: Buffer,
  start: number,
  end: number,
  version: Version,
  kind: AckKind,
): { packetId: number; reason: number } {
  const fields = new FieldReader(bytes, start, end);
  const packetId = readPacketId(fields);
  let reason: number = REASON.success;
  if (version === 5 && fields.left > 0) {
    reason = fields.u8();
    if (!ACK_REASONS[kind].has(reason)) throw protocolError(`reason 0x${reason.toString(16)} in ${kind}`);
    if (fields.left > 0) readProperties(fields, 'ack');
  }
  fields.end();
  return { packetId, reason };
}

const DISCONNECT_REASONS: ReadonlySet<number> = new Set([
  0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
]);

export interface Disconnect {
  readonly reason: number;
  /** Null: not given. */
  readonly sessionExpirySeconds: number | null;
}

export function decodeDisconnect(bytes: Buffer, start: number, end: number, version: Version): Disconnect {
  const fields = new FieldReader(bytes, start, end);
  if (version < 5) {
    fields.end();
    return { reason: REASON.success, sessionExpirySeconds: null };
  }
  const reason = fields.left > 0 ? fields.u8() : REASON.success;
  if (!DISCONNECT_REASONS.has(reason)) throw protocolError(`reason 0x${reason.toString(16)} in DISCONNECT`);
  const properties = fields.left > 0 ? readProperties(fields, 'disconnect') : NO_PROPERTIES;
  fields.end();
  return { reason, sessionExpirySeconds: properties.numbers.get(PROPERTY.sessionExpiry) ?? null };
}
