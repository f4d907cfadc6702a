// What goes to one client, in the form it can take: its version, its longest packet, its topic aliases, whether it wants
// reasons in words. Gathers into the outbox; decides nothing.
import type { MqttConfig } from './config.ts';
import { refusalCode } from './connect-codes.ts';
import type { Connect, Version } from './decode.ts';
import { ackWithReason, connack, disconnect, publishHead } from './encode.ts';
import type { Outbox } from './outbox.ts';
import { PROPERTY, PropertyWriter } from './properties.ts';
import { REASON } from './reason.ts';
import type { Delivery, Session } from './session.ts';

/** Up to this much a payload is copied next to its head. */
const COPY_BYTES = 1024;

export interface Acceptance {
  readonly present: boolean;
  /** The client had no identifier of its own. */
  readonly assignedId: boolean;
  readonly keepAliveSeconds: number;
}

export class Sender {
  readonly #outbox: Outbox;
  readonly #config: MqttConfig;
  #version: Version = 4;
  #maxPacketBytes = Number.POSITIVE_INFINITY;
  #wantsDetails = true;
  #aliasMaximum = 0;
  readonly #aliases = new Map<string, number>();

  constructor(outbox: Outbox, config: MqttConfig) {
    this.#outbox = outbox;
    this.#config = config;
  }

  /** What its CONNECT says of it. */
  suit({ version, properties: { numbers } }: Connect): void {
    this.#version = version;
    this.#maxPacketBytes = numbers.get(PROPERTY.maximumPacketSize) ?? Number.POSITIVE_INFINITY;
    this.#wantsDetails = numbers.get(PROPERTY.requestProblem) !== 0;
    this.#aliasMaximum = Math.min(numbers.get(PROPERTY.topicAliasMaximum) ?? 0, this.#config.maxTopicAliases);
  }

  /** CONNACK with success; false: the client takes no packet as long as that. */
  accept(session: Session, connect: Connect, acceptance: Acceptance): boolean {
    const isV5 = this.#version === 5;
    // [MQTT-3.2.2-2]; MQTT 3.1 has no such flag.
    const present = acceptance.present && this.#version > 3;
    const answer = connack(present, REASON.success, isV5 ? this.#offer(session, connect, acceptance) : null);
    // [MQTT5-3.1.2-24]: what cannot be said is not sent.
    if (answer.length > this.#maxPacketBytes) return false;
    this.#outbox.push(answer);
    // [MQTT-3.2.0-1] Before anything that may follow in this turn.
    this.#outbox.flush();
    return true;
  }

  #offer(session: Session, connect: Connect, options: Acceptance): PropertyWriter {
    const config = this.#config;
    const properties = new PropertyWriter();
    const asked = connect.properties.numbers.get(PROPERTY.sessionExpiry) ?? 0;
    if (asked !== session.expirySeconds) properties.u32(PROPERTY.sessionExpiry, session.expirySeconds);
    properties.u16(PROPERTY.receiveMaximum, config.receiveMaximum);
    properties.u32(PROPERTY.maximumPacketSize, config.maxPacketBytes);
    if (config.maxTopicAliases > 0) properties.u16(PROPERTY.topicAliasMaximum, config.maxTopicAliases);
    if (options.assignedId) properties.text(PROPERTY.assignedClientId, session.clientId);
    if (options.keepAliveSeconds !== connect.keepAliveSeconds)
      properties.u16(PROPERTY.serverKeepAlive, options.keepAliveSeconds);
    return properties;
  }

  /** CONNACK with a refusal. `version`: as far as it is known. */
  refuse(reason: number, detail: string, version: Version | null): void {
    if (version !== 5) {
      const code = refusalCode(reason);
      if (code !== null) this.#outbox.push(connack(false, code, null));
      return;
    }
    const properties = new PropertyWriter();
    if (this.#wantsDetails && detail !== '') properties.text(PROPERTY.reasonString, detail);
    for (const answer of [connack(false, reason, properties), connack(false, reason, new PropertyWriter())]) {
      if (answer.length > this.#maxPacketBytes) continue;
      this.#outbox.push(answer);
      return;
    }
  }

  /** PUBACK or PUBREC of a refused publish. */
  refusePublish(firstByte: number, packetId: number, reason: number, detail: string): void {
    const full = ackWithReason(firstByte, packetId, reason, this.#wantsDetails ? detail : null);
    const fits = full.length <= this.#maxPacketBytes;
    this.#outbox.push(fits ? full : ackWithReason(firstByte, packetId, reason, null));
  }

  disconnect(reason: number): void {
    const packet = disconnect(reason);
    if (this.#version === 5 && packet.length <= this.#maxPacketBytes) this.#outbox.push(packet);
  }

  /** False: it does not fit what the client takes. */
  publish(delivery: Delivery, dup: boolean): boolean {
    const { message, qos, retain, packetId, subscriptionIds } = delivery;
    const version = this.#version;
    const alias = this.#aliasOf(message.topic);
    const nowMs = message.expiresMs === 0 ? 0 : Date.now();
    const head = publishHead({ message, qos, retain, packetId, subscriptionIds, dup, version, alias, nowMs });
    const { payload } = message;
    if (head.length + payload.length > this.#maxPacketBytes) return false;
    if (alias < 0) this.#aliases.set(message.topic, -alias);
    if (payload.length <= COPY_BYTES) this.#outbox.push(Buffer.concat([head, payload]));
    else {
      this.#outbox.push(head);
      this.#outbox.push(payload);
    }
    return true;
  }

  /** The first topics that come get an alias, as many as the client takes. Negative: it is made now. */
  #aliasOf(topic: string): number {
    if (this.#aliasMaximum === 0) return 0;
    const known = this.#aliases.get(topic);
    if (known !== undefined) return known;
    return this.#aliases.size < this.#aliasMaximum ? -(this.#aliases.size + 1) : 0;
  }
}
