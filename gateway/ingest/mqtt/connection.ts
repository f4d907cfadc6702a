// One client's connection: packets in, answers out, back pressure on both sides. What a packet means beyond its own
// connection is the broker's (broker.ts). Never answers a publish before admission has.
import type { Duplex } from 'node:stream';
import type { Principal } from '../../access/types.ts';
import type { Broker } from './broker.ts';
import { refusalCode } from './connect-codes.ts';
import {
  type AckKind,
  type Connect,
  type ConnectAttempt,
  decodeAck,
  decodeConnect,
  decodeDisconnect,
  decodeSubscribe,
  decodeUnsubscribe,
  type Version,
} from './decode.ts';
import {
  ackWithReason,
  connack,
  disconnect,
  PINGRESP,
  publishHead,
  suback,
  TYPE,
  unsuback,
} from './encode.ts';
import { Outbox } from './outbox.ts';
import { PacketStream } from './packet-stream.ts';
import { PROPERTY, PropertyWriter } from './properties.ts';
import { type Publish, PublishReader } from './publish.ts';
import { type FlowOwner, PublishFlow } from './publish-flow.ts';
import { malformed, PacketFault, protocolError, REASON } from './reason.ts';
import type { Delivery, Link, Session } from './session.ts';
import type { Peer } from './transport.ts';

/** Why no more is read; each a bit. */
const PAUSE = { turn: 1, publishes: 2, unread: 4, authenticating: 8, stopping: 16 } as const;

/** How long a closed connection may take to send its last bytes. */
const LINGER_MS = 2_000;
/** Up to this much a payload is copied next to its head. */
const COPY_BYTES = 1024;
const DISCONNECT_BYTES = 3;

export class Connection implements Link, FlowOwner {
  readonly peer: Peer;
  readonly #stream: Duplex;
  readonly #broker: Broker;
  readonly #packets: PacketStream;
  readonly #outbox: Outbox;
  readonly #flow: PublishFlow;
  readonly #attempt: ConnectAttempt = { version: null };
  readonly openedMs: number;
  #state: 'new' | 'authenticating' | 'open' | 'closing' = 'new';
  #paused = 0;
  #turnBytes = 0;
  #reader: PublishReader | null = null;
  #session: Session | null = null;
  #keepAliveMs = 0;
  #lastPacketMs: number;
  #fullSinceMs = 0;
  #closeByMs = 0;
  /** QoS 1 and 2 publishes of this client not yet answered for good. */
  #unanswered = 0;
  #maxClientPacketBytes = Number.POSITIVE_INFINITY;
  #wantsDetails = true;
  #clientAliasMaximum = 0;
  readonly #aliases = new Map<string, number>();
  version: Version = 4;
  window = 0;

  constructor(stream: Duplex, peer: Peer, broker: Broker) {
    const { config } = broker;
    this.peer = peer;
    this.#stream = stream;
    this.#broker = broker;
    this.openedMs = broker.nowMs;
    this.#lastPacketMs = broker.nowMs;
    this.#packets = new PacketStream(config.maxPacketBytes, (first, bytes, start, end) =>
      this.#onPacket(first, bytes, start, end),
    );
    this.#outbox = new Outbox(stream, config.socketBufferBytes, () => this.#onRoom());
    this.#flow = new PublishFlow(broker.admission, config.overloadHoldMs, this);
    stream.on('data', (chunk: Buffer) => this.#onData(chunk));
    stream.on('error', (error) => broker.lost(this, error));
    stream.on('close', () => this.#onClose());
  }

  get clientId(): string {
    return this.#session?.clientId ?? '';
  }
  get principal(): Principal | null {
    return this.#session?.principal ?? null;
  }
  get isFull(): boolean {
    return this.#outbox.isFull;
  }
  /** Bytes of a packet that has not come to its end. */
  get unfinishedBytes(): number {
    return this.#state === 'closing' ? 0 : this.#packets.waitingBytes;
  }
  get isIdle(): boolean {
    return this.#flow.isIdle;
  }

  // --- what comes -------------------------------------------------------------------------------------------------

  #onData(chunk: Buffer): void {
    if (this.#state === 'closing') return;
    if (this.#state === 'authenticating') {
      this.#packets.keep(chunk);
      return;
    }
    if (this.#turnBytes === 0) this.#broker.atEndOfTurn(this);
    this.#turnBytes += chunk.length;
    this.#guarded(() => this.#packets.feed(chunk));
    if (this.#turnBytes >= this.#broker.config.readBytesPerTurn) this.#pause(PAUSE.turn);
    this.#judgePressure();
  }

  endTurn(): void {
    this.#turnBytes = 0;
    this.#unpause(PAUSE.turn);
  }

  #guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (error instanceof PacketFault) this.#fail(error);
      else {
        this.#broker.broken(this, error);
        this.close(REASON.unspecified);
      }
    }
  }

  #onPacket(firstByte: number, bytes: Buffer, start: number, end: number): boolean {
    this.#lastPacketMs = this.#broker.nowMs;
    const type = firstByte & 0xf0;
    if (this.#state === 'new') {
      if (type !== TYPE.connect) throw malformed('the first packet is not CONNECT'); // [MQTT-3.1.0-1]
      this.#onConnect(decodeConnect(bytes, start, end, firstByte & 0xf, this.#attempt));
      return this.#isTaking();
    }
    const session = this.#session!;
    if (type === TYPE.publish) {
      this.#onPublish(this.#reader!.read(session, firstByte, bytes, start, end));
      return this.#isTaking();
    }
    // [MQTT-2.2.2-2] MQTT 3.1 has DUP in some of them.
    const flags = this.version === 3 ? firstByte & 0x7 : firstByte & 0xf;
    const wanted = type === TYPE.pubrel || type === TYPE.subscribe || type === TYPE.unsubscribe ? 2 : 0;
    if (flags !== wanted) throw malformed('flags of the fixed header');
    this.#onOther(type, session, bytes, start, end);
    return this.#isTaking();
  }

