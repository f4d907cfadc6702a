// Owns what arrived upstream: a subscriber at the broker that a forwarder sends to, and the judgement that every record
// of the log is there, first arrivals in the order of offsets. Repetitions are allowed: delivery is at least once.
import { connect, type MqttClient } from 'mqtt';
import type { HeldRecord } from './held.ts';
import { contentHash } from './truth.ts';

export interface SinkVerdict {
  /** Device records of the log from the run's beginning on. */
  readonly expected: number;
  readonly missing: number;
  /** First arrived before a record of a lower offset. */
  readonly reordered: number;
  /** Arrivals beyond the first of a record. */
  readonly repeated: number;
  readonly ok: boolean;
}

const DEVICE_SOURCES = 3;

/** Remembers each arrival by its content: some 120 bytes a record. */
export class SinkCollector {
  readonly #client: MqttClient;
  readonly #prefix: string;
  /** Content → place of its first arrival. */
  readonly #first = new Map<string, number>();
  #arrivals = 0;

  /** `prefix` is the forwarder's `topicPrefix`. */
  private constructor(client: MqttClient, prefix: string) {
    this.#client = client;
    this.#prefix = prefix;
    client.on('message', (topic, payload) => this.#hear(topic, payload));
  }

  /** Resolves once subscribed. Rejects when the broker cannot be reached. */
  static async open(url: string, prefix: string): Promise<SinkCollector> {
    const client = connect(url, { protocolVersion: 4, keepalive: 0, reconnectPeriod: 0 });
    await new Promise<void>((resolve, reject) => {
      client.once('connect', () => resolve());
      client.once('error', reject);
    });
    const collector = new SinkCollector(client, prefix);
    await client.subscribeAsync(`${prefix}#`, { qos: 1 });
    return collector;
  }

  get arrivals(): number {
    return this.#arrivals;
  }

  async close(): Promise<void> {
    await this.#client.endAsync(true);
  }

  /** Place of the first arrival of a record; undefined when it never came. */
  placeOf(topic: string, payload: Uint8Array): number | undefined {
    return this.#first.get(contentHash(topic, payload));
  }

  #hear(topic: string, payload: Buffer): void {
    this.#arrivals += 1;
    const key = contentHash(topic.slice(this.#prefix.length), payload);
    if (!this.#first.has(key)) this.#first.set(key, this.#first.size);
  }
}

export class SinkJudge {
  readonly #collector: SinkCollector;
  #expected = 0;
  #missing = 0;
  #reordered = 0;
  #last = -1;
  /** Places met already: an unnumbered record may stand in the log more than once. */
  readonly #met = new Set<number>();

  constructor(collector: SinkCollector) {
    this.#collector = collector;
  }

  hear({ source, topic, payload }: HeldRecord): void {
    if (source > DEVICE_SOURCES || topic.startsWith('$')) return;
    this.#expected += 1;
    const place = this.#collector.placeOf(topic, payload);
    if (place === undefined) this.#missing += 1;
    else if (this.#met.has(place)) return;
    else if (place < this.#last) this.#reordered += 1;
    else this.#last = place;
    if (place !== undefined) this.#met.add(place);
  }

  verdict(): SinkVerdict {
    const [expected, missing, reordered] = [this.#expected, this.#missing, this.#reordered];
    const repeated = Math.max(0, this.#collector.arrivals - (expected - missing));
    return { expected, missing, reordered, repeated, ok: missing + reordered === 0 };
  }
}
