// The publishes of one client, from packet to answer: which are taken, in what order they are answered, and how. What
// is done with a record is admission's; who hears it, the router's.
import type { Broker } from './broker.ts';
import type { Version } from './decode.ts';
import { ackWithReason, TYPE } from './encode.ts';
import type { Outbox } from './outbox.ts';
import type { Publish } from './publish.ts';
import { type FlowOwner, PublishFlow } from './publish-flow.ts';
import { PacketFault, REASON } from './reason.ts';
import type { Sender } from './sender.ts';
import type { Session } from './session.ts';
import type { Client } from './trouble.ts';

export interface IntakeOwner extends Client {
  readonly version: Version;
  readonly isOpen: boolean;
  close(reason: number): void;
  /** Room has come back, or the last answer has been given. */
  onProgress(): void;
}

export class PublishIntake implements FlowOwner {
  readonly #owner: IntakeOwner;
  readonly #broker: Broker;
  readonly #outbox: Outbox;
  readonly #sender: Sender;
  readonly #flow: PublishFlow;
  /** QoS 1 and 2 publishes of this client not yet answered for good. */
  #unanswered = 0;

  constructor(owner: IntakeOwner, broker: Broker, outbox: Outbox, sender: Sender) {
    this.#owner = owner;
    this.#broker = broker;
    this.#outbox = outbox;
    this.#sender = sender;
    this.#flow = new PublishFlow(broker.admission, broker.config.overloadHoldMs, this);
  }

  get isIdle(): boolean {
    return this.#flow.isIdle;
  }

  /** True: read no more from the client. False: there is room. Null: as it was. */
  get isFull(): boolean | null {
    const limit = this.#broker.config.socketBufferBytes;
    if (this.#flow.isHolding || this.#flow.bytes >= limit) return true;
    return this.#flow.bytes <= limit / 2 ? false : null;
  }

  end(): void {
    this.#flow.end();
  }

  onProgress(): void {
    this.#owner.onProgress();
  }

  /** @throws PacketFault */
  take(publish: Publish): void {
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
      if (this.#owner.version === 5 && this.#unanswered > receiveMaximum)
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
    if (publish.qos === 2) this.#broker.sessions.markIncoming(publish);
    if (passOn) this.#broker.router.route(publish);
  }

  onAnswer(publish: Publish): void {
    const { qos, packetId, reason } = publish;
    if (!this.#owner.isOpen) return;
    if (publish.state === 'refused') {
      this.#answerRefused(publish);
      return;
    }
    if (qos === 1) {
      this.#unanswered -= 1;
      this.#outbox.ack(TYPE.puback, packetId);
    } else if (qos === 2 && reason === REASON.success) {
      this.#broker.sessions.whenIncomingStored(publish, () => {
        if (this.#owner.isOpen) this.#outbox.ack(TYPE.pubrec, packetId);
      });
    }
  }

  #answerRefused(publish: Publish): void {
    const { qos, packetId, reason, detail } = publish;
    const shutsDown = reason === REASON.serverShuttingDown;
    this.#broker.trouble.publishRefused(this.#owner, publish, this.#owner.version < 5 || shutsDown);
    if (this.#owner.version < 5 || shutsDown) {
      // 3.1.1 has no other answer. The acknowledgements before it leave first.
      this.#owner.close(reason);
      return;
    }
    if (qos === 0) return;
    this.#unanswered -= 1;
    this.#sender.refusePublish(qos === 1 ? TYPE.puback : TYPE.pubrec, packetId, reason, detail);
  }

  release(session: Session, packetId: number): void {
    const known = this.#broker.sessions.releaseIncoming(session, packetId);
    if (known) this.#unanswered = Math.max(0, this.#unanswered - 1);
    if (known || this.#owner.version < 5) this.#outbox.ack(TYPE.pubcomp, packetId);
    else this.#outbox.push(ackWithReason(TYPE.pubcomp, packetId, REASON.packetIdNotFound, null));
  }
}
