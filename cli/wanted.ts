// Which records a command is about: --offset N or N-M, or the first of a topic or device at or after a time. Reads no log.
import { MAX_RANGE_RECORDS } from '../ledger/format/proof-range.ts';
import type { Invocation } from './command.ts';
import { CommandError, EXIT } from './errors.ts';

export type Wanted =
  | { readonly kind: 'offsets'; readonly first: number; readonly last: number; readonly isRange: boolean }
  | {
      readonly kind: 'search';
      readonly topic: string | undefined;
      readonly device: string | undefined;
      readonly atMs: number | undefined;
    };

/** @throws CommandError when it is neither, or both */
export function wantedOf(invocation: Invocation): Wanted {
  const offset = invocation.text('offset');
  const [topic, device, at] = ['topic', 'device', 'at'].map((name) => invocation.text(name));
  if (offset === undefined) {
    if (topic === undefined && device === undefined)
      throw new CommandError(EXIT.usage, 'give the record’s --offset, or its --topic or --device', {
        hint: 'the offset is in the answer to HTTP and WebSocket clients, and in the dashboard',
      });
    return { kind: 'search', topic, device, atMs: at === undefined ? undefined : timeOf(at, 'at') };
  }
  if (topic !== undefined || device !== undefined || at !== undefined)
    throw new CommandError(EXIT.usage, 'give --offset, or --topic, --device and --at, not both');
  const match = /^(0|[1-9]\d{0,15})(?:-(0|[1-9]\d{0,15}))?$/.exec(offset);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  if (!match || !Number.isSafeInteger(first) || !Number.isSafeInteger(last))
    throw new CommandError(
      EXIT.usage,
      `--offset takes a whole number from 0 to ${Number.MAX_SAFE_INTEGER}, or two of them as 100-200, not ${JSON.stringify(offset)}`,
    );
  if (last < first || last - first >= MAX_RANGE_RECORDS)
    throw new CommandError(
      EXIT.usage,
      `--offset takes a range of 1 to ${MAX_RANGE_RECORDS} records, first to last`,
    );
  return { kind: 'offsets', first, last, isRange: match[2] !== undefined };
}

/** A time as ISO 8601 or unix milliseconds. @throws CommandError for anything else */
export function timeOf(text: string, option: string): number {
  const ms = /^-?\d{1,16}$/.test(text) ? Number(text) : isoMs(text);
  if (!Number.isSafeInteger(ms))
    throw new CommandError(
      EXIT.usage,
      `--${option} takes a time such as 2026-11-21T12:00:00Z or unix milliseconds, not ${JSON.stringify(text)}`,
    );
  return ms;
}

/** Date.parse takes much that nobody means; a date, and a time with its zone, are asked for. */
const isoMs = (text: string): number =>
  /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:\d\d))?$/.test(text)
    ? Date.parse(text)
    : Number.NaN;
