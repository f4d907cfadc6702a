// Record bytes and their JSON form: a golden record, both ways for any record, every limit refused by name.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { offset } from '../../../ledger/format/brand.ts';
import { toHex } from '../../../ledger/format/hash.ts';
import {
  createRecordHasher,
  decodeRecord,
  encodeRecord,
  type RecordJson,
  recordFromJson,
  recordLeafHash,
  recordToJson,
  SOURCE,
  type TelemetryRecord,
} from '../../../ledger/format/record.ts';
import { nativeSha256 } from './native.ts';

const ascii = (maxLength: number, minLength = 0) =>
  fc.string({ unit: 'grapheme-ascii', minLength, maxLength });
const text = (maxLength: number, minLength = 0) => fc.string({ unit: 'binary', minLength, maxLength });

const anyRecord: fc.Arbitrary<TelemetryRecord> = fc.record({
  offset: fc.maxSafeNat().map(offset),
  eventMs: fc.maxSafeInteger(),
  receivedMs: fc.maxSafeInteger(),
  topic: text(40, 1),
  device: text(20),
  sequence: fc.option(fc.maxSafeNat()),
  source: fc.constantFrom(...Object.values(SOURCE)),
  contentType: ascii(30),
  headers: fc.uniqueArray(fc.tuple(ascii(20, 1), fc.uint8Array({ maxLength: 30 })), {
    selector: ([name]) => name,
    maxLength: 4,
  }),
  payload: fc.uint8Array({ maxLength: 200 }),
  salt: fc.constantFrom(0, 16).chain((length) => fc.uint8Array({ minLength: length, maxLength: length })),
});

const sample: TelemetryRecord = {
  offset: offset(17),
  eventMs: 1763600000000,
  receivedMs: 1763600000123,
  topic: 'plant/pump-1/vibration',
  device: 'pump-1',
  sequence: 5,
  source: SOURCE.mqtt,
  contentType: 'application/json',
  headers: [],
  payload: new TextEncoder().encode('{"value":0.42}'),
  salt: new Uint8Array(0),
};

const sortHeaders = (record: TelemetryRecord) => ({
  ...record,
  headers: [...record.headers].sort(([a], [b]) => (a < b ? -1 : 1)),
});

