// Sessions: which ids of a client are settled, so that one ack speaks for many and a client that comes back learns what
// became of what it sent. Kept in memory: after a restart of the gateway clients send again what was not acknowledged,
// and admission's guard knows the repetitions. Knows no sockets.
import type { Refusal } from './answer.ts';

/** One frame on its way: settled when all its records are. */
export interface Sent {
  readonly id: number;
  open: number;
}

const REFUSALS_KEPT = 64;

export class Session {
  readonly name: string;
  /** Every id up to here is settled: durable, or refused. */
  last: number;
  /** Ends the connection that has the session now. */
  takeOver: (() => void) | null = null;
  /** Hears when something has settled, and when nothing is on its way any more. */
  onSettled: (() => void) | null = null;
  #highest: number;
  readonly #sent: Sent[] = [];
  #settled = 0;
  /** Newest refusals: a client that lost its connection may not have heard of them. */
  readonly #refusals: Refusal[] = [];
  /** Refusals up to this id are forgotten. */
  #forgotten = 0;

  constructor(name: string, last: number) {
    this.name = name;
    this.last = last;
    this.#highest = last;
  }

  get isIdle(): boolean {
    return this.#sent.length === this.#settled;
  }

  /** Null when the id has come before: its answer is, or will be, the first one's. */
  begin(id: number, records: number): Sent | null {
    if (id <= this.#highest) return null;
    this.#highest = id;
    const sent = { id, open: records };
    this.#sent.push(sent);
    return sent;
  }

  refuse(refusal: Refusal): void {
    if (this.#refusals.length === REFUSALS_KEPT) this.#forgotten = this.#refusals.shift()!.id;
    this.#refusals.push(refusal);
  }

  settle(sent: Sent): void {
    sent.open -= 1;
    if (sent.open > 0) return;
    while (this.#settled < this.#sent.length && this.#sent[this.#settled]!.open === 0) {
      this.last = this.#sent[this.#settled]!.id;
      this.#settled += 1;
    }
    if (this.#settled === this.#sent.length) {
      this.#sent.length = 0;
      this.#settled = 0;
    } else if (this.#settled >= 1_024) {
      this.#sent.splice(0, this.#settled);
      this.#settled = 0;
    }
    this.onSettled?.();
  }

  /** Whether it can still be said what became of each id after `acked`. */
  knowsAfter(acked: number): boolean {
    return acked >= this.#forgotten && acked <= this.last;
  }

  refusedAfter(acked: number): Refusal[] {
    return this.#refusals.filter(({ id }) => id > acked);
  }
}

/** The sessions of all clients; at the limit the one that was least recently used, and has no connection, is forgotten. */
export class Sessions {
  readonly #max: number;
  readonly #sessions = new Map<string, Session>();

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** A session belongs to who began it: `owner` is the name shown, '' without one. Null when there is no room. */
  open(owner: string, name: string, acked: number): { session: Session; resumed: boolean } | null {
    const key = `${owner}\n${name}`;
    const known = this.#sessions.get(key);
    if (known !== undefined) {
      known.takeOver?.();
      this.#sessions.delete(key);
    }
    const resumed = known?.knowsAfter(acked) ?? false;
    if (known === undefined && !this.#makeRoom()) return null;
    const session = known !== undefined && resumed ? known : new Session(name, acked);
    this.#sessions.set(key, session);
    return { session, resumed };
  }

  #makeRoom(): boolean {
    if (this.#sessions.size < this.#max) return true;
    for (const [key, session] of this.#sessions) {
      if (session.takeOver !== null || !session.isIdle) continue;
      this.#sessions.delete(key);
      return true;
    }
    return false;
  }
}
