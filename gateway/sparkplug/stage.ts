// Owns the Sparkplug stage: reads what came under spBv1.0/# from the log, writes each payload's metrics by name as
// records of their own, and asks edge nodes for their births. Refuses to touch the payload as it was sent.
import { SOURCE, type TelemetryRecord } from '../../ledger/format/record.ts';
import { CLOCK_HEADER, type ClockLimits, clockFlag } from '../codecs/clock.ts';
import { FIELDS_MAX } from '../codecs/fields.ts';
import { ProtobufError } from '../codecs/protobuf.ts';
import {
  decodeSparkplug,
  parseSparkplugTopic,
  type SparkplugPayload,
  type SparkplugTopic,
  sparkplugDevice,
} from '../codecs/sparkplug.ts';
import { leavesOf, type MetricValue } from '../codecs/sparkplug-values.ts';
import type { DerivedResult } from '../stage/derived.ts';
import { type Derivation, runDerivation } from '../stage/deriving.ts';
import { isDeviceRecord, SPARKPLUG_PREFIX } from '../stage/inputs.ts';
import type { StageContext } from '../stage/types.ts';
import type { SparkplugConfig } from './config.ts';
import { type NamedMetric, SparkplugNodes } from './nodes.ts';
import { rebirthPayload, rebirthTopic } from './rebirth.ts';

export interface SparkplugStageConfig {
  readonly sparkplug: SparkplugConfig;
  /** `ingest.clock`: metrics bring device times of their own. */
  readonly clock: ClockLimits;
}

/** Publishes to the edge node; the topic is its NCMD topic. */
export type PublishCommand = (topic: string, payload: Uint8Array) => void;

interface SparkplugOptions extends SparkplugStageConfig {
  readonly publish: PublishCommand;
  readonly now: () => number;
}

/** A record's metrics of one time are told apart by this, for windows: the time is the record's. */
interface Group {
  readonly eventMs: number;
  readonly isHistorical: boolean;
  readonly metrics: [string, MetricValue][];
  /** Values in them: a data set has many. */
  leaves: number;
}

export class SparkplugDerivation implements Derivation {
  readonly #options: SparkplugOptions;
  readonly #nodes: SparkplugNodes;
  /** When an edge node was asked last, by its NCMD topic. Lost at a restart: it may be asked once more. */
  readonly #asked = new Map<string, number>();
  readonly #counts = { malformed: 0, rebirthsRequested: 0 };

  constructor(options: SparkplugOptions, state: Uint8Array | null) {
    this.#options = options;
    this.#nodes = new SparkplugNodes(options.sparkplug);
    if (state) this.#nodes.restore(state);
  }

  async feed(records: readonly TelemetryRecord[]): Promise<readonly DerivedResult[]> {
    return records.flatMap((record) => this.#take(record));
  }

  serialise(): Uint8Array {
    return this.#nodes.serialise();
  }

  figures() {
    return { ...this.#nodes.figures(), ...this.#counts };
  }

  #take(record: TelemetryRecord): DerivedResult[] {
    const topic = isDeviceRecord(record) ? parseSparkplugTopic(record.topic) : null;
    if (topic === null) return [];
    if (topic.type === 'STATE') {
      this.#host(topic.node, record.payload);
      return [];
    }
    let payload: SparkplugPayload;
    try {
      payload = decodeSparkplug(record.payload);
    } catch (error) {
      if (!(error instanceof ProtobufError)) throw error;
      this.#counts.malformed += 1;
      return [];
    }
    const { metrics, rebirth } = this.#nodes.take(topic, payload);
    if (rebirth !== null) this.#askForBirth(topic, record.receivedMs);
    return this.#results(record, topic, payload, metrics);
  }

  /** STATE is JSON {"online":bool,"timestamp":ms} [tck-id-host-topic-phid-birth-payload]. */
  #host(name: string, payload: Uint8Array): void {
    try {
      const state = JSON.parse(Buffer.from(payload).toString('utf8')) as { online?: unknown } | null;
      this.#nodes.host(name, state?.online === true);
    } catch {
      this.#counts.malformed += 1;
    }
  }

  #results(
    record: TelemetryRecord,
    topic: SparkplugTopic,
    payload: SparkplugPayload,
    metrics: readonly NamedMetric[],
  ): DerivedResult[] {
    const device = sparkplugDevice(topic);
    return groupsOf(metrics, payload.timestampMs ?? record.eventMs).map((group, index) => {
      const flag = clockFlag(group.eventMs, record.receivedMs, this.#options.clock);
      const headers = [
        ['sparkplug', Buffer.from(topic.type)],
        ...(group.isHistorical ? [['sparkplug-historical', Buffer.from('true')]] : []),
        ...(flag ? [[CLOCK_HEADER, Buffer.from(flag)]] : []),
      ] as [string, Uint8Array][];
      return {
        topic: SPARKPLUG_PREFIX + device,
        device,
        // The record it was sent in, and which part of it.
        key: `${record.offset}/${index}`,
        eventMs: group.eventMs,
        payload: Object.fromEntries(group.metrics),
        headers,
      };
    });
  }

  /** An edge node is asked for what it sends now, not for what is read again after a restart. */
  #askForBirth({ group, node }: SparkplugTopic, receivedMs: number): void {
    const { sparkplug, publish, now } = this.#options;
    if (!sparkplug.rebirth) return;
    const nowMs = now();
    const topic = rebirthTopic(group, node);
    const askedMs = this.#asked.get(topic) ?? Number.NEGATIVE_INFINITY;
    if (nowMs - receivedMs > sparkplug.rebirthIntervalMs || nowMs - askedMs < sparkplug.rebirthIntervalMs)
      return;
    this.#asked.delete(topic);
    this.#asked.set(topic, nowMs);
    if (this.#asked.size > sparkplug.maxNodes) this.#asked.delete(this.#asked.keys().next().value!);
    this.#counts.rebirthsRequested += 1;
    publish(topic, rebirthPayload(nowMs));
  }
}

/** By time and by whether they are history, in payload order; no more values in one record than windows read fields, unless one metric has more. */
function groupsOf(metrics: readonly NamedMetric[], payloadMs: number): Group[] {
  const groups: Group[] = [];
  const open = new Map<string, Group>();
  for (const { name, value, timestampMs, isHistorical } of metrics) {
    const eventMs = timestampMs ?? payloadMs;
    const key = `${eventMs} ${isHistorical}`;
    let group = open.get(key);
    const leaves = Math.max(1, leavesOf(value));
    if (group === undefined || (group.leaves > 0 && group.leaves + leaves > FIELDS_MAX)) {
      group = { eventMs, isHistorical, metrics: [], leaves: 0 };
      open.set(key, group);
      groups.push(group);
    }
    group.metrics.push([name, value]);
    group.leaves += leaves;
  }
  return groups;
}

export async function sparkplugStage(context: StageContext<SparkplugStageConfig>): Promise<void> {
  const publish: PublishCommand = (topic, payload) => {
    context.log('info', 'an edge node is asked for its births', { topic });
    context.publish?.(topic, payload);
  };
  await runDerivation(context, {
    source: SOURCE.gateway,
    restore: (state) => new SparkplugDerivation({ ...context.config, publish, now: Date.now }, state),
  });
}
