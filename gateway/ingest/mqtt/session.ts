// What the gateway keeps for one client, connected or not: its subscriptions, what is on its way to it, and which of its
// QoS 2 publishes are stored. Knows no packets: a `Link` sends them. Bounds are in `SessionLimits`.
import type { Principal } from '../../access/types.ts';
import type { Subscription, Version } from './decode.ts';
import { bytesOf, isExpired, type Message, type Qos } from './message.ts';
import type { Publish } from './publish.ts';
import type { SessionStore } from './session-store.ts';

/** A message on its way to one client. */
export interface Delivery {
  readonly message: Message;
  readonly qos: Qos;
  readonly retain: boolean;
  readonly subscriptionIds: readonly number[];
  /** Names it within its session, in order. */
  readonly number: number;
  /** 0 until it is sent. */
  packetId: number;
  /** released: PUBREC has come, PUBREL is out. */
  state: 'queued' | 'sent' | 'released';
}

/** The connection of a session. */
export interface Link {
  readonly version: Version;
  /** Unacknowledged messages it takes at a time. */
  readonly window: number;
  readonly isFull: boolean;
  /** False: it does not fit what the client takes, and will not be sent. */
  sendPublish(delivery: Delivery, dup: boolean): boolean;
  sendPubrel(packetId: number): void;
  /** Ends the connection; the will is published. */
  close(reason: number): void;
}

export interface SessionLimits {
  readonly maxQueued: number;
  readonly maxQueuedBytes: number;
}

/** Shared by all sessions: their sums. */
export interface Kept {
  messages: number;
  bytes: number;
  /** Messages not kept for want of room. */
  refused: number;
  /** QoS 0 messages not sent to a client that lags. */
  dropped: number;
  expired: number;
}

const MAX_PACKET_ID = 65_535;

export class Session {
  readonly clientId: string;
  /** Name of the principal it belongs to. */
  readonly owner: string;
  readonly subscriptions = new Map<string, Subscription>();
  /** QoS 2 publishes from the client, from PUBLISH to PUBREL: stored, or on their way to the disk. */
  readonly incoming = new Map<number, Publish | 'stored'>();
  principal: Principal | null = null;
  /** Of the last run's principal, for a will from before the restart. */
  deviceBefore: string | null = null;
  link: Link | null = null;
  /** Seconds it outlives its connection. */
  expirySeconds = 0;
  /** Unix ms at which the connection ended; 0: connected. */
  endedMs = 0;
  /** Discarded: nothing more is kept for it. */
  isOver = false;
  readonly #limits: SessionLimits;
  readonly #kept: Kept;
  readonly #store: SessionStore;
  readonly #queue: Delivery[] = [];
  #queueHead = 0;
  readonly #inFlight = new Map<number, Delivery>();
  /** Of those in flight, the ones a resumed client cannot take yet: they keep their identifiers. */
  #unsent: Delivery[] = [];
  #nextPacketId = 1;
  #nextNumber = 1;

  constructor(
    clientId: string,
    owner: string,
    shared: { limits: SessionLimits; kept: Kept; store: SessionStore },
  ) {
    this.clientId = clientId;
    this.owner = owner;
    this.#limits = shared.limits;
    this.#kept = shared.kept;
    this.#store = shared.store;
  }

  get device(): string | null {
    return this.principal === null ? this.deviceBefore : this.principal.device;
  }

  get isPersistent(): boolean {
    return this.expirySeconds > 0;
  }

  /** Messages kept: waiting and unacknowledged. */
  get keptMessages(): number {
    return this.#queue.length - this.#queueHead + this.#inFlight.size;
  }

  /** A message would be sent at once. */
  get isReady(): boolean {
    const { link } = this;
    return link !== null && !link.isFull && this.#onTheWire < link.window;
  }