describe('record bytes', () => {
  test('own vectors: the bytes of version 1 stay as they are', () => {
    const file = join(import.meta.dirname, '../../vectors/record/v1.json');
    const vectors = JSON.parse(readFileSync(file, 'utf8')) as {
      name: string;
      record: RecordJson;
      bytes: string;
      leafHash: string;
    }[];
    expect(vectors.length).toBeGreaterThan(3);
    for (const { name, record, bytes, leafHash } of vectors) {
      expect(toHex(encodeRecord(recordFromJson(record))), name).toBe(bytes);
      expect(recordToJson(decodeRecord(Buffer.from(bytes, 'hex'))), name).toEqual(record);
      const expected = createHash('sha256')
        .update(Uint8Array.of(0))
        .update(Buffer.from(bytes, 'hex'))
        .digest('hex');
      expect(leafHash, name).toBe(expected);
      expect(toHex(recordLeafHash(recordFromJson(record))), name).toBe(expected);
    }
  });

  test('every record reads back, headers sorted, and hashes alike in all three ways', () => {
    const hasher = createRecordHasher(nativeSha256);
    fc.assert(
      fc.property(anyRecord, (record) => {
        const bytes = encodeRecord(record);
        expect(decodeRecord(bytes)).toEqual(sortHeaders(record));
        expect(encodeRecord(decodeRecord(bytes))).toEqual(bytes);
        const leaf = toHex(recordLeafHash(record));
        expect(toHex(hasher(record))).toBe(leaf);
        expect(toHex(recordLeafHash(record, nativeSha256))).toBe(leaf);
      }),
    );
  });

  test('a payload larger than the scratch of the hasher', () => {
    const hasher = createRecordHasher();
    for (const size of [10, 100_000, 5]) {
      const record = { ...sample, payload: new Uint8Array(size).fill(7) };
      expect(toHex(hasher(record))).toBe(toHex(recordLeafHash(record)));
    }
  });

  test('every bit counts: no two of 300 mutations decode to bytes that encode otherwise', () => {
    const bytes = encodeRecord({
      ...sample,
      headers: [
        ['a', Uint8Array.of(1)],
        ['b', Uint8Array.of(2)],
      ],
    });
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = bytes.slice();
      changed[bit >> 3]! ^= 1 << (bit & 7);
      let record: TelemetryRecord;
      try {
        record = decodeRecord(changed);
      } catch (error) {
        expect(error).toMatchObject({ code: 'RECORD_INVALID' });
        continue;
      }
      expect(encodeRecord(record)).toEqual(changed);
    }
  });

  test('every truncation and any byte after the end is refused', () => {
    const bytes = encodeRecord(sample);
    for (let length = 0; length < bytes.length; length++) {
      expect(() => decodeRecord(bytes.subarray(0, length))).toThrow(
        expect.objectContaining({ code: 'RECORD_INVALID' }),
      );
    }
    expect(() => decodeRecord(Uint8Array.of(...bytes, 0))).toThrow(
      expect.objectContaining({ code: 'RECORD_INVALID' }),
    );
  });

  const wrong: [string, Partial<Record<keyof TelemetryRecord, unknown>>][] = [
    ['offset below 0', { offset: -1 }],
    ['offset beyond 2^53-1', { offset: 2 ** 53 }],
    ['time with a fraction', { eventMs: 0.5 }],
    ['time that is no number', { receivedMs: Number.NaN }],
    ['sequence below 0', { sequence: -1 }],
    ['source 0', { source: 0 }],
    ['source 7', { source: 7 }],
    ['salt of 15 bytes', { salt: new Uint8Array(15) }],
    ['empty topic', { topic: '' }],
    ['topic of 65,536 bytes', { topic: 'é'.repeat(32_768) }],
    ['lone surrogate in device', { device: 'a\udc00' }],
    ['lone surrogate at the end of topic', { topic: 'a\ud800' }],
    ['content type that is not ASCII', { contentType: 'é' }],
    ['content type of 256 bytes', { contentType: 'a'.repeat(256) }],
    ['header without a name', { headers: [['', new Uint8Array(0)]] }],
    [
      'header twice',
      {
        headers: [
          ['a', new Uint8Array(0)],
          ['a', new Uint8Array(0)],
        ],
      },
    ],
    ['header value of 65,536 bytes', { headers: [['a', new Uint8Array(65_536)]] }],
  ];
  test.each(wrong)('refuses %s', (_, change) => {
    expect(() => encodeRecord({ ...sample, ...change } as TelemetryRecord)).toThrow(
      expect.objectContaining({ code: 'RECORD_INVALID' }),
    );
  });
});

describe('JSON form', () => {
  test('every record reads back through JSON text', () => {
    fc.assert(
      fc.property(anyRecord, (record) => {
        const clean = { ...record, eventMs: record.eventMs + 0, receivedMs: record.receivedMs + 0 };
        expect(recordFromJson(JSON.parse(JSON.stringify(recordToJson(clean))))).toEqual(clean);
      }),
    );
  });

  const good = recordToJson(sample) as unknown as Record<string, unknown>;
  const { salt: _salt, ...withoutSalt } = good;
  test.each<[string, unknown]>([
    ['null', null],
    ['an array', []],
    ['a missing member', withoutSalt],
    ['an unknown member', { ...good, extra: 1 }],
    ['a number as text', { ...good, offset: '17' }],
    ['a fraction', { ...good, eventMs: 1.5 }],
    ['a sequence that is undefined', { ...good, sequence: undefined }],
    ['headers as an object', { ...good, headers: {} }],
    ['a header of three', { ...good, headers: [['a', '', '']] }],
    ['a device that is null', { ...good, device: null }],
    ['an unknown source', { ...good, source: 9 }],
  ])('refuses %s', (_, value) => {
    expect(() => recordFromJson(value)).toThrow(expect.objectContaining({ code: 'RECORD_INVALID' }));
  });
  test('refuses payload that is not canonical base64', () => {
    expect(() => recordFromJson({ ...good, payload: 'AB==' })).toThrow(
      expect.objectContaining({ code: 'BASE64_INVALID' }),
    );
  });
});
