// The broker: lets connections in, gives each its session, wakes what waits for time, and ends all. Messages go by
// router.ts; what outlives a connection is in sessions.ts. Owns no sockets and no packets.
import { randomUUID } from 'node:crypto';
import type { Access, AccessVerdict } from '../../access/types.ts';
import type { Admission } from '../../admission/admission.ts';
import { deviceProblem } from '../../admission/topics.ts';
import type { IngestLogger } from '../../admission/types.ts';
import type { MqttConfig } from './config.ts';
import type { Connection } from './connection.ts';
import type { Connect } from './decode.ts';
import type { MqttFigures } from './figures.ts';
import type { Publish } from './publish.ts';
import { REASON } from './reason.ts';
import { Router } from './router.ts';
import type { Session } from './session.ts';
import { SessionDatabase } from './session-database.ts';
import { SessionStore } from './session-store.ts';
import { Sessions } from './sessions.ts';
import { SysTopics } from './sys-topics.ts';
import type { Peer } from './transport.ts';
import { Trouble } from './trouble.ts';
import { type WillFate, Wills, willOf } from './wills.ts';

export interface BrokerOptions {
  readonly config: MqttConfig;
  readonly admission: Admission;
  readonly access: Access;
  readonly logger: IngestLogger;
  readonly dataDir: string;
}

const MAX_CLIENT_ID_BYTES = 256;
const TICK_MS = 100;
const ACCESS_REASONS = {
  'loopback-only': REASON.notAuthorized,
  'bad-credentials': REASON.badCredentials,
  'too-many-attempts': REASON.connectionRate,
} as const;

