// What arrived at an MQTT broker, seen by a real subscriber; tests await counts, not time.
import { connect, type IPublishPacket, type MqttClient } from 'mqtt';

export interface Arrival {
  readonly topic: string;
  readonly payload: Buffer;
  readonly properties: NonNullable<IPublishPacket['properties']>;
}

export class Collector {
  readonly arrivals: Arrival[] = [];
  readonly #client: MqttClient;
  #changed = Promise.withResolvers<void>();
  #subscribed = Promise.withResolvers<void>();

  constructor(url: string, login: { username?: string; password?: string } = {}) {
    this.#client = connect(url, { protocolVersion: 5, reconnectPeriod: 20, resubscribe: false, ...login });
    this.#client.on('connect', () => {
      // QoS 0: the broker passes a message on before it acknowledges it, and the test's own link is sound.
      this.#client.subscribe(['#', '$tidemark/#'], { qos: 0 }, (error) => {
        if (!error) this.#subscribed.resolve();
      });
    });
    this.#client.on('close', () => {
      this.#subscribed = Promise.withResolvers<void>();
    });
    this.#client.on('error', () => {});
    this.#client.on('message', (topic, payload, packet) => {
      this.arrivals.push({ topic, payload, properties: packet.properties ?? {} });
      const changed = this.#changed;
      this.#changed = Promise.withResolvers<void>();
      changed.resolve();
    });
  }

  /** Resolves once subscribed on the present connection. */
  async ready(): Promise<void> {
    await this.#subscribed.promise;
  }

  /** Resolves at the first arrival for which `enough` holds. */
  async until(enough: (arrivals: readonly Arrival[]) => boolean): Promise<void> {
    while (!enough(this.arrivals)) await this.#changed.promise;
  }

  texts(): string[] {
    return this.arrivals.map((arrival) => arrival.payload.toString());
  }

  async stop(): Promise<void> {
    await this.#client.endAsync(true);
  }
}
