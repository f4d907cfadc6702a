// Encodes the packets the gateway sends. Knows no connections. docs of each: MQTT 3.1.1 §3 and MQTT 5 §3.
import type { Version } from './decode.ts';
import type { Message, Qos } from './message.ts';
import { PROPERTY, PropertyWriter, varintBytes, writeVarint } from './properties.ts';

export const TYPE = {
  connect: 0x10,
  connack: 0x20,
  publish: 0x30,
  puback: 0x40,
  pubrec: 0x50,
  pubrel: 0x60,
  pubcomp: 0x70,
  subscribe: 0x80,
  suback: 0x90,
  unsubscribe: 0xa0,
  unsuback: 0xb0,
  pingreq: 0xc0,
  pingresp: 0xd0,
  disconnect: 0xe0,
  auth: 0xf0,
} as const;

function packet(firstByte: number, ...parts: readonly Uint8Array[]): Buffer {
  let length = 0;
  for (const part of parts) length += part.length;
  const head = Buffer.allocUnsafe(1 + varintBytes(length));
  head[0] = firstByte;
  writeVarint(head, length, 1);
  return Buffer.concat([head, ...parts], head.length + length);
}

/** Up to 3.1.1 without properties. */
export function connack(sessionPresent: boolean, code: number, properties: PropertyWriter | null): Buffer {
  const head = Uint8Array.of(sessionPresent ? 1 : 0, code);
  return properties === null ? packet(TYPE.connack, head) : packet(TYPE.connack, head, properties.finish());
}

export function suback(packetId: number, codes: readonly number[], version: Version): Buffer {
  return packet(TYPE.suback, idBytes(packetId, version), Uint8Array.from(codes));
}

/** Before MQTT 5 it has no codes. */
export function unsuback(packetId: number, codes: readonly number[], version: Version): Buffer {
  return packet(TYPE.unsuback, idBytes(packetId, version), version === 5 ? Uint8Array.from(codes) : NO_BYTES);
}

const NO_BYTES = new Uint8Array(0);

function idBytes(packetId: number, version: Version): Uint8Array {
  return version === 5
    ? Uint8Array.of(packetId >> 8, packetId & 0xff, 0)
    : Uint8Array.of(packetId >> 8, packetId & 0xff);
}

/** An acknowledgement that says more than "done" (MQTT 5): why not, in words too where the client wants them. */
export function ackWithReason(
  firstByte: number,
  packetId: number,
  reason: number,
  detail: string | null,
): Buffer {
  const head = Uint8Array.of(packetId >> 8, packetId & 0xff, reason);
  if (detail === null) return packet(firstByte, head);
  return packet(firstByte, head, new PropertyWriter().text(PROPERTY.reasonString, detail).finish());
}

export function disconnect(reason: number): Buffer {
  return Buffer.from([TYPE.disconnect, 1, reason]);
}

export const PINGRESP = Buffer.from([TYPE.pingresp, 0]);

export interface Outgoing {
  readonly message: Message;
  readonly qos: Qos;
  readonly dup: boolean;
  readonly retain: boolean;
  /** 0 for QoS 0. */
  readonly packetId: number;
  readonly version: Version;
  /** Sent instead of the topic where it is known already: 0 none, negative: the alias is being made. */
  readonly alias: number;
  readonly subscriptionIds: readonly number[];
  readonly nowMs: number;
}

/** All of a PUBLISH but its payload. */
export function publishHead(outgoing: Outgoing): Buffer {
  const { message, qos, alias, version } = outgoing;
  const topicBytes = alias > 0 ? 0 : Buffer.byteLength(message.topic);
  const properties = version === 5 ? publishProperties(outgoing) : null;
  const propertyBytes = properties === null ? 0 : properties.bytes + varintBytes(properties.bytes);
  const length = 2 + topicBytes + (qos > 0 ? 2 : 0) + propertyBytes + message.payload.length;
  const lengthBytes = varintBytes(length);
  const head = Buffer.allocUnsafe(1 + lengthBytes + length - message.payload.length);
  head[0] = TYPE.publish | (outgoing.dup ? 8 : 0) | (qos << 1) | (outgoing.retain ? 1 : 0);
  let at = writeVarint(head, length, 1);
  at = head.writeUInt16BE(topicBytes, at);
  if (topicBytes > 0) at += head.write(message.topic, at, 'utf8');
  if (qos > 0) at = head.writeUInt16BE(outgoing.packetId, at);
  if (properties !== null) properties.finish().copy(head, at);
  return head;
}

function publishProperties({ message, alias, subscriptionIds, nowMs }: Outgoing): PropertyWriter {
  const writer = new PropertyWriter().raw(message.properties as Buffer);
  // [MQTT5-3.3.2-6]: what is left of it.
  if (message.expiresMs !== 0)
    writer.u32(PROPERTY.messageExpiry, Math.max(1, Math.ceil((message.expiresMs - nowMs) / 1000)));
  if (alias !== 0) writer.u16(PROPERTY.topicAlias, Math.abs(alias));
  for (const id of subscriptionIds) writer.varint(PROPERTY.subscriptionId, id);
  return writer;
}
