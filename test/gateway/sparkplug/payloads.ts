// Sparkplug payloads by Eclipse Tahu's own encoder, which shares nothing with our decoder.
import { createRequire } from 'node:module';

type Long = { toString(): string };
export interface TahuMetric {
  name?: string;
  alias?: number;
  type: string;
  value: unknown;
  timestamp?: number;
  isHistorical?: boolean;
  isNull?: boolean;
}
export interface TahuPayload {
  timestamp?: number;
  seq?: number;
  metrics?: TahuMetric[];
}
interface Tahu {
  encodePayload(payload: TahuPayload): Uint8Array;
  decodePayload(bytes: Uint8Array): {
    timestamp?: Long;
    seq?: Long;
    metrics?: { name?: string; value: unknown }[];
  };
}

const { get } = createRequire(import.meta.url)('sparkplug-payload') as { get(namespace: string): Tahu };
export const tahu = get('spBv1.0');

export const encode = (payload: TahuPayload): Buffer => Buffer.from(tahu.encodePayload(payload));

export const bdSeq = (value: number): TahuMetric => ({ name: 'bdSeq', type: 'UInt64', value });

const AT_MS = 1_763_600_000_000;

/** A data set and a template instance, as Tahu encodes them. */
export const structuredPayload = encode({
  timestamp: AT_MS,
  seq: 1,
  metrics: [
    {
      name: 'Harmonics',
      type: 'DataSet',
      value: {
        numOfColumns: 4,
        columns: ['order', 'amplitude', 'phase', 'note'],
        types: ['Int8', 'Double', 'Float', 'String'],
        rows: [
          [-1, 0.25, 0.5, 'a'],
          [3, 1.5, -0.5, ''],
        ],
      },
    },
    {
      name: 'Motor 1',
      type: 'Template',
      value: {
        version: '2',
        templateRef: 'Motor',
        isDefinition: false,
        parameters: [{ name: 'poles', type: 'Int32', value: -4 }],
        metrics: [
          { name: 'rpm', type: 'Int16', value: -1_480 },
          { name: 'running', type: 'Boolean', value: true },
          {
            name: 'bearing',
            type: 'Template',
            value: { templateRef: 'Bearing', metrics: [{ name: 'celsius', type: 'Double', value: 61.5 }] },
          },
        ],
      },
    },
    {
      name: '_types_/Motor',
      type: 'Template',
      value: { isDefinition: true, metrics: [{ name: 'rpm', type: 'Int16', value: 0 }] },
    },
    { name: 'Photo', type: 'File', value: new Uint8Array([1, 2, 3]) },
  ],
});

function varint(value: number): number[] {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...varint(Math.floor(value / 128))];
}

const field = (number: number, bytes: Uint8Array | readonly number[]) => [
  ...varint(number * 8 + 2),
  ...varint(bytes.length),
  ...bytes,
];

/** Arrays by hand: Tahu's encoder for JavaScript does not know them. */
export function arrayPayload(arrays: readonly (readonly [name: string, type: number, bytes: Uint8Array])[]) {
  const metrics = arrays.flatMap(([name, type, bytes]) =>
    field(2, [...field(1, Buffer.from(name)), ...varint(4 * 8), ...varint(type), ...field(16, bytes)]),
  );
  return Buffer.from(metrics);
}

/** The examples of Sparkplug 3.0.0, 6.4.17 (Int8Array's first byte as its text means it: -23). */
export const ARRAYS: readonly (readonly [name: string, type: number, hex: string, value: unknown[]])[] = [
  ['Int8Array', 22, 'e97b', [-23, 123]],
  ['Int16Array', 23, 'd08a3075', [-30_000, 30_000]],
  ['Int32Array', 24, 'fffffffffaafcb12', [-1, 315_338_746]],
  ['Int64Array', 25, 'ce0672ac189cbac4c4ba9c18ac7206ce', ['-4270929666821191986', '-3601064768563266876']],
  ['UInt8Array', 26, '17fa', [23, 250]],
  ['UInt16Array', 27, '1e00eaff', [30, 65_514]],
  ['UInt32Array', 28, '34000000bd94e6ff', [52, 4_293_301_437]],
  ['UInt64Array', 29, '34000000000000002a00000000000000', [52, 42]],
  ['FloatArray', 30, 'a4709d3f98aeb242', [Math.fround(1.23), Math.fround(89.341)]],
  ['DoubleArray', 31, '000000000000f03f0000000000000440', [1, 2.5]],
  [
    'BooleanArray',
    32,
    '0c00000034d0',
    [false, false, true, true, false, true, false, false, true, true, false, true],
  ],
  ['StringArray', 33, '41424300c3a400', ['ABC', 'ä']],
  ['DateTimeArray', 34, 'c7d0907524010000b8bab89781010000', [1_256_102_875_335, 1_656_107_875_000]],
];
export const arraysPayload = arrayPayload(
  ARRAYS.map(([name, type, hex]) => [name, type, Buffer.from(hex, 'hex')]),
);
