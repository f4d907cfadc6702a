// The device summary's root natively and without garbage, for the sealer: a block of many devices has as many hashes again
// as a quarter of its records. The quick twin of devicesDetail; tests hold the two equal.
import { toBase64 } from '../format/base64.ts';
import type { JsonObject } from '../format/canonical.ts';
import { type DeviceSummary, SUMMARY_VERSION } from '../format/devices.ts';
import { HASH_BYTES, rootInPlace } from './batchtree.ts';
import { sha256Into } from './hashing.ts';

/** RFC 6962 leaf prefix, then a summary; names are at most 65,535 bytes. */
const scratch = Buffer.alloc(1 + 27 + 65_535);

export function devicesDetailInPlace(list: readonly DeviceSummary[]): JsonObject {
  const hashes = Buffer.alloc(Math.max(1, list.length) * HASH_BYTES);
  list.forEach(({ device, records, numbered, first, last }, index) => {
    let size = scratch.write(device, 4, 'utf8');
    scratch[1] = SUMMARY_VERSION;
    scratch.writeUInt16BE(size, 2);
    size += 4;
    scratch.writeUInt32BE(records, size);
    scratch.writeUInt32BE(numbered, size + 4);
    writeU64(first, size + 8);
    writeU64(last, size + 16);
    sha256Into(scratch.subarray(0, size + 24), hashes, index * HASH_BYTES);
  });
  return { devices: list.length, devicesRoot: toBase64(rootInPlace(hashes, list.length)) };
}

function writeU64(value: number, at: number): void {
  scratch.writeUInt32BE(Math.floor(value / 2 ** 32), at);
  scratch.writeUInt32BE(value % 2 ** 32, at + 4);
}
