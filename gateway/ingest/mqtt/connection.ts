// One client's connection: packets in, answers out, back pressure on both sides. What a packet means beyond its own
// connection is the broker's (broker.ts). Never answers a publish before admission has.
import type { Duplex } from 'node:stream';
import type { Principal } from '../../access/types.ts';
import type { Broker } from './broker.ts';
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
import { ackWithReason, PINGRESP, suback, TYPE, unsuback } from './encode.ts';
import { Outbox } from './outbox.ts';
import { PacketStream } from './packet-stream.ts';
import { PROPERTY } from './properties.ts';
import { PublishReader } from './publish.ts';
import { type IntakeOwner, PublishIntake } from './publish-intake.ts';
import { malformed, PacketFault, protocolError, REASON } from './reason.ts';
import { type Acceptance, Sender } from './sender.ts';
import type { Delivery, Link, Session } from './session.ts';
import type { Peer } from './transport.ts';

/** Why no more is read; each a bit. */
const PAUSE = { turn: 1, publishes: 2, unread: 4, authenticating: 8, stopping: 16 } as const;

/** How long a closed connection may take to send its last bytes. */
const LINGER_MS = 2_000;

export class Connection implements Link, IntakeOwner {
  readonly peer: Peer;
  readonly #stream: Duplex;
  readonly #broker: Broker;
  readonly #packets: PacketStream;
  readonly #outbox: Outbox;
  readonly #sender: Sender;
  readonly #intake: PublishIntake;
  readonly #attempt: ConnectAttempt = { version: null };
  readonly openedMs: number;
  #state: 'new' | 'authenticating' | 'open' | 'closing' = 'new';
  #paused = 0;
  #turn = -1;
  #turnBytes = 0;
  #reader: PublishReader | null = null;
  #session: Session | null = null;
  #keepAliveMs = 0;
  #lastPacketMs: number;
  #fullSinceMs = 0;
  #closeByMs = 0;
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
    this.#sender = new Sender(this.#outbox, config);
    this.#intake = new PublishIntake(this, broker, this.#outbox, this.#sender);
    stream.on('data', (chunk: Buffer) => this.#onData(chunk));
    stream.on('error', (error) => broker.trouble.lost(this, error));
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
  get isOpen(): boolean {
    return this.#state === 'open';
  }
  get isIdle(): boolean {
    return this.#intake.isIdle;
  }

  // --- what comes -------------------------------------------------------------------------------------------------

  #onData(chunk: Buffer): void {
    if (this.#state === 'closing') return;
    if (this.#state === 'authenticating') {
      this.#packets.keep(chunk);
      return;
    }
    const turn = this.#broker.turn();
    if (this.#turn !== turn) {
      this.#turn = turn;
      this.#turnBytes = 0;
    }
    this.#turnBytes += chunk.length;
    try {
      this.#packets.feed(chunk);
    } catch (error) {
      this.#onThrown(error);
    }
    if (this.#turnBytes >= this.#broker.config.readBytesPerTurn && (this.#paused & PAUSE.turn) === 0) {
      this.#pause(PAUSE.turn);
      this.#broker.atEndOfTurn(this);
    }
    this.#judgePressure();
  }

  /** It has read as much as one may in a turn, and the turn is over. */
  endTurn(): void {
    this.#unpause(PAUSE.turn);
  }

  #guarded(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#onThrown(error);
    }
  }

  #onThrown(error: unknown): void {
    if (error instanceof PacketFault) this.#fail(error);
    else {
      this.#broker.trouble.broken(this, error);
      this.close(REASON.unspecified);
    }
  }

  #onPacket(firstByte: number, bytes: Buffer, start: number, end: number): boolean {
    this.#lastPacketMs = this.#broker.nowMs;
    const type = firstByte & 0xf0;
    if (this.#state === 'new') {
      if (type !== TYPE.connect) throw malformed('the first packet is not CONNECT'); // [MQTT-3.1.0-1]
      this.#onConnect(decodeConnect(bytes, start, end, firstByte & 0xf, this.#attempt));
      return this.isOpen;
    }
    const session = this.#session!;
    if (type === TYPE.publish) {
      this.#intake.take(this.#reader!.read(session, firstByte, bytes, start, end));
      return this.isOpen;
    }
    // [MQTT-2.2.2-2] MQTT 3.1 has DUP in some of them.
    const flags = this.version === 3 ? firstByte & 0x7 : firstByte & 0xf;
    const wanted = type === TYPE.pubrel || type === TYPE.subscribe || type === TYPE.unsubscribe ? 2 : 0;
    if (flags !== wanted) throw malformed('flags of the fixed header');
    this.#onOther(type, session, bytes, start, end);
    return this.isOpen;
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
        this.#intake.release(session, this.#ack(bytes, start, end, 'pubrel').packetId);
        return;
      case TYPE.pubcomp:
        this.#judge(session.pubcomp(this.#ack(bytes, start, end, 'pubcomp').packetId));
        return;
      case TYPE.subscribe: {
        const { packetId, subscriptions } = decodeSubscribe(bytes, start, end, this.version);
        this.#broker.router.subscribe(session, subscriptions, (codes) =>
          this.#outbox.push(suback(packetId, codes, this.version)),
        );
        return;
      }
      case TYPE.unsubscribe: {
        const { packetId, filters } = decodeUnsubscribe(bytes, start, end, this.version);
        this.#broker.router.unsubscribe(session, filters, (codes) =>
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
      this.#broker.sessions.setExpiry(session, sessionExpirySeconds);
    }
    this.#end(reason !== REASON.success);
    this.#linger();
  }

  // --- CONNECT ----------------------------------------------------------------------------------------------------

  #onConnect(connect: Connect): void {
    this.version = connect.version;
    this.#sender.suit(connect);
    if (connect.properties.texts.has(PROPERTY.authMethod)) {
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
        if (this.isOpen) this.#packets.resume();
      });
      this.#judgePressure();
    });
  }

  /** CONNACK with a refusal; the connection ends. */
  refuse(reason: number, detail: string): void {
    this.#broker.trouble.connectRefused(this, reason, detail);
    this.#sender.refuse(reason, detail, this.#attempt.version);
    this.#linger();
  }

  /**
   * CONNACK with success: from now on packets are taken. It leaves, and all that follows it, when `whenKept` has called
   * back.
   */
  accept(
    session: Session,
    connect: Connect,
    acceptance: Acceptance,
    whenKept: (done: () => void) => void,
  ): void {
    const { config } = this.#broker;
    const { numbers } = connect.properties;
    this.#session = session;
    this.#state = 'open';
    this.#keepAliveMs = acceptance.keepAliveSeconds * 1_500; // [MQTT-3.1.2-24]
    this.window = Math.min(numbers.get(PROPERTY.receiveMaximum) ?? 65_535, config.maxInFlightOut);
    this.#reader = new PublishReader(this.version, config.maxTopicAliases, config.maxUserProperties);
    this.#outbox.hold();
    if (!this.#sender.accept(session, connect, acceptance))
      throw new PacketFault(REASON.packetTooLarge, 'the client takes no packet as long as CONNACK');
    whenKept(() => this.#outbox.release());
    session.resume(this);
  }

  // --- publishes of the client ------------------------------------------------------------------------------------

  onProgress(): void {
    // Answers only make room: nothing to judge where nothing is paused.
    if (this.#paused !== 0) this.#judgePressure();
    if (this.#intake.isIdle) this.#broker.checkIdle();
  }

  // --- messages to the client -------------------------------------------------------------------------------------

  sendPublish(delivery: Delivery, dup: boolean): boolean {
    return this.#sender.publish(delivery, dup);
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
    const { isFull } = this.#intake;
    if (isFull === true) this.#pause(PAUSE.publishes);
    else if (isFull === false) this.#unpause(PAUSE.publishes);
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
        this.#broker.trouble.timedOut(this, 'takes nothing');
        this.#end(true);
        this.#stream.destroy();
      }
      return;
    }
    this.#fullSinceMs = 0;
    if (this.#paused !== 0 && this.#state !== 'authenticating') return;
    if (this.#state !== 'open') {
      if (nowMs - this.openedMs < config.connectTimeoutMs) return;
      this.#broker.trouble.timedOut(this, 'no CONNECT');
      this.#end(true);
      this.#stream.destroy();
      return;
    }
    const silentMs = nowMs - this.#lastPacketMs;
    const isOut =
      (this.#keepAliveMs > 0 && silentMs > this.#keepAliveMs) ||
      (this.#packets.waitingBytes > 0 && silentMs > config.packetTimeoutMs);
    if (!isOut) return;
    this.#broker.trouble.timedOut(
      this,
      this.#packets.waitingBytes > 0 ? 'an unfinished packet' : 'keep alive',
    );
    this.close(REASON.keepAliveTimeout);
  }

  #fail(fault: PacketFault): void {
    this.#broker.trouble.faulted(this, fault);
    if (this.#state === 'open') this.close(fault.code);
    else {
      if (this.#attempt.version === 5 || fault.code === REASON.unsupportedVersion)
        this.#sender.refuse(fault.code, '', this.#attempt.version);
      this.#linger();
    }
  }

  /** Ends the connection for a reason of the gateway's; the will is published. */
  close(reason: number): void {
    if (this.#state === 'closing') return;
    const wasOpen = this.#state === 'open';
    this.#end(true);
    if (wasOpen) this.#sender.disconnect(reason);
    this.#linger();
  }

  #linger(): void {
    this.#state = 'closing';
    this.#closeByMs = this.#broker.nowMs + LINGER_MS;
    this.#outbox.release();
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
    this.#intake.end();
    if (session === null) return;
    this.#session = null;
    this.#broker.sessions.disconnected(session, publishesWill, this.#broker.nowMs);
  }

  destroy(): void {
    this.#stream.destroy();
  }

  #onClose(): void {
    if (this.#state !== 'closing') this.#end(true);
    this.#broker.closed(this);
  }
}
