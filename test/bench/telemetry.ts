// Makes the records the benchmarks write: telemetry of a plant as JSON, sized as asked, or noise that no codec can
// shorten. Seeded, so that two runs write the same bytes.
import { type RecordInput, SOURCE } from '../../ledger/format/record.ts';

/** mulberry32. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export type PayloadKind = 'telemetry' | 'random';

const FIELDS = ['value', 'temperature', 'pressure', 'rms', 'current', 'speed', 'flow', 'humidity'];

/** One payload of exactly `bytes` bytes. */
function payload(bytes: number, kind: PayloadKind, random: () => number): Uint8Array {
  const out = Buffer.alloc(bytes, ' ');
  if (kind === 'random') {
    for (let at = 0; at < bytes; at++) out[at] = Math.floor(random() * 256);
    return out;
  }
  let text = `{"ts":${1_763_600_000_000 + Math.floor(random() * 1e9)}`;
  for (let field = 0; ; field++) {
    const name = field < FIELDS.length ? FIELDS[field] : `s${field}`;
    const next = `,"${name}":${(random() * 100).toFixed(3)}`;
    if (text.length + next.length + 1 > bytes) break;
    text += next;
  }
  out.write(`${text}}`, 'latin1');
  return out;
}

/** Different payloads of one size; prepared ahead, so that making them is not part of what is measured. */
export function payloads(bytes: number, count: number, kind: PayloadKind = 'telemetry'): Uint8Array[] {
  const random = randomFrom(bytes * 31 + count);
  return Array.from({ length: count }, () => payload(bytes, kind, random));
}

const NO_HEADERS: RecordInput['headers'] = [];
const NO_BYTES = new Uint8Array(0);

export interface Plant {
  readonly topics: readonly string[];
  readonly devices: readonly string[];
}

export function plant(devices: number): Plant {
  const names = Array.from({ length: devices }, (_, index) => `unit-${String(index).padStart(5, '0')}`);
  return { devices: names, topics: names.map((name) => `plant/${name}/state`) };
}

/** The record a device's message becomes behind admission. */
export function record(
  { topics, devices }: Plant,
  device: number,
  sequence: number,
  eventMs: number,
  bytes: Uint8Array,
): RecordInput {
  return {
    eventMs,
    receivedMs: eventMs,
    topic: topics[device]!,
    device: devices[device]!,
    sequence,
    source: SOURCE.mqtt,
    contentType: '',
    headers: NO_HEADERS,
    payload: bytes,
    salt: NO_BYTES,
  };
}
