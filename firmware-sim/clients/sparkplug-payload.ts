// Owns Sparkplug B payloads as bytes: the part of the protobuf schema that a device of numbers needs. Encodes only.

export interface Metric {
  readonly name?: string;
  readonly alias?: number;
  readonly type: 'int64' | 'double' | 'boolean';
  readonly value: number;
}

export interface SparkplugMessage {
  readonly timestampMs?: number;
  readonly seq?: number;
  readonly metrics: readonly Metric[];
}

/*
 * Payload: 1 timestamp varint, 2 metrics (length-delimited), 3 seq varint
 * Metric:  1 name, 2 alias varint, 3 timestamp varint, 4 datatype varint, 11 long_value varint, 13 double_value, 14 boolean_value varint
 * (sparkplug_b.proto; datatypes: Int64 4, Double 10, Boolean 11)
 */
const DATATYPE = { int64: 4, double: 10, boolean: 11 } as const;
const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;

export function encodeSparkplug({ timestampMs, seq, metrics }: SparkplugMessage): Buffer {
  const parts: Buffer[] = [];
  if (timestampMs !== undefined) parts.push(varint(1, timestampMs));
  for (const metric of metrics) {
    const body = encodeMetric(metric, timestampMs);
    parts.push(key(2, BYTES), raw(body.length), body);
  }
  if (seq !== undefined) parts.push(varint(3, seq));
  return Buffer.concat(parts);
}

function encodeMetric({ name, alias, type, value }: Metric, timestampMs: number | undefined): Buffer {
  const parts: Buffer[] = [];
  if (name !== undefined) parts.push(key(1, BYTES), raw(Buffer.byteLength(name)), Buffer.from(name));
  if (alias !== undefined) parts.push(varint(2, alias));
  if (timestampMs !== undefined) parts.push(varint(3, timestampMs));
  parts.push(varint(4, DATATYPE[type]));
  if (type === 'double') {
    const bytes = Buffer.alloc(8);
    bytes.writeDoubleLE(value);
    parts.push(key(13, FIXED64), bytes);
  } else parts.push(varint(type === 'int64' ? 11 : 14, value));
  return Buffer.concat(parts);
}

function key(field: number, wire: number): Buffer {
  return raw(field * 8 + wire);
}

function varint(field: number, value: number): Buffer {
  return Buffer.concat([key(field, VARINT), raw(value)]);
}

/** Base 128, least significant first; values up to 2^53. */
function raw(value: number): Buffer {
  const bytes: number[] = [];
  let left = value;
  while (left > 127) {
    bytes.push((left % 128) + 128);
    left = Math.floor(left / 128);
  }
  bytes.push(left);
  return Buffer.from(bytes);
}
