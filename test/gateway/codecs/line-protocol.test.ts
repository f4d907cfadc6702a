// InfluxDB line protocol, against what other people write (@influxdata/influxdb-client) and InfluxDB's own refusals.
import { Point } from '@influxdata/influxdb-client';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  eachLine,
  LineProtocolError,
  parseLine,
  protocolLines,
  timestampMs,
} from '../../../gateway/codecs/line-protocol.ts';

const parse = (text: string) => parseLine(Buffer.from(text));
const lines = (text: string) =>
  protocolLines(Buffer.from(text), 100)!.map(({ number, bytes }) => [number, bytes.toString()]);

test('every kind of value, escapes, spaces', () => {
  expect(
    parse(
      String.raw`my\ meas\,x,tag\ key=a\=b,t2=c\,d\\e f\=1=1.5e3,i=-7i,u=18446744073709551615u,b=T,s="a \"b\" \\ , = c"  -12 `,
    ),
  ).toEqual({
    measurement: 'my meas,x',
    tags: [
      ['tag key', 'a=b'],
      ['t2', String.raw`c,d\\e`],
    ],
    fields: [
      ['f=1', 1500],
      ['i', -7n],
      ['u', 18446744073709551615n],
      ['b', true],
      ['s', String.raw`a "b" \ , = c`],
    ],
    timestamp: '-12',
  });
  expect(parse('m v=1').timestamp).toBeNull();
  expect(parse('m\\é v=.5')).toMatchObject({ measurement: 'm\\é', fields: [['v', 0.5]] });
});

test.each([
  [',t=1 v=1', 'missing measurement'],
  ['m', 'missing fields'],
  ['m ', 'missing fields'],
  ['m,t v=1', 'missing tag value'],
  ['m,t= v=1', 'missing tag value'],
  ['m,=1 v=1', 'missing tag key'],
  ['m,a=1=2 v=1', 'invalid tag format'],
  ['m,a=1,a=2 v=1', 'duplicate tags'],
  ['m =1', 'missing field key'],
  ['m v', 'missing field value'],
  ['m v=', 'missing field value'],
  ['m v=1,', 'missing field key'],
  ['m v="a', 'unbalanced quotes'],
  ['m v="a"b', 'invalid field format'],
  ['m v=abc', 'invalid boolean or number'],
  ['m v=NaN', 'invalid boolean or number'],
  ['m v=1e999', 'value out of range'],
  ['m v=9223372036854775808i', 'value out of range'],
  ['m v=-1u', 'value out of range'],
  ['m v=18446744073709551616u', 'value out of range'],
  ['m v=1 x', 'bad timestamp'],
  ['m v=1 1 2', 'bad timestamp'],
  ['m v=1 9223372036854775808', 'bad timestamp'],
])('%s is refused: %s', (line, why) => {
  expect(() => parse(line)).toThrow(new LineProtocolError(why));
});

test('lines: comments and blanks are skipped, a quoted text may hold a line end', () => {
  expect(lines('# "c\nm v=1\r\n\n  \n m v="a\nb",w=2 5\nn v=3')).toEqual([
    [2, 'm v=1'],
    [5, 'm v="a\nb",w=2 5'],
    [6, 'n v=3'],
  ]);
  expect(lines('m,t="a v=1\nm v=2\n')).toEqual([
    [1, 'm,t="a v=1'],
    [2, 'm v=2'],
  ]);
  expect(lines('m v="never\nm v=2')).toEqual([
    [1, 'm v="never'],
    [2, 'm v=2'],
  ]);
  expect(protocolLines(Buffer.from('a b=1\na b=1\na b=1'), 2)).toBeNull();
});

