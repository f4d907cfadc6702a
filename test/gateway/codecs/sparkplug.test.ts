// Sparkplug topics and payloads: Eclipse Tahu encodes, ours decodes; and what no decoder should take is refused.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ProtobufError, ProtobufReader } from '../../../gateway/codecs/protobuf.ts';
import {
  decodeSparkplug,
  parseSparkplugTopic,
  SPARKPLUG_METRICS_MAX,
  sparkplugDevice,
} from '../../../gateway/codecs/sparkplug.ts';
import { leavesOf, metricValue, SPARKPLUG_VALUES_MAX } from '../../../gateway/codecs/sparkplug-values.ts';
import { rebirthPayload, rebirthTopic } from '../../../gateway/sparkplug/rebirth.ts';
import {
  ARRAYS,
  arrayPayload,
  arraysPayload,
  encode,
  structuredPayload,
  tahu,
} from '../sparkplug/payloads.ts';

test.each([
  ['spBv1.0/G/NBIRTH/E', { type: 'NBIRTH', group: 'G', node: 'E', device: null }, 'G/E'],
  ['spBv1.0/G/DDATA/E/D', { type: 'DDATA', group: 'G', node: 'E', device: 'D' }, 'G/E/D'],
  ['spBv1.0/STATE/scada-1', { type: 'STATE', group: '', node: 'scada-1', device: null }, 'STATE/scada-1'],
])('%s', (topic, parsed, device) => {
  expect(parseSparkplugTopic(topic)).toEqual(parsed);
  expect(sparkplugDevice(parseSparkplugTopic(topic)!)).toBe(device);
});

test.each([
  'spBv1.0',
  'spBv1.0/G/NBIRTH',
  'spBv1.0/G/NDATA/E/D',
  'spBv1.0/G/DDATA/E',
  'spBv1.0/G/DDATA/E/',
  'spBv1.0/G/DDATA/E/D/x',
  'spBv1.0//NDATA/E',
  'spBv1.0/G/OTHER/E',
  'spBv1.0/STATE/h/x',
  'spAv1.0/G/NDATA/E',
])('%s is none of Sparkplug’s', (topic) => expect(parseSparkplugTopic(topic)).toBeNull());

const TYPES: readonly [type: string, code: number, value: fc.Arbitrary<number | boolean | string>][] = [
  ['Int8', 1, fc.integer({ min: -128, max: 127 })],
  ['Int16', 2, fc.integer({ min: -32_768, max: 32_767 })],
  ['Int32', 3, fc.integer()],
  ['UInt8', 5, fc.integer({ min: 0, max: 255 })],
  ['UInt16', 6, fc.integer({ min: 0, max: 65_535 })],
  ['UInt32', 7, fc.integer({ min: 0, max: 2 ** 32 - 1 })],
  ['Float', 9, fc.float({ noNaN: true, noDefaultInfinity: true })],
  ['Double', 10, fc.double({ noNaN: true, noDefaultInfinity: true })],
  ['Boolean', 11, fc.boolean()],
  ['String', 12, fc.string({ unit: 'grapheme' })],
];
const metric = fc
  .tuple(fc.constantFrom(...TYPES), fc.string({ minLength: 1, unit: 'grapheme' }), fc.nat({ max: 100_000 }))
  .chain(([[type, code, values], name, alias]) =>
    values.map((value) => ({ type, code, name, alias, value, timestamp: 1_763_600_000_000 + alias })),
  );

test('what Tahu encodes is read as it was meant', () => {
  fc.assert(
    fc.property(fc.array(metric, { maxLength: 20 }), fc.integer({ min: 0, max: 255 }), (metrics, seq) => {
      const payload = decodeSparkplug(encode({ timestamp: 1_763_600_000_001, seq, metrics }));
      expect(payload).toMatchObject({ timestampMs: 1_763_600_000_001, seq });
      const read = payload.metrics.map((one) => {
        const { name, alias, timestampMs, datatype } = one;
        return { name, alias, timestamp: timestampMs, code: datatype, ...metricValue(one, datatype) };
      });
      // JSON knows no negative zero, and neither does who reads it.
      const plain = (value: unknown) => (Object.is(value, -0) ? 0 : value);
      expect(read.map((one) => ({ ...one, value: plain('value' in one ? one.value : one) }))).toEqual(
        metrics.map(({ name, alias, timestamp, code, value }) => {
          return { name, alias, timestamp, code, value: plain(value) };
        }),
      );
    }),
  );
});

