// The numeric fields, and the time, of records in line protocol. Never throws: a line that is not understood has none.
import { LineProtocolError, PRECISIONS, parseLine, protocolLines, timestampMs } from './line-protocol.ts';

const LINES_MAX = 1_024;

interface LineRecord {
  readonly topic: string;
  readonly payload: Uint8Array;
}

/**
 * At most `max` numbers (booleans and texts are none), each named `<metric>.<tag>=<value>….<field>`: the metric is the
 * measurement where the topic names none, tags are those whose value is no level of the topic, a last `value` is left
 * out. So two series that share a topic stay two.
 */
export function lineFields(
  { topic, payload }: LineRecord,
  metric: string | null,
  max: number,
): [string, number][] {
  const buffer = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
  const levels = new Set(topic.split('/'));
  const found: [string, number][] = [];
  for (const { bytes } of protocolLines(buffer, LINES_MAX) ?? []) {
    try {
      const { measurement, tags, fields } = parseLine(bytes);
      const own = tags.filter(([, value]) => !levels.has(value)).map(([key, value]) => `${key}=${value}`);
      const series = [metric ?? measurement, ...own];
      for (const [key, value] of fields) {
        if (found.length === max) return found;
        if (typeof value !== 'number' && typeof value !== 'bigint') continue;
        found.push([(key === 'value' ? series : [...series, key]).join('.'), Number(value)]);
      }
    } catch (error) {
      if (!(error instanceof LineProtocolError)) throw error;
    }
  }
  return found;
}

/** Unix ms of the first line's timestamp, in the precision that the content type names (ns where none); else null. */
export function lineTimeMs(payload: Uint8Array, contentType: string): number | null {
  const buffer = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
  const named = /;\s*precision=([a-z]{1,2})\s*$/i.exec(contentType)?.[1] ?? 'ns';
  const precision = PRECISIONS.find((known) => known === named.toLowerCase());
  const [first] = protocolLines(buffer, LINES_MAX) ?? [];
  if (precision === undefined || first === undefined) return null;
  try {
    const { timestamp } = parseLine(first.bytes);
    return timestamp === null ? null : timestampMs(timestamp, precision);
  } catch (error) {
    if (error instanceof LineProtocolError) return null;
    throw error;
  }
}
