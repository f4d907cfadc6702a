// The gateway's own figures as `$SYS/broker/…` messages, for MQTT tools that look there. They are never records.
import type { MqttFigures } from './figures.ts';
import type { Message } from './message.ts';
import { matches } from './topic-filter.ts';

const INTERVAL_MS = 10_000;

export class SysTopics {
  readonly #figures: () => MqttFigures;
  readonly #startedMs = performance.now();
  #lastMs = performance.now();

  constructor(figures: () => MqttFigures) {
    this.#figures = figures;
  }

  matching(filter: readonly string[]): Message[] {
    return this.#all().filter(({ topic }) => matches(filter, topic.split('/')));
  }

  /** All of them every ten seconds, else none. */
  due(nowMs: number): readonly Message[] {
    if (nowMs - this.#lastMs < INTERVAL_MS) return [];
    this.#lastMs = nowMs;
    return this.#all();
  }

  #all(): Message[] {
    const figures = this.#figures();
    const seconds = Math.floor((performance.now() - this.#startedMs) / 1_000);
    const values: readonly (readonly [string, number | string])[] = [
      ['version', 'tidemark'],
      ['uptime', `${seconds} seconds`],
      ['clients/connected', figures.connections],
      ['clients/sessions', figures.sessions],
      ['subscriptions/count', figures.subscriptions],
      ['retained messages/count', figures.retained],
      ['store/messages/count', figures.queued],
      ['publish/messages/dropped', figures.forwardDropped + figures.queueRefused],
    ];
    return values.map(([name, value]) => ({
      topic: `$SYS/broker/${name}`,
      payload: new TextEncoder().encode(String(value)),
      qos: 0,
      retain: true,
      properties: NONE,
      expiresMs: 0,
      publisher: '',
    }));
  }
}

const NONE = new Uint8Array(0);
