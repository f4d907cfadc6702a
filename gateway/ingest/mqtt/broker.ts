// The broker: whose session a connection is, which messages go to whom, wills, what outlives a connection. Owns no
// sockets and no packets; records are admission's and the log's, what clients may rely on after a restart the store's.
import { randomUUID } from 'node:crypto';
import type { Access, AccessVerdict, Principal } from '../../access/types.ts';
import type { Admission } from '../../admission/admission.ts';
import { deviceProblem } from '../../admission/topics.ts';
import type { IngestLogger } from '../../admission/types.ts';
import { RefusalLog } from '../refusal-log.ts';
import type { MqttConfig } from './config.ts';
import type { Connection } from './connection.ts';
import type { Connect, Subscription } from './decode.ts';
import type { MqttFigures } from './figures.ts';
import { type Message, own } from './message.ts';
import { PROPERTY } from './properties.ts';
import type { Publish } from './publish.ts';
import { type PacketFault, REASON } from './reason.ts';
import { Retained } from './retained.ts';
import { type Kept, Session } from './session.ts';
import { SessionDatabase } from './session-database.ts';
import { SessionStore } from './session-store.ts';
import { SysTopics } from './sys-topics.ts';
import { parseFilter, plainFilter } from './topic-filter.ts';
import { type Match, type Matches, TopicTree } from './topic-tree.ts';
import type { Peer } from './transport.ts';
import { Wills } from './wills.ts';

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
  readonly refusals: RefusalLog;
  /** Monotonic, some tenths of a second behind at most. */
  nowMs = performance.now();
  readonly #options: BrokerOptions;
  readonly #store: SessionStore;
  readonly #retained: Retained;
  readonly #wills: Wills;
  readonly #sys: SysTopics;
  readonly #tree = new TopicTree<Session>();
  readonly #sessions = new Map<string, Session>();
  /** Sessions without a connection. */
  readonly #absent = new Set<Session>();
  readonly #connections = new Set<Connection>();
  readonly #kept: Kept = { messages: 0, bytes: 0, refused: 0, dropped: 0, expired: 0 };
  readonly #counts = { refused: 0, connectionsRefused: 0, malformed: 0, timeouts: 0 };
  #persistent = 0;
  #turn: Connection[] = [];
  readonly #timer: NodeJS.Timeout;
  readonly #unlisten: () => void;
  #whenIdle: (() => void) | null = null;

  constructor(options: BrokerOptions) {
    this.#options = options;
    this.config = options.config;
    this.admission = options.admission;
    this.refusals = new RefusalLog(options.logger);
    this.#store = new SessionStore(options.dataDir, (detail) =>
      options.logger.warn({ detail }, 'mqtt: sessions could not be saved; trying again'),
    );
    this.#retained = new Retained(options.config, this.#store);
    this.#wills = new Wills(
      (session, publish) => this.#publishWill(session, publish),
      () => this.checkIdle(),
    );
    this.#sys = new SysTopics(() => this.figures());
    this.#restore(options.dataDir);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#timer.unref();
    this.#unlisten = options.access.onChange((name) => this.#onAccessChange(name));
  }

  figures(): MqttFigures {
    return {
      connections: this.#connections.size,
      ...this.#counts,
      refused: this.#counts.refused + this.#wills.refused,
      forwardDropped: this.#kept.dropped,
      retained: this.#retained.size,
      retainedRefused: this.#retained.refused,
      queued: this.#kept.messages,
      queueRefused: this.#kept.refused,
      queueExpired: this.#kept.expired,
      sessions: this.#persistent,
      subscriptions: this.#tree.size,
      storeWaiting: this.#store.waiting,
      storeFailures: this.#store.failures,
    };
  }

  // --- connections ------------------------------------------------------------------------------------------------

  add(connection: Connection): void {
    this.#connections.add(connection);
  }

  closed(connection: Connection): void {
    this.#connections.delete(connection);
    this.checkIdle();
  }

  /** `connection.endTurn()` once all of this turn's events have been seen. */
  atEndOfTurn(connection: Connection): void {
    if (this.#turn.length === 0) {
      setImmediate(() => {
        const turn = this.#turn;
        this.#turn = [];
        for (const each of turn) each.endTurn();
      });
    }
    this.#turn.push(connection);
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
    const before = this.#sessions.get(clientId);
    if (before !== undefined && before.owner !== principal.name && before.owner !== '') {
      connection.refuse(REASON.notAuthorized, 'this client id belongs to another user');
      return;
    }
    // [MQTT-3.1.4-2]; may end the session.
    before?.link?.close(REASON.takenOver);
    const session = this.#sessionFor(clientId, connect, principal);
    if (session === null) {
      connection.refuse(REASON.quotaExceeded, `no more than ${this.config.maxSessions} sessions are kept`);
      return;
    }
    const present = session === before;
    session.principal = principal;
    this.#absent.delete(session);
    this.#wills.cancel(session);
    if (connect.will !== null) this.#wills.set(session, connect.will);
    if (present) this.#dropForbidden(session, principal);
    this.setExpiry(session, this.#askedExpiry(connect));
    session.endedMs = 0;
    this.#save(session);
    const { maxKeepAliveSeconds } = this.config;
    const asked = connect.keepAliveSeconds;
    const tooLong = maxKeepAliveSeconds > 0 && (asked === 0 || asked > maxKeepAliveSeconds);
    // Before MQTT 5 the client cannot be told, so what it asked for holds.
    const keepAliveSeconds = tooLong && connect.version === 5 ? maxKeepAliveSeconds : asked;
    connection.accept(session, connect, { present, assignedId: connect.clientId === '', keepAliveSeconds });
  }

  #askedExpiry({ version, clean, properties }: Connect): number {
    if (version === 5) return properties.numbers.get(PROPERTY.sessionExpiry) ?? 0;
    return clean ? 0 : Number.POSITIVE_INFINITY;
  }

  #sessionFor(clientId: string, connect: Connect, principal: Principal): Session | null {
    const before = this.#sessions.get(clientId);
    if (before !== undefined) {
      if (!connect.clean && before.owner === principal.name) return before;
      this.#discard(before); // [MQTT-3.1.2-6]
    }
    if (this.#askedExpiry(connect) > 0 && this.#persistent >= this.config.maxSessions) return null;
    const session = this.#newSession(clientId, principal.name);
    this.#sessions.set(clientId, session);
    return session;
  }

  #newSession(clientId: string, owner: string): Session {
    return new Session(clientId, owner, { limits: this.config, kept: this.#kept, store: this.#store });
  }

  setExpiry(session: Session, seconds: number): void {
    const was = session.isPersistent;
    session.expirySeconds = Math.min(seconds, this.config.maxSessionExpirySeconds);
    if (session.isPersistent !== was) {
      this.#persistent += was ? -1 : 1;
      if (was) this.#store.put({ kind: 'session-gone', client: session.clientId });
    }
  }

  /** Its connection has ended. */
  detach(session: Session, publishesWill: boolean): void {
    session.link = null;
    session.endedMs = Date.now();
    if (!publishesWill) this.#wills.cancel(session);
    if (!session.isPersistent) {
      this.#discard(session);
      return;
    }
    this.#wills.connectionEnded(session, this.nowMs);
    this.#absent.add(session);
    this.#save(session);
  }

  #discard(session: Session): void {
    if (session.isOver) return;
    // [MQTT5-3.1.2-8]: the end of the session is the latest time for its will.
    this.#wills.publishNow(session);
    for (const filter of session.subscriptions.keys()) this.#tree.remove(session, filter);
    if (session.isPersistent) {
      this.#persistent -= 1;
      this.#store.put({ kind: 'session-gone', client: session.clientId });
    }
    session.discard();
    this.#absent.delete(session);
    if (this.#sessions.get(session.clientId) === session) this.#sessions.delete(session.clientId);
  }

  #save(session: Session): void {
    if (!session.isPersistent) return;
    const { clientId: client, owner, expirySeconds, endedMs } = session;
    this.#store.put({ kind: 'session', client, owner, expirySeconds, endedMs });
  }

  #restore(dataDir: string): void {
    const database = new SessionDatabase(dataDir);
    try {
      const nowMs = Date.now();
      for (const saved of database.sessions()) {
        const session = this.#newSession(saved.client, saved.owner);
        session.expirySeconds = saved.expirySeconds;
        // Its connection ended with the gateway; when that was is not known.
        session.endedMs = saved.endedMs || nowMs;
        for (const packetId of saved.incoming) session.incoming.set(packetId, 'stored');
        for (const subscription of saved.subscriptions) {
          session.subscriptions.set(subscription.filter, subscription);
          this.#tree.add(session, subscription);
        }
        for (const delivery of saved.deliveries) this.#store.adopt(delivery);
        session.restore(saved.deliveries);
        this.#sessions.set(saved.client, session);
        this.#absent.add(session);
        this.#persistent += 1;
      }
      this.#retained.restore(database.retained());
    } finally {
      database.close();
    }
  }

  // --- subscriptions ----------------------------------------------------------------------------------------------

  subscribe(
    session: Session,
    subscriptions: readonly Subscription[],
    answer: (codes: readonly number[]) => void,
  ): void {
    const isV5 = session.link?.version === 5;
    const retained: Subscription[] = [];
    const codes = subscriptions.map((subscription) => {
      const { filter, qos, retainHandling } = subscription;
      if (!session.principal!.maySubscribe(plainFilter(filter))) {
        this.admission.countRefusal('mqtt', 'not-allowed');
        return isV5 ? REASON.notAuthorized : REASON.unspecified;
      }
      const isNew = !session.subscriptions.has(filter);
      if (isNew && session.subscriptions.size >= this.config.maxSubscriptions)
        return isV5 ? REASON.quotaExceeded : REASON.unspecified;
      session.subscriptions.set(filter, subscription);
      this.#tree.add(session, subscription);
      if (session.isPersistent)
        this.#store.put({ kind: 'subscription', client: session.clientId, subscription });
      // A shared subscription gets no retained messages (MQTT 5 §4.8.2).
      const wanted = retainHandling === 0 || (retainHandling === 1 && isNew);
      if (wanted && !filter.startsWith('$share/')) retained.push(subscription);
      return qos;
    });
    const { link } = session;
    const go = () => {
      if (session.link !== link) return;
      answer(codes);
      for (const subscription of retained) this.#sendRetained(session, subscription);
    };
    // SUBACK of a session that is kept: the subscription survives a crash.
    if (session.isPersistent) this.#store.whenStored(go);
    else go();
  }

  unsubscribe(
    session: Session,
    filters: readonly string[],
    answer: (codes: readonly number[]) => void,
  ): void {
    const codes = filters.map((filter) => {
      if (!session.subscriptions.delete(filter)) return REASON.noSubscriptionExisted;
      this.#tree.remove(session, filter);
      if (session.isPersistent)
        this.#store.put({ kind: 'subscription-gone', client: session.clientId, filter });
      return REASON.success;
    });
    const { link } = session;
    if (!session.isPersistent) answer(codes);
    else this.#store.whenStored(() => session.link === link && answer(codes));
  }

  /** On a new connection: rights may have been taken away meanwhile. */
  #dropForbidden(session: Session, principal: Principal): void {
    for (const filter of [...session.subscriptions.keys()])
      if (!principal.maySubscribe(plainFilter(filter))) this.unsubscribe(session, [filter], () => {});
  }

  #sendRetained(session: Session, { filter, qos, id }: Subscription): void {
    const { levels } = parseFilter(filter);
    const ids = id === 0 ? NO_IDS : [id];
    const messages = levels[0] === '$SYS' ? this.#sys.matching(levels) : this.#retained.matching(levels);
    for (const message of messages)
      session.offer(message, Math.min(message.qos, qos) as Message['qos'], true, ids, true);
  }

  // --- messages ---------------------------------------------------------------------------------------------------

  /** To all who have subscribed, and into what is retained. */
  route(publish: Publish): void {
    const matches = this.#tree.match(publish.topic);
    const isHeard = matches.plain.length > 0 || matches.shared.length > 0;
    if (!isHeard && !publish.retain) return;
    const message = messageOf(publish);
    if (publish.retain) this.#retained.put(message);
    if (isHeard) this.#deliver(message, matches);
  }

  /** A message of the gateway's own to those who have subscribed; no record. */
  publish(topic: string, payload: Uint8Array, qos: Message['qos']): void {
    const matches = this.#tree.match(topic);
    if (matches.plain.length + matches.shared.length === 0) return;
    const properties = new Uint8Array(0);
    this.#deliver({ topic, payload, qos, retain: false, properties, expiresMs: 0, publisher: '' }, matches);
  }

  #deliver(message: Message, { plain, shared }: Matches<Session>): void {
    if (plain.length === 1) this.#offer(message, plain[0]!, NO_MORE);
    else if (plain.length > 1) this.#deliverToMany(message, plain);
    for (const group of shared) {
      const { subscriber, subscription } = group.pick((session) => session.isReady);
      this.#offer(message, { subscriber, subscription }, NO_MORE);
    }
  }

  /** A client with several matching subscriptions gets it once, with the highest QoS [MQTT-3.3.5-1]. */
  #deliverToMany(message: Message, plain: readonly Match<Session>[]): void {
    const byClient = new Map<Session, Match<Session>[]>();
    for (const match of plain) {
      if (isOwn(message, match)) continue;
      const others = byClient.get(match.subscriber);
      if (others) others.push(match);
      else byClient.set(match.subscriber, [match]);
    }
    for (const [first, ...others] of byClient.values()) this.#offer(message, first!, others);
  }

  #offer(message: Message, match: Match<Session>, others: readonly Match<Session>[]): void {
    if (isOwn(message, match)) return;
    let { qos, retainAsPublished, id } = match.subscription;
    const ids = id === 0 ? [] : [id];
    for (const { subscription } of others) {
      if (subscription.qos > qos) qos = subscription.qos;
      retainAsPublished ||= subscription.retainAsPublished;
      if (subscription.id !== 0) ids.push(subscription.id);
    }
    const deliveredQos = Math.min(message.qos, qos) as Message['qos'];
    match.subscriber.offer(message, deliveredQos, retainAsPublished && message.retain, ids);
  }

  // --- QoS 2 publishes of clients -----------------------------------------------------------------------------------

  markIncoming({ session, packetId }: Publish): void {
    if (session.isOver) return;
    session.incoming.set(packetId, 'stored');
    if (session.isPersistent) this.#store.put({ kind: 'incoming', client: session.clientId, packetId });
  }

  /** PUBREC of a session that is kept: the identifier survives a crash, and with it "exactly once". */
  whenIncomingStored({ session }: Publish, done: () => void): void {
    if (session.isPersistent) this.#store.whenStored(done);
    else done();
  }

  /** PUBREL has come; false: of a publish that is not known. */
  releaseIncoming(session: Session, packetId: number): boolean {
    if (session.incoming.get(packetId) !== 'stored') return false;
    session.incoming.delete(packetId);
    if (session.isPersistent) this.#store.put({ kind: 'incoming-gone', client: session.clientId, packetId });
    return true;
  }

  // --- wills ------------------------------------------------------------------------------------------------------

  #publishWill(session: Session, publish: Publish): void {
    this.admission.submit(publish, (outcome) => {
      if (outcome.kind === 'stored' || outcome.kind === 'duplicate') {
        if (outcome.kind === 'duplicate' || !outcome.quarantined) this.route(publish);
        this.#wills.answered(true);
        return;
      }
      const detail = outcome.kind === 'reject' ? outcome.detail : 'the gateway cannot store now';
      const reason = outcome.reason;
      this.refusals.warn({ client: session.clientId, reason, detail }, 'mqtt: a will was refused');
      this.#wills.answered(false);
    });
  }

  // --- what went wrong ----------------------------------------------------------------------------------------------

  #facts(connection: Connection): object {
    return { client: connection.clientId, address: connection.peer.address };
  }

  publishRefused(connection: Connection, publish: Publish, closes: boolean): void {
    this.#counts.refused += 1;
    const { cause: reason, detail } = publish;
    const what = closes ? 'mqtt: connection closed, publish refused' : 'mqtt: publish refused';
    this.refusals.warn({ ...this.#facts(connection), reason, detail }, what);
  }

  connectRefused(connection: Connection, code: number, detail: string): void {
    this.#counts.connectionsRefused += 1;
    this.admission.countRefusal('mqtt', code === REASON.badClientId ? 'malformed' : 'not-allowed');
    this.refusals.warn({ ...this.#facts(connection), code, detail }, 'mqtt: connection refused');
  }

  faulted(connection: Connection, fault: PacketFault): void {
    const isTooLarge = fault.code === REASON.packetTooLarge;
    if (!isTooLarge) this.#counts.malformed += 1;
    this.admission.countRefusal('mqtt', isTooLarge ? 'too-large' : 'malformed');
    const facts = { ...this.#facts(connection), code: fault.code, detail: fault.message };
    this.refusals.warn(facts, 'mqtt: connection closed, not what MQTT allows');
  }

  timedOut(connection: Connection, detail: string): void {
    this.#counts.timeouts += 1;
    this.refusals.warn(
      { ...this.#facts(connection), detail },
      'mqtt: connection closed, nothing came or was taken in time',
    );
  }

  lost(connection: Connection, error: Error): void {
    this.#options.logger.debug(
      { ...this.#facts(connection), detail: error.message },
      'mqtt: connection lost',
    );
  }

  broken(connection: Connection, error: unknown): void {
    this.#options.logger.error({ ...this.#facts(connection), err: error }, 'mqtt: a connection failed');
  }

  tooMany(facts: object): void {
    this.#counts.connectionsRefused += 1;
    this.refusals.warn(facts, 'mqtt: too many connections');
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
    for (const session of this.#absent)
      if (session.endedMs + session.expirySeconds * 1_000 <= wallMs) this.#discard(session);
    for (const message of this.#sys.due(this.nowMs)) {
      const matches = this.#tree.match(message.topic);
      if (matches.plain.length + matches.shared.length > 0) this.#deliver(message, matches);
    }
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
      this.timedOut(connection, 'an unfinished packet, and too many of them');
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

const NO_IDS: readonly number[] = [];
const NO_MORE: readonly Match<Session>[] = [];

/** [MQTT5-3.8.3-3] */
function isOwn(message: Message, { subscriber, subscription }: Match<Session>): boolean {
  return subscription.noLocal && message.publisher === subscriber.clientId;
}

function messageOf({ topic, payload, qos, retain, properties, session }: Publish): Message {
  const expiry = properties.numbers.get(PROPERTY.messageExpiry);
  return {
    topic,
    payload: own(payload),
    qos,
    retain,
    properties: own(properties.passedOn),
    expiresMs: expiry === undefined ? 0 : Date.now() + expiry * 1_000,
    publisher: session.clientId,
  };
}
