// Keeps the newest derived records (anomalies, windows) in memory for reading and for the live tail. Owns no
// state: on start it searches the newest part of the log, then it watches what stages append. It does not follow
// the log record by record, because at full load that would cost the ingest thread more than ingest itself.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Offset, offset } from '../../ledger/format/brand.ts';
import { type RecordInput, recordToJson, SOURCE, type TelemetryRecord } from '../../ledger/format/record.ts';
import { type LogAppender, LogError, type LogReader } from '../log/types.ts';

export type DerivedKind = 'anomalies' | 'windows';

const TOPICS: Readonly<Record<DerivedKind, string>> = {
  anomalies: '$tidemark/anomalies/',
  windows: '$tidemark/windows/',
};

/** Bytes looked through per turn of the event loop while searching the log on start. */
const SEARCH_BYTES = 65_536;

function kindOf(record: RecordInput): DerivedKind | null {
  if (record.source === SOURCE.model && record.topic.startsWith(TOPICS.anomalies)) return 'anomalies';
  if (record.source === SOURCE.window && record.topic.startsWith(TOPICS.windows)) return 'windows';
  return null;
}

/** Records from `from` on, going past a damaged batch: what it held is fsck's business. */
async function fetchPast(reader: LogReader, from: Offset): Promise<TelemetryRecord[]> {
  try {
    return await reader.fetch(from, { maxBytes: SEARCH_BYTES });
  } catch (error) {
    const resume =
      error instanceof LogError && error.code === 'SEGMENT_DAMAGED' ? error.facts.resume : undefined;
    if (typeof resume !== 'number' || resume <= from) throw error;
    return fetchPast(reader, offset(resume));
  }
}

/** One derived record; its JSON text is made once, when first asked for. */
export class DerivedRecord {
  readonly kind: DerivedKind;
  readonly offset: Offset;
  #record: TelemetryRecord | null;
  #json = '';

  constructor(kind: DerivedKind, record: TelemetryRecord) {
    this.kind = kind;
    this.offset = record.offset;
    this.#record = record;
  }

  /** The record's JSON form as text, on one line. */
  get json(): string {
    if (this.#record) {
      this.#json = JSON.stringify(recordToJson(this.#record));
      this.#record = null;
    }
    return this.#json;
  }
}

export class DerivedTail {
  readonly #kept: number;
  readonly #newest: Record<DerivedKind, DerivedRecord[]> = { anomalies: [], windows: [] };
  readonly #counts: Record<DerivedKind, number> = { anomalies: 0, windows: 0 };
  readonly #listeners = new Set<(record: DerivedRecord) => void>();

  /** Keeps the newest `kept` of each kind. */
  constructor(kept: number) {
    this.#kept = kept;
  }

  /** Appended since this gateway started, by kind. */
  get counts(): Readonly<Record<DerivedKind, number>> {
    return this.#counts;
  }

  /** The stages' way to the log, watched: derived records are kept here once they are durable. */
  observe(appender: Pick<LogAppender, 'appendAll'>): Pick<LogAppender, 'appendAll'> {
    return {
      appendAll: async (records) => {
        const first = await appender.appendAll(records);
        records.forEach((record, index) => {
          const kind = kindOf(record);
          if (kind) this.#live(new DerivedRecord(kind, { ...record, offset: offset(first + index) }));
        });
        return first;
      },
    };
  }

  #live(record: DerivedRecord): void {
    const list = this.#newest[record.kind];
    list.push(record);
    if (list.length > this.#kept) list.shift();
    this.#counts[record.kind] += 1;
    for (const listener of this.#listeners) listener(record);
  }

  /**
   * Searches the log's newest `lookBackRecords` for derived records of earlier runs, a small piece per turn of
   * the event loop. Stages may append meanwhile.
   */
  async load(reader: LogReader, lookBackRecords: number, signal?: AbortSignal): Promise<void> {
    const end = await reader.end();
    let next = offset(Math.max(await reader.start(), end - lookBackRecords));
    const found: Record<DerivedKind, DerivedRecord[]> = { anomalies: [], windows: [] };
    while (next < end && !signal?.aborted) {
      const records = await fetchPast(reader, next);
      const last = records.at(-1);
      if (!last) break;
      for (const record of records) {
        const kind = record.offset < end ? kindOf(record) : null;
        // The reader's payload is a view into a larger piece of the log; a copy lets that piece go.
        if (kind) found[kind].push(new DerivedRecord(kind, { ...record, payload: record.payload.slice() }));
      }
      for (const list of Object.values(found)) list.splice(0, list.length - this.#kept);
      next = offset(last.offset + 1);
      await nextTurn();
    }
    for (const kind of ['anomalies', 'windows'] as const) {
      const live = this.#newest[kind].filter((record) => record.offset >= end);
      this.#newest[kind] = [...found[kind], ...live].slice(-this.#kept);
    }
  }

  /** Newest first, at most `limit`. */
  newest(kind: DerivedKind, limit: number): DerivedRecord[] {
    return this.#newest[kind].slice(-limit).reverse();
  }

  /** Calls `listener` for each derived record from now on; returns the way to stop. */
  subscribe(listener: (record: DerivedRecord) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