describe('values', () => {
  const read = (bytes: Buffer, datatype: number | null) => {
    const result = metricValue(decodeSparkplug(bytes).metrics[0]!, datatype);
    return 'value' in result ? result.value : result;
  };
  /** One metric of a single field. */
  const one = (...field: number[]) => Buffer.from([0x12, field.length, ...field]);
  const ALL_ONES = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];

  test('Int64 beyond 2^53 is decimal text, exactly', () => {
    expect(read(one(0x58, ...ALL_ONES), 4)).toBe(-1);
    expect(read(one(0x58, ...ALL_ONES), 8)).toBe('18446744073709551615');
    expect(read(one(0x58, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01), 4)).toBe(
      '-9223372036854775808',
    );
  });

  test('an Int8 that came as 8 bits or as 32 is the same', () => {
    expect(read(one(0x50, 0xff, 0x01), 1)).toBe(-1);
    expect(read(one(0x50, 0xff, 0xff, 0xff, 0xff, 0x0f), 1)).toBe(-1);
  });

  test('null, NaN, and what is not read', () => {
    expect(read(one(0x38, 1), 10)).toBeNull();
    expect(read(one(0x65, 0, 0, 0xc0, 0x7f), 9)).toBe('NaN');
    expect(read(one(0x82, 0x01, 0), 17)).toEqual({ unread: 'bytes' });
    expect(read(one(0x82, 0x01, 0), null)).toEqual({ unread: 'untyped' });
    expect(read(one(0x82, 0x01, 0), 99)).toEqual({ unread: 'untyped' });
    expect(read(one(0x20, 3), 3)).toEqual({ unread: 'missing' });
  });

  test.each(ARRAYS)('Sparkplug 6.4.17: %s', (name, _type, _hex, value) => {
    const metric = decodeSparkplug(arraysPayload).metrics.find((each) => each.name === name)!;
    expect(metricValue(metric, metric.datatype)).toEqual({ value });
  });

  test.each([
    ['an element cut short', 23, Buffer.of(1)],
    ['fewer booleans than said', 32, Buffer.of(9, 0, 0, 0, 0xff)],
    ['a count of booleans that is cut short', 32, Buffer.of(1)],
    ['more booleans than bytes can hold', 32, Buffer.of(0xff, 0xff, 0xff, 0xff, 0)],
    ['a text without its zero', 33, Buffer.from('ab')],
    ['a text that is no UTF-8', 33, Buffer.of(0xff, 0)],
  ])('an array with %s is malformed', (_what, type, bytes) => {
    expect(read(arrayPayload([['a', type, bytes]]), type)).toEqual({ unread: 'malformed' });
  });

  test('data sets are rows by column; templates are members by name; definitions and files are not values', () => {
    const values = decodeSparkplug(structuredPayload).metrics.map((each) => metricValue(each, each.datatype));
    expect(values).toEqual([
      {
        value: [
          { order: -1, amplitude: 0.25, phase: 0.5, note: 'a' },
          { order: 3, amplitude: 1.5, phase: -0.5, note: '' },
        ],
      },
      {
        value: {
          version: '2',
          template: 'Motor',
          parameters: { poles: -4 },
          metrics: {
            rpm: -1_480,
            running: true,
            bearing: { template: 'Bearing', metrics: { celsius: 61.5 } },
          },
        },
      },
      { unread: 'definition' },
      { unread: 'bytes' },
    ]);
    expect(leavesOf((values[0] as { value: never }).value)).toBe(8);
  });

  test('limits: values in one metric, and templates within templates', () => {
    const bytes = (count: number) => read(arrayPayload([['a', 26, new Uint8Array(count)]]), 26);
    expect(bytes(SPARKPLUG_VALUES_MAX)).toHaveLength(SPARKPLUG_VALUES_MAX);
    expect(bytes(SPARKPLUG_VALUES_MAX + 1)).toEqual({ unread: 'tooLarge' });
    const nested = (depth: number): object => ({
      name: 'm',
      type: 'Template',
      value: { metrics: depth === 1 ? [] : [nested(depth - 1)] },
    });
    const ofDepth = (depth: number) => read(encode({ metrics: [nested(depth) as never] }), 19);
    expect(ofDepth(3)).toEqual({ metrics: { m: { metrics: { m: { metrics: {} } } } } });
    expect(ofDepth(4)).toEqual({ unread: 'tooLarge' });
  });

  test('any bytes in a structured value: read, or not read for a reason', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('bytes', 'dataset', 'template', 'extension'),
        fc.oneof(
          fc.uint8Array({ maxLength: 200 }),
          fc
            .constant(decodeSparkplug(structuredPayload).metrics[1]!.value as { bytes: Uint8Array })
            .chain(({ bytes }) =>
              fc
                .tuple(fc.nat({ max: bytes.length - 1 }), fc.nat({ max: 255 }))
                .map(([at, byte]) => bytes.map((before, index) => (index === at ? byte : before))),
            ),
        ),
        fc.integer({ min: 0, max: 40 }),
        (kind, bytes, datatype) => {
          const metric = {
            ...decodeSparkplug(Buffer.of(0x12, 0)).metrics[0]!,
            value: { kind, bytes } as const,
          };
          const result = metricValue(metric, datatype);
          if ('value' in result) JSON.stringify(result.value);
          else expect(result.unread).toMatch(/^[a-zA-Z]+$/);
        },
      ),
      { numRuns: 2_000 },
    );
  });
});

