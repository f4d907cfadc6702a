// Holds the batch codec to Kafka's layout and to reading back exactly what was written, or nothing.
import { zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  checkBatch,
  readHeader,
  sealBatch,
  whyForeign,
  writeBaseOffset,
} from '../../../gateway/log/batch.ts';
import { CheckedBatch } from '../../../gateway/log/checked-batch.ts';
import { Group } from '../../../gateway/log/group.ts';
import { TextCache } from '../../../gateway/log/text-cache.ts';
import { FormFault } from '../../../gateway/log/varint.ts';
import type { RecordInput, TelemetryRecord } from '../../../ledger/format/record.ts';
import { referenceBatch } from './kafka-reference.ts';
import { anyRecord, plain, record } from './records.ts';

const LIMITS = { maxBatchBytes: 1024 * 1024, maxRecordBytes: 1024 * 1024 };
const NO_ONE = () => {};
const texts = new TextCache();

function encode(records: readonly RecordInput[], baseOffset: number, limits = LIMITS): Buffer[] {
  const group = new Group(limits);
  for (const input of records) expect(group.add(input, NO_ONE, 1 << 30)).toBeNull();
  let next = baseOffset;
  return group.batches.map((_, index) => {
    const batch = group.batches[index]!;
    sealBatch(group.buffer, batch.start, batch.end, batch);
    writeBaseOffset(group.buffer, batch.start, next);
    next += batch.count;
    return Buffer.from(group.buffer.subarray(batch.start, batch.end));
  });
}

/** Records of a batch, or why there are none. */
function decode(bytes: Uint8Array, from = 0): TelemetryRecord[] | string {
  const header = readHeader(bytes, 0, bytes.length);
  if (typeof header === 'string') return header;
  const fault = checkBatch(bytes, 0, bytes.length, header) ?? whyForeign(header);
  if (fault) return fault;
  const records: TelemetryRecord[] = [];
  try {
    const decoder = new CheckedBatch(header, bytes, 0).decoder(0, texts);
    for (let next = decoder.next(from); next; next = decoder.next(from)) records.push(next);
  } catch (error) {
    if (error instanceof FormFault) return error.message;
    throw error;
  }
  return records;
}

