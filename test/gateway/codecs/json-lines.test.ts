// A line that is said to be JSON must be one for JSON.parse too; what is plain JSON must not be missed.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { JsonLine, lengthBit } from '../../../gateway/codecs/json-lines.ts';
import { ANY_NAMES, parsePointer } from '../../../gateway/codecs/pointer.ts';

const line = new JsonLine();
const read = (text: string, start = 0) => line.read(Buffer.from(text), start);

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

const plainText = fc.string({ unit: fc.constantFrom(...'abcxyz 0129é漢😀/:,{}[]') });
const plain = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom(null, true, false),
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    plainText,
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(plainText, tie('value'), { maxKeys: 4 }),
  ),
})).value;

test('plain JSON is recognised up to the end of its line, and no member name is missed', () => {
  fc.assert(
    fc.property(plain, fc.constantFrom('', ' ', '\t \r'), (value, blank) => {
      const text = `${blank}${JSON.stringify(value)}${blank}`;
      const body = Buffer.from(`before\n${text}\nafter`);
      expect(line.read(body, 7)).toBe(true);
      expect(body.toString('utf8', 7, line.end)).toBe(text);
      JSON.parse(text, (name, inner: unknown) => {
        const isMember = typeof inner !== 'undefined' && name !== '' && !/^(0|[1-9][0-9]*)$/.test(name);
        if (isMember) expect(line.nameLengths & lengthBit(Buffer.byteLength(name))).not.toBe(0);
        return inner;
      });
    }),
  );
});

test('whatever is said to be JSON, JSON.parse takes', () => {
  const pieces = ['{', '}', '[', ']', ',', ':', '"', '"a"', '"ts"', '\\', '\\n', ' ', '\r', '\t', '\n', '\0'];
  const more = [
    '0',
    '1',
    '-',
    '+',
    '.',
    'e',
    'E5',
    '1.5',
    '00',
    'true',
    'false',
    'null',
    'nul',
    'é',
    '\u2028',
  ];
  const soup = fc.array(fc.constantFrom(...pieces, ...more), { maxLength: 12 }).map((all) => all.join(''));
  const damaged = fc
    .tuple(plain, fc.nat(), fc.constantFrom(...pieces, ...more, ''))
    .map(([value, at, piece]) => {
      const text = JSON.stringify(value);
      const place = at % (text.length + 1);
      return text.slice(0, place) + piece + text.slice(place + 1);
    });
  fc.assert(
    fc.property(fc.oneof(soup, damaged), (text) => {
      const wellFormed = text.toWellFormed();
      const bytes = Buffer.from(wellFormed);
      if (line.read(bytes, 0)) expect(isJson(bytes.toString('utf8', 0, line.end))).toBe(true);
    }),
    { numRuns: 3_000 },
  );
});

describe.each([
  ...[
    '',
    ' ',
    '{',
    '[1',
    '{"a"',
    '{"a":',
    '{"a":1',
    '{"a":1,',
    '"a',
    '-',
    '1.',
    '1e',
    '1e+',
    'tru',
    '01',
    '+1',
  ],
  ...[
    '[1,]',
    '{"a":1,}',
    '{,}',
    '[,1]',
    '{"a" 1}',
    '{1:2}',
    '[1}',
    '{"a":1]',
    '1 2',
    '{}{}',
    '"\u0001"',
    'NaN',
  ],
  ...['\uFEFF1', '1\u00a0', "'a'", '[1]]', '{"a":1}}', '{"a":\n1}', '/**/1'],
])('%j', (text) => {
  test('is left to JSON.parse', () => expect(read(text)).toBe(false));
});

test('escapes and deep nesting are left to JSON.parse, too', () => {
  expect(read('{"a":"\\n"}')).toBe(false);
  expect(read('{"\\u0074s":1}')).toBe(false);
  expect(read(`${'['.repeat(30)}${']'.repeat(30)}`)).toBe(true);
  expect(read(`${'['.repeat(200_000)}${']'.repeat(200_000)}`)).toBe(false);
});

test('names are told by their length; a long one by having many bytes', () => {
  const may = (text: string, pointer: string) => {
    expect(read(text)).toBe(true);
    return (line.nameLengths & parsePointer(pointer).nameBits) !== 0;
  };
  expect(may('{"value":1}', '/meta/ts')).toBe(false);
  expect(may('[{"meta":{"ts":1}}]', '/meta/ts')).toBe(true);
  const long = 'n'.repeat(40);
  expect(may(`{"${long}":1}`, `/${long}s`)).toBe(true);
  expect(parsePointer('/list/0').nameBits).toBe(ANY_NAMES);
  expect(parsePointer('').nameBits).toBe(ANY_NAMES);
});
