// Owns the MQTT packets a publishing device needs, as bytes: 3.1.1 and 5, QoS 1. Opens no socket.

export type MqttVersion = 4 | 5;

/*
 * packet = type and flags u8, remaining length (7 bits a byte, least significant first, at most 4), then the rest
 * Texts are u16 length + UTF-8. Version 5 puts a property length (and properties) after each variable header.
 */
const CONNECT = 0x10;
const PUBLISH_QOS1 = 0x32;
const PUBACK = 0x40;
const SUBSCRIBE = 0x82;
export const PINGREQ = Buffer.from([0xc0, 0]);

export interface Will {
  readonly topic: string;
  readonly payload: Uint8Array;
}

function text(value: string | Uint8Array): Buffer {
  const bytes = Buffer.from(value as string);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
}

function packet(type: number, ...parts: readonly Uint8Array[]): Buffer {
  let length = parts.reduce((sum, part) => sum + part.length, 0);
  const head = [type];
  do {
    head.push((length & 127) | (length > 127 ? 128 : 0));
    length >>>= 7;
  } while (length > 0);
  return Buffer.concat([Buffer.from(head), ...parts]);
}

export interface ConnectOptions {
  readonly version: MqttVersion;
  readonly clientId: string;
  readonly keepAliveSeconds: number;
  readonly will?: Will;
}

/** With a clean session: what was unanswered is sent again by the outbox, not by the broker's memory. */
export function connectPacket({ version, clientId, keepAliveSeconds, will }: ConnectOptions): Buffer {
  const flags = 0x02 | (will ? 0x04 | 0x08 : 0);
  const head = Buffer.from([version, flags, keepAliveSeconds >> 8, keepAliveSeconds & 255]);
  const none = Buffer.from(version === 5 ? [0] : []);
  const willParts = will ? [none, text(will.topic), text(will.payload)] : [];
  return packet(CONNECT, text('MQTT'), head, none, text(clientId), ...willParts);
}

export function publishPacket(
  version: MqttVersion,
  id: number,
  topic: string,
  payload: string | Uint8Array,
): Buffer {
  const ids = Buffer.from(version === 5 ? [id >> 8, id & 255, 0] : [id >> 8, id & 255]);
  return packet(PUBLISH_QOS1, text(topic), ids, Buffer.from(payload as string));
}

export function subscribePacket(version: MqttVersion, id: number, filter: string): Buffer {
  const ids = Buffer.from(version === 5 ? [id >> 8, id & 255, 0] : [id >> 8, id & 255]);
  return packet(SUBSCRIBE, ids, text(filter), Buffer.from([1]));
}

export function pubackPacket(id: number): Buffer {
  return packet(PUBACK, Buffer.from([id >> 8, id & 255]));
}

export type FromBroker =
  | { readonly type: 'connack'; readonly code: number; readonly receiveMaximum: number }
  | { readonly type: 'puback'; readonly id: number; readonly code: number }
  | { readonly type: 'publish'; readonly id: number | null; readonly topic: string; readonly payload: Buffer }
  | { readonly type: 'disconnect'; readonly code: number }
  /** Suback, pingresp: nothing to do but to know that the broker is there. */
  | { readonly type: 'other' };

export class PacketError extends Error {
  override name = 'PacketError';
}

const MAX_REMAINING = 1024 * 1024;

/** Cuts a byte stream into packets. */
export class PacketReader {
  readonly #version: MqttVersion;
  #pending: Buffer = Buffer.alloc(0);

  constructor(version: MqttVersion) {
    this.#version = version;
  }

  /** @throws PacketError when these are not MQTT packets */
  *read(bytes: Buffer): Generator<FromBroker> {
    let data = this.#pending.length > 0 ? Buffer.concat([this.#pending, bytes]) : bytes;
    for (;;) {
      let remaining = 0;
      let head = 1;
      let more = true;
      for (; more && head < data.length; head += 1) {
        if (head > 4) throw new PacketError('a remaining length of more than four bytes');
        remaining |= (data[head]! & 127) << (7 * (head - 1));
        more = data[head]! > 127;
      }
      if (remaining > MAX_REMAINING) throw new PacketError(`a packet of ${remaining} bytes`);
      if (more || data.length < head + remaining) break;
      yield this.#checked(data[0]!, data.subarray(head, head + remaining));
      data = data.subarray(head + remaining);
    }
    this.#pending = Buffer.from(data);
  }

  #checked(first: number, body: Buffer): FromBroker {
    try {
      return this.#packet(first, body);
    } catch (error) {
      if (error instanceof RangeError) throw new PacketError('a packet that ends before its own lengths');
      throw error;
    }
  }

  #packet(first: number, body: Buffer): FromBroker {
    switch (first >> 4) {
      case 2:
        if (body.length < 2) throw new PacketError('a short CONNACK');
        return {
          type: 'connack',
          code: body[1]!,
          receiveMaximum: this.#version === 5 ? receiveMaximum(body) : 65_535,
        };
      case 3:
        return this.#publish(first, body);
      case 4:
        if (body.length < 2) throw new PacketError('a short PUBACK');
        return { type: 'puback', id: body.readUInt16BE(0), code: body[2] ?? 0 };
      case 14:
        return { type: 'disconnect', code: body[0] ?? 0 };
      default:
        return { type: 'other' };
    }
  }

  #publish(first: number, body: Buffer): FromBroker {
    const qos = (first >> 1) & 3;
    const topicEnd = 2 + body.readUInt16BE(0);
    let at = topicEnd + (qos > 0 ? 2 : 0);
    if (at > body.length || qos > 1) throw new PacketError('a PUBLISH that is cut off, or of QoS 2');
    const id = qos > 0 ? body.readUInt16BE(topicEnd) : null;
    if (this.#version === 5) at += 1 + body[at]!;
    return { type: 'publish', id, topic: body.toString('utf8', 2, topicEnd), payload: body.subarray(at) };
  }
}

/** Sizes of the values of those CONNACK properties that have a fixed one [MQTT5 §3.2.2.3]; the others are texts. */
const FIXED: Readonly<Record<number, number>> = {
  17: 4,
  19: 2,
  33: 2,
  34: 2,
  36: 1,
  37: 1,
  39: 4,
  40: 1,
  41: 1,
  42: 1,
};
const RECEIVE_MAXIMUM = 33;
const USER_PROPERTY = 38;

function receiveMaximum(body: Buffer): number {
  // A CONNACK's properties stay below 128 bytes but for texts; a longer length is read for its low bits' sake only.
  let at = 3;
  while (body[at - 1]! > 127) at += 1;
  while (at < body.length) {
    const id = body[at]!;
    at += 1;
    if (id === RECEIVE_MAXIMUM) return body.readUInt16BE(at);
    const size = FIXED[id];
    if (size !== undefined) at += size;
    else
      for (let texts = id === USER_PROPERTY ? 2 : 1; texts > 0 && at + 2 <= body.length; texts -= 1)
        at += 2 + body.readUInt16BE(at);
  }
  return 65_535;
}
