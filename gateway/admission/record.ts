// The headers the gateway itself puts into a device's record, and the topic it is kept under. Everything else of a
// record is the device's.
//
//   message-id          the device's name for the message
//   tidemark-clock      ahead | behind: the device time is too far from ours
//   tidemark-invalid    why the payload does not fit its topic's schema
//   tidemark-time       device: the device gave a time, which happens to be the time of receipt
import type { RecordInput, TelemetryRecord } from '../../ledger/format/record.ts';

export type Headers = RecordInput['headers'];

/** Devices may not use it: what begins so is the gateway's word. */
export const RESERVED_PREFIX = 'tidemark-';
export const INVALID_HEADER = 'tidemark-invalid';
const TIME_HEADER = 'tidemark-time';
export const QUARANTINE_PREFIX = '$tidemark/quarantine/';

export const GIVEN_TIME: Headers[number] = [TIME_HEADER, Buffer.from('device')];
export const NO_HEADERS: Headers = [];

export const hasTimeHeader = (headers: Headers): boolean => headers.some(([name]) => name === TIME_HEADER);

/** Where the topic of a device's record has been changed for keeping it apart: the one it was sent under. */
export const sentTopic = ({ topic }: Pick<TelemetryRecord, 'topic'>): string =>
  topic.startsWith(QUARANTINE_PREFIX) ? topic.slice(QUARANTINE_PREFIX.length) : topic;

export function headerText(headers: Headers, name: string): string | null {
  for (const [given, value] of headers) if (given === name) return Buffer.from(value).toString('utf8');
  return null;
}
