// The one command this gateway gives: an edge node's rebirth request (Sparkplug 3.0.0, 6.4.24 and
// [tck-id-operational-behavior-data-commands-rebirth-name]). Encodes; sends nothing.
import { SPARKPLUG_NAMESPACE } from '../codecs/sparkplug.ts';

const NAME = Buffer.from('Node Control/Rebirth');
const BOOLEAN = 11;

export const rebirthTopic = (group: string, node: string): string =>
  `${SPARKPLUG_NAMESPACE}/${group}/NCMD/${node}`;

function varint(value: number): number[] {
  const bytes: number[] = [];
  let left = value;
  for (; left >= 0x80; left = Math.floor(left / 0x80)) bytes.push((left % 0x80) | 0x80);
  bytes.push(left);
  return bytes;
}

/** Payload {timestamp 1, metrics 2: {name 1, timestamp 3, datatype 4 = Boolean, boolean_value 14 = true}}. */
export function rebirthPayload(nowMs: number): Buffer {
  const time = varint(nowMs);
  const metric = [0x0a, NAME.length, ...NAME, 0x18, ...time, 0x20, BOOLEAN, 0x70, 1];
  return Buffer.from([0x08, ...time, 0x12, ...varint(metric.length), ...metric]);
}
