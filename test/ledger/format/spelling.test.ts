// One spelling per value: decimals, base64, canonical JSON, UTF-8. Everything else is refused by code.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  fromBase64,
  fromBase64Sized,
  fromBase64Url,
  toBase64,
  toBase64Url,
} from '../../../ledger/format/base64.ts';
import { canonicalJson, type JsonValue, parseCanonicalJson } from '../../../ledger/format/canonical.ts';
import { parseDecimal, parseSignedDecimal } from '../../../ledger/format/decimal.ts';
import { fromUtf8, isKeyName, toUtf8 } from '../../../ledger/format/text.ts';

const code = (expected: string) => expect.objectContaining({ code: expected });

describe('decimals', () => {
  test('every safe whole number reads back', () => {
    fc.assert(fc.property(fc.maxSafeNat(), (n) => parseDecimal(String(n), 'n') === n));
    fc.assert(fc.property(fc.maxSafeInteger(), (n) => parseSignedDecimal(String(n), 'n') === n));
    expect(parseDecimal('9007199254740991', 'n')).toBe(Number.MAX_SAFE_INTEGER);
  });

  const refused = ['', '00', '01', '+1', '-1', '-0', ' 1', '1 ', '1\n', '1.0', '1e3', '0x1', '１', '1_0'];
  test.each([...refused, '9007199254740992', '18446744073709551615', '9'.repeat(1000)])(
    'refuses %j',
    (text) => {
      expect(() => parseDecimal(text, 'n')).toThrow(code('NUMBER_INVALID'));
      if (text !== '-1') expect(() => parseSignedDecimal(text, 'n')).toThrow(code('NUMBER_INVALID'));
    },
  );
});

describe('base64', () => {
  test('equals Buffer both ways', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        const [standard, url] = [toBase64(bytes), toBase64Url(bytes)];
        expect(standard).toBe(Buffer.from(bytes).toString('base64'));
        expect(url).toBe(Buffer.from(bytes).toString('base64url'));
        expect(fromBase64(standard)).toEqual(bytes);
        expect(fromBase64Url(url)).toEqual(bytes);
      }),
    );
  });

  test('one spelling only: any text that decodes is what its bytes encode to', () => {
    const text = fc.string({ unit: fc.constantFrom(...'ABYZabyz0189+/=-_ \n'), maxLength: 8 });
    fc.assert(
      fc.property(text, (candidate) => {
        let bytes: Uint8Array;
        try {
          bytes = fromBase64(candidate);
        } catch {
          return;
        }
        expect(toBase64(bytes)).toBe(candidate);
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    'A',
    'AA',
    'AA=',
    'AAA',
    'AB==',
    'AAB=',
    'A===',
    '====',
    'AA==\n',
    'A A=',
    'AA-_',
    'AAAAé',
    'AA==AAAA',
  ])('refuses %j', (text) => {
    expect(() => fromBase64(text)).toThrow(code('BASE64_INVALID'));
  });
  test.each(['A', 'AB', 'AAB', 'AA==', 'AA+/', 'A '])('base64url refuses %j', (text) => {
    expect(() => fromBase64Url(text)).toThrow(code('BASE64_INVALID'));
  });
  test('a wrong length is refused with the code of its place', () => {
    expect(() => fromBase64Sized('AAAA', 32, 'root', 'CHECKPOINT_INVALID')).toThrow(
      code('CHECKPOINT_INVALID'),
    );
  });
});

describe('canonical JSON', () => {
  test('RFC 8785 order and numbers', () => {
    const value = {
      peach: 1,
      péché: 2,
      '\u20ac': 3,
      '\r': 4,
      '1': 5,
      '\ud83d\ude00': 6,
      b: [1e21, 0.000001, -0, 'é\n'],
    };
    expect(canonicalJson(value)).toBe(
      '{"\\r":4,"1":5,"b":[1e+21,0.000001,0,"é\\n"],"peach":1,"péché":2,"€":3,"😀":6}',
    );
  });

  test('every JSON value reads back', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
        const clean = JSON.parse(JSON.stringify(value)) as JsonValue;
        expect(parseCanonicalJson(canonicalJson(clean))).toEqual(clean);
      }),
    );
  });

  const refused = [
    '',
    '{',
    '{"a":1, "b":2}',
    '{"b":1,"a":2}',
    '{"a":1,"a":1}',
    '1.0',
    '-0',
    '"\\u0061"',
    ' 1',
    '"\\ud800"',
  ];
  test.each([...refused, `${'['.repeat(40)}${']'.repeat(40)}`, '['.repeat(60_000)])(
    'refuses %.40j',
    (text) => {
      expect(() => parseCanonicalJson(text)).toThrow(code('JSON_INVALID'));
    },
  );
});

test('UTF-8 is strict both ways', () => {
  expect(() => toUtf8('a\ud800')).toThrow(code('NOTE_INVALID'));
  expect(() => fromUtf8(Uint8Array.of(0xc0, 0x80))).toThrow(code('NOTE_INVALID'));
  expect(fromUtf8(Uint8Array.of(0xef, 0xbb, 0xbf, 0x61))).toBe('\ufeffa');
});

test.each([
  ['plant7.example.com/gw-3', true],
  ['ключ', true],
  ['', false],
  ['a b', false],
  ['a+b', false],
  ['a\u00a0b', false],
  ['a\u2003', false],
  ['a\u0085', false],
  ['a\n', false],
  ['a\ud800', false],
])('key name %j: %s', (name, ok) => {
  expect(isKeyName(name)).toBe(ok);
});
