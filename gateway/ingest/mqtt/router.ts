// Who hears what: subscriptions, retained messages, and each message to all it is for. Knows sessions, no connections.

import type { Principal } from '../../access/types.ts';
import type { Admission } from '../../admission/admission.ts';
import type { MqttConfig } from './config.ts';
import type { Subscription } from './decode.ts';
import type { Message } from './message.ts';
import { messageOf, type Publish } from './publish.ts';
import { REASON } from './reason.ts';
import { Retained } from './retained.ts';
import type { Session } from './session.ts';
import type { SessionStore } from './session-store.ts';
import type { SysTopics } from './sys-topics.ts';
import { parseFilter, plainFilter } from './topic-filter.ts';
import { type Match, type Matches, TopicTree } from './topic-tree.ts';

export interface RouterOptions {
  readonly config: MqttConfig;
  readonly admission: Admission;
  readonly store: SessionStore;
  readonly sys: SysTopics;
}

export class Router {
  readonly retained: Retained;
  readonly #options: RouterOptions;
  readonly #tree = new TopicTree<Session>();

  constructor(options: RouterOptions) {
    this.#options = options;
    this.retained = new Retained(options.config, options.store);
  }

  get subscriptions(): number {
    return this.#tree.size;
  }

  /** As read back from the store. */
  restore(session: Session, subscriptions: readonly Subscription[]): void {
    for (const subscription of subscriptions) {
      session.subscriptions.set(subscription.filter, subscription);
      this.#tree.add(session, subscription);
    }
  }

  /** It is over. */
  forget(session: Session): void {
    for (const filter of session.subscriptions.keys()) this.#tree.remove(session, filter);
  }

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
        this.#options.admission.countRefusal('mqtt', 'not-allowed');
        return isV5 ? REASON.notAuthorized : REASON.unspecified;
      }
      const isNew = !session.subscriptions.has(filter);
      if (isNew && session.subscriptions.size >= this.#options.config.maxSubscriptions)
        return isV5 ? REASON.quotaExceeded : REASON.unspecified;
      session.subscriptions.set(filter, subscription);
      this.#tree.add(session, subscription);
      if (session.isPersistent)
        this.#options.store.put({ kind: 'subscription', client: session.clientId, subscription });
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
    if (session.isPersistent) this.#options.store.whenStored(go);
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
        this.#options.store.put({ kind: 'subscription-gone', client: session.clientId, filter });
      return REASON.success;
    });
    const { link } = session;
    if (!session.isPersistent) answer(codes);
    else this.#options.store.whenStored(() => session.link === link && answer(codes));
  }

  /** On a new connection: rights may have been taken away meanwhile. */
  dropForbidden(session: Session, principal: Principal): void {
    for (const filter of [...session.subscriptions.keys()])
      if (!principal.maySubscribe(plainFilter(filter))) this.unsubscribe(session, [filter], () => {});
  }

  #sendRetained(session: Session, { filter, qos, id }: Subscription): void {
    const { levels } = parseFilter(filter);
    const ids = id === 0 ? NO_IDS : [id];
    const messages =
      levels[0] === '$SYS' ? this.#options.sys.matching(levels) : this.retained.matching(levels);
    for (const message of messages)
      session.offer(message, Math.min(message.qos, qos) as Message['qos'], true, ids, true);
  }

  /** To all who have subscribed, and into what is retained. */
  route(publish: Publish): void {
    const matches = this.#tree.match(publish.topic);
    const isHeard = matches.plain.length > 0 || matches.shared.length > 0;
    if (!isHeard && !publish.retain) return;
    const message = messageOf(publish);
    if (publish.retain) this.retained.put(message);
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

  /** The gateway's own figures, to whoever has subscribed to them. */
  publishFigures(nowMs: number): void {
    for (const message of this.#options.sys.due(nowMs)) {
      const matches = this.#tree.match(message.topic);
      if (matches.plain.length + matches.shared.length > 0) this.#deliver(message, matches);
    }
  }
}

const NO_IDS: readonly number[] = [];
const NO_MORE: readonly Match<Session>[] = [];

/** [MQTT5-3.8.3-3] */
function isOwn(message: Message, { subscriber, subscription }: Match<Session>): boolean {
  return subscription.noLocal && message.publisher === subscriber.clientId;
}
