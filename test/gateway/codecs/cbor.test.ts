// CBOR, against the encoder of other people (cborg) and the examples of RFC 8949 appendix A.
import { encode } from 'cborg';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { CborError, CborReader, decodeCbor } from '../../../gateway/codecs/cbor.ts';

const hex = (text: string) => decodeCbor(Buffer.from(text.replaceAll(' ', ''), 'hex'));
/** Objects without a prototype compare as plain ones. */
const plain = (value: unknown) => JSON.parse(JSON.stringify(value)) as unknown;

test.each([
  ['00', 0],
  ['1818', 24],
  ['1a000f4240', 1_000_000],
  ['1b000000e8d4a51000', 1_000_000_000_000],
  ['20', -1],
  ['3903e7', -1000],
  ['f97bff', 65504],
  ['f90001', 2 ** -24],
  ['f9fc00', Number.NEGATIVE_INFINITY],
  ['fa47c35000', 100000],
  ['fbc010666666666666', -4.1],
  ['f4', false],
  ['f5', true],
  ['f6', null],
  ['f7', null],
  ['f0', null],
  ['f8ff', null],
  ['c11a514b67b0', '2013-03-21T20:04:00.000Z'],
  ['c1fb41d452d9ec200000', '2013-03-21T20:04:00.500Z'],
  ['c074323031332d30332d32315432303a30343a30305a', '2013-03-21T20:04:00Z'],
  ['c249010000000000000000', 2 ** 64],
  ['c349010000000000000000', -(2 ** 64)],
  ['d9d9f701', 1],
  ['62c3bc', 'ü'],
  ['7f657374726561646d696e67ff', 'streaming'],
  ['9f018202039f0405ffff', [1, [2, 3], [4, 5]]],
  ['bf61610161629f0203ffff', { a: 1, b: [2, 3] }],
  ['a201020304', { 1: 2, 3: 4 }],
])('RFC 8949: %s', (bytes, value) => {
  expect(typeof value === 'object' ? plain(hex(bytes)) : hex(bytes)).toEqual(value);
});

test.each([
  ['', 'ends within'],
  ['18', 'ends within'],
  ['1c', 'reserved'],
  ['1f', 'reserved'],
  ['62c3', 'ends within'],
  ['61ff', 'UTF-8'],
  ['5f6161ff', 'another type'],
  ['5f5f4100ffff', 'another type'],
  ['9f01', 'ends within'],
  ['81', 'ends within'],
  ['82 01 ff', 'break'],
  ['a1 6161 ff', 'no value'],
  ['a1 8101 01', 'neither text'],
  ['a2 6161 01 6161 02', 'twice'],
  ['a2 01 01 6131 02', 'twice'],
  ['ff', 'break'],
  ['c1ff', 'no content'],
  ['f818', 'simple'],
  ['fc', 'reserved'],
  ['0000', 'further bytes'],
  ['9bffffffffffffffff', 'ends within'],
  ['81'.repeat(40), 'nested deeper'],
  ['c1'.repeat(100_000), 'nested deeper'],
])('refused: %s', (bytes, why) => {
  expect(() => hex(bytes)).toThrow(CborError);
  expect(() => hex(bytes)).toThrow(why);
});

test('__proto__ is a key like any other', () => {
  const value = decodeCbor(Buffer.from(encode(JSON.parse('{"__proto__":{"x":1}}')))) as Record<
    string,
    unknown
  >;
  expect(Object.hasOwn(value, '__proto__')).toBe(true);
  expect((value as { x?: number }).x).toBeUndefined();
});

const json = fc.jsonValue({ maxDepth: 6 });

test('what cborg encodes is read as it was', () => {
  fc.assert(
    fc.property(json, (value) => {
      expect(plain(decodeCbor(Buffer.from(encode(value))))).toEqual(plain(value));
    }),
    { numRuns: 300 },
  );
});

test('members and sequences keep each item’s own bytes', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), json, { maxKeys: 5 }), (object) => {
      const spans: Record<string, string> = Object.create(null);
      const reader = new CborReader(Buffer.from(encode(object)));
      expect(reader.eachMember((key, _value, span) => (spans[key] = span.toString('hex')))).toBe(true);
      expect(reader.done).toBe(true);
      for (const [key, value] of Object.entries(object))
        expect(spans[key]).toBe(Buffer.from(encode(value)).toString('hex'));
    }),
    { numRuns: 200 },
  );
  fc.assert(
    fc.property(fc.array(json, { maxLength: 5 }), (values) => {
      const parts = values.map((value) => Buffer.from(encode(value)));
      const reader = new CborReader(Buffer.concat(parts));
      const items = parts.map(() => reader.item());
      expect(reader.done).toBe(true);
      expect(items.map(({ bytes }) => bytes.toString('hex'))).toEqual(
        parts.map((part) => part.toString('hex')),
      );
    }),
    { numRuns: 100 },
  );
  expect(new CborReader(Buffer.from([0x80])).eachMember(() => {})).toBe(false);
});

test('any bytes: a value or a CborError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      try {
        decodeCbor(Buffer.from(bytes));
      } catch (error) {
        expect(error).toBeInstanceOf(CborError);
      }
    }),
    { numRuns: 3000 },
  );
});
