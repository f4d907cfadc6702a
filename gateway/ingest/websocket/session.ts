// Sessions: which ids of a client are settled, so that one ack speaks for many and a client that comes back learns what
// became of what it sent, also after a restart (session-store.ts). What a crash leaves unknown the client sends again, and
// admission's guard knows the repetitions. Knows no sockets.
import type { Refusal } from './answer.ts';
import type { SavedSession } from './session-database.ts';

/** Told of each session that has changed, or is gone. */
export interface SessionKeeper {
  put(owner: string, name: string, session: Session | null): void;
}

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
  /** One past the last of its records in the log. */
  #logEnd = 0;
  #restored = false;
  /** Hears that what is to be kept of it has changed. */
  onChange: (() => void) | null = null;

  constructor(name: string, last: number) {
    this.name = name;
    this.last = last;
    this.#highest = last;
  }

  static restore(saved: SavedSession): Session {
    const session = new Session(saved.name, saved.last);
    session.#forgotten = saved.forgotten;
    session.#refusals.push(...saved.refusals);
    session.#logEnd = saved.logEnd;
    session.#restored = true;
    return session;
  }

  /** As of now: all of it is durable. */
  saved(): Omit<SavedSession, 'owner'> {
    const { name, last } = this;
    // Of ids that are not settled yet nothing is kept: they come again.
    const refusals = this.#refusals.filter(({ id }) => id <= last);
    return { name, last, forgotten: Math.min(this.#forgotten, last), refusals, logEnd: this.#logEnd };
  }

  /** One of its records stands at this offset. */
  stored(offset: number): void {
    if (offset >= this.#logEnd) this.#logEnd = offset + 1;
  }

  /** What was read back may be behind what the client was told before the crash; by then that was durable. */
  catchUp(acked: number): void {
    if (this.#restored && acked > this.last) {
      this.last = acked;
      this.#highest = acked;
    }
    this.#restored = false;
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
    const before = this.last;
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
    if (this.last !== before) this.onChange?.();
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
  readonly #keeper: SessionKeeper | null;

  constructor(max: number, keeper: SessionKeeper | null = null) {
    this.#max = max;
    this.#keeper = keeper;
  }

  /** What the last run left, least recently used first. A log that ends before a session's records was set back. */
  restore(saved: readonly SavedSession[], logEnd: number): void {
    const known = saved.filter((each) => each.logEnd <= logEnd);
    for (const { owner, name } of saved.filter((each) => each.logEnd > logEnd))
      this.#keeper?.put(owner, name, null);
    for (const each of known.slice(-this.#max)) this.#keep(each.owner, Session.restore(each));
    for (const { owner, name } of known.slice(0, -this.#max)) this.#keeper?.put(owner, name, null);
  }

  #keep(owner: string, session: Session): void {
    this.#sessions.set(`${owner}\n${session.name}`, session);
    session.onChange = () => this.#keeper?.put(owner, session.name, session);
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
    known?.catchUp(acked);
    const resumed = known?.knowsAfter(acked) ?? false;
    if (known === undefined && !this.#makeRoom()) return null;
    const session = known !== undefined && resumed ? known : new Session(name, acked);
    if (session !== known && known !== undefined) known.onChange = null;
    this.#keep(owner, session);
    session.onChange?.();
    return { session, resumed };
  }

  #makeRoom(): boolean {
    if (this.#sessions.size < this.#max) return true;
    for (const [key, session] of this.#sessions) {
      if (session.takeOver !== null || !session.isIdle) continue;
      this.#sessions.delete(key);
      session.onChange = null;
      const at = key.lastIndexOf('\n');
      this.#keeper?.put(key.slice(0, at), session.name, null);
      return true;
    }
    return false;
  }
}
