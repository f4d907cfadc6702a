// Owns speaking MQTT 3.1.1 as firmware does: QoS 1, PUBACK means on disk.
import { connect, type MqttClient } from 'mqtt';
import type { Client, Message, Outcome } from './client.ts';

const CONNECT_TIMEOUT_MS = 5_000;
const KEEP_ALIVE_SECONDS = 30;

export class MqttDevice implements Client {
  readonly #url: string;
  readonly #clientId: string;
  #client: MqttClient | null = null;
  readonly #owed = new Set<(outcome: Outcome) => void>();

  constructor(url: string, clientId: string) {
    this.#url = url;
    this.#clientId = clientId;
  }

  async open(signal: AbortSignal): Promise<void> {
    await this.close();
    signal.throwIfAborted();
    // The library's own reconnect and re-send are off: the outbox decides what is sent again, and in what order.
    const client = connect(this.#url, {
      clientId: this.#clientId,
      protocolVersion: 4,
      clean: true,
      reconnectPeriod: 0,
      resubscribe: false,
      connectTimeout: CONNECT_TIMEOUT_MS,
      keepalive: KEEP_ALIVE_SECONDS,
    });
    this.#client = client;
    const opened = Promise.withResolvers<void>();
    const onAbort = () => opened.reject(new Error('stopped while connecting'));
    signal.addEventListener('abort', onAbort, { once: true });
    client.once('connect', () => opened.resolve());
    client.on('error', (error) => opened.reject(error));
    client.on('close', () => {
      opened.reject(new Error('the connection was closed'));
      this.#drop(client);
    });
    try {
      await opened.promise;
    } catch (error) {
      this.#drop(client);
      throw error;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  send({ topic, payload }: Message): Promise<Outcome> {
    const client = this.#client;
    if (!client) return Promise.resolve({ kind: 'lost', detail: 'not connected' });
    return new Promise((resolve) => {
      const settle = (outcome: Outcome) => {
        this.#owed.delete(settle);
        resolve(outcome);
      };
      this.#owed.add(settle);
      client.publish(topic, payload, { qos: 1 }, (error) => {
        // MQTT 3.1.1 cannot refuse a single publish: an error is always the end of the connection.
        if (!error) settle({ kind: 'acked', duplicate: false });
      });
    });
  }

  async close(): Promise<void> {
    if (this.#client) this.#drop(this.#client);
  }

  #drop(client: MqttClient): void {
    client.end(true);
    if (this.#client !== client) return;
    this.#client = null;
    for (const settle of [...this.#owed]) settle({ kind: 'lost', detail: 'the connection was closed' });
  }
}
