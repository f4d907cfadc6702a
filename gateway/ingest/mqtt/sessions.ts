// Puts bounds on what aedes keeps in memory for clients: retained messages, messages for absent subscribers,
// sessions, QoS 2 identifiers. Refuses to keep more; what is not kept is counted. Records are in the log regardless.
import type { PublishPacket } from 'aedes';
import type { MqttConfig } from './config.ts';

interface ClientId {
  readonly id: string;
}
type Stored = PublishPacket & { messageId?: number };

/** The part of aedes' persistence contract that is bounded here. */
export interface Persistence {
  storeRetained(packet: PublishPacket): Promise<void>;
  outgoingEnqueue(subscription: { clientId: string }, packet: PublishPacket): Promise<void>;
  outgoingEnqueueCombi(subscriptions: { clientId: string }[], packet: PublishPacket): Promise<void>;
  outgoingStream(client: ClientId): AsyncIterable<Stored>;
  outgoingClearMessageId(client: ClientId, packet: Stored): Promise<Stored | undefined>;
  addSubscriptions(client: ClientId, subscriptions: unknown[]): Promise<void>;
  removeSubscriptions(client: ClientId, topics: string[]): Promise<void>;
  cleanSubscriptions(client: ClientId): Promise<void>;
  subscriptionsByClient(client: ClientId): Promise<unknown[]>;
  incomingStorePacket(client: ClientId, packet: Stored): Promise<void>;
  incomingDelPacket(client: ClientId, packet: Stored): Promise<void>;
  cleanIncoming(client: ClientId): Promise<void>;
}

interface Queue {
  messages: number;
  bytes: number;
}

const NO_BYTES = Buffer.alloc(0);
const bytesOf = (packet: PublishPacket) => packet.payload.length;

/** A copy that does not keep the whole receive buffer alive behind a few bytes of payload. */
const detached = <P extends PublishPacket>(packet: P): P => ({
  ...packet,
  payload: Buffer.from(packet.payload),
});

export class BoundedSessions {
  readonly figures = { retained: 0, retainedRefused: 0, queued: 0, queueRefused: 0, sessions: 0 };
  readonly #config: MqttConfig;
  readonly #inner: Persistence;
  readonly #retained = new Map<string, number>();
  #retainedBytes = 0;
  readonly #queues = new Map<string, Queue>();
  #queuedBytes = 0;
  readonly #sessions = new Set<string>();
  readonly #incoming = new Map<string, Set<number>>();

  private constructor(inner: Persistence, config: MqttConfig) {
    this.#inner = inner;
    this.#config = config;
  }