describe('round trip', () => {
  test('any records come back as they went in', () => {
    fc.assert(
      fc.property(
        fc.array(anyRecord, { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 0, max: 2 ** 48 }),
        (records, base) => {
          const [bytes, ...more] = encode(records, base);
          expect(more).toEqual([]);
          const back = decode(bytes!);
          expect(back).toBeInstanceOf(Array);
          expect((back as TelemetryRecord[]).map(plain)).toEqual(records.map(plain));
          expect((back as TelemetryRecord[]).map(({ offset }) => offset)).toEqual(
            records.map((_, index) => base + index),
          );
        },
      ),
      { numRuns: 300 },
    );
  });

  test('the bytes are those of a slow transcription of the Kafka layout', () => {
    fc.assert(
      fc.property(fc.array(anyRecord, { minLength: 1, maxLength: 4 }), fc.nat(), (records, base) => {
        expect(encode(records, base)[0]!.equals(referenceBatch(base, records))).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  test('decoding can begin inside a batch', () => {
    const [bytes] = encode([record(0), record(1), record(2), record(3)], 100);
    expect((decode(bytes!, 102) as TelemetryRecord[]).map(({ offset }) => offset)).toEqual([102, 103]);
    expect(decode(bytes!, 104)).toEqual([]);
  });

  test('a group is cut into batches at the size limit and at 65,535 records', () => {
    const small = encode(
      Array.from({ length: 200 }, (_, n) => record(n)),
      7,
      { ...LIMITS, maxBatchBytes: 4096 },
    );
    expect(small.length).toBeGreaterThan(4);
    expect(Math.max(...small.map((bytes) => bytes.length))).toBeLessThanOrEqual(4096);
    expect(
      small.flatMap((bytes) => (decode(bytes) as TelemetryRecord[]).map(({ offset }) => offset)),
    ).toEqual(Array.from({ length: 200 }, (_, n) => n + 7));
    const many = encode(
      Array.from({ length: 65_536 }, (_, n) => record(n)),
      0,
      { ...LIMITS, maxBatchBytes: 1 << 24 },
    );
    expect(many.map((bytes) => (decode(bytes) as TelemetryRecord[]).length)).toEqual([65_535, 1]);
  });
});

describe('hostile and damaged bytes', () => {
  const records = [
    record(1),
    record(2, { device: '', sequence: null }),
    record(3, { headers: [['a', Buffer.from('b')]] }),
  ];
  const [whole] = encode(records, 41);

  test('every single flipped bit is found, or leaves the base offset (which its place must confirm) changed', () => {
    for (let bit = 0; bit < whole!.length * 8; bit++) {
      const bytes = Buffer.from(whole!);
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      const back = decode(bytes);
      if (typeof back === 'string') continue;
      expect(bit).toBeLessThan(64);
      expect(back[0]!.offset).not.toBe(41);
      expect(back.map(plain)).toEqual(records.map(plain));
    }
  });

  test('every truncation is found', () => {
    for (let length = 0; length < whole!.length; length++)
      expect(decode(whole!.subarray(0, length))).toBeTypeOf('string');
  });

  test('garbage, also behind a right checksum, gives records of the right number or a named fault', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 61, maxLength: 400 }), (garbage) => {
        expect(decode(garbage)).toBeTypeOf('string');
        const dressed = referenceBatch(0, [record(1)], { stored: () => garbage });
        const back = decode(dressed);
        if (typeof back !== 'string') expect(back.length).toBe(1);
      }),
      { numRuns: 500 },
    );
  });

  test('records of a right checksum cut or changed inside never decode to something longer than the batch', () => {
    fc.assert(
      fc.property(
        fc.nat({ max: 200 }),
        fc.integer({ min: 0, max: 255 }),
        fc.nat({ max: 60 }),
        (at, value, cut) => {
          const dressed = referenceBatch(5, records, {
            stored: (section) => {
              const changed = section.slice(0, section.length - cut);
              if (at < changed.length) changed[at] = value;
              return changed;
            },
          });
          const back = decode(dressed);
          if (typeof back !== 'string') expect(back.map(({ offset }) => offset)).toEqual([5, 6, 7]);
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe('foreign batches are named, not misread', () => {
  test.each([
    [1, 'compressed with gzip'],
    [2, 'compressed with snappy'],
    [3, 'compressed with lz4'],
    [5, 'compressed with unknown codec 5'],
    [0x08, 'log-append timestamps'],
    [0x10, 'transactional batch'],
    [0x20, 'control batch'],
    [0x40, 'unknown attributes 0x40'],
  ])('attributes %i: %s', (attributes, reason) => {
    expect(decode(referenceBatch(0, [record(1)], { attributes }))).toBe(reason);
  });

  test('zstd is read', () => {
    const bytes = referenceBatch(9, [record(1), record(2)], {
      attributes: 4,
      stored: (section) => zstdCompressSync(section),
    });
    expect((decode(bytes) as TelemetryRecord[]).map(plain)).toEqual([record(1), record(2)].map(plain));
    const broken = referenceBatch(9, [record(1)], {
      attributes: 4,
      stored: () => Buffer.from('not zstd at all'),
    });
    expect(decode(broken)).toBe('zstd data does not unpack');
  });
});

describe('records the form cannot carry are refused', () => {
  const group = () => new Group({ ...LIMITS, maxRecordBytes: 2048 });
  test.each<[string, Partial<RecordInput>, string]>([
    ['empty topic', { topic: '' }, 'topic must have 1..65535 bytes'],
    ['topic of 65,536 bytes in UTF-8', { topic: 'é'.repeat(32_768) }, 'topic must have 1..65535 bytes'],
    ['lone surrogate', { device: '\ud800' }, 'topic and device must be well-formed Unicode'],
    ['fractional time', { eventMs: 1.5 }, 'eventMs must be a safe integer'],
    ['negative sequence', { sequence: -1 }, 'sequence must be null or 0..2^53-1'],
    ['short salt', { salt: new Uint8Array(15) }, 'salt must have 0 or 16 bytes'],
    ['content type in UTF-8', { contentType: 'é' }, 'contentType must be at most 255 bytes of ASCII'],
    [
      'header twice',
      {
        headers: [
          ['a', new Uint8Array(1)],
          ['a', new Uint8Array(1)],
        ],
      },
      'header names must be unique',
    ],
  ])('%s', (_, changes, reason) => {
    const target = new Group({ ...LIMITS, maxRecordBytes: 1 << 20 });
    expect(target.add(record(1, changes), NO_ONE, 1 << 30)).toEqual({ code: 'RECORD_INVALID', reason });
    expect(target.callbacks).toEqual([]);
  });

  test('too large, and too much for the budget', () => {
    expect(group().add(record(1, { payload: new Uint8Array(2048) }), NO_ONE, 1 << 30)).toMatchObject({
      code: 'RECORD_TOO_LARGE',
    });
    expect(group().add(record(1), NO_ONE, 100)).toEqual({ code: 'BUFFER_FULL' });
  });

  test('all or none, and together in one batch where they fit', () => {
    const target = new Group({ maxBatchBytes: 4096, maxRecordBytes: 2048 });
    for (let n = 0; n < 30; n++) target.add(record(n), NO_ONE, 1 << 30);
    const before = target.callbacks.length;
    const bad = [record(1), record(2, { topic: '' })];
    expect(target.addAll(bad, NO_ONE, 1 << 30)).toMatchObject({ code: 'RECORD_INVALID' });
    expect(target.callbacks.length).toBe(before);
    const run = Array.from({ length: 15 }, (_, n) => record(n));
    expect(target.addAll(run, NO_ONE, 1 << 30)).toBeNull();
    expect(target.batches.map(({ count }) => count)).toEqual([30, 15]);
  });
});
