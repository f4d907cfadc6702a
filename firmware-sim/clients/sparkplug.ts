// Owns speaking Sparkplug B 3.0 as an edge node with one device: births with names and aliases, data by alias, the death
// as MQTT will, a rebirth when asked. PUBACK means on disk. Counts its messages 0 to 255 per connection.
import type { Client, Message, Outcome } from './client.ts';
import { MqttDevice, type MqttOptions } from './mqtt.ts';
import { encodeSparkplug, type Metric } from './sparkplug-payload.ts';

const BD_SEQ = 'bdSeq';
const REBIRTH = 'Node Control/Rebirth';

interface Place {
  readonly group: string;
  readonly edge: string;
  readonly device: string;
}

export class SparkplugDevice implements Client {
  readonly #options: Omit<MqttOptions, 'version'>;
  #mqtt: MqttDevice | null = null;
  #place: Place | null = null;
  #names: readonly string[] = [];
  #bdSeq = -1;
  #seq = 0;
  onLost: ((detail: string) => void) | null = null;

  constructor(options: Omit<MqttOptions, 'version'>) {
    this.#options = options;
  }

  get maxInFlight(): number {
    return this.#mqtt?.maxInFlight ?? 1;
  }

  /** The edge node connects when it knows from its first reading what it measures. */
  async open(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    await this.close();
    if (this.#place) await this.#connect(this.#place, signal);
  }

  async send({ topic, payload }: Message): Promise<Outcome> {
    const { ts, ...values } = JSON.parse(payload) as { ts: number } & Record<string, number>;
    if (!this.#place) {
      const [, group, , edge, device] = topic.split('/') as [string, string, string, string, string];
      this.#place = { group, edge, device };
      this.#names = Object.keys(values);
    }
    try {
      if (!this.#mqtt) await this.#connect(this.#place, AbortSignal.timeout(15_000));
    } catch (error) {
      return { kind: 'lost', detail: error instanceof Error ? error.message : String(error) };
    }
    const metrics = Object.entries(values).map(([name, value]) =>
      metricOf(name, value, this.#names.indexOf(name), false),
    );
    const bytes = encodeSparkplug({ timestampMs: ts, seq: this.#count(), metrics });
    const outcome = await this.#mqtt!.send({ topic, payload: bytes });
    return outcome.kind === 'acked' ? { ...outcome, stored: { topic, payload: bytes } } : outcome;
  }

  async close(): Promise<void> {
    const mqtt = this.#mqtt;
    this.#mqtt = null;
    await mqtt?.close();
  }

  #connecting: Promise<void> | null = null;

  /** Several messages may ask at once; one connection serves them. */
  #connect(place: Place, signal: AbortSignal): Promise<void> {
    this.#connecting ??= this.#connectOnce(place, signal).finally(() => {
      this.#connecting = null;
    });
    return this.#connecting;
  }

  async #connectOnce({ group, edge }: Place, signal: AbortSignal): Promise<void> {
    this.#bdSeq = (this.#bdSeq + 1) % 256;
    const mqtt = new MqttDevice({
      ...this.#options,
      version: 4,
      will: () => ({
        topic: `spBv1.0/${group}/NDEATH/${edge}`,
        payload: encodeSparkplug({ metrics: [this.#birthCount()] }),
      }),
      subscribe: {
        filter: `spBv1.0/${group}/NCMD/${edge}`,
        // The only command this node knows is to be born again.
        onMessage: () => this.#beBorn(mqtt),
      },
    });
    await mqtt.open(signal);
    this.#mqtt = mqtt;
    mqtt.onLost = (detail) => this.onLost?.(detail);
    this.#beBorn(mqtt);
  }

  #beBorn(mqtt: MqttDevice): void {
    if (!this.#place) return;
    const { group, edge, device } = this.#place;
    this.#seq = 0;
    const timestampMs = Date.now();
    const node = [this.#birthCount(), { name: REBIRTH, type: 'boolean', value: 0 } as const];
    const born = this.#names.map((name, alias) => metricOf(name, 0, alias, true));
    void mqtt.send({
      topic: `spBv1.0/${group}/NBIRTH/${edge}`,
      payload: encodeSparkplug({ timestampMs, seq: this.#count(), metrics: node }),
    });
    void mqtt.send({
      topic: `spBv1.0/${group}/DBIRTH/${edge}/${device}`,
      payload: encodeSparkplug({ timestampMs, seq: this.#count(), metrics: born }),
    });
  }

  #birthCount(): Metric {
    return { name: BD_SEQ, type: 'int64', value: this.#bdSeq };
  }

  #count(): number {
    const seq = this.#seq;
    this.#seq = (this.#seq + 1) % 256;
    return seq;
  }
}

/** Data names its metrics by alias alone; the birth tells which is which. */
function metricOf(name: string, value: number, alias: number, birth: boolean): Metric {
  const type = name === 'seq' ? 'int64' : 'double';
  return { ...(birth && { name }), alias, type, value };
}
