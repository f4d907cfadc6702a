// The devices heard of: a bounded table in memory, fed after durability. Holds no identity and no rights.
import type { Source } from '../../ledger/format/record.ts';
import { RecentMap } from './recent-map.ts';

const TOPICS_MAX = 32;

export interface DeviceSeen {
  readonly device: string;
  /** The first topics it used, at most 32. */
  readonly topics: readonly string[];
  /** Records stored since the table knows it. */
  readonly records: number;
  /** Gateway time of its latest record, unix ms. */
  readonly lastMs: number;
  readonly lastOffset: number;
  /** What its latest record came by. */
  readonly source: Source;
}

interface Entry {
  topics: string[];
  lastTopic: string;
  records: number;
  lastMs: number;
  lastOffset: number;
  source: Source;
}

export class DeviceTable {
  readonly #entries: RecentMap<Entry>;
  #forgotten = 0;

  constructor(maxDevices: number) {
    this.#entries = new RecentMap(maxDevices, () => {
      this.#forgotten += 1;
    });
  }

  get size(): number {
    return this.#entries.size;
  }

  get forgotten(): number {
    return this.#forgotten;
  }

  /** One durable record of the device. */
  seen(device: string, topic: string, receivedMs: number, offset: number, source: Source): void {
    const entry = this.#entries.touch(device);
    if (entry === undefined) {
      const first = {
        topics: [topic],
        lastTopic: topic,
        records: 1,
        lastMs: receivedMs,
        lastOffset: offset,
        source,
      };
      this.#entries.add(device, first);
      return;
    }
    entry.records += 1;
    entry.lastMs = receivedMs;
    entry.lastOffset = offset;
    entry.source = source;
    if (entry.lastTopic !== topic) {
      entry.lastTopic = topic;
      if (entry.topics.length < TOPICS_MAX && !entry.topics.includes(topic)) entry.topics.push(topic);
    }
  }

  /** From the least recently heard on; what export() gave. */
  restore(device: DeviceSeen): void {
    const { topics, records, lastMs, lastOffset, source } = device;
    if (this.#entries.touch(device.device) !== undefined) return;
    this.#entries.add(device.device, {
      topics: topics.slice(0, TOPICS_MAX),
      lastTopic: '',
      records,
      lastMs,
      lastOffset,
      source,
    });
  }

  /** From the least recently heard on. */
  export(): DeviceSeen[] {
    return [...this.#entries.entries()].map(([device, { topics, records, lastMs, lastOffset, source }]) => {
      return { device, topics: [...topics], records, lastMs, lastOffset, source };
    });
  }

  /** By name. */
  list(): DeviceSeen[] {
    return this.export().sort((a, b) => (a.device < b.device ? -1 : a.device > b.device ? 1 : 0));
  }
}
