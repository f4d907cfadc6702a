// The wills of clients: published when a connection ends without leave (MQTT 3.1.1 §3.1.2.5), with a delay where asked
// for (MQTT 5 §3.1.3.2.2). A will is a record like any publish; who submits it is the broker. Not kept across a restart.
import type { Will } from './decode.ts';
import { own } from './message.ts';
import { PROPERTY } from './properties.ts';
import { Publish } from './publish.ts';
import type { Session } from './session.ts';

interface Pending {
  readonly will: Will;
  /** On the monotonic clock; null: its connection is open. */
  dueMs: number | null;
}

export class Wills {
  readonly #publish: (session: Session, publish: Publish) => void;
  readonly #onAnswered: () => void;
  readonly #pending = new Map<Session, Pending>();
  readonly #due = new Set<Session>();
  #inFlight = 0;
  #refused = 0;

  constructor(publish: (session: Session, publish: Publish) => void, onAnswered: () => void) {
    this.#publish = publish;
    this.#onAnswered = onAnswered;
  }

  get inFlight(): number {
    return this.#inFlight;
  }

  get refused(): number {
    return this.#refused;
  }

  set(session: Session, will: Will): void {
    // Its bytes came in a chunk with others.
    const { properties } = will;
    const binaries = new Map(
      [...properties.binaries].map(([id, bytes]) => [id, Buffer.from(bytes)] as const),
    );
    const passedOn = Buffer.from(properties.passedOn);
    const kept = {
      ...will,
      payload: Buffer.from(will.payload),
      properties: { ...properties, binaries, passedOn },
    };
    this.#pending.set(session, { will: kept, dueMs: null });
  }

  cancel(session: Session): void {
    this.#pending.delete(session);
    this.#due.delete(session);
  }

  /** The session goes on without its connection. */
  connectionEnded(session: Session, nowMs: number): void {
    const pending = this.#pending.get(session);
    if (pending === undefined) return;
    const delaySeconds = pending.will.properties.numbers.get(PROPERTY.willDelay) ?? 0;
    if (delaySeconds === 0) {
      this.publishNow(session);
      return;
    }
    pending.dueMs = nowMs + delaySeconds * 1_000;
    this.#due.add(session);
  }

  publishNow(session: Session): void {
    const pending = this.#pending.get(session);
    if (pending === undefined) return;
    this.cancel(session);
    const { topic, payload, qos, retain, properties } = pending.will;
    this.#inFlight += 1;
    this.#publish(session, new Publish(session, topic, own(payload), qos, retain, 0, properties));
  }

  answered(isStored: boolean): void {
    this.#inFlight -= 1;
    if (!isStored) this.#refused += 1;
    this.#onAnswered();
  }

  tick(nowMs: number): void {
    for (const session of this.#due) {
      const { dueMs } = this.#pending.get(session)!;
      if (dueMs !== null && dueMs <= nowMs) this.publishNow(session);
    }
  }
}
