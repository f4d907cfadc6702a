// The bytes in which the duplicate guards and the device table are saved. Refuses what it did not write.
//
//   snapshot = "TMA2" jsonLength(u32 BE) json slots messages
//   json     = {"devices":[DeviceSeen…],"rings":[[device, count]…],"messages":count}      UTF-8, least recent first, then spaces
//   slots    = for each ring, count × sequence(f64 LE), count × fingerprint(f64 LE), oldest first
//   messages = count × (digest(16 bytes) fingerprint(f64 LE) offset(f64 LE)), least recent first
//
// Slots are little-endian as they stand in memory on every machine Node runs on: saving is a copy.
import { setImmediate } from 'node:timers/promises';
import { offset as asOffset } from '../../ledger/format/brand.ts';
import type { Source } from '../../ledger/format/record.ts';
import type { DeviceSeen, DeviceTable } from './devices.ts';
import { type DuplicateGuard, SLOT_BYTES } from './duplicates.ts';
import { DIGEST_BYTES, type MessageIds } from './message-ids.ts';

const MAGIC = 'TMA2';
const HEAD_BYTES = 8;
const MESSAGE_BYTES = DIGEST_BYTES + 16;

/** What admission remembers. */
export interface Remembered {
  readonly devices: DeviceTable;
  readonly duplicates: DuplicateGuard;
  readonly messages: MessageIds;
}

/** Made by the ingest thread, while devices wait: no turn of its event loop copies entries for longer. */
const SLICE_MS = 1;

/**
 * The bytes of what is remembered at the time of the call. Entries, the most of it, are copied in slices; `pause` lets the
 * event loop turn.
 */
export async function encodeSnapshot(
  { devices, duplicates, messages }: Remembered,
  pause: () => Promise<void> = () => setImmediate(),
  sliceMs = SLICE_MS,
): Promise<Buffer> {
  const { counts, copy } = duplicates.copy();
  const text = JSON.stringify({ devices: devices.export(), rings: counts, messages: messages.size });
  // Spaces behind it, so that the slots lie where doubles may.
  const json = Buffer.from(text + ' '.repeat((8 - (Buffer.byteLength(text) % 8)) % 8));
  const slotsAt = HEAD_BYTES + json.length;
  const messagesAt = slotsAt + copy.entries * SLOT_BYTES;
  const bytes = Buffer.allocUnsafeSlow(messagesAt + messages.size * MESSAGE_BYTES);
  bytes.write(MAGIC, 'latin1');
  bytes.writeUInt32BE(json.length, 4);
  json.copy(bytes, HEAD_BYTES);
  let at = messagesAt;
  for (const [digest, { fingerprint, offset }] of messages.entries()) {
    bytes.write(digest, at, 'latin1');
    bytes.writeDoubleLE(fingerprint, at + DIGEST_BYTES);
    bytes.writeDoubleLE(offset, at + DIGEST_BYTES + 8);
    at += MESSAGE_BYTES;
  }
  copy.into(new Float64Array(bytes.buffer, slotsAt, 2 * copy.entries));
  while (!copy.step(sliceMs)) await pause();
  return bytes;
}

function isDevice(value: unknown): value is DeviceSeen {
  const device = value as DeviceSeen | null;
  return (
    typeof device === 'object' &&
    device !== null &&
    typeof device.device === 'string' &&
    Array.isArray(device.topics) &&
    device.topics.every((topic) => typeof topic === 'string') &&
    [device.records, device.lastMs, device.lastOffset].every(Number.isSafeInteger) &&
    ([1, 2, 3] as Source[]).includes(device.source)
  );
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

const isRing = (value: unknown): value is [string, number] =>
  Array.isArray(value) && typeof value[0] === 'string' && isCount(value[1]);

interface Head {
  readonly devices: DeviceSeen[];
  readonly rings: [string, number][];
  readonly messages: number;
}

function readHead(text: string): Head | null {
  let json: { devices?: unknown; rings?: unknown; messages?: unknown } | null;
  try {
    json = JSON.parse(text);
  } catch {
    return null;
  }
  const { devices, rings, messages } = json ?? {};
  const sound =
    Array.isArray(devices) &&
    devices.every(isDevice) &&
    Array.isArray(rings) &&
    rings.every(isRing) &&
    isCount(messages);
  return sound ? { devices, rings, messages } : null;
}

/** Reads a snapshot into empty structures; false (and nothing read) when the bytes are not one. */
export function decodeSnapshot(state: Uint8Array, into: Remembered): boolean {
  const bytes = Buffer.from(state.buffer, state.byteOffset, state.byteLength);
  if (bytes.length < HEAD_BYTES || bytes.toString('latin1', 0, 4) !== MAGIC) return false;
  const slotsAt = HEAD_BYTES + bytes.readUInt32BE(4);
  if (slotsAt > bytes.length) return false;
  const head = readHead(bytes.toString('utf8', HEAD_BYTES, slotsAt));
  if (head === null) return false;
  const messagesAt = head.rings.reduce((at, [, count]) => at + count * SLOT_BYTES, slotsAt);
  if (messagesAt + head.messages * MESSAGE_BYTES !== bytes.length) return false;
  for (let at = messagesAt + DIGEST_BYTES + 8; at < bytes.length; at += MESSAGE_BYTES) {
    if (!isCount(bytes.readDoubleLE(at))) return false;
  }
  for (const device of head.devices) into.devices.restore(device);
  if (into.duplicates.enabled) readSlots(bytes, slotsAt, head.rings, into.duplicates);
  if (into.messages.enabled) readMessages(bytes, messagesAt, into.messages);
  return true;
}

function readSlots(bytes: Buffer, from: number, rings: Head['rings'], duplicates: DuplicateGuard): void {
  let at = from;
  for (const [device, count] of rings) {
    const prints = at + count * 8;
    for (let nth = 0; nth < count; nth += 1) {
      duplicates.remember(device, bytes.readDoubleLE(at + nth * 8), bytes.readDoubleLE(prints + nth * 8));
    }
    at += count * SLOT_BYTES;
  }
}

function readMessages(bytes: Buffer, from: number, messages: MessageIds): void {
  for (let at = from; at < bytes.length; at += MESSAGE_BYTES) {
    messages.remember(bytes.toString('latin1', at, at + DIGEST_BYTES), {
      fingerprint: bytes.readDoubleLE(at + DIGEST_BYTES),
      offset: asOffset(bytes.readDoubleLE(at + DIGEST_BYTES + 8)),
    });
  }
}
