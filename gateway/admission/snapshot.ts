// The bytes in which the duplicate guard and the device table are saved. Refuses what it did not write.
//
//   snapshot = "TMA1" jsonLength(u32 BE) json slots
//   json     = {"devices":[DeviceSeen…],"rings":[[device, count]…]}      UTF-8, least recent first
//   slots    = for each ring, count × sequence(f64 LE), count × fingerprint(u32 LE), oldest first
//
// Slots are little-endian as they stand in memory on every machine Node runs on: saving is a copy.
import type { Source } from '../../ledger/format/record.ts';
import type { DeviceSeen, DeviceTable } from './devices.ts';
import { type DuplicateGuard, SLOT_BYTES } from './duplicates.ts';

const MAGIC = 'TMA1';
const HEAD_BYTES = 8;

export function encodeSnapshot(devices: DeviceTable, duplicates: DuplicateGuard): Buffer {
  const copies = [...duplicates.export()];
  const rings = copies.map(({ device, sequences }) => [device, sequences.length]);
  const json = Buffer.from(JSON.stringify({ devices: devices.export(), rings }));
  const slots = copies.reduce((sum, { sequences }) => sum + sequences.length, 0);
  const bytes = Buffer.allocUnsafeSlow(HEAD_BYTES + json.length + slots * SLOT_BYTES);
  bytes.write(MAGIC, 'latin1');
  bytes.writeUInt32BE(json.length, 4);
  json.copy(bytes, HEAD_BYTES);
  let at = HEAD_BYTES + json.length;
  for (const { sequences, fingerprints } of copies) {
    bytes.set(new Uint8Array(sequences.buffer), at);
    at += sequences.byteLength;
    bytes.set(new Uint8Array(fingerprints.buffer), at);
    at += fingerprints.byteLength;
  }
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

/** Reads a snapshot into empty structures; false (and nothing read) when the bytes are not one. */
export function decodeSnapshot(state: Uint8Array, devices: DeviceTable, duplicates: DuplicateGuard): boolean {
  const bytes = Buffer.from(state.buffer, state.byteOffset, state.byteLength);
  if (bytes.length < HEAD_BYTES || bytes.toString('latin1', 0, 4) !== MAGIC) return false;
  const slotsAt = HEAD_BYTES + bytes.readUInt32BE(4);
  if (slotsAt > bytes.length) return false;
  let json: { devices?: unknown; rings?: unknown } | null;
  try {
    json = JSON.parse(bytes.toString('utf8', HEAD_BYTES, slotsAt));
  } catch {
    return false;
  }
  if (!Array.isArray(json?.devices) || !json.devices.every(isDevice) || !Array.isArray(json.rings))
    return false;
  const rings = json.rings as [unknown, unknown][];
  let slots = 0;
  for (const ring of rings) {
    if (!Array.isArray(ring) || typeof ring[0] !== 'string') return false;
    if (!Number.isSafeInteger(ring[1]) || (ring[1] as number) < 0) return false;
    slots += ring[1] as number;
  }
  if (slotsAt + slots * SLOT_BYTES !== bytes.length) return false;
  for (const device of json.devices) devices.restore(device);
  if (!duplicates.enabled) return true;
  let at = slotsAt;
  for (const [device, count] of rings as [string, number][]) {
    for (let nth = 0; nth < count; nth += 1) {
      duplicates.remember(
        device,
        bytes.readDoubleLE(at + nth * 8),
        bytes.readUInt32LE(at + count * 8 + nth * 4),
      );
    }
    at += count * SLOT_BYTES;
  }
  return true;
}
