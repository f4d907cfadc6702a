// One MQTT publish or will as a submission. MQTT 3.1.1 carries neither content type, nor time, nor counter.
import type { PublishPacket } from 'aedes';
import { SOURCE } from '../../../ledger/format/record.ts';
import type { RejectReason, ShedReason, Submission } from '../../admission/types.ts';

/** Why a connection is closed by the gateway; `reason` is stable and counted. */
export class MqttRefusal extends Error {
  override name = 'MqttRefusal';
  readonly reason: RejectReason | ShedReason;

  constructor(reason: RejectReason | ShedReason, detail: string) {
    super(detail);
    this.reason = reason;
  }
}

/** The broker goes on with the packet (null), or closes the connection. */
export type Answer = (refusal: MqttRefusal | null) => void;

/** What is the same for every publish stands on the prototype: one of these is made for each. */
export class MqttSubmission implements Submission {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly fallbackDevice: string;
  readonly unacknowledged: boolean;

  constructor(packet: PublishPacket, clientId: string) {
    const { topic, payload } = packet;
    this.topic = topic;
    this.payload = typeof payload === 'string' ? Buffer.from(payload) : payload;
    this.fallbackDevice = clientId;
    this.unacknowledged = packet.qos === 0;
  }

  get source(): typeof SOURCE.mqtt {
    return SOURCE.mqtt;
  }
  get device(): null {
    return null;
  }
  get contentType(): '' {
    return '';
  }
  get sequence(): null {
    return null;
  }
  get eventMs(): null {
    return null;
  }
}

/** A publish in its client's queue (publish-flow.ts). */
export class Publish extends MqttSubmission {
  readonly answer: Answer;
  state: 'waiting' | 'submitted' | 'accepted' | 'refused' = 'waiting';
  refusal: MqttRefusal | null = null;
  next: Publish | null = null;
  /** Called instead of `answer` when an earlier refusal has ended the connection. */
  onDrop: (() => void) | null = null;

  constructor(packet: PublishPacket, clientId: string, answer: Answer) {
    super(packet, clientId);
    this.answer = answer;
  }
}
