import { expect, test } from 'vitest';
import { mayContain, parsePointer, resolvePointer } from '../../../gateway/codecs/pointer.ts';

// RFC 6901 §5, without the empty pointer's whole document under another name.
const document = { foo: ['bar', 'baz'], '': 0, 'a/b': 1, 'c%d': 2, 'm~n': 8, __proto__: null };

test.each([
  ['', document],
  ['/foo', ['bar', 'baz']],
  ['/foo/0', 'bar'],
  ['/foo/00', undefined],
  ['/foo/length', undefined],
  ['/', 0],
  ['/a~1b', 1],
  ['/c%d', 2],
  ['/m~0n', 8],
  ['/toString', undefined],
  ['/foo/0/x', undefined],
])('%j', (text, value) => {
  expect(resolvePointer(document, parsePointer(text))).toEqual(value);
});

test('a text that surely lacks the member is told apart without parsing', () => {
  const pointer = parsePointer('/meta/seq');
  expect(mayContain('{"meta":{"seq":1}}', pointer)).toBe(true);
  expect(mayContain('{"meta":{"s\\u0065q":1}}', pointer)).toBe(true);
  expect(mayContain('{"value":1}', pointer)).toBe(false);
  expect(mayContain('{"value":1}', parsePointer('/list/0'))).toBe(true);
});

test.each(['seq', '/a~2', 'a/b'])('%j is no pointer', (text) => {
  expect(() => parsePointer(text)).toThrow(RangeError);
});
