import fc from 'fast-check';
import { expect, test } from 'vitest';
import { arrayElements, memberFinder } from '../../../gateway/codecs/json-scan.ts';

const find = memberFinder('payload');
const spanIn = (text: string) => find(Buffer.from(text))?.toString() ?? null;

test.each([
  ['{"payload":1}', '1'],
  ['{"payload": {"a" : [1, 2]} }', '{"a" : [1, 2]}'],
  [' {\n"id":"x}",\t"payload"\r: "a\\"b,}" , "z":0}', '"a\\"b,}"'],
  ['{"a":{"payload":1},"payload":true}', 'true'],
  ['{"payload":1,"payload":-2.5e+3}', '-2.5e+3'],
  ['{"payl\\u006fad":null}', 'null'],
  ['{"Payload":1}', null],
  ['{}', null],
  ['[{"payload":1}]', null],
  ['"payload"', null],
  ['{"payload":1 }', '1'],
  ['{"a":[],"b":"","payload":[]}', '[]'],
])('%s', (text, span) => {
  expect(spanIn(text)).toBe(span);
});

const space = fc.stringMatching(/^[ \t\r\n]{0,3}$/);
const name = fc.oneof(fc.constant('payload'), fc.string({ unit: 'grapheme' }));

/** A JSON text of the value with white space strewn in where the grammar allows it between members. */
const objectText = fc
  .array(fc.tuple(name, fc.jsonValue({ maxDepth: 4 }), fc.boolean(), space, space, space, space), {
    maxLength: 6,
  })
  .map((members) => {
    const texts = members.map(([key, value, pretty, a, b, c, d]) => {
      return `${a}${JSON.stringify(key)}${b}:${c}${JSON.stringify(value, null, pretty ? 2 : 0)}${d}`;
    });
    return { members, text: `{${texts.join(',')}}` };
  });

test('the span is the exact text of the last member of that name', () => {
  fc.assert(
    fc.property(objectText, ({ members, text }) => {
      const last = members.findLast(([key]) => key === 'payload');
      const span = spanIn(text);
      if (!last) expect(span).toBeNull();
      else expect(span).toBe(JSON.stringify(last[1], null, last[2] ? 2 : 0));
    }),
    { numRuns: 500 },
  );
});

test('any bytes: no exception, no endless loop, and nothing but a view of them', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 60 }),
      fc.constantFrom('', '{', '{"payload":', '{"payload":"', '{"a":[{'),
      (bytes, start) => {
        const text = Buffer.concat([Buffer.from(start), bytes]);
        const span = find(text);
        if (span) expect(span.buffer).toBe(text.buffer);
      },
    ),
    { numRuns: 500 },
  );
});

test('deep nesting costs no stack', () => {
  const deep = '['.repeat(200_000) + ']'.repeat(200_000);
  expect(spanIn(`{"x":${deep},"payload":${deep}}`)?.length).toBe(400_000);
});

test('the elements of an array keep their own bytes', () => {
  fc.assert(
    fc.property(fc.array(fc.jsonValue({ maxDepth: 3 })), fc.constantFrom(0, 2), (values, indent) => {
      const elements = arrayElements(Buffer.from(JSON.stringify(values, null, indent)))!;
      expect(elements.map((bytes) => JSON.parse(bytes.toString()) as unknown)).toEqual(
        values.map((value) => JSON.parse(JSON.stringify(value)) as unknown),
      );
    }),
    { numRuns: 300 },
  );
  const spaced = ' [ 1.0 ,"a]\\",[" , {"b" : [ ]} ] ';
  expect(arrayElements(Buffer.from(spaced))?.map(String)).toEqual(['1.0', '"a]\\",["', '{"b" : [ ]}']);
  expect(arrayElements(Buffer.from('[ ]'))).toEqual([]);
  expect(arrayElements(Buffer.from('{"a":[1]}'))).toBeNull();
});
