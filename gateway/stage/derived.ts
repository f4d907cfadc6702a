// Owns how a stage's results get into the log exactly once: their record form, their identity, and the outbox
// that appends only what the log does not hold yet. Refuses to know what a result means.
//
// The scheme. A result is identified by what it is about (topic, device and a key its stage chooses, such as
// "window 60000 ms from t" or "record 17, field x"), not by how many came before it: a counter would name the
// wrong result as soon as a replay differs in one decision (another configuration, another version, a float rounded
// otherwise by another CPU), while a natural key is right in each of these cases. The identity travels in the
// record itself, so the log alone decides:
//
//   append results of inputs < next → fdatasync → save (next, state, scanFrom = end of the log)
//
// A crash before the append loses nothing: the inputs are read again. A crash between append and save leaves results
// in the log that the replay makes once more; each of them lies at or after `scanFrom`, because whatever was
// appended before the save belongs to inputs before the cursor. So the stage reads its own identities from
// `scanFrom` to the end before it starts, and the outbox leaves those out.
import type { Offset } from '../../ledger/format/brand.ts';
import type { RecordInput, Source, TelemetryRecord } from '../../ledger/format/record.ts';
import { type LogAppender, LogError, type LogReader } from '../log/types.ts';

/** Header: name of the stage that made the record. */
export const STAGE_HEADER = 'stage';
/** Header: what the result is about; with topic and device unique among the results of its stage, for ever. */
export const KEY_HEADER = 'key';

export interface DerivedResult {
  readonly topic: string;
  readonly device: string;
  /** Unique among this stage's results of this topic and device, for ever. UTF-8, at most 65,535 bytes. */
  readonly key: string;
  readonly eventMs: number;
  /** Stored as JSON. */
  readonly payload: object;
  /** Beside `key` and `stage`. */
  readonly headers?: RecordInput['headers'];
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const NOTHING = new Uint8Array(0);

export function derivedRecord(
  stage: string,
  source: Source,
  result: DerivedResult,
  receivedMs: number,
): RecordInput {
  return {
    eventMs: result.eventMs,
    receivedMs,
    topic: result.topic,
    device: result.device,
    sequence: null, // a counter of the device's own; a result has none
    source,
    contentType: 'application/json',
    headers: [
      [KEY_HEADER, encoder.encode(result.key)],
      [STAGE_HEADER, encoder.encode(stage)],
      ...(result.headers ?? []),
    ],
    payload: encoder.encode(JSON.stringify(result.payload)),
    salt: NOTHING,
  };
}

const identityOf = (topic: string, device: string, key: string) => `${topic}\0${device}\0${key}`;

/** The identity of a record that `stage` made, or null when it is someone else's. */
function ownIdentity(record: TelemetryRecord, stage: string, source: Source): string | null {
  if (record.source !== source) return null;
  let key: string | null = null;
  let madeBy: string | null = null;
  for (const [name, value] of record.headers) {
    if (name === STAGE_HEADER) madeBy = decoder.decode(value);
    else if (name === KEY_HEADER) key = decoder.decode(value);
  }
  return madeBy === stage && key !== null ? identityOf(record.topic, record.device, key) : null;
}

export interface OutboxOptions {
  readonly stage: string;
  readonly source: Source;
  readonly reader: LogReader;
  readonly appender: Pick<LogAppender, 'appendAll'>;
  readonly clock: () => number;
  readonly signal: AbortSignal;
  /** Resolves after `ms`, or when the signal is aborted. */
  readonly pause: (ms: number) => Promise<void>;
  readonly log: (level: 'warn' | 'error', message: string, facts: Record<string, unknown>) => void;
}

// One piece stays well inside one record batch at the default configuration, and so is kept whole or not at all.
const PIECE_RECORDS = 512;
const PIECE_BYTES = 256 * 1024;
const RETRY_FIRST_MS = 100;
const RETRY_MAX_MS = 5_000;

interface Waiting {
  readonly identity: string;
  readonly record: RecordInput;
}

export class DerivedOutbox {
  /** Results appended, left out because the log held them already, and refused by the log for good. */
  readonly figures = { appended: 0, replayed: 0, refused: 0 };
  readonly #options: OutboxOptions;
  readonly #present = new Set<string>();
  #presentEnd = 0;
  #waiting: Waiting[] = [];

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  /** Learns which own results the log holds from `from` to its end. Call before the first `add`. */
  async learn(from: Offset): Promise<void> {
    this.#presentEnd = await this.#scan(from, (identity) => this.#present.add(identity));
  }