  get #onTheWire(): number {
    return this.#inFlight.size - this.#unsent.length;
  }

  /** Sends it now or keeps it; false: neither, and counted. A QoS 0 message is kept only where `keepQos0`. */
  offer(
    message: Message,
    qos: Qos,
    retain: boolean,
    subscriptionIds: readonly number[],
    keepQos0 = false,
  ): boolean {
    const { link } = this;
    if (qos === 0) {
      if (link !== null && !link.isFull && this.#queueHead === this.#queue.length) {
        link.sendPublish(this.#delivery(message, 0, retain, subscriptionIds), false);
        return true;
      }
      if (link === null || !keepQos0) {
        if (link !== null) this.#kept.dropped += 1;
        return false;
      }
    }
    if (link === null && !this.isPersistent) return false;
    const full =
      this.keptMessages >= this.#limits.maxQueued ||
      this.#kept.bytes + bytesOf(message) > this.#limits.maxQueuedBytes ||
      (this.isPersistent && this.#store.isBehind);
    if (full) {
      this.#kept.refused += 1;
      return false;
    }
    const delivery = this.#delivery(message, qos, retain, subscriptionIds);
    this.#keep(delivery);
    if (this.isPersistent && qos > 0) this.#store.putDelivery(this.clientId, delivery);
    this.pump();
    return true;
  }

  /** Sends what waits, as much as the client takes. */
  pump(): void {
    const { link } = this;
    if (link === null) return;
    while (this.#unsent.length > 0 && this.isReady) this.#sendAgain(this.#unsent.shift()!, link);
    const nowMs = Date.now();
    while (this.#queueHead < this.#queue.length && !link.isFull) {
      const delivery = this.#queue[this.#queueHead]!;
      const { message, qos } = delivery;
      if (isExpired(message, nowMs)) {
        // [MQTT5-3.3.2-5]
        this.#kept.expired += 1;
        this.#shift();
        this.#forget(delivery);
        continue;
      }
      if (qos > 0 && this.#onTheWire >= link.window) break;
      this.#shift();
      if (qos === 0) {
        this.#forget(delivery);
        link.sendPublish(delivery, false);
        continue;
      }
      delivery.packetId = this.#takePacketId();
      delivery.state = 'sent';
      if (!link.sendPublish(delivery, false)) {
        // [MQTT5-3.1.2-25]: as if it had been delivered.
        this.#forget(delivery);
        continue;
      }
      this.#inFlight.set(delivery.packetId, delivery);
      if (this.isPersistent) this.#store.putDelivery(this.clientId, delivery);
    }
  }

  /** On a new connection: unacknowledged messages again, in their order [MQTT-4.4.0-1], then what waits. */
  resume(link: Link): void {
    this.link = link;
    this.endedMs = 0;
    this.#unsent = [...this.#inFlight.values()];
    // PUBREL is not held back by the receive maximum.
    for (const { packetId, state } of this.#unsent) if (state === 'released') link.sendPubrel(packetId);
    this.#unsent = this.#unsent.filter(({ state }) => state !== 'released');
    this.pump();
  }

  #sendAgain(delivery: Delivery, link: Link): void {
    const { packetId } = delivery;
    if (this.#inFlight.get(packetId) !== delivery || link.sendPublish(delivery, true)) return;
    this.#inFlight.delete(packetId);
    this.#forget(delivery);
  }

  /** False: no such message. */
  puback(packetId: number): boolean | 'wrong' {
    const delivery = this.#inFlight.get(packetId);
    if (delivery === undefined) return false;
    if (delivery.qos !== 1) return 'wrong';
    this.#acknowledged(packetId, delivery);
    return true;
  }

  /** `refused`: the client does not take it, and no PUBREL follows. */
  pubrec(packetId: number, refused: boolean): boolean | 'wrong' {
    const delivery = this.#inFlight.get(packetId);
    if (delivery === undefined) return false;
    if (delivery.qos !== 2) return 'wrong';
    if (refused) {
      this.#acknowledged(packetId, delivery);
      return true;
    }
    delivery.state = 'released';
    if (this.isPersistent) this.#store.putDelivery(this.clientId, delivery);
    return true;
  }

  pubcomp(packetId: number): boolean | 'wrong' {
    const delivery = this.#inFlight.get(packetId);
    if (delivery === undefined) return false;
    if (delivery.qos !== 2 || delivery.state !== 'released') return 'wrong';
    this.#acknowledged(packetId, delivery);
    return true;
  }

  /** As read back from the store: deliveries in order. */
  restore(deliveries: readonly Delivery[]): void {
    for (const delivery of deliveries) {
      this.#nextNumber = delivery.number + 1;
      this.#kept.messages += 1;
      this.#kept.bytes += bytesOf(delivery.message);
      if (delivery.state === 'queued') this.#queue.push(delivery);
      else {
        this.#inFlight.set(delivery.packetId, delivery);
        this.#nextPacketId = (delivery.packetId % MAX_PACKET_ID) + 1;
      }
    }
  }

  /** Gives up all that is kept for it; the store is told by the caller. */
  discard(): void {
    this.isOver = true;
    this.link = null;
    for (const delivery of this.#deliveries()) this.#release(delivery);
    this.#queue.length = 0;
    this.#queueHead = 0;
    this.#unsent = [];
    this.#inFlight.clear();
    this.incoming.clear();
  }

  *#deliveries(): Generator<Delivery> {
    yield* this.#inFlight.values();
    for (let at = this.#queueHead; at < this.#queue.length; at += 1) yield this.#queue[at]!;
  }

  #delivery(message: Message, qos: Qos, retain: boolean, subscriptionIds: readonly number[]): Delivery {
    const number = this.#nextNumber++;
    return { message, qos, retain, subscriptionIds, number, packetId: 0, state: 'queued' };
  }

  #acknowledged(packetId: number, delivery: Delivery): void {
    this.#inFlight.delete(packetId);
    this.#forget(delivery);
    this.pump();
  }

  #keep(delivery: Delivery): void {
    this.#queue.push(delivery);
    this.#kept.messages += 1;
    this.#kept.bytes += bytesOf(delivery.message);
  }

  #forget(delivery: Delivery): void {
    this.#release(delivery);
    if (this.isPersistent && delivery.qos > 0) this.#store.removeDelivery(this.clientId, delivery);
  }

  #release(delivery: Delivery): void {
    this.#kept.messages -= 1;
    this.#kept.bytes -= bytesOf(delivery.message);
  }

  #shift(): void {
    this.#queueHead += 1;
    if (this.#queueHead === this.#queue.length || this.#queueHead >= 1024) {
      this.#queue.splice(0, this.#queueHead);
      this.#queueHead = 0;
    }
  }

  /** The next that no unacknowledged message has [MQTT-2.3.1-4]. The window is smaller than their number. */
  #takePacketId(): number {
    while (this.#inFlight.has(this.#nextPacketId))
      this.#nextPacketId = (this.#nextPacketId % MAX_PACKET_ID) + 1;
    const packetId = this.#nextPacketId;
    this.#nextPacketId = (packetId % MAX_PACKET_ID) + 1;
    return packetId;
  }
}