  /** `inner` with bounds: every other method goes to it unchanged. */
  static around<P extends Persistence>(
    inner: P,
    config: MqttConfig,
  ): { persistence: P; sessions: BoundedSessions } {
    const sessions = new BoundedSessions(inner, config);
    const persistence = Object.assign(Object.create(inner) as P, sessions.#bounded());
    return { persistence, sessions };
  }

  /** A QoS 2 publish with this identifier is stored and awaits its PUBREL [MQTT-4.3.3-2]. */
  hasIncoming(clientId: string, messageId: number): boolean {
    return this.#incoming.get(clientId)?.has(messageId) ?? false;
  }

  #bounded(): Persistence {
    return {
      storeRetained: (packet) => this.#storeRetained(packet),
      outgoingEnqueue: (subscription, packet) => this.#enqueue([subscription], packet),
      outgoingEnqueueCombi: (subscriptions, packet) => this.#enqueue(subscriptions, packet),
      outgoingClearMessageId: (client, packet) => this.#dequeue(client, packet),
      addSubscriptions: (client, subscriptions) => this.#addSubscriptions(client, subscriptions),
      removeSubscriptions: async (client, topics) => {
        await this.#inner.removeSubscriptions(client, topics);
        if ((await this.#inner.subscriptionsByClient(client)).length === 0) this.#dropSession(client.id);
      },
      cleanSubscriptions: async (client) => {
        await this.#inner.cleanSubscriptions(client);
        this.#dropSession(client.id);
        // aedes leaves a discarded session's messages behind [MQTT-3.1.2-6].
        for await (const packet of this.#inner.outgoingStream(client)) await this.#dequeue(client, packet);
      },
      outgoingStream: (client) => this.#inner.outgoingStream(client),
      subscriptionsByClient: (client) => this.#inner.subscriptionsByClient(client),
      incomingStorePacket: (client, packet) => this.#storeIncoming(client, packet),
      incomingDelPacket: async (client, packet) => {
        const ids = this.#incoming.get(client.id);
        ids?.delete(packet.messageId!);
        if (ids?.size === 0) this.#incoming.delete(client.id);
        await this.#inner.incomingDelPacket(client, packet);
      },
      cleanIncoming: async (client) => {
        this.#incoming.delete(client.id);
        await this.#inner.cleanIncoming(client);
      },
    };
  }

  async #storeRetained(packet: PublishPacket): Promise<void> {
    const { maxRetained, maxRetainedBytes } = this.#config;
    const before = this.#retained.get(packet.topic);
    const bytes = bytesOf(packet);
    if (bytes > 0) {
      const full = before === undefined && this.#retained.size >= maxRetained;
      if (full || this.#retainedBytes - (before ?? 0) + bytes > maxRetainedBytes) {
        this.figures.retainedRefused += 1;
        return;
      }
      this.#retained.set(packet.topic, bytes);
    } else this.#retained.delete(packet.topic);
    this.#retainedBytes += bytes - (before ?? 0);
    this.figures.retained = this.#retained.size;
    await this.#inner.storeRetained(detached(packet));
  }

  async #enqueue(subscriptions: { clientId: string }[], packet: PublishPacket): Promise<void> {
    if (subscriptions.length === 0) return;
    const { maxQueued, maxQueuedBytes } = this.#config;
    const bytes = bytesOf(packet);
    const taken = subscriptions.filter(({ clientId }) => {
      const queue = this.#queues.get(clientId) ?? { messages: 0, bytes: 0 };
      if (queue.messages >= maxQueued || this.#queuedBytes + bytes > maxQueuedBytes) {
        this.figures.queueRefused += 1;
        return false;
      }
      queue.messages += 1;
      queue.bytes += bytes;
      this.#queuedBytes += bytes;
      this.figures.queued += 1;
      this.#queues.set(clientId, queue);
      return true;
    });
    if (taken.length > 0) await this.#inner.outgoingEnqueueCombi(taken, detached(packet));
  }

  async #dequeue(client: ClientId, packet: Stored): Promise<Stored | undefined> {
    const cleared = await this.#inner.outgoingClearMessageId(client, packet);
    const queue = this.#queues.get(client.id);
    if (cleared && queue) {
      // After PUBREC a PUBREL without payload stands in the message's place: then its bytes are given back at the end.
      const bytes = queue.messages === 1 ? queue.bytes : Math.min(queue.bytes, cleared.payload?.length ?? 0);
      queue.messages -= 1;
      queue.bytes -= bytes;
      this.#queuedBytes -= bytes;
      this.figures.queued -= 1;
      if (queue.messages === 0) this.#queues.delete(client.id);
    }
    return cleared;
  }

  async #addSubscriptions(client: ClientId, subscriptions: unknown[]): Promise<void> {
    if (!this.#sessions.has(client.id) && this.#sessions.size >= this.#config.maxSessions) {
      throw new Error(`no more than ${this.#config.maxSessions} sessions are kept`);
    }
    this.#sessions.add(client.id);
    this.figures.sessions = this.#sessions.size;
    await this.#inner.addSubscriptions(client, subscriptions);
  }

  #dropSession(clientId: string): void {
    this.#sessions.delete(clientId);
    this.figures.sessions = this.#sessions.size;
  }

  /** Only the identifier is needed to recognise a retransmission; the payload is in the log. */
  async #storeIncoming(client: ClientId, packet: Stored): Promise<void> {
    let ids = this.#incoming.get(client.id);
    if (ids === undefined) {
      if (this.#incoming.size >= this.#config.maxSessions)
        throw new Error('too many clients with QoS 2 in flight');
      ids = new Set();
      this.#incoming.set(client.id, ids);
    }
    ids.add(packet.messageId!);
    await this.#inner.incomingStorePacket(client, { ...packet, payload: NO_BYTES });
  }
}