test.each([
  ['cut short', [0x12, 5, 0x0a]],
  ['a varint of 11 bytes', [0x08, ...Array(10).fill(0x80), 0]],
  ['a varint of more than 64 bits', [0x08, ...Array(9).fill(0xff), 2]],
  ['a group', [0x0b]],
  ['wire type 7', [0x0f]],
  ['field 0', [0x00, 0x00]],
  ['a length beyond 2^53', [0x12, ...Array(9).fill(0xff), 1]],
  ['a name that is no UTF-8', [0x12, 3, 0x0a, 1, 0xff]],
  ['a timestamp that is a text', [0x0a, 1, 0x41]],
  ['a double of four bytes', [0x12, 5, 0x6d, 0, 0, 0, 0]],
  ['a sequence number of 256', [0x18, 0x80, 0x02]],
])('%s is refused', (_what, bytes) => {
  expect(() => decodeSparkplug(Buffer.from(bytes))).toThrow(ProtobufError);
});

test('limits: metrics and the length of a name', () => {
  const empty = Buffer.from([0x12, 0]);
  const many = (count: number) => Buffer.concat(Array<Buffer>(count).fill(empty));
  expect(decodeSparkplug(many(SPARKPLUG_METRICS_MAX)).metrics).toHaveLength(SPARKPLUG_METRICS_MAX);
  expect(() => decodeSparkplug(many(SPARKPLUG_METRICS_MAX + 1))).toThrow(ProtobufError);
  expect(() =>
    decodeSparkplug(encode({ metrics: [{ name: 'x'.repeat(1_025), type: 'Int8', value: 1 }] })),
  ).toThrow(ProtobufError);
});

test('fields of later versions are passed over', () => {
  const known = encode({ timestamp: 5, seq: 1 });
  const extension = Buffer.from([0xa0, 0x06, 7, 0xa2, 0x06, 2, 1, 2, 0xa5, 0x06, 1, 2, 3, 4]);
  expect(decodeSparkplug(Buffer.concat([extension, known, extension]))).toEqual(decodeSparkplug(known));
});

test('any bytes: refused or read, never another error', () => {
  const started = fc
    .uint8Array({ maxLength: 200 })
    .map((bytes) => Buffer.concat([Buffer.from([0x12, 20]), bytes]));
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 300 }), started), (bytes) => {
      try {
        decodeSparkplug(bytes);
      } catch (error) {
        if (!(error instanceof ProtobufError)) throw error;
      }
    }),
    { numRuns: 2_000 },
  );
});

test('varints of every length are exact', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (value) => {
      const bytes: number[] = [];
      for (let left = value; ; left >>= 7n) {
        bytes.push(Number(left & 0x7fn) | (left > 0x7fn ? 0x80 : 0));
        if (left <= 0x7fn) break;
      }
      expect(BigInt(new ProtobufReader(Buffer.from(bytes)).varint())).toBe(value);
    }),
  );
});

test('the rebirth request is what Tahu reads as one', () => {
  expect(rebirthTopic('G', 'E')).toBe('spBv1.0/G/NCMD/E');
  const read = tahu.decodePayload(rebirthPayload(1_763_600_000_000));
  expect(String(read.timestamp)).toBe('1763600000000');
  expect(read.metrics).toEqual([
    expect.objectContaining({ name: 'Node Control/Rebirth', type: 'Boolean', value: true }),
  ]);
});
