// One client's publishes on their way through admission: answered in the order they came [MQTT-4.6.0-2], held and
// tried again while the gateway is too full, refused once and for all by the first that cannot be accepted.
import type { Admission } from '../../admission/admission.ts';
import type { Outcome, ShedReason } from '../../admission/types.ts';
import { MqttRefusal, type Publish } from './submission.ts';

/** A held publish costs a device its time: look for room more often than a client is told to. */
const RETRY_MAX_MS = 250;

export class PublishFlow {
  readonly #admission: Admission;
  readonly #holdMs: number;
  readonly #onIdle: () => void;
  #head: Publish | null = null;
  #tail: Publish | null = null;
  #heldSinceMs: number | null = null;
  #retry: NodeJS.Timeout | null = null;
  #refused = false;

  /** `onIdle` is called whenever the last answer has been given. */
  constructor(admission: Admission, holdMs: number, onIdle: () => void) {
    this.#admission = admission;
    this.#holdMs = holdMs;
    this.#onIdle = onIdle;
  }

  /** False: not taken and never answered, since a refusal is ending the connection. Answers come in order. */
  submit(publish: Publish): boolean {
    if (!this.#enqueue(publish)) return false;
    if (this.#retry === null) this.#send(publish);
    return true;
  }

  /** A publish whose outcome is another one's: answered in its turn once accept() has been called. */
  follow(publish: Publish): { accept(): void; submit(): void } {
    const taken = this.#enqueue(publish);
    return {
      accept: () => taken && this.#settle(publish, 'accepted', null),
      submit: () => taken && !this.#refused && this.#send(publish),
    };
  }

  #enqueue(publish: Publish): boolean {
    if (this.#refused) return false;
    if (this.#tail) this.#tail.next = publish;
    else this.#head = publish;
    this.#tail = publish;
    return true;
  }

  #send(publish: Publish): void {
    publish.state = 'submitted';
    this.#admission.submit(publish, (outcome) => this.#onOutcome(publish, outcome));
  }

  #onOutcome(publish: Publish, outcome: Outcome): void {
    if (outcome.kind === 'stored' || outcome.kind === 'duplicate') {
      // A duplicate is passed on as well: that the first one is stored does not say that it reached the subscribers.
      this.#heldSinceMs = null;
      this.#settle(publish, 'accepted', null);
    } else if (outcome.kind === 'reject') {
      this.#settle(publish, 'refused', new MqttRefusal(outcome.reason, outcome.detail));
    } else if (outcome.dropped) {
      // Not stored; its subscribers have it all the same.
      this.#settle(publish, 'accepted', null);
    } else this.#hold(publish, outcome.reason, outcome.retryAfterMs);
  }

  /** Not answering is the back pressure: the broker reads no further from this client meanwhile. */
  #hold(publish: Publish, reason: ShedReason, retryAfterMs: number): void {
    const nowMs = performance.now();
    this.#heldSinceMs ??= nowMs;
    const leftMs = this.#heldSinceMs + this.#holdMs - nowMs;
    if (reason === 'unavailable' || leftMs <= 0) {
      this.#settle(publish, 'refused', new MqttRefusal(reason, `the gateway cannot store now: ${reason}`));
      return;
    }
    publish.state = 'waiting';
    this.#retry ??= setTimeout(() => this.#sendWaiting(), Math.min(retryAfterMs, RETRY_MAX_MS, leftMs));
  }

  #sendWaiting(): void {
    this.#retry = null;
    for (let publish = this.#head; publish !== null && !this.#refused; publish = publish.next) {
      if (publish.state === 'waiting') this.#send(publish);
      if (this.#retry !== null) return;
    }
  }

  #settle(publish: Publish, state: 'accepted' | 'refused', refusal: MqttRefusal | null): void {
    publish.state = state;
    publish.refusal = refusal;
    if (this.#refused || publish !== this.#head) return;
    for (;;) {
      const head: Publish | null = this.#head;
      if (head === null) break;
      if (head.state !== 'accepted' && head.state !== 'refused') return;
      this.#head = head.next;
      if (head.next === null) this.#tail = null;
      if (head.state === 'refused') {
        this.#end();
        // The acknowledgements before it leave with this turn of the loop; closing at once would discard them.
        setImmediate(head.answer, head.refusal);
      } else head.answer(null);
    }
    this.#onIdle();
  }

  #end(): void {
    let dropped = this.#head;
    this.#refused = true;
    this.#head = null;
    this.#tail = null;
    if (this.#retry) clearTimeout(this.#retry);
    this.#retry = null;
    for (; dropped !== null; dropped = dropped.next) dropped.onDrop?.();
  }
}