export class Broker {
  readonly config: MqttConfig;
  readonly admission: Admission;
  readonly trouble: Trouble;
  readonly router: Router;
  readonly sessions: Sessions;
  /** Monotonic, some tenths of a second behind at most. */
  nowMs = performance.now();
  readonly #options: BrokerOptions;
  readonly #store: SessionStore;
  readonly #wills: Wills;
  readonly #connections = new Set<Connection>();
  #turn = 0;
  #inTurn = false;
  #pausedForTurn: Connection[] = [];
  readonly #endTurn = () => {
    this.#turn += 1;
    this.#inTurn = false;
    const paused = this.#pausedForTurn;
    if (paused.length === 0) return;
    this.#pausedForTurn = [];
    for (const connection of paused) connection.endTurn();
  };
  readonly #timer: NodeJS.Timeout;
  readonly #unlisten: () => void;
  #whenIdle: (() => void) | null = null;

  constructor(options: BrokerOptions) {
    const { config, admission } = options;
    this.#options = options;
    this.config = config;
    this.admission = admission;
    this.trouble = new Trouble(admission, options.logger);
    const store = new SessionStore(options.dataDir, (detail) => this.trouble.notSaved(detail));
    this.#store = store;
    const sys = new SysTopics(() => this.figures());
    this.router = new Router({ config, admission, store, sys });
    this.#wills = new Wills({
      store,
      publish: (session, publish, done) => this.#publishWill(session, publish, done),
      onAnswered: () => this.checkIdle(),
    });
    this.sessions = new Sessions({ config, store, router: this.router, wills: this.#wills });
    this.#restore(options.dataDir);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#timer.unref();
    this.#unlisten = options.access.onChange((name) => this.#onAccessChange(name));
  }

  figures(): MqttFigures {
    const { counts } = this.trouble;
    const { kept, persistent } = this.sessions;
    const { retained, subscriptions } = this.router;
    return {
      connections: this.#connections.size,
      ...counts,
      refused: counts.refused + this.#wills.refused,
      forwardDropped: kept.dropped,
      retained: retained.size,
      retainedRefused: retained.refused,
      queued: kept.messages,
      queueRefused: kept.refused,
      queueExpired: kept.expired,
      sessions: persistent,
      subscriptions,
      storeWaiting: this.#store.waiting,
      storeFailures: this.#store.failures,
    };
  }

  #restore(dataDir: string): void {
    SessionDatabase.restore(
      dataDir,
      (database) => {
        const wills = database.wills();
        // Damage shows before anything of the file is taken for true.
        wills.forEach(willOf);
        this.sessions.restore(database.sessions(), database.retained(), wills);
      },
      (error) => this.trouble.sessionsDamaged(error),
    );
    // Before any client is back: what it then says of itself comes after its will.
    this.#wills.tick(this.nowMs);
  }

  // --- connections ------------------------------------------------------------------------------------------------

  add(connection: Connection): void {
    this.#connections.add(connection);
  }

  closed(connection: Connection): void {
    this.#connections.delete(connection);
    this.checkIdle();
  }

  /** Another number in every turn of the event loop in which it is asked for. */
  turn(): number {
    if (!this.#inTurn) {
      this.#inTurn = true;
      setImmediate(this.#endTurn);
    }
    return this.#turn;
  }

  /** `connection.endTurn()` once all of this turn's events have been seen; the connection has asked for the turn. */
  atEndOfTurn(connection: Connection): void {
    this.#pausedForTurn.push(connection);
  }

  clientIdProblem({ clientId, version, clean }: Connect): string | null {
    // [MQTT-3.1.3-7] [MQTT-3.1.3-8]; MQTT 3.1 knows no empty one.
    if (clientId === '') return version === 3 || (version === 4 && !clean) ? 'the client id is empty' : null;
    return deviceProblem(clientId, MAX_CLIENT_ID_BYTES);
  }

  authenticate({ username, password }: Connect, peer: Peer): AccessVerdict | Promise<AccessVerdict> {
    return this.#options.access.authenticate({
      address: peer.address,
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      ...(peer.certificate === undefined ? {} : { certificate: peer.certificate }),
    });
  }

  /** Access has spoken: CONNACK, with a session or a refusal. */
  admit(connection: Connection, connect: Connect, verdict: AccessVerdict): void {
    if (verdict.principal === null) {
      connection.refuse(ACCESS_REASONS[verdict.code] ?? REASON.notAuthorized, verdict.detail);
      return;
    }
    const { principal } = verdict;
    const anonymousProblem = principal.anonymous ? (connection.peer.anonymousProblem?.() ?? null) : null;
    if (anonymousProblem !== null) {
      connection.refuse(REASON.notAuthorized, anonymousProblem);
      return;
    }
    if (connect.will !== null && !principal.mayPublish(connect.will.topic)) {
      connection.refuse(REASON.notAuthorized, 'this client may not publish to the topic of its will');
      return;
    }
    const clientId = connect.clientId === '' ? `auto-${randomUUID()}` : connect.clientId;
    const before = this.sessions.get(clientId);
    if (before !== undefined && before.owner !== principal.name && before.owner !== '') {
      connection.refuse(REASON.notAuthorized, 'this client id belongs to another user');
      return;
    }
    // [MQTT-3.1.4-2]; may end the session.
    before?.link?.close(REASON.takenOver);
    const session = this.sessions.begin(clientId, connect, principal);
    if (session === null) {
      connection.refuse(REASON.quotaExceeded, `no more than ${this.config.maxSessions} sessions are kept`);
      return;
    }
    const present = session === before;
    session.principal = principal;
    this.#wills.cancel(session);
    if (connect.will !== null) this.#wills.set(session, connect.will);
    if (present) this.router.dropForbidden(session, principal);
    this.sessions.connected(session, connect);
    const { maxKeepAliveSeconds } = this.config;
    const asked = connect.keepAliveSeconds;
    const tooLong = maxKeepAliveSeconds > 0 && (asked === 0 || asked > maxKeepAliveSeconds);
    // Before MQTT 5 the client cannot be told, so what it asked for holds.
    const keepAliveSeconds = tooLong && connect.version === 5 ? maxKeepAliveSeconds : asked;
    const acceptance = { present, assignedId: connect.clientId === '', keepAliveSeconds };
    // From CONNACK on the will is kept, whatever becomes of the gateway.
    connection.accept(session, connect, acceptance, (done) =>
      connect.will === null ? done() : this.#store.whenTried(done),
    );
  }

  // --- wills ------------------------------------------------------------------------------------------------------

  #publishWill(session: Session, publish: Publish, done: (fate: WillFate) => void): void {
    this.admission.submit(publish, (outcome) => {
      if (outcome.kind === 'stored' || outcome.kind === 'duplicate') {
        if (outcome.kind === 'duplicate' || !outcome.quarantined) this.router.route(publish);
        done('stored');
        return;
      }
      const detail = outcome.kind === 'reject' ? outcome.detail : 'the gateway cannot store now';
      this.trouble.willRefused(session.clientId, outcome.reason, detail);
      done(outcome.reason === 'unavailable' ? 'put-off' : 'refused');
    });
  }

  // --- time -------------------------------------------------------------------------------------------------------

  #tick(): void {
    this.nowMs = performance.now();
    const wallMs = Date.now();
    for (const connection of this.#connections) {
      connection.tick(this.nowMs);
      const expiresMs = connection.principal?.expiresMs ?? null;
      if (expiresMs !== null && expiresMs <= wallMs) connection.close(REASON.maximumConnectTime);
    }
    this.#boundUnfinished();
    this.#wills.tick(this.nowMs);
    this.sessions.tick(wallMs);
    this.router.publishFigures(this.nowMs);
  }

  /** Thousands of clients that each begin a long packet and do not finish it. */
  #boundUnfinished(): void {
    const { maxUnfinishedBytes } = this.config;
    let bytes = 0;
    for (const { unfinishedBytes } of this.#connections) bytes += unfinishedBytes;
    if (bytes <= maxUnfinishedBytes) return;
    const most = [...this.#connections].sort((a, b) => b.unfinishedBytes - a.unfinishedBytes);
    for (const connection of most) {
      if (bytes <= maxUnfinishedBytes) break;
      bytes -= connection.unfinishedBytes;
      this.trouble.timedOut(connection, 'an unfinished packet, and too many of them');
      connection.close(REASON.quotaExceeded);
    }
  }

  #onAccessChange(name: string): void {
    // Judged again when it comes back.
    for (const connection of this.#connections)
      if (connection.principal?.name === name) connection.close(REASON.administrativeAction);
  }

  // --- the end ----------------------------------------------------------------------------------------------------

  /** Answers what is in flight, publishes wills, parts from everybody, saves sessions. */
  async close(graceMs: number): Promise<void> {
    for (const connection of this.#connections) connection.stopReading();
    await this.#until(() => [...this.#connections].every(({ isIdle }) => isIdle), graceMs);
    for (const connection of this.#connections) connection.close(REASON.serverShuttingDown);
    await this.#until(() => this.#wills.inFlight === 0 && this.#connections.size === 0, graceMs);
    clearInterval(this.#timer);
    this.#unlisten();
    for (const connection of this.#connections) connection.destroy();
    await this.#store.close(graceMs);
  }

  checkIdle(): void {
    this.#whenIdle?.();
  }

  async #until(isSo: () => boolean, graceMs: number): Promise<void> {
    if (isSo()) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      timer = setTimeout(resolve, graceMs);
      this.#whenIdle = () => isSo() && resolve();
    });
    clearTimeout(timer);
    this.#whenIdle = null;
    // The last answers leave with the turn of the loop that made them.
    await new Promise((resolve) => setImmediate(resolve));
  }
}
