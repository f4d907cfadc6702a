// The per-device summary of a block: who sent how much of it and under which sequence numbers, as a sorted list with a
// Merkle root that the block's detail names. Counts what devices sent; derived records are not theirs.
import { fromBase64Sized, toBase64 } from './base64.ts';
import type { Block } from './block.ts';
import type { JsonObject } from './canonical.ts';
import { FormatError } from './errors.ts';
import { HASH_BYTES, leafHash, type Sha256, sha256 } from './hash.ts';
import { inclusionProof, root, verifyInclusion } from './merkle.ts';
import { SOURCE, type TelemetryRecord } from './record-types.ts';
import { toUtf8 } from './text.ts';

/** What one device sent within one block. */
export interface DeviceSummary {
  readonly device: string;
  /** Its records in the block. */
  readonly records: number;
  /** Those of them that bear a sequence number. */
  readonly numbered: number;
  /** Smallest and largest sequence number; 0 and 0 when `numbered` is 0. */
  readonly first: number;
  readonly last: number;
}

/*
 * leaf = version u8 = 1 · device u16 length + UTF-8 · records u32 · numbered u32 · first u64 · last u64      big-endian
 * list = leaves sorted by the UTF-8 bytes of the device, each device once; root = RFC 6962 root over them
 * Records without a device id, and those of sources 4 to 6 (windows, models, the gateway), are in no summary.
 */
export const SUMMARY_VERSION = 1;
const FIXED_BYTES = 1 + 2 + 4 + 4 + 8 + 8;

export function summaryBytes(summary: DeviceSummary): Uint8Array {
  const { device, records, numbered, first, last } = summary;
  const name = toUtf8(device, 'device', 'RECORD_INVALID');
  const bytes = new Uint8Array(FIXED_BYTES + name.length);
  const view = new DataView(bytes.buffer);
  bytes[0] = SUMMARY_VERSION;
  view.setUint16(1, name.length);
  bytes.set(name, 3);
  view.setUint32(3 + name.length, records);
  view.setUint32(7 + name.length, numbered);
  view.setBigUint64(11 + name.length, BigInt(first));
  view.setBigUint64(19 + name.length, BigInt(last));
  return bytes;
}

const SURROGATE = /[\ud800-\udfff]/;

interface Counted {
  records: number;
  numbered: number;
  first: number;
  last: number;
}

/** Gathers the summary of the records of one block. */
export class DeviceTally {
  readonly #devices = new Map<string, Counted>();

  add(record: Pick<TelemetryRecord, 'device' | 'sequence' | 'source'>): void {
    const { device, sequence, source } = record;
    if (device === '' || isDerived(source)) return;
    let counted = this.#devices.get(device);
    if (!counted) {
      counted = { records: 0, numbered: 0, first: 0, last: 0 };
      this.#devices.set(device, counted);
    }
    counted.records += 1;
    if (sequence === null) return;
    if (counted.numbered === 0) {
      counted.first = sequence;
      counted.last = sequence;
    } else if (sequence < counted.first) counted.first = sequence;
    else if (sequence > counted.last) counted.last = sequence;
    counted.numbered += 1;
  }

  /** Sorted by the bytes of the device id; begins the next. */
  take(): DeviceSummary[] {
    const list = [...this.#devices].map(([device, counted]) => ({ device, ...counted }));
    this.#devices.clear();
    // UTF-16 order is that of the bytes, and quicker, unless there are surrogates.
    const plain = !list.some(({ device }) => SURROGATE.test(device));
    return list.sort((a, b) => (plain ? (a.device < b.device ? -1 : 1) : compareDevices(a.device, b.device)));
  }
}

export const isDerived = (source: number): boolean =>
  source === SOURCE.window || source === SOURCE.model || source === SOURCE.gateway;

/** By UTF-8 bytes, which is by code points: UTF-16 order differs only where a surrogate meets U+E000 and above. */
export function compareDevices(a: string, b: string): number {
  for (let i = 0; i < a.length && i < b.length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    const xSurrogate = (x & 0xf800) === 0xd800;
    return xSurrogate === ((y & 0xf800) === 0xd800) ? x - y : xSurrogate ? 1 : -1;
  }
  return a.length - b.length;
}

const leavesOf = (list: readonly DeviceSummary[], hash: Sha256) =>
  list.map((summary) => leafHash(summaryBytes(summary), hash));

/** The part of a data block's detail that commits to the list. */
export function devicesDetail(list: readonly DeviceSummary[], hash: Sha256 = sha256): JsonObject {
  return { devices: list.length, devicesRoot: toBase64(root(leavesOf(list, hash), hash)) };
}

export interface DevicesCommitment {
  readonly count: number;
  readonly root: Uint8Array;
}

/** What a data block commits to; null for blocks of before summaries existed. Throws BLOCK_INVALID when malformed. */
export function devicesOf(block: Block): DevicesCommitment | null {
  const { devices, devicesRoot } = block.detail ?? {};
  if (block.kind !== 'data' || (devices === undefined && devicesRoot === undefined)) return null;
  if (
    !Number.isSafeInteger(devices) ||
    (devices as number) < 0 ||
    (devices as number) > block.count ||
    typeof devicesRoot !== 'string'
  )
    throw new FormatError('BLOCK_INVALID', `block ${block.height}: its detail names no device summary`);
  return {
    count: devices as number,
    root: fromBase64Sized(devicesRoot, HASH_BYTES, 'devicesRoot', 'BLOCK_INVALID'),
  };
}

interface PlacedSummary {
  readonly index: number;
  readonly summary: DeviceSummary;
  readonly path: readonly Uint8Array[];
}

/**
 * What a block says of one device: its own place in the list, or, where the device sent nothing, the neighbours between
 * which it would stand (one at the ends of the list, none of an empty one).
 */
export type DeviceProof = readonly PlacedSummary[];

/** From the whole list, as DeviceTally.take gives it. */
export function proveDevice(
  list: readonly DeviceSummary[],
  device: string,
  hash: Sha256 = sha256,
): DeviceProof {
  const leaves = leavesOf(list, hash);
  const at = list.findIndex((summary) => compareDevices(summary.device, device) >= 0);
  const place = at === -1 ? list.length : at;
  const shown = list[place]?.device === device ? [place] : [place - 1, place];
  return shown
    .filter((index) => index >= 0 && index < list.length)
    .map((index) => ({ index, summary: list[index]!, path: inclusionProof(leaves, index, hash) }));
}

/**
 * What the block sealed of the device: its summary, or 'absent' where it sent nothing. Null when the proof does not
 * show either.
 */
export function checkDevice(
  commitment: DevicesCommitment,
  device: string,
  proof: DeviceProof,
  hash: Sha256 = sha256,
): DeviceSummary | 'absent' | null {
  const { count, root: expected } = commitment;
  const holds = ({ index, summary, path }: PlacedSummary) =>
    verifyInclusion(leafHash(summaryBytes(summary), hash), index, count, path, expected, hash);
  if (!proof.every(holds)) return null;
  const [one, two] = proof;
  if (one?.summary.device === device) return proof.length === 1 ? one.summary : null;
  if (!one) return count === 0 ? 'absent' : null;
  const isBelow = compareDevices(one.summary.device, device) < 0;
  if (!two) {
    const atEnd = isBelow ? one.index === count - 1 : one.index === 0;
    return atEnd && proof.length === 1 ? 'absent' : null;
  }
  const between = isBelow && compareDevices(two.summary.device, device) > 0;
  return between && two.index === one.index + 1 && proof.length === 2 ? 'absent' : null;
}
