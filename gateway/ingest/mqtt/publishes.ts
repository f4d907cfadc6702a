// Every publish and will on its way through admission, before the broker acknowledges or forwards it: aedes writes
// PUBACK and PUBREC only after authorizePublish has called back. Knows no sockets.
import type { Client, PublishPacket } from 'aedes';
import type { Admission } from '../../admission/admission.ts';
import type { RefusalLog } from '../refusal-log.ts';
import { PublishFlow } from './publish-flow.ts';
import { type Answer, MqttRefusal, MqttSubmission, Publish } from './submission.ts';

export interface PublishesOptions {
  readonly admission: Admission;
  readonly overloadHoldMs: number;
  readonly refusals: RefusalLog;
  /** A QoS 2 publish of this identifier is stored and awaits its PUBREL. */
  hasIncoming(clientId: string, messageId: number): boolean;
  /** Forwards to subscribers without acknowledging. */
  forward(packet: PublishPacket): void;
}

type Numbered = PublishPacket & { messageId?: number };

export class Publishes {
  readonly #options: PublishesOptions;
  readonly #flows = new WeakMap<Client, PublishFlow>();
  readonly #busy = new Set<PublishFlow>();
  /** QoS 2 publishes between arrival and storage, so that a retransmission waits instead of being stored twice. */
  readonly #qos2 = new Map<string, ((stored: boolean) => void)[]>();
  #wills = 0;
  #willsRefused = 0;
  #whenIdle: (() => void)[] = [];

  constructor(options: PublishesOptions) {
    this.#options = options;
  }

  get willsRefused(): number {
    return this.#willsRefused;
  }

  /** aedes' authorizePublish: `done` releases the acknowledgement, or closes the connection with an error. */
  authorize(client: Client | null, packet: PublishPacket, done: (error?: Error | null) => void): void {
    // A will has no packet of its own: it came with CONNECT.
    if (packet.cmd !== 'publish' || client === null) {
      this.#will(packet, client?.id ?? (packet as { clientId?: string }).clientId ?? '', done);
      return;
    }
    const flow = this.#flow(client);
    this.#busy.add(flow);
    const answer: Answer = (refusal) => {
      // To a closed connection aedes would fail to write PUBACK, and keep the message from its subscribers.
      if (refusal === null && packet.qos === 1 && client.closed) this.#options.forward(packet);
      else done(refusal);
    };
    if (packet.qos !== 2) flow.submit(new Publish(packet, client.id, answer));
    else this.#submitQos2(flow, packet, client.id, answer);
  }

  /** Resolves when everything taken has been answered, at the latest after `graceMs`. */
  async idle(graceMs: number): Promise<void> {
    if (this.#busy.size === 0 && this.#wills === 0) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#whenIdle.push(resolve);
      timer = setTimeout(resolve, graceMs);
    });
    clearTimeout(timer);
  }

  #flow(client: Client): PublishFlow {
    const known = this.#flows.get(client);
    if (known) return known;
    const flow: PublishFlow = new PublishFlow(this.#options.admission, this.#options.overloadHoldMs, () => {
      this.#busy.delete(flow);
      this.#checkIdle();
    });
    this.#flows.set(client, flow);
    return flow;
  }

  #checkIdle(): void {
    if (this.#busy.size > 0 || this.#wills > 0) return;
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }

  /** [MQTT-4.3.3-2]: until PUBREL, a publish with the same identifier is the same publish. */
  #submitQos2(flow: PublishFlow, packet: Numbered, clientId: string, answer: Answer): void {
    const messageId = packet.messageId!;
    if (this.#options.hasIncoming(clientId, messageId)) {
      flow.follow(new Publish(packet, clientId, answer)).accept();
      return;
    }
    const key = `${messageId} ${clientId}`;
    const first = this.#qos2.get(key);
    if (first) {
      const turn = flow.follow(new Publish(packet, clientId, answer));
      first.push((stored) => (stored ? turn.accept() : turn.submit()));
      return;
    }
    const followers: ((stored: boolean) => void)[] = [];
    this.#qos2.set(key, followers);
    const release = (stored: boolean) => {
      this.#qos2.delete(key);
      for (const follow of followers) follow(stored);
    };
    const answerThenRelease: Answer = (refusal) => {
      answer(refusal);
      // aedes stores the identifier within this turn of the loop; from then on hasIncoming() knows it.
      setImmediate(release, refusal === null);
    };
    const publish = new Publish(packet, clientId, answerThenRelease);
    // Closed over an earlier refusal: the client sends it again, and it is taken for a new one then.
    publish.onDrop = () => release(false);
    if (!flow.submit(publish)) release(false);
  }

  #will(packet: PublishPacket, clientId: string, done: (error?: Error | null) => void): void {
    this.#wills += 1;
    this.#options.admission.submit(new MqttSubmission(packet, clientId), (outcome) => {
      this.#wills -= 1;
      if (outcome.kind === 'stored' || outcome.kind === 'duplicate') done(null);
      else {
        this.#willsRefused += 1;
        const detail = outcome.kind === 'reject' ? outcome.detail : 'the gateway cannot store now';
        this.#options.refusals.warn(
          { client: clientId, reason: outcome.reason, detail },
          'mqtt: a will was refused',
        );
        done(new MqttRefusal(outcome.reason, detail));
      }
      this.#checkIdle();
    });
  }
}