  #isTaking(): boolean {
    return this.#state === 'open';
  }

  #onOther(type: number, session: Session, bytes: Buffer, start: number, end: number): void {
    switch (type) {
      case TYPE.puback:
        this.#judge(session.puback(this.#ack(bytes, start, end, 'puback').packetId));
        return;
      case TYPE.pubrec: {
        const { packetId, reason } = this.#ack(bytes, start, end, 'pubrec');
        const known = session.pubrec(packetId, reason >= 0x80);
        this.#judge(known);
        if (known) {
          if (reason < 0x80) this.sendPubrel(packetId);
        } else if (reason >= 0x80) return;
        else if (this.version === 5) {
          this.#outbox.push(ackWithReason(TYPE.pubrel | 2, packetId, REASON.packetIdNotFound, null));
        } else this.sendPubrel(packetId);
        return;
      }
      case TYPE.pubrel:
        this.#onPubrel(session, this.#ack(bytes, start, end, 'pubrel').packetId);
        return;
      case TYPE.pubcomp:
        this.#judge(session.pubcomp(this.#ack(bytes, start, end, 'pubcomp').packetId));
        return;
      case TYPE.subscribe: {
        const { packetId, subscriptions } = decodeSubscribe(bytes, start, end, this.version);
        this.#broker.subscribe(session, subscriptions, (codes) =>
          this.#outbox.push(suback(packetId, codes, this.version)),
        );
        return;
      }
      case TYPE.unsubscribe: {
        const { packetId, filters } = decodeUnsubscribe(bytes, start, end, this.version);
        this.#broker.unsubscribe(session, filters, (codes) =>
          this.#outbox.push(unsuback(packetId, codes, this.version)),
        );
        return;
      }
      case TYPE.pingreq:
        if (end !== start) throw malformed('PINGREQ with a body');
        this.#outbox.push(PINGRESP);
        return;
      case TYPE.disconnect:
        this.#onDisconnect(session, bytes, start, end);
        return;
      case TYPE.connect:
        throw protocolError('a second CONNECT'); // [MQTT-3.1.0-2]
      default:
        throw protocolError('a packet that clients do not send');
    }
  }

  #ack(bytes: Buffer, start: number, end: number, kind: AckKind): { packetId: number; reason: number } {
    return decodeAck(bytes, start, end, this.version, kind);
  }

  /** An acknowledgement of another QoS than the message's is a protocol error; one of nothing is let pass. */
  #judge(known: boolean | 'wrong'): void {
    if (known === 'wrong') throw protocolError('an acknowledgement that does not fit the message');
  }

  #onDisconnect(session: Session, bytes: Buffer, start: number, end: number): void {
    const { reason, sessionExpirySeconds } = decodeDisconnect(bytes, start, end, this.version);
    if (sessionExpirySeconds !== null) {
      // [MQTT5-3.14.2.2.2]
      if (sessionExpirySeconds > 0 && session.expirySeconds === 0)
        throw protocolError('a session that was to end with its connection cannot be kept');
      this.#broker.setExpiry(session, sessionExpirySeconds);
    }
    this.#end(reason !== REASON.success);
    this.#linger();
  }

  // --- CONNECT ----------------------------------------------------------------------------------------------------

  #onConnect(connect: Connect): void {
    this.version = connect.version;
    const { numbers, texts } = connect.properties;
    this.#maxClientPacketBytes = numbers.get(PROPERTY.maximumPacketSize) ?? Number.POSITIVE_INFINITY;
    this.#wantsDetails = numbers.get(PROPERTY.requestProblem) !== 0;
    if (texts.has(PROPERTY.authMethod)) {
      this.refuse(REASON.badAuthMethod, 'extended authentication is not offered');
      return;
    }
    const problem = this.#broker.clientIdProblem(connect);
    if (problem !== null) {
      this.refuse(REASON.badClientId, problem);
      return;
    }
    const verdict = this.#broker.authenticate(connect, this.peer);
    if (!(verdict instanceof Promise)) {
      this.#broker.admit(this, connect, verdict);
      return;
    }
    this.#state = 'authenticating';
    this.#pause(PAUSE.authenticating);
    void verdict.then((known) => {
      if (this.#state !== 'authenticating') return;
      this.#state = 'new';
      this.#unpause(PAUSE.authenticating);
      this.#guarded(() => {
        this.#broker.admit(this, connect, known);
        if (this.#isTaking()) this.#packets.resume();
      });
      this.#judgePressure();
    });
  }

  /** CONNACK with a refusal; the connection ends. */
  refuse(reason: number, detail: string): void {
    this.#broker.connectRefused(this, reason, detail);
    this.#sendRefusal(reason, detail);
    this.#linger();
  }

  #sendRefusal(reason: number, detail: string): void {
    if (this.#attempt.version !== 5) {
      const code = refusalCode(reason);
      if (code !== null) this.#outbox.push(connack(false, code, null));
      return;
    }
    const properties = new PropertyWriter();
    if (this.#wantsDetails && detail !== '') properties.text(PROPERTY.reasonString, detail);
    for (const answer of [connack(false, reason, properties), connack(false, reason, new PropertyWriter())]) {
      if (answer.length > this.#maxClientPacketBytes) continue;
      this.#outbox.push(answer);
      return;
    }
  }

  /** CONNACK with success: from now on packets are taken. `assignedId`: the client had none. */
  accept(
    session: Session,
    connect: Connect,
    options: { present: boolean; assignedId: boolean; keepAliveSeconds: number },
  ): void {
    const { config } = this.#broker;
    const { numbers } = connect.properties;
    this.#session = session;
    this.#state = 'open';
    this.#keepAliveMs = options.keepAliveSeconds * 1_500; // [MQTT-3.1.2-24]
    this.window = Math.min(numbers.get(PROPERTY.receiveMaximum) ?? 65_535, config.maxInFlightOut);
    this.#clientAliasMaximum = Math.min(numbers.get(PROPERTY.topicAliasMaximum) ?? 0, config.maxTopicAliases);
    this.#reader = new PublishReader(this.version, config.maxTopicAliases, config.maxUserProperties);
    const answer = connack(
      // [MQTT-3.2.2-2]; MQTT 3.1 has no such flag.
      options.present && this.version > 3,
      REASON.success,
      this.version === 5 ? this.#offer(connect, options) : null,
    );
    if (answer.length > this.#maxClientPacketBytes) {
      // [MQTT5-3.1.2-24]: what cannot be said is not sent.
      throw new PacketFault(REASON.packetTooLarge, 'the client takes no packet as long as CONNACK');
    }
    this.#outbox.push(answer);
    // [MQTT-3.2.0-1] Before anything that may follow in this turn.
    this.#outbox.flush();
    session.resume(this);
  }

  #offer(connect: Connect, options: { assignedId: boolean; keepAliveSeconds: number }): PropertyWriter {
    const { config } = this.#broker;
    const session = this.#session!;
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

  // --- publishes of the client ------------------------------------------------------------------------------------

  #onPublish(publish: Publish): void {
    const session = publish.session;
    const { incoming } = session;
    const flow = this.#flow;
    if (publish.qos === 2) {
      // [MQTT-4.3.3-2]: until PUBREL, a publish with the same identifier is the same publish.
      const first = incoming.get(publish.packetId);
      if (first === 'stored') {
        flow.repeat(publish);
        return;
      }
      if (first !== undefined) {
        flow.follow(publish, first);
        return;
      }
    }
    if (publish.qos > 0) {
      this.#unanswered += 1;
      const { receiveMaximum, maxQos2InFlight } = this.#broker.config;
      // [MQTT5-3.3.4-9]
      if (this.version === 5 && this.#unanswered > receiveMaximum)
        throw new PacketFault(
          REASON.receiveMaximumExceeded,
          `more than ${receiveMaximum} publishes in flight`,
        );
      if (publish.qos === 2 && incoming.size >= maxQos2InFlight)
        throw new PacketFault(
          REASON.receiveMaximumExceeded,
          `more than ${maxQos2InFlight} publishes of QoS 2`,
        );
    }
    if (publish.reason !== REASON.success) {
      const cause = publish.reason === REASON.topicNameInvalid ? 'bad-topic' : 'malformed';
      this.#broker.admission.countRefusal('mqtt', cause);
      flow.refuse(publish, publish.reason, cause, publish.detail);
    } else if (!session.principal!.mayPublish(publish.topic)) {
      this.#broker.admission.countRefusal('mqtt', 'not-allowed');
      flow.refuse(publish, REASON.notAuthorized, 'not-allowed', 'this client may not publish to this topic');
    } else {
      if (publish.qos === 2) incoming.set(publish.packetId, publish);
      flow.submit(publish);
    }
  }

  onStored(publish: Publish, passOn: boolean): void {
    if (publish.qos === 2) this.#broker.markIncoming(publish);
    if (passOn) this.#broker.route(publish);
  }

  onAnswer(publish: Publish): void {
    const { qos, packetId, reason } = publish;
    if (this.#state !== 'open') return;
    if (publish.state === 'refused') {
      this.#answerRefused(publish);
      return;
    }
    if (qos === 1) {
      this.#unanswered -= 1;
      this.#outbox.ack(TYPE.puback, packetId);
    } else if (qos === 2 && reason === REASON.success) {
      this.#broker.whenIncomingStored(publish, () => {
        if (this.#state === 'open') this.#outbox.ack(TYPE.pubrec, packetId);
      });
    }
  }

  #answerRefused(publish: Publish): void {
    const { qos, packetId, reason, detail } = publish;
    const shutsDown = reason === REASON.serverShuttingDown;
    this.#broker.publishRefused(this, publish, this.version < 5 || shutsDown);
    if (this.version < 5 || shutsDown) {
      // 3.1.1 has no other answer. The acknowledgements before it leave first.
      this.close(reason);
      return;
    }
    if (qos === 0) return;
    this.#unanswered -= 1;
    const type = qos === 1 ? TYPE.puback : TYPE.pubrec;
    const full = ackWithReason(type, packetId, reason, this.#wantsDetails ? detail : null);
    this.#outbox.push(
      full.length <= this.#maxClientPacketBytes ? full : ackWithReason(type, packetId, reason, null),
    );
  }

  #onPubrel(session: Session, packetId: number): void {
    const known = this.#broker.releaseIncoming(session, packetId);
    if (known) this.#unanswered = Math.max(0, this.#unanswered - 1);
    if (known || this.version < 5) this.#outbox.ack(TYPE.pubcomp, packetId);
    else this.#outbox.push(ackWithReason(TYPE.pubcomp, packetId, REASON.packetIdNotFound, null));
  }

  onProgress(): void {
    this.#judgePressure();
    if (this.#flow.isIdle) this.#broker.checkIdle();
  }

  // --- messages to the client -------------------------------------------------------------------------------------

  sendPublish(delivery: Delivery, dup: boolean): boolean {
    const { message, qos, retain, packetId, subscriptionIds } = delivery;
    const { version } = this;
    const alias = this.#aliasOf(message.topic);
    const nowMs = message.expiresMs === 0 ? 0 : Date.now();
    const head = publishHead({ message, qos, retain, packetId, subscriptionIds, dup, version, alias, nowMs });
    const { payload } = message;
    if (head.length + payload.length > this.#maxClientPacketBytes) return false;
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
    if (this.#clientAliasMaximum === 0) return 0;
    const known = this.#aliases.get(topic);
    if (known !== undefined) return known;
    return this.#aliases.size < this.#clientAliasMaximum ? -(this.#aliases.size + 1) : 0;
  }

  sendPubrel(packetId: number): void {
    this.#outbox.ack(TYPE.pubrel | 2, packetId);
  }

  #onRoom(): void {
    this.#fullSinceMs = 0;
    this.#unpause(PAUSE.unread);
    this.#session?.pump();
  }

  // --- pressure, time, the end ------------------------------------------------------------------------------------

  #judgePressure(): void {
    const flow = this.#flow;
    const limit = this.#broker.config.socketBufferBytes;
    if (flow.isHolding || flow.bytes >= limit) this.#pause(PAUSE.publishes);
    else if (flow.bytes <= limit / 2) this.#unpause(PAUSE.publishes);
    // A client that does not take its answers is not asked for more.
    if (this.#outbox.isFull) this.#pause(PAUSE.unread);
  }

  #pause(why: number): void {
    if (this.#paused === 0) this.#stream.pause();
    this.#paused |= why;
  }

  #unpause(why: number): void {
    if ((this.#paused & why) === 0) return;
    this.#paused &= ~why;
    if (this.#paused !== 0) return;
    this.#lastPacketMs = this.#broker.nowMs;
    this.#stream.resume();
  }

  /** Reads no more; answers what is in flight. */
  stopReading(): void {
    this.#pause(PAUSE.stopping);
  }

  /** Called several times a second. */
  tick(nowMs: number): void {
    const { config } = this.#broker;
    if (this.#state === 'closing') {
      if (nowMs >= this.#closeByMs) this.#stream.destroy();
      return;
    }
    if (this.#outbox.isFull) {
      this.#fullSinceMs ||= nowMs;
      if (nowMs - this.#fullSinceMs >= config.subscriberDrainMs) {
        this.#broker.timedOut(this, 'takes nothing');
        this.#end(true);
        this.#stream.destroy();
      }
      return;
    }
    this.#fullSinceMs = 0;
    if (this.#paused !== 0 && this.#state !== 'authenticating') return;
    if (this.#state !== 'open') {
      if (nowMs - this.openedMs < config.connectTimeoutMs) return;
      this.#broker.timedOut(this, 'no CONNECT');
      this.#end(true);
      this.#stream.destroy();
      return;
    }
    const silentMs = nowMs - this.#lastPacketMs;
    const isOut =
      (this.#keepAliveMs > 0 && silentMs > this.#keepAliveMs) ||
      (this.#packets.waitingBytes > 0 && silentMs > config.packetTimeoutMs);
    if (!isOut) return;
    this.#broker.timedOut(this, this.#packets.waitingBytes > 0 ? 'an unfinished packet' : 'keep alive');
    this.close(REASON.keepAliveTimeout);
  }

  #fail(fault: PacketFault): void {
    this.#broker.faulted(this, fault);
    if (this.#state === 'open') this.close(fault.code);
    else {
      if (this.#attempt.version === 5 || fault.code === REASON.unsupportedVersion)
        this.#sendRefusal(fault.code, '');
      this.#linger();
    }
  }

  /** Ends the connection for a reason of the gateway's; the will is published. */
  close(reason: number): void {
    if (this.#state === 'closing') return;
    const wasOpen = this.#state === 'open';
    this.#end(true);
    if (wasOpen && this.version === 5 && this.#maxClientPacketBytes >= DISCONNECT_BYTES)
      this.#outbox.push(disconnect(reason));
    this.#linger();
  }

  #linger(): void {
    this.#state = 'closing';
    this.#closeByMs = this.#broker.nowMs + LINGER_MS;
    this.#outbox.flush();
    this.#stream.end();
    // What still comes is thrown away, so that the end of the stream is seen.
    this.#paused = 0;
    this.#stream.resume();
  }

  /** Parts from the session. */
  #end(publishesWill: boolean): void {
    const session = this.#session;
    this.#state = 'closing';
    this.#closeByMs = this.#broker.nowMs + LINGER_MS;
    this.#flow.end();
    if (session === null) return;
    this.#session = null;
    this.#broker.detach(session, publishesWill);
  }

  destroy(): void {
    this.#stream.destroy();
  }

  #onClose(): void {
    if (this.#state !== 'closing') this.#end(true);
    this.#broker.closed(this);
  }
}
