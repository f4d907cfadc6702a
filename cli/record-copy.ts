// Records as somebody exported them before the gateway removed them: NDJSON, or pages of GET /api/v1/records. Believes
// none of them: a record that was changed leads to no sealed root.
import { FormatError } from '../ledger/format/errors.ts';
import { recordFromJson, type TelemetryRecord } from '../ledger/format/record.ts';
import { CommandError, EXIT } from './errors.ts';
import { readText } from './trust.ts';

/** Base64 payloads included; more than this is cut into files by whoever exports. */
const MAX_COPY_BYTES = 512 * 1024 * 1024;

/** By offset. @throws CommandError for a file that holds anything but records */
export function readCopy(file: string): ReadonlyMap<number, TelemetryRecord> {
  const found = new Map<number, TelemetryRecord>();
  const lines = readText(file, 'copy of records', MAX_COPY_BYTES).split('\n');
  lines.forEach((line, index) => {
    if (line.trim() === '') return;
    try {
      for (const value of recordsIn(JSON.parse(line))) {
        const record = recordFromJson(value);
        found.set(record.offset, record);
      }
    } catch (error) {
      if (!(error instanceof FormatError || error instanceof SyntaxError)) throw error;
      throw new CommandError(EXIT.usage, `${file}, line ${index + 1}: ${error.message}`, {
        hint: 'a copy has one record a line, in the JSON form of GET /api/v1/records, or that answer itself on a line',
        cause: error,
      });
    }
  });
  return found;
}

function recordsIn(value: unknown): unknown[] {
  if (typeof value !== 'object' || value === null) return [value];
  const { records, record } = value as { records?: unknown; record?: unknown };
  return Array.isArray(records) ? records : [record ?? value];
}

type Read = (first: number, count: number) => Promise<readonly TelemetryRecord[]>;

/** `read`, with records of the copy where it has none. */
export function withCopy(read: Read, copy: ReadonlyMap<number, TelemetryRecord>): Read {
  return async (first, count) => {
    const copied = copy.get(first);
    const held = copied ? [] : await read(first, count);
    const start = held[0]?.offset ?? Number.POSITIVE_INFINITY;
    if (start === first) return held;
    const records: TelemetryRecord[] = [];
    for (let at = first; at < Math.min(start, first + count); at++) {
      const record = copy.get(at);
      if (record) records.push(record);
      // A hole: what was found before it is an answer, and without anything the log's own next records are.
      else if (records.length > 0) return records;
      else if (copied === undefined) return held;
    }
    return records.length > 0 ? records : held;
  };
}
