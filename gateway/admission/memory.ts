// What admission remembers across restarts: the duplicate guard and the device table, from the last snapshot plus
// the log since then. Refuses a snapshot the log does not bear out.
import { offset as asOffset, type Offset } from '../../ledger/format/brand.ts';
import { SOURCE, type TelemetryRecord } from '../../ledger/format/record.ts';
import { LogError, type LogReader } from '../log/types.ts';
import type { Cursor } from '../state/state.ts';
import type { Chores } from '../threads/chores.ts';
import type { IngestConfig } from './config.ts';
import { DeviceTable } from './devices.ts';
import { DuplicateGuard, fingerprint } from './duplicates.ts';
import { GivenReader } from './given.ts';
import { MESSAGE_ID_HEADER, MessageIds, messageDigest } from './message-ids.ts';
import { hasTimeHeader, headerText, sentTopic } from './record.ts';
import { SnapshotSaver } from './saver.ts';
import { decodeSnapshot, encodeSnapshot } from './snapshot.ts';
import type { TopicRules } from './topics.ts';
import type { IngestLogger } from './types.ts';

/** How often it is asked whether a snapshot is due. */
const LOOK_MS = 1_000;
const REPLAY_FETCH_BYTES = 4 * 1024 * 1024;
const DEVICE_SOURCES: ReadonlySet<number> = new Set([SOURCE.mqtt, SOURCE.websocket, SOURCE.http]);

/** A snapshot is due this often at least, in intervals, when any records came. */
const IDLE_INTERVALS = 30;

/**
 * Whether to save now: a start must not have to read back much, and a snapshot of some MiB for a few records wears out cards.
 * `records` and `elapsedMs`: since the last one.
 */
export function isSnapshotDue(
  { snapshotIntervalMs, maxReplayRecords }: Pick<IngestConfig, 'snapshotIntervalMs' | 'maxReplayRecords'>,
  { records, elapsedMs }: { readonly records: number; readonly elapsedMs: number },
): boolean {
  if (records <= 0) return false;
  if (records >= maxReplayRecords / 2) return true;
  const intervals = records >= maxReplayRecords / 10 ? 1 : IDLE_INTERVALS;
  return elapsedMs >= intervals * snapshotIntervalMs;
}

export interface AdmissionMemoryOptions {
  readonly config: IngestConfig;
  readonly dataDir: string;
  readonly chores: Chores;
  readonly logger: IngestLogger;
}

export class AdmissionMemory {
  readonly devices: DeviceTable;
  readonly duplicates: DuplicateGuard;
  readonly messages: MessageIds;
  readonly #given = new GivenReader();
  readonly #options: AdmissionMemoryOptions;
  readonly #topics: TopicRules;
  /** One past the last record that guard and table know of. */
  #next = 0;
  #savedNext = -1;
  /** By performance.now(); of a try too. */
  #savedMs = performance.now();
  #saver: SnapshotSaver | null = null;
  #timer: NodeJS.Timeout | null = null;
  #saving: Promise<void> = Promise.resolve();
  #isSaving = false;
  #snapshots = 0;
  #snapshotFailures = 0;

  /** `topics` read the log with the rules of this start: they need not change later. */
  constructor(options: AdmissionMemoryOptions, topics: TopicRules) {
    const { duplicates, maxDevices } = options.config;
    this.#options = options;
    this.#topics = topics;
    this.devices = new DeviceTable(maxDevices);
    this.duplicates = new DuplicateGuard({ ...duplicates, maxDevices });
    this.messages = new MessageIds(duplicates.messageIds);
  }

