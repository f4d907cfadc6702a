// All sessions: begun, found again, kept for a while after their connection, and forgotten when their time is over. What
// is on its way to a client is the session's own (session.ts).
import type { Principal } from '../../access/types.ts';
import type { MqttConfig } from './config.ts';
import type { Connect } from './decode.ts';
import type { Message } from './message.ts';
import { PROPERTY } from './properties.ts';
import type { Publish } from './publish.ts';
import type { Router } from './router.ts';
import { type Kept, Session } from './session.ts';
import type { SavedSession, SavedWill, SessionStore } from './session-store.ts';
import type { Wills } from './wills.ts';

export interface SessionsOptions {
  readonly config: MqttConfig;
  readonly store: SessionStore;
  readonly router: Router;
  readonly wills: Wills;
}

export class Sessions {
  readonly kept: Kept = { messages: 0, bytes: 0, refused: 0, dropped: 0, expired: 0 };
  readonly #options: SessionsOptions;
  readonly #sessions = new Map<string, Session>();
  /** Those without a connection. */
  readonly #absent = new Set<Session>();
  #persistent = 0;

  constructor(options: SessionsOptions) {
    this.#options = options;
  }

  /** Those that outlive their connection. */
  get persistent(): number {
    return this.#persistent;
  }

  get(clientId: string): Session | undefined {
    return this.#sessions.get(clientId);
  }

  /** The client's session from before, or a new one; null: no further one can be kept. */
  begin(clientId: string, connect: Connect, principal: Principal): Session | null {
    const before = this.#sessions.get(clientId);
    if (before !== undefined) {
      if (!connect.clean && before.owner === principal.name) return before;
      this.#discard(before); // [MQTT-3.1.2-6]
    }
    if (askedExpiry(connect) > 0 && this.#persistent >= this.#options.config.maxSessions) return null;
    const session = this.#newSession(clientId, principal.name);
    this.#sessions.set(clientId, session);
    return session;
  }

  #newSession(clientId: string, owner: string): Session {
    const { config: limits, store } = this.#options;
    return new Session(clientId, owner, { limits, kept: this.kept, store });
  }

  setExpiry(session: Session, seconds: number): void {
    const was = session.isPersistent;
    session.expirySeconds = Math.min(seconds, this.#options.config.maxSessionExpirySeconds);
    if (session.isPersistent !== was) {
      this.#persistent += was ? -1 : 1;
      if (was) this.#options.store.put({ kind: 'session-gone', client: session.clientId });
    }
  }

  /** It has a connection again. */
  connected(session: Session, connect: Connect): void {
    this.setExpiry(session, askedExpiry(connect));
    this.#absent.delete(session);
    session.endedMs = 0;
    this.#save(session);
  }

  /** Its connection has ended. */
  disconnected(session: Session, publishesWill: boolean, nowMs: number): void {
    session.link = null;
    session.endedMs = Date.now();
    if (!publishesWill) this.#options.wills.cancel(session);
    if (!session.isPersistent) {
      this.#discard(session);
      return;
    }
    this.#options.wills.connectionEnded(session, nowMs);
    this.#absent.add(session);
    this.#save(session);
  }

  #discard(session: Session): void {
    if (session.isOver) return;
    // [MQTT5-3.1.2-8]: the end of the session is the latest time for its will.
    this.#options.wills.publishNow(session);
    this.#options.router.forget(session);
    if (session.isPersistent) {
      this.#persistent -= 1;
      this.#options.store.put({ kind: 'session-gone', client: session.clientId });
    }
    session.discard();
    this.#absent.delete(session);
    if (this.#sessions.get(session.clientId) === session) this.#sessions.delete(session.clientId);
  }

  #save(session: Session): void {
    if (!session.isPersistent) return;
    const { clientId: client, owner, expirySeconds, endedMs } = session;
    this.#options.store.put({ kind: 'session', client, owner, expirySeconds, endedMs });
  }

  /** Forgets those whose time is over. */
  tick(wallMs: number): void {
    for (const session of this.#absent)
      if (session.endedMs + session.expirySeconds * 1_000 <= wallMs) this.#discard(session);
  }

  /** What the last run left. */
  restore(
    sessions: readonly SavedSession[],
    retained: readonly Message[],
    willsBefore: readonly SavedWill[],
  ): void {
    const { router, store, wills } = this.#options;
    const nowMs = Date.now();
    for (const saved of sessions) {
      const session = this.#newSession(saved.client, saved.owner);
      session.expirySeconds = saved.expirySeconds;
      // Its connection ended with the gateway; when that was is not known.
      session.endedMs = saved.endedMs || nowMs;
      for (const packetId of saved.incoming) session.incoming.set(packetId, 'stored');
      router.restore(session, saved.subscriptions);
      for (const delivery of saved.deliveries) store.adopt(delivery);
      session.restore(saved.deliveries);
      this.#sessions.set(saved.client, session);
      this.#absent.add(session);
      this.#persistent += 1;
    }
    router.retained.restore(retained);
    for (const will of willsBefore) {
      const kept = this.#sessions.get(will.client);
      // The others' sessions have ended with the last run, and with that their wills are due.
      const session = kept ?? this.#newSession(will.client, '');
      session.deviceBefore = will.device;
      wills.restore(session, will, kept === undefined);
    }
  }

  markIncoming({ session, packetId }: Publish): void {
    if (session.isOver) return;
    session.incoming.set(packetId, 'stored');
    if (session.isPersistent)
      this.#options.store.put({ kind: 'incoming', client: session.clientId, packetId });
  }

  /** PUBREC of a session that is kept: the identifier survives a crash, and with it "exactly once". */
  whenIncomingStored({ session }: Publish, done: () => void): void {
    if (session.isPersistent) this.#options.store.whenStored(done);
    else done();
  }

  /** PUBREL has come; false: of a publish that is not known. */
  releaseIncoming(session: Session, packetId: number): boolean {
    if (session.incoming.get(packetId) !== 'stored') return false;
    session.incoming.delete(packetId);
    if (session.isPersistent)
      this.#options.store.put({ kind: 'incoming-gone', client: session.clientId, packetId });
    return true;
  }
}

/** Seconds a client wants its session to outlive the connection. */
function askedExpiry({ version, clean, properties }: Connect): number {
  if (version === 5) return properties.numbers.get(PROPERTY.sessionExpiry) ?? 0;
  return clean ? 0 : Number.POSITIVE_INFINITY;
}
