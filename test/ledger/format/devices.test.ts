// The per-device summary: its order, its bytes, and what its proofs show and cannot be made to show.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Block } from '../../../ledger/format/block.ts';
import {
  checkDevice,
  compareDevices,
  type DeviceProof,
  DeviceTally,
  devicesDetail,
  devicesOf,
  proveDevice,
  summaryBytes,
} from '../../../ledger/format/devices.ts';
import { leafHash, toHex } from '../../../ledger/format/hash.ts';
import { SOURCE } from '../../../ledger/format/record.ts';
import { devicesDetailInPlace } from '../../../ledger/tiles/devicetree.ts';
import { slowTree } from './rfc6962.ts';

const from = (device: string, sequence: number | null, source: number = SOURCE.mqtt) =>
  ({ device, sequence, source }) as Parameters<DeviceTally['add']>[0];
const tally = (...records: ReturnType<typeof from>[]) => {
  const devices = new DeviceTally();
  for (const record of records) devices.add(record);
  return devices.take();
};
const blockWith = (detail: Block['detail'], count = 100) =>
  ({ kind: 'data', height: 3, count, detail }) as Block;
const names = Array.from({ length: 9 }, (_, i) => `pump-${i * 2}`);
const list = tally(...names.map((name, i) => from(name, i)));
const commitment = devicesOf(blockWith(devicesDetail(list)))!;

test('counts what devices sent: not windows, models, the gateway, nor records of no device', () => {
  expect(
    tally(
      from('b', 7),
      from('a', null),
      from('b', 5),
      from('b', 9),
      from('b', null),
      from('', 1),
      from('b', 1, SOURCE.window),
      from('b', 1, SOURCE.model),
      from('b', 1, SOURCE.gateway),
    ),
  ).toEqual([
    { device: 'a', records: 1, numbered: 0, first: 0, last: 0 },
    { device: 'b', records: 4, numbered: 3, first: 5, last: 9 },
  ]);
});

test('is sorted by the bytes of the names, surrogates and all', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (a, b) => {
      const expected = Buffer.compare(Buffer.from(a), Buffer.from(b));
      expect(Math.sign(compareDevices(a, b))).toBe(expected);
    }),
  );
  expect(compareDevices('\u{1F600}', '\uFF5E')).toBeGreaterThan(0);
});

test('the leaf bytes and the root are as written down', () => {
  const bytes = summaryBytes({ device: 'p1', records: 3, numbered: 2, first: 258, last: 2 ** 40 });
  expect(toHex(bytes)).toBe('010002703100000003000000020000000000000102000001000000' + '0000');
  const expected = slowTree(list.map(summaryBytes)).root(list.length);
  expect(Buffer.from(commitment.root).equals(expected)).toBe(true);
  expect(commitment.count).toBe(9);
});

test('blocks of before have no summary; a detail that names half of one is refused', () => {
  expect(devicesOf(blockWith(null))).toBeNull();
  expect(devicesOf(blockWith({ devices: 0, devicesRoot: devicesDetail([]).devicesRoot! }))).toMatchObject({
    count: 0,
  });
  for (const detail of [
    { devices: 2 },
    { devicesRoot: devicesDetail([]).devicesRoot! },
    { devices: -1, devicesRoot: devicesDetail([]).devicesRoot! },
    { devices: 101, devicesRoot: devicesDetail([]).devicesRoot! },
    { devices: 1, devicesRoot: 'AAAA' },
  ])
    expect(() => devicesOf(blockWith(detail))).toThrow(expect.objectContaining({ code: expect.any(String) }));
});

describe('proofs', () => {
  test('of every device that is there, and of absence at every place', () => {
    for (const device of names)
      expect(checkDevice(commitment, device, proveDevice(list, device))).toMatchObject({ device });
    for (const device of ['a', ...names.map((name) => `${name}x`), 'z'])
      expect(checkDevice(commitment, device, proveDevice(list, device)), device).toBe('absent');
    const none = devicesOf(blockWith(devicesDetail([])))!;
    expect(checkDevice(none, 'a', [])).toBe('absent');
  });

  test('cannot show a device that is there as absent, nor change what it says', () => {
    const there = proveDevice(list, 'pump-4');
    const at = list.findIndex(({ device }) => device === 'pump-4');
    const lies: Record<string, DeviceProof> = {
      empty: [],
      'neighbours with the device between them': [
        ...proveDevice(list, list[at - 1]!.device),
        ...proveDevice(list, list[at + 1]!.device),
      ],
      'only the lower neighbour': proveDevice(list, list[at - 1]!.device),
      'only the upper neighbour': proveDevice(list, list[at + 1]!.device),
      'another index': there.map((placed) => ({ ...placed, index: placed.index + 1 })),
      'fewer records': there.map((placed) => ({ ...placed, summary: { ...placed.summary, records: 0 } })),
      'another last sequence': there.map((placed) => ({
        ...placed,
        summary: { ...placed.summary, last: 99 },
      })),
      'a path that is too long': there.map((placed) => ({
        ...placed,
        path: [...placed.path, leafHash(new Uint8Array())],
      })),
      twice: [...there, ...there],
    };
    for (const [name, proof] of Object.entries(lies))
      expect(checkDevice(commitment, 'pump-4', proof), name).toBeNull();
  });

  test('hold for lists of every size', () => {
    for (let size = 1; size <= 20; size += 1) {
      const some = list
        .concat(tally(...Array.from({ length: 11 }, (_, i) => from(`q${String(i).padStart(2, '0')}`, i))))
        .slice(0, size);
      const sealed = devicesOf(blockWith(devicesDetail(some)))!;
      for (const { device } of some)
        expect(checkDevice(sealed, device, proveDevice(some, device))).toMatchObject({ device });
      expect(checkDevice(sealed, 'pump-7', proveDevice(some, 'pump-7'))).toBe('absent');
    }
  });
});

test('the quick root of the sealer is the portable one', () => {
  const summary = fc.record({
    device: fc.string({ unit: 'binary', minLength: 1, maxLength: 80 }),
    records: fc.nat({ max: 65_536 }),
    numbered: fc.nat({ max: 65_536 }),
    first: fc.maxSafeNat(),
    last: fc.maxSafeNat(),
  });
  fc.assert(
    fc.property(fc.array(summary, { maxLength: 40 }), (some) => {
      expect(devicesDetailInPlace(some)).toEqual(devicesDetail(some));
    }),
  );
  const longest = {
    device: 'ü'.repeat(32_767),
    records: 1,
    numbered: 1,
    first: 2 ** 53 - 1,
    last: 2 ** 53 - 1,
  };
  expect(devicesDetailInPlace([longest])).toEqual(devicesDetail([longest]));
});

test('names with and without surrogates sort alike', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.string({ unit: 'binary', minLength: 1 })), (names) => {
      const sorted = tally(...names.map((name) => from(name, 1))).map(({ device }) => device);
      expect(sorted).toEqual([...names].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b))));
    }),
  );
});