  /**
   * Says that inputs below `next` are dealt with. True while results learned at the start can still be ahead: until
   * then a save must keep the old `scanFrom`, or a second crash would not find them again.
   */
  replaying(next: Offset): boolean {
    if (this.#present.size > 0 && next >= this.#presentEnd) this.#present.clear();
    return this.#present.size > 0;
  }

  add(result: DerivedResult): void {
    const { stage, source, clock } = this.#options;
    const identity = identityOf(result.topic, result.device, result.key);
    if (this.#present.has(identity)) this.figures.replayed += 1;
    else this.#waiting.push({ identity, record: derivedRecord(stage, source, result, clock()) });
  }

  get size(): number {
    return this.#waiting.length;
  }

  /**
   * Appends everything added, in order. True when all of it is durable; false when the stage was told to stop
   * first (the disk being full, say): the cursor must then stay where it is. Throws when the log is dead.
   */
  async flush(): Promise<boolean> {
    let retryMs = RETRY_FIRST_MS;
    let alone = false;
    while (this.#waiting.length > 0) {
      const piece = this.#waiting.slice(0, alone ? 1 : pieceLength(this.#waiting));
      const end = await this.#options.reader.end();
      try {
        await this.#options.appender.appendAll(piece.map((entry) => entry.record));
        this.#done(new Set(piece));
        retryMs = RETRY_FIRST_MS;
        alone = false;
      } catch (error) {
        if (!(error instanceof LogError)) throw error;
        if (error.code === 'RECORD_TOO_LARGE' || error.code === 'RECORD_INVALID') {
          if (piece.length === 1) this.#refuse(piece[0]!, error);
          alone = true; // find the one that is to blame
        } else if (error.code === 'DISK_FULL' || error.code === 'BUFFER_FULL') {
          this.#options.log('warn', 'the log takes no results now, trying again', {
            code: error.code,
            retryMs,
          });
          await this.#options.pause(retryMs);
          retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
        } else throw error;
        // A refused group may be kept in part: what stands in the log is done.
        const kept = new Set<string>();
        await this.#scan(end, (identity) => kept.add(identity));
        this.#done(new Set(piece.filter((entry) => kept.has(entry.identity))));
        if (this.#options.signal.aborted) return this.#waiting.length === 0;
      }
    }
    return true;
  }

  #done(entries: ReadonlySet<Waiting>): void {
    this.#waiting = this.#waiting.filter((entry) => !entries.has(entry));
    this.figures.appended += entries.size;
  }

  #refuse(entry: Waiting, error: LogError): void {
    this.#waiting = this.#waiting.filter((other) => other !== entry);
    this.figures.refused += 1;
    const { topic, device, payload } = entry.record;
    this.#options.log('error', 'the log refused a result for good', {
      code: error.code,
      topic,
      device,
      bytes: payload.length,
    });
  }

  async #scan(from: Offset, found: (identity: string) => void): Promise<Offset> {
    const { reader, stage, source, signal } = this.#options;
    const end = await reader.end();
    let next = from;
    while (next < end && !signal.aborted) {
      const records = await fetchPastDamage(reader, next, {});
      if (records.length === 0) break;
      for (const record of records) {
        const identity = ownIdentity(record, stage, source);
        if (identity !== null) found(identity);
      }
      next = (records.at(-1)!.offset + 1) as Offset;
    }
    return end;
  }
}

function pieceLength(waiting: readonly Waiting[]): number {
  let bytes = 0;
  let count = 0;
  for (const { record } of waiting) {
    bytes += record.payload.length + 3 * (record.topic.length + record.device.length) + 256;
    if (count > 0 && (count >= PIECE_RECORDS || bytes > PIECE_BYTES)) break;
    count += 1;
  }
  return count;
}

/**
 * Fetches from `from`, and where the log is damaged there goes on behind the hole, telling `onHole`. An empty answer
 * means that nothing came within `maxWaitMs`.
 */
export async function fetchPastDamage(
  reader: LogReader,
  from: Offset,
  options: Parameters<LogReader['fetch']>[1],
  onHole?: (from: Offset, resume: Offset, error: LogError) => void,
): Promise<TelemetryRecord[]> {
  let next = from;
  for (;;) {
    try {
      return await reader.fetch(next, options);
    } catch (error) {
      const resume =
        error instanceof LogError && error.code === 'SEGMENT_DAMAGED' ? error.facts.resume : undefined;
      if (typeof resume !== 'number' || resume <= next) throw error;
      onHole?.(next, resume as Offset, error as LogError);
      next = resume as Offset;
    }
  }
}
