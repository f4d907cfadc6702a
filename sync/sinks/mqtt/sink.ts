// Owns publishing records to an MQTT broker with QoS 1, in order, within the broker's and our own window.
// Repeats nothing and keeps no cursor: a lost connection fails what is unacknowledged.
import type { TelemetryRecord } from '../../../ledger/format/record.ts';
import type { Credentials } from '../../credentials.ts';
import { type Sink, SinkError } from '../../sink.ts';
import { type MqttConnection, type MqttTarget, openConnection } from './connection.ts';
import { upstreamPayload, upstreamProperties, upstreamTopic } from './message.ts';

export interface MqttSinkOptions extends MqttTarget {
  /** 5 falls back to 4 where the broker refuses it. */
  readonly protocolVersion: 4 | 5;
  readonly topicPrefix: string;
  readonly envelope: 'none' | 'json';
  /** Publishes on their way to the broker at once; the broker's own receive maximum may be lower. */
  readonly maxInFlight: number;
  /** No acknowledgement for this long while some are owed: the connection counts as lost. */
  readonly ackTimeoutMs: number;
  /** Called at each connect, so that secrets can be rotated and are not kept. */
  readonly credentials: () => Promise<Credentials>;
}

interface Batch {
  readonly records: readonly TelemetryRecord[];
  published: number;
  acked: number;
  readonly resolve: () => void;
  readonly reject: (error: SinkError) => void;
}

/** One connection and what is owed on it; replaced as a whole, so a late answer cannot reach the next one. */
interface Link extends MqttConnection {
  readonly batches: Batch[];
  /** The first batch of `batches` that is not fully published. */
  publishing: number;
  inFlight: number;
  ackDue: NodeJS.Timeout | null;
}

const CLOSE_WAIT_MS = 500;

export class MqttSink implements Sink {
  readonly #options: MqttSinkOptions;
  #link: Link | null = null;
  /** Why there is no link. */
  #reason = new SinkError('CLOSED', 'not connected');

  constructor(options: MqttSinkOptions) {
    this.#options = options;
  }

  /** The MQTT version spoken, or null while not connected. */
  get version(): 4 | 5 | null {
    return this.#link?.version ?? null;
  }

  async connect(signal: AbortSignal): Promise<void> {
    await this.close();
    const credentials = await this.#options.credentials();
    const connection = await openConnection(
      this.#options,
      this.#options.protocolVersion,
      credentials,
      signal,
    );
    const link: Link = { ...connection, batches: [], publishing: 0, inFlight: 0, ackDue: null };
    this.#link = link;
    link.client.once('close', () =>
      this.#drop(
        link,
        new SinkError('LOST', `the connection to ${this.#options.url} ended`, {
          facts: { url: this.#options.url },
        }),
      ),
    );
  }

  send(records: readonly TelemetryRecord[]): Promise<void> {
    const link = this.#link;
    if (!link) return Promise.reject(this.#reason);
    if (records.length === 0) return Promise.resolve();
    return new Promise((resolve, reject) => {
      link.batches.push({ records, published: 0, acked: 0, resolve, reject });
      this.#publish(link);
    });
  }

  async close(): Promise<void> {
    const link = this.#link;
    this.#reason = new SinkError('CLOSED', 'the sink was closed');
    if (!link) return;
    const closed = new Promise<void>((resolve) => link.client.once('close', () => resolve()));
    const polite = link.inFlight === 0 && link.client.connected;
    this.#drop(link, this.#reason, polite);
    // A broker that does not answer our DISCONNECT by closing is not waited for.
    const timer = setTimeout(() => link.client.stream.destroy(), CLOSE_WAIT_MS);
    await closed;
    clearTimeout(timer);
  }

  #publish(link: Link): void {
    const { maxInFlight, topicPrefix, envelope } = this.#options;
    const limit = Math.min(maxInFlight, link.receiveMaximum);
    while (this.#link === link && link.inFlight < limit) {
      const batch = link.batches[link.publishing];
      if (!batch) return;
      const record = batch.records[batch.published]!;
      batch.published += 1;
      if (batch.published === batch.records.length) link.publishing += 1;
      link.inFlight += 1;
      if (!link.ackDue) this.#watch(link);
      link.client.publish(
        upstreamTopic(record.topic, topicPrefix),
        upstreamPayload(record, envelope),
        link.version === 5 ? { qos: 1, properties: upstreamProperties(record, envelope) } : { qos: 1 },
        (error) => (error ? this.#onRefused(link, record, error) : this.#onAcked(link, batch)),
      );
    }
  }

  #onAcked(link: Link, batch: Batch): void {
    if (this.#link !== link) return;
    link.inFlight -= 1;
    batch.acked += 1;
    this.#watch(link);
    if (batch.acked === batch.records.length) {
      batch.resolve();
      link.batches.splice(link.batches.indexOf(batch), 1);
      link.publishing -= 1;
    }
    this.#publish(link);
  }

  /** MQTT 5 refuses single publishes by a reason code; an error without one is the connection's end. */
  #onRefused(link: Link, record: TelemetryRecord, error: Error): void {
    if (!('code' in error) || typeof error.code !== 'number') return; // 'close' follows and says it
    this.#drop(
      link,
      new SinkError(
        'RECORD_REFUSED',
        `${this.#options.url} refuses record ${record.offset}: ${error.message}`,
        {
          facts: {
            url: this.#options.url,
            offset: record.offset,
            topic: record.topic,
            reasonCode: error.code,
          },
          hint: 'allow the topic upstream, or leave it out of the topics of this forwarder',
        },
      ),
    );
  }

  /**
   * Restarts the wait for the next acknowledgement; called when one came, or when the first is owed.
   * A broker that stops answering without closing (stopped process, cut cable) must not stall us for ever.
   */
  #watch(link: Link): void {
    if (link.inFlight === 0) {
      if (link.ackDue) clearTimeout(link.ackDue);
      link.ackDue = null;
    } else if (link.ackDue) {
      link.ackDue.refresh();
    } else {
      const { ackTimeoutMs, url } = this.#options;
      link.ackDue = setTimeout(() => {
        this.#drop(
          link,
          new SinkError('LOST', `${url} acknowledged nothing for ${ackTimeoutMs} ms`, {
            facts: { url, ackTimeoutMs },
          }),
        );
      }, ackTimeoutMs);
    }
  }

  #drop(link: Link, reason: SinkError, polite = false): void {
    if (this.#link !== link) return;
    this.#link = null;
    this.#reason = reason;
    if (link.ackDue) clearTimeout(link.ackDue);
    link.client.end(!polite);
    for (const batch of link.batches) batch.reject(reason);
  }
}
