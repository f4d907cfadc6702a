// One client's publishes on their way through admission: answered in the order they came [MQTT-4.6.0-2], held and
// tried again while the gateway is too full. Before MQTT 5 the first that cannot be accepted ends the connection.
import type { Admission } from '../../admission/admission.ts';
import type { Outcome, RejectReason, ShedReason } from '../../admission/types.ts';
import type { Publish } from './publish.ts';
import { REASON } from './reason.ts';

/** A held publish costs a device its time: look for room more often than a client is told to. */
const RETRY_MAX_MS = 250;
/** What one publish takes beside its payload. */
const OVERHEAD_BYTES = 64;

export interface FlowOwner {
  /** Its record is durable, or was given up early (QoS 0). Called also when the connection is gone. */
  onStored(publish: Publish, passOn: boolean): void;
  /** Its turn has come: answer it. `reason` on the publish says how. */
  onAnswer(publish: Publish): void;
  /** The last answer has been given, or there is room again. */
  onProgress(): void;
}

const REJECTED: Readonly<Record<RejectReason, number>> = {
  malformed: REASON.payloadFormatInvalid,
  'bad-topic': REASON.topicNameInvalid,
  // PUBACK and PUBREC have no 0x95 (§3.4.2.1, §3.5.2.1): that is for packets the connection cannot take.
  'too-large': REASON.implementationSpecific,
  'not-allowed': REASON.notAuthorized,
  invalid: REASON.payloadFormatInvalid,
};

/** Reasons this adapter does not know are told as such: refused, for a reason of the gateway's own. */
function rejectedCode(reason: RejectReason): number {
  return REJECTED[reason] ?? REASON.implementationSpecific;
}

function shedCode(reason: ShedReason): number {
  return reason === 'unavailable' ? REASON.serverShuttingDown : REASON.quotaExceeded;
}

export class PublishFlow {
  readonly #admission: Admission;
  readonly #holdMs: number;
  readonly #owner: FlowOwner;
  #head: Publish | null = null;
  #tail: Publish | null = null;
  #bytes = 0;
  #heldSinceMs: number | null = null;
  #retry: NodeJS.Timeout | null = null;
  #ended = false;

  constructor(admission: Admission, holdMs: number, owner: FlowOwner) {
    this.#admission = admission;
    this.#holdMs = holdMs;
    this.#owner = owner;
  }

  /** Bytes taken and not yet answered. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The gateway is too full: publishes wait to be tried again. */
  get isHolding(): boolean {
    return this.#retry !== null;
  }

  get isIdle(): boolean {
    return this.#head === null;
  }

  submit(publish: Publish): void {
    this.#enqueue(publish);
    if (this.#retry === null) this.#send(publish);
  }

  /** Refused before there was a record; answered in its turn. */
  refuse(publish: Publish, reason: number, cause: string, detail: string): void {
    this.#enqueue(publish);
    this.#refuse(publish, reason, cause, detail);
  }

  /** A QoS 2 publish that is stored already; answered in its turn. */
  repeat(publish: Publish): void {
    this.#enqueue(publish);
    publish.repeats = true;
    this.#settle(publish, 'accepted');
  }

  /** A QoS 2 publish whose first copy is under way: what becomes of that one becomes of it. */
  follow(publish: Publish, first: Publish): void {
    this.#enqueue(publish);
    first.followers ??= [];
    first.followers.push(publish);
  }

  /** Answers no more. What is under way to the disk is passed on all the same. */
  end(): void {
    this.#ended = true;
    if (this.#retry) clearTimeout(this.#retry);
    this.#retry = null;
    for (let dropped = this.#head; dropped !== null; dropped = dropped.next) {
      if (
        dropped.state === 'waiting' &&
        dropped.qos === 2 &&
        dropped.session.incoming.get(dropped.packetId) === dropped
      )
        dropped.session.incoming.delete(dropped.packetId);
    }
    this.#head = null;
    this.#tail = null;
    this.#bytes = 0;
  }

  #enqueue(publish: Publish): void {
    this.#bytes += publish.payload.length + OVERHEAD_BYTES;
    if (this.#tail) this.#tail.next = publish;
    else this.#head = publish;
    this.#tail = publish;
  }

  #send(publish: Publish): void {
    publish.state = 'submitted';
    this.#admission.submit(publish, (outcome) => this.#onOutcome(publish, outcome));
  }

  #onOutcome(publish: Publish, outcome: Outcome): void {
    if (outcome.kind === 'stored' || outcome.kind === 'duplicate') {
      // A duplicate is passed on as well: that the first one is stored does not say that it reached the subscribers.
      this.#heldSinceMs = null;
      this.#stored(publish, !(outcome.kind === 'stored' && outcome.quarantined));
    } else if (outcome.kind === 'reject') {
      this.#refuse(publish, rejectedCode(outcome.reason), outcome.reason, outcome.detail);
    } else if (outcome.dropped) {
      // Not stored; its subscribers have it all the same.
      this.#stored(publish, true);
    } else this.#hold(publish, outcome.reason, outcome.retryAfterMs);
  }