test.each([
  ['1763600000123456789', 'ns', 1_763_600_000_123],
  ['-1', 'ns', -1],
  ['-1000000', 'ns', -1],
  ['1763600000123456', 'us', 1_763_600_000_123],
  ['1763600000123', 'ms', 1_763_600_000_123],
  ['1763600000', 's', 1_763_600_000_000],
  ['2', 'm', 120_000],
  ['-2', 'h', -7_200_000],
  ['9223372036854775807', 's', null],
] as const)('%s in %s', (timestamp, precision, ms) => {
  expect(timestampMs(timestamp, precision)).toBe(ms);
});

// Their writer leaves out empty tags and fields, and escapes line ends by a backslash, which line protocol does not
// know; a last backslash would escape the separator after it. All three are the writer's business.
const name = fc
  .string({ minLength: 1, maxLength: 12 })
  .filter((text) => !/[\n\r\t\\"\0]/.test(text) && text.trim() === text && text !== '__proto__');

test('what their client writes is read as it was', () => {
  fc.assert(
    fc.property(
      name,
      fc.dictionary(name, name, { maxKeys: 3, noNullPrototype: true }),
      fc.dictionary(
        name,
        fc.oneof(
          fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value + 0), // they write -0 as 0
          fc.boolean(),
          fc.string(),
          fc.maxSafeInteger().map(BigInt),
        ),
        { minKeys: 1, maxKeys: 4, noNullPrototype: true },
      ),
      fc.option(fc.maxSafeInteger()),
      (measurement, tags, fields, at) => {
        const point = new Point(measurement);
        for (const [key, value] of Object.entries(tags)) point.tag(key, value);
        for (const [key, value] of Object.entries(fields)) {
          if (typeof value === 'number') point.floatField(key, value);
          else if (typeof value === 'boolean') point.booleanField(key, value);
          else if (typeof value === 'bigint') point.intField(key, value.toString());
          else point.stringField(key, value);
        }
        if (at !== null) point.timestamp(String(at));
        const line = point.toLineProtocol({ convertTime: (value) => value as string | undefined })!;
        if (measurement.startsWith('#')) return;
        const [only] = protocolLines(Buffer.from(line), 10)!;
        expect(only!.bytes.toString()).toBe(line);
        const read = parseLine(only!.bytes);
        const byKey = (pairs: readonly (readonly [string, unknown])[]) => Object.fromEntries(pairs);
        expect({ ...read, tags: byKey(read.tags), fields: byKey(read.fields) }).toEqual({
          measurement,
          tags,
          fields,
          timestamp: at === null ? null : String(at),
        });
      },
    ),
    { numRuns: 400 },
  );
});

test('any bytes: lines in order, each a point or a LineProtocolError', () => {
  const piece = fc.constantFrom('m', ',', '=', ' ', '"', '\\', '\n', '1', 'i', '#', 't', '\r', 'é');
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 40 }).map((parts) => parts.join('')),
      (text) => {
        let last = 0;
        for (const { number, bytes } of protocolLines(Buffer.from(text), 100)!) {
          expect(number).toBeGreaterThan(last);
          last = number;
          try {
            parseLine(bytes);
          } catch (error) {
            expect(error).toBeInstanceOf(LineProtocolError);
          }
        }
      },
    ),
    { numRuns: 2000 },
  );
});

test('looking for lines can be interrupted, whatever the body is made of', () => {
  const bytes = 1024 * 1024;
  const bodies = ['m v=1\n', '\n', '# nothing\n', 'm v="a\nb"\n'].map((line) =>
    line.repeat(bytes / line.length),
  );
  for (const body of [...bodies, `m v="${'\n'.repeat(bytes)}`, `m v="${'a'.repeat(bytes)}"`]) {
    let steps = 0;
    let pauses = 0;
    let pausedAt = 0;
    for (const line of eachLine(Buffer.from(body))) {
      steps += 1;
      if (line !== null) continue;
      pauses += 1;
      expect(steps - pausedAt).toBeLessThan(1_000);
      pausedAt = steps;
    }
    expect(pauses).toBeGreaterThan(14);
  }
});
