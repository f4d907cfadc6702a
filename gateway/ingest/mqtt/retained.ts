// The last retained message of each topic [MQTT-3.3.1-5], as many as the limits allow. What does not fit is counted and
// not kept.
import type { MqttConfig } from './config.ts';
import { bytesOf, isExpired, type Message } from './message.ts';
import type { SessionStore } from './session-store.ts';
import { matches } from './topic-filter.ts';

interface Kept {
  readonly message: Message;
  readonly levels: readonly string[];
}

export class Retained {
  readonly #config: MqttConfig;
  readonly #store: SessionStore;
  readonly #messages = new Map<string, Kept>();
  #bytes = 0;
  #refused = 0;

  constructor(config: MqttConfig, store: SessionStore) {
    this.#config = config;
    this.#store = store;
  }

  get size(): number {
    return this.#messages.size;
  }

  get refused(): number {
    return this.#refused;
  }

  restore(messages: readonly Message[]): void {
    for (const message of messages) this.#set(message);
  }

  /** An empty payload takes the topic's message away [MQTT-3.3.1-10]. */
  put(message: Message): void {
    const before = this.#messages.get(message.topic)?.message;
    const beforeBytes = before === undefined ? 0 : bytesOf(before);
    if (message.payload.length === 0) {
      if (before !== undefined) this.#remove(before);
      return;
    }
    const { maxRetained, maxRetainedBytes } = this.#config;
    const full = before === undefined && this.#messages.size >= maxRetained;
    if (full || this.#bytes - beforeBytes + bytesOf(message) > maxRetainedBytes || this.#store.isBehind) {
      this.#refused += 1;
      return;
    }
    this.#set(message);
    this.#store.put({ kind: 'retained', message });
  }

  /** Those that fit the filter's levels. */
  matching(filter: readonly string[]): Message[] {
    const nowMs = Date.now();
    const found: Message[] = [];
    const isPlain = !filter.includes('+') && !filter.includes('#');
    const kept = isPlain ? [this.#messages.get(filter.join('/'))] : this.#messages.values();
    for (const entry of kept) {
      if (entry === undefined || (!isPlain && !matches(filter, entry.levels))) continue;
      if (isExpired(entry.message, nowMs)) this.#remove(entry.message);
      else found.push(entry.message);
    }
    return found;
  }

  #set(message: Message): void {
    const before = this.#messages.get(message.topic)?.message;
    if (before !== undefined) this.#bytes -= bytesOf(before);
    this.#messages.set(message.topic, { message, levels: message.topic.split('/') });
    this.#bytes += bytesOf(message);
  }

  #remove(message: Message): void {
    this.#messages.delete(message.topic);
    this.#bytes -= bytesOf(message);
    this.#store.put({ kind: 'retained-gone', topic: message.topic });
  }
}