  /** Snapshots saved since start, and tries that failed. */
  get saves(): { readonly snapshots: number; readonly snapshotFailures: number } {
    return { snapshots: this.#snapshots, snapshotFailures: this.#snapshotFailures };
  }

  /** The record at `offset` is durable and known to guard and table. */
  reached(offset: Offset): void {
    this.#next = offset + 1;
  }

  async restore(reader: LogReader, cursor: Cursor | null): Promise<void> {
    const { config, logger } = this.#options;
    const start = await reader.start();
    const end = await reader.end();
    // A snapshot ahead of the log knows records that are gone; to trust it would be to acknowledge them unstored.
    const held = cursor?.state && cursor.next <= end ? cursor.state : null;
    const usable = held !== null && decodeSnapshot(held, this);
    if (cursor && !usable) {
      logger.warn({ next: cursor.next, end }, 'the admission snapshot does not fit the log and is not used');
    }
    if (cursor && usable) this.#savedNext = cursor.next;
    const from = Math.max(start, end - config.maxReplayRecords, cursor && usable ? cursor.next : 0);
    let next: number = from;
    while (next < end) next = await this.#replay(reader, asOffset(next), end);
    this.#next = next;
  }

  /** From now on saves snapshots as they are due. */
  startSaving(): void {
    const { config } = this.#options;
    this.#timer = setInterval(
      () => {
        const records = this.#next - this.#savedNext;
        const elapsedMs = performance.now() - this.#savedMs;
        if (isSnapshotDue(config, { records, elapsedMs })) this.#saveIfChanged();
      },
      Math.min(config.snapshotIntervalMs, LOOK_MS),
    );
    this.#timer.unref();
  }

  /** Saves what is not saved yet, then ends the saving. */
  async close(): Promise<void> {
    if (this.#timer) clearInterval(this.#timer);
    await this.#saving;
    this.#saveIfChanged();
    await this.#saving;
    await this.#saver?.close();
  }

  /** One fetch; answers where to go on. */
  async #replay(reader: LogReader, from: Offset, end: number): Promise<number> {
    let records: TelemetryRecord[];
    try {
      records = await reader.fetch(from, { maxBytes: REPLAY_FETCH_BYTES });
    } catch (error) {
      if (error instanceof LogError && typeof error.facts.resume === 'number' && error.facts.resume > from) {
        this.#options.logger.warn(
          { err: error },
          'damaged log: the duplicate guard does not know these records',
        );
        return error.facts.resume;
      }
      throw error;
    }
    for (const record of records) this.#learn(record);
    const last = records.at(-1);
    return last ? last.offset + 1 : end;
  }

  #learn(record: TelemetryRecord): void {
    const { device, topic, sequence, receivedMs, source, payload, offset } = record;
    if (!DEVICE_SOURCES.has(source)) return;
    this.devices.seen(device, topic, receivedMs, offset, source);
    const id = headerText(record.headers, MESSAGE_ID_HEADER);
    if (id !== null && this.messages.enabled) {
      const print = fingerprint(this.#topics.verdict(sentTopic(record)).crc, payload, null);
      this.messages.remember(messageDigest(device, id), { fingerprint: print, offset });
    } else if (sequence !== null && this.duplicates.enabled) {
      const { crc } = this.#topics.verdict(sentTopic(record));
      this.duplicates.remember(device, sequence, fingerprint(crc, payload, this.#givenMs(record)));
    }
  }

  /** The device's time as it was given, by protocol or payload; null where it gave none. */
  #givenMs(record: TelemetryRecord): number | null {
    const { eventMs, receivedMs, payload, contentType, sequence, headers } = record;
    if (eventMs !== receivedMs || hasTimeHeader(headers)) return eventMs;
    const { match } = this.#topics.verdict(sentTopic(record));
    this.#given.read({ eventMs: null, sequence, contentType }, { payload }, match);
    return this.#given.eventMs === null ? null : eventMs;
  }

  #saveIfChanged(): void {
    if (this.#next === this.#savedNext || this.#isSaving) return;
    this.#isSaving = true;
    this.#savedMs = performance.now();
    this.#saving = this.#save()
      .catch((error: unknown) => {
        this.#snapshotFailures += 1;
        this.#options.logger.warn({ err: error }, 'saving the admission snapshot failed');
      })
      .finally(() => {
        this.#isSaving = false;
      });
  }

  async #save(): Promise<void> {
    const next = this.#next;
    const state = await encodeSnapshot(this);
    if (this.#saver === null || this.#saver.ended)
      this.#saver = new SnapshotSaver(this.#options.chores, this.#options.dataDir);
    await this.#saver.save({ next: asOffset(next), state });
    this.#savedNext = next;
    this.#snapshots += 1;
  }
}
