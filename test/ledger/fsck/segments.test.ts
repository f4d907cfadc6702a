// The checker's own decoder against the writer: what one writes the other reads, and their checksums agree.
import { crc32c as nativeCrc32c } from '@node-rs/crc32';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type RecordInput, SOURCE, type TelemetryRecord } from '../../../ledger/format/record.ts';
import { crc32c } from '../../../ledger/fsck/crc32c.ts';
import { decodeBatch } from '../../../ledger/fsck/records.ts';
import { SegmentRecords } from '../../../ledger/fsck/recordsource.ts';
import { listSegments, scanSegment } from '../../../ledger/fsck/segments.ts';
import { GatewayDir, inputs } from './gateway.ts';

test('CRC-32C: the check value of RFC 3720, and equal to the native one', () => {
  expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283);
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      expect(crc32c(bytes)).toBe(nativeCrc32c(bytes));
    }),
  );
});

const time = fc.oneof(fc.integer({ min: 0, max: 2 ** 41 }), fc.maxSafeInteger());
const text = (max: number) => fc.string({ unit: 'binary', maxLength: max });
const bytes = (maxLength: number) => fc.uint8Array({ maxLength });
const record: fc.Arbitrary<RecordInput> = fc.record({
  eventMs: time,
  receivedMs: time,
  topic: text(40).filter((topic) => topic.length > 0),
  device: text(20),
  sequence: fc.option(fc.maxSafeNat(), { nil: null }),
  source: fc.constantFrom(...Object.values(SOURCE)),
  contentType: fc.string({ maxLength: 20 }),
  headers: fc.uniqueArray(fc.tuple(fc.string({ minLength: 1, maxLength: 10 }), bytes(10)), {
    selector: ([name]) => name,
    maxLength: 4,
  }),
  payload: bytes(200),
  salt: fc.oneof(fc.constant(new Uint8Array(0)), fc.uint8Array({ minLength: 16, maxLength: 16 })),
});

test('decodes every record as it was appended', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(record, { minLength: 1, maxLength: 30 }),
      fc.integer({ min: 1, max: 9 }),
      async (records, group) => {
        const dir = new GatewayDir();
        await dir.run(records, { group });
        const decoded: TelemetryRecord[] = [];
        for await (const some of new SegmentRecords(dir.dataDir).read(0, records.length))
          decoded.push(...some);
        dir.remove();
        const plain = (input: RecordInput) => ({
          ...input,
          payload: [...input.payload],
          salt: [...input.salt],
          headers: input.headers.map(([name, value]) => [name, [...value]]),
        });
        expect(decoded.map(({ offset, ...rest }) => [offset, plain(rest)])).toEqual(
          records.map((input, i) => [i, plain(input)]),
        );
      },
    ),
    { numRuns: 25 },
  );
});

test('reads rising ranges, from the middle, past the end, and over segment borders', async () => {
  const dir = new GatewayDir();
  await dir.run(inputs(600), { group: 7, segmentBytes: 16 * 1024 });
  expect(listSegments(dir.dataDir).length).toBeGreaterThan(2);
  const source = new SegmentRecords(dir.dataDir);
  expect(await source.bounds()).toEqual({ start: 0, end: 600 });
  const read = async (first: number, end: number) => {
    const offsets: number[] = [];
    for await (const some of source.read(first, end)) offsets.push(...some.map(({ offset }) => offset));
    return offsets;
  };
  const range = (first: number, end: number) => Array.from({ length: end - first }, (_, i) => first + i);
  expect(await read(5, 11)).toEqual(range(5, 11));
  expect(await read(11, 12)).toEqual([11]);
  expect(await read(300, 420)).toEqual(range(300, 420));
  expect(await read(590, 700)).toEqual(range(590, 600));
  dir.remove();
});

test('a batch of another form is refused with a reason, whatever its bytes', async () => {
  const dir = new GatewayDir();
  await dir.run(inputs(5), { group: 5 });
  const [item] = [...scanSegment(listSegments(dir.dataDir)[0]!)];
  dir.remove();
  if (item?.kind !== 'batch') throw new Error('no batch');
  const good = item.batch;
  expect(decodeBatch(good).ok).toBe(true);
  expect(decodeBatch({ ...good, count: good.count + 1 })).toMatchObject({ ok: false });
  expect(decodeBatch({ ...good, count: good.count - 1 })).toMatchObject({ ok: false });
  expect(decodeBatch({ ...good, attributes: 2 })).toMatchObject({ ok: false });
  expect(decodeBatch({ ...good, attributes: 4 })).toMatchObject({ ok: false });
  for (let at = 0; at < good.body.length; at += 1) {
    expect(decodeBatch({ ...good, body: good.body.subarray(0, at) }).ok).toBe(false);
  }
  fc.assert(
    fc.property(fc.nat(good.body.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
      const body = good.body.slice();
      body[at]! ^= mask;
      // It may still be a record, a changed one; it must not throw or read past the end.
      expect(typeof decodeBatch({ ...good, body }).ok).toBe('boolean');
    }),
    { numRuns: 300 },
  );
});