  #stored(publish: Publish, passOn: boolean): void {
    this.#owner.onStored(publish, passOn);
    const { followers } = publish;
    this.#settle(publish, 'accepted');
    if (followers === null) return;
    publish.followers = null;
    for (const follower of followers) {
      follower.repeats = true;
      this.#settle(follower, 'accepted');
    }
  }

  #refuse(publish: Publish, reason: number, cause: string, detail: string): void {
    publish.reason = reason;
    publish.cause = cause;
    publish.detail = detail;
    const { followers } = publish;
    if (publish.qos === 2 && publish.session.incoming.get(publish.packetId) === publish)
      publish.session.incoming.delete(publish.packetId);
    this.#settle(publish, 'refused');
    if (followers === null || this.#ended) return;
    publish.followers = null;
    // The next copy takes its place: what was refused for the want of room may be taken now.
    const [first, ...others] = followers;
    first!.session.incoming.set(first!.packetId, first!);
    first!.followers = others.length > 0 ? others : null;
    this.#send(first!);
  }

  /** Not answering is the back pressure: no more is read from this client meanwhile. */
  #hold(publish: Publish, reason: ShedReason, retryAfterMs: number): void {
    if (this.#ended) {
      // Nobody waits for the answer; the client sends it again.
      if (publish.qos === 2 && publish.session.incoming.get(publish.packetId) === publish)
        publish.session.incoming.delete(publish.packetId);
      return;
    }
    const nowMs = performance.now();
    this.#heldSinceMs ??= nowMs;
    const leftMs = this.#heldSinceMs + this.#holdMs - nowMs;
    if (reason === 'unavailable' || leftMs <= 0) {
      this.#refuse(publish, shedCode(reason), reason, `the gateway cannot store now: ${reason}`);
      return;
    }
    publish.state = 'waiting';
    this.#retry ??= setTimeout(() => this.#sendWaiting(), Math.min(retryAfterMs, RETRY_MAX_MS, leftMs));
  }

  #sendWaiting(): void {
    this.#retry = null;
    for (let publish = this.#head; publish !== null && !this.#ended; publish = publish.next) {
      if (publish.state === 'waiting' && !isFollower(publish)) this.#send(publish);
      if (this.#retry !== null) return;
    }
    this.#owner.onProgress();
  }

  #settle(publish: Publish, state: 'accepted' | 'refused'): void {
    publish.state = state;
    if (this.#ended || publish !== this.#head) return;
    for (let head: Publish | null = publish; head !== null; head = this.#head) {
      if (head.state !== 'accepted' && head.state !== 'refused') break;
      this.#head = head.next;
      if (head.next === null) this.#tail = null;
      this.#bytes -= head.payload.length + OVERHEAD_BYTES;
      this.#owner.onAnswer(head);
      if (this.#ended) return;
    }
    this.#owner.onProgress();
  }
}

/** It waits for its first copy, not for room. */
function isFollower(publish: Publish): boolean {
  return publish.qos === 2 && publish.session.incoming.get(publish.packetId) !== publish;
}
