// The wills of clients: published when a connection ends without leave (MQTT 3.1.1 §3.1.2.5), with a delay where asked
// for (MQTT 5 §3.1.3.2.2). A will is a record like any publish; who submits it is the broker.
//
// Each stands in `sessions.db` from before CONNACK until its record is durable. After a crash, or the end of the
// gateway, those that are due are published at the next start (MQTT 5 §3.1.2.5 allows that). A crash between the record
// and the end of its row publishes a will twice.
import type { Will } from './decode.ts';
import { FieldReader } from './fields.ts';
import { own } from './message.ts';
import { PROPERTY, type Properties, PropertyWriter, readProperties } from './properties.ts';
import { Publish } from './publish.ts';
import type { Session } from './session.ts';
import type { SavedWill, SessionStore } from './session-store.ts';

/** put-off: the gateway is stopping; it is published after the next start. */
export type WillFate = 'stored' | 'refused' | 'put-off';

export interface WillsOptions {
  readonly store: Pick<SessionStore, 'put' | 'isBehind'>;
  publish(session: Session, publish: Publish, done: (fate: WillFate) => void): void;
  onAnswered(): void;
}

interface Pending {
  readonly number: number;
  readonly will: Will;
  /** On the monotonic clock; null: its connection is open. */
  dueMs: number | null;
  /** It has a row. */
  saved: boolean;
}

export class Wills {
  readonly #options: WillsOptions;
  readonly #pending = new Map<Session, Pending>();
  readonly #due = new Set<Session>();
  #nextNumber = 1;
  #inFlight = 0;
  #refused = 0;

  constructor(options: WillsOptions) {
    this.#options = options;
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
    const pending: Pending = { number: this.#nextNumber++, will: kept, dueMs: null, saved: false };
    this.#pending.set(session, pending);
    this.#save(session, pending, 0);
  }

  /** As read back: its client was connected, or it waited. `isOver`: its session has ended. */
  restore(session: Session, saved: SavedWill, isOver: boolean): void {
    // An earlier one of the same client was on its way to the log.
    this.publishNow(session);
    const { number, dueMs } = saved;
    const will = willOf(saved);
    const pending: Pending = { number, will, dueMs: null, saved: true };
    this.#nextNumber = Math.max(this.#nextNumber, number + 1);
    this.#pending.set(session, pending);
    const nowMs = performance.now();
    if (isOver) this.#wait(session, pending, nowMs);
    else if (dueMs === 0) this.#wait(session, pending, nowMs + delayMsOf(will));
    else this.#wait(session, pending, nowMs + Math.max(0, dueMs - Date.now()));
  }

  cancel(session: Session): void {
    const pending = this.#take(session);
    if (pending !== null) this.#forget(pending);
  }

  /** The session goes on without its connection. */
  connectionEnded(session: Session, nowMs: number): void {
    const pending = this.#pending.get(session);
    if (pending === undefined) return;
    const delayMs = delayMsOf(pending.will);
    if (delayMs === 0) {
      this.publishNow(session);
      return;
    }
    this.#wait(session, pending, nowMs + delayMs);
    this.#save(session, pending, Date.now() + delayMs);
  }

  publishNow(session: Session): void {
    const pending = this.#take(session);
    if (pending === null) return;
    const { topic, payload, qos, retain, properties } = pending.will;
    this.#inFlight += 1;
    const publish = new Publish(session, topic, own(payload), qos, retain, 0, properties);
    this.#options.publish(session, publish, (fate) => {
      this.#inFlight -= 1;
      if (fate === 'refused') this.#refused += 1;
      if (fate !== 'put-off') this.#forget(pending);
      this.#options.onAnswered();
    });
  }

  tick(nowMs: number): void {
    for (const session of this.#due) {
      const { dueMs } = this.#pending.get(session)!;
      if (dueMs !== null && dueMs <= nowMs) this.publishNow(session);
    }
  }

  #wait(session: Session, pending: Pending, dueMs: number): void {
    pending.dueMs = dueMs;
    this.#due.add(session);
  }

  #take(session: Session): Pending | null {
    const pending = this.#pending.get(session);
    this.#pending.delete(session);
    this.#due.delete(session);
    return pending ?? null;
  }

  /** Where too much waits to be written, a will is kept in memory alone. */
  #save(session: Session, pending: Pending, dueMs: number): void {
    const { store } = this.#options;
    if (store.isBehind) return;
    const { number, will } = pending;
    const { topic, payload, qos, retain, properties } = will;
    pending.saved = true;
    store.put({
      kind: 'will',
      will: {
        number,
        client: session.clientId,
        device: session.device,
        topic,
        payload: own(payload),
        qos,
        retain,
        properties: encodedProperties(properties),
        dueMs,
      },
    });
  }

  #forget({ number, saved }: Pending): void {
    if (saved) this.#options.store.put({ kind: 'will-gone', number });
  }
}

/** @throws PacketFault where its properties are not what was written */
export function willOf({ topic, payload, qos, retain, properties }: SavedWill): Will {
  const bytes = Buffer.from(properties);
  const read = readProperties(new FieldReader(bytes, 0, bytes.length), 'will');
  return { topic, payload: Buffer.from(payload), qos, retain, properties: read };
}

const delayMsOf = ({ properties }: Will): number => (properties.numbers.get(PROPERTY.willDelay) ?? 0) * 1_000;

/** With the length in front; those that subscribers get stay as they came. */
function encodedProperties({ numbers, passedOn }: Properties): Uint8Array {
  const writer = new PropertyWriter();
  for (const id of [PROPERTY.willDelay, PROPERTY.messageExpiry]) {
    const value = numbers.get(id);
    if (value !== undefined) writer.u32(id, value);
  }
  return own(writer.raw(passedOn).finish());
}
