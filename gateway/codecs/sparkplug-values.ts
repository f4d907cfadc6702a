// The values of Sparkplug metrics in JSON, by their type (Eclipse Sparkplug 3.0.0, 6.4.16 to 6.4.19 and sparkplug_b.proto).
// What is not read has a name. Refuses to guess: a whole number without its type might be negative.
//
//   DataSet   = columns-count 1, columns 2*, types 3*, rows 4*       Row = elements 1*
//   element   = one of: int 1, long 2, float 3, double 4, boolean 5, string 6
//   Template  = version 1, metrics 2*, parameters 3*, template-ref 4, is-definition 5
//   Parameter = name 1, type 2, one of: int 3, long 4, float 5, double 6, boolean 7, string 8
//   array     = elements, little-endian; Boolean: count (4 bytes), bits from the highest on; String: each ends with a zero
import { ProtobufError, ProtobufReader, type Whole, WIRE } from './protobuf.ts';
import { decodeMetric, type SparkplugMetric, text, whole } from './sparkplug.ts';

/** Values inside one metric: elements, cells, members. One with more is not read. */
export const SPARKPLUG_VALUES_MAX = 1_024;
const TEMPLATE_DEPTH_MAX = 3;

/** sparkplug_b.proto, enum DataType. */
const TYPE = { int8: 1, int16: 2, int32: 3, int64: 4, bytes: 17, file: 18 } as const;
const BOOLEAN_ARRAY = 32;
const STRING_ARRAY = 33;

type Scalar = number | boolean | string | null;
export type MetricValue = Scalar | readonly MetricValue[] | { readonly [name: string]: MetricValue };

/**
 * Why a value is not read. bytes: Bytes and File. definition: a template's definition, which is no measurement. malformed:
 * not what its type says. tooLarge: more than SPARKPLUG_VALUES_MAX. untyped: its type is not known. missing: there is none.
 */
export type Unread = 'bytes' | 'definition' | 'malformed' | 'tooLarge' | 'untyped' | 'missing';

class UnreadError extends Error {
  readonly why: Unread;
  constructor(why: Unread) {
    super(why);
    this.why = why;
  }
}

/** How many values one metric may still have. */
interface Room {
  left: number;
}

function take(room: Room, count = 1): void {
  room.left -= count;
  if (room.left < 0) throw new UnreadError('tooLarge');
}

export type ReadValue = { readonly value: MetricValue } | { readonly unread: Unread };

/** `datatype`: its own, or its birth's. Never throws. */
export function metricValue(metric: SparkplugMetric, datatype: number | null): ReadValue {
  try {
    return { value: jsonOf(metric, datatype, { left: SPARKPLUG_VALUES_MAX }, 0) };
  } catch (error) {
    if (error instanceof UnreadError) return { unread: error.why };
    if (error instanceof ProtobufError) return { unread: 'malformed' };
    throw error;
  }
}

function jsonOf(metric: SparkplugMetric, datatype: number | null, room: Room, depth: number): MetricValue {
  const { value } = metric;
  if (metric.isNull) return null;
  if (value === undefined) throw new UnreadError('missing');
  if (typeof value !== 'object') return scalar(value, datatype);
  if (value.kind === 'dataset') return dataSet(value.bytes, room);
  if (value.kind === 'template') return template(value.bytes, room, depth + 1);
  if (value.kind === 'extension') throw new UnreadError('untyped');
  if (datatype === null) throw new UnreadError('untyped');
  if (datatype === TYPE.bytes || datatype === TYPE.file) throw new UnreadError('bytes');
  return array(value.bytes, datatype, room);
}

/**
 * Signed integers come as the unsigned ones of the same bits (6.4.16). Whole numbers beyond 2^53 are decimal text, and
 * so are NaN and the infinities, which JSON has not.
 */
function scalar(value: Whole | boolean | string, datatype: number | null): Scalar {
  if (typeof value === 'boolean' || typeof value === 'string') return value;
  return plain(signed(value, datatype));
}

function plain(exact: Whole): number | string {
  if (typeof exact === 'bigint') return Number.isSafeInteger(Number(exact)) ? Number(exact) : String(exact);
  return Number.isFinite(exact) ? exact : String(exact);
}

function signed(value: Whole, datatype: number | null): Whole {
  if (!Number.isInteger(value) && typeof value !== 'bigint') return value;
  switch (datatype) {
    case TYPE.int8:
      return Number(BigInt.asIntN(8, BigInt(value)));
    case TYPE.int16:
      return Number(BigInt.asIntN(16, BigInt(value)));
    case TYPE.int32:
      return Number(BigInt.asIntN(32, BigInt(value)));
    case TYPE.int64:
      return BigInt.asIntN(64, BigInt(value));
    default:
      return value;
  }
}

// --- arrays -------------------------------------------------------------------------------------------------------

type Element = (view: DataView, at: number) => Whole;

const ELEMENTS: Readonly<Record<number, readonly [bytes: number, read: Element]>> = {
  22: [1, (view, at) => view.getInt8(at)],
  23: [2, (view, at) => view.getInt16(at, true)],
  24: [4, (view, at) => view.getInt32(at, true)],
  25: [8, (view, at) => view.getBigInt64(at, true)],
  26: [1, (view, at) => view.getUint8(at)],
  27: [2, (view, at) => view.getUint16(at, true)],
  28: [4, (view, at) => view.getUint32(at, true)],
  29: [8, (view, at) => view.getBigUint64(at, true)],
  30: [4, (view, at) => view.getFloat32(at, true)],
  31: [8, (view, at) => view.getFloat64(at, true)],
  34: [8, (view, at) => view.getBigUint64(at, true)],
};

function array(bytes: Uint8Array, datatype: number, room: Room): MetricValue[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (datatype === BOOLEAN_ARRAY) return booleans(bytes, view, room);
  if (datatype === STRING_ARRAY) return strings(bytes, room);
  const element = ELEMENTS[datatype];
  if (element === undefined) throw new UnreadError('untyped');
  const [size, read] = element;
  if (bytes.length % size !== 0) throw new UnreadError('malformed');
  const count = bytes.length / size;
  take(room, count);
  return Array.from({ length: count }, (_none, at) => plain(read(view, at * size)));
}

function booleans(bytes: Uint8Array, view: DataView, room: Room): boolean[] {
  if (bytes.length < 4) throw new UnreadError('malformed');
  const count = view.getUint32(0, true);
  if (bytes.length !== 4 + Math.ceil(count / 8)) throw new UnreadError('malformed');
  take(room, count);
  return Array.from({ length: count }, (_none, at) => ((bytes[4 + (at >> 3)]! >> (7 - (at & 7))) & 1) === 1);
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function decoded(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new UnreadError('malformed');
  }
}

function strings(bytes: Uint8Array, room: Room): string[] {
  const found: string[] = [];
  for (let start = 0; start < bytes.length; ) {
    const end = bytes.indexOf(0, start);
    if (end < 0) throw new UnreadError('malformed');
    take(room);
    found.push(decoded(bytes.subarray(start, end)));
    start = end + 1;
  }
  return found;
}

// --- data sets and templates --------------------------------------------------------------------------------------

/** The value of a field, the first of these six being `first`; undefined for another field. */
function oneOf(reader: ProtobufReader, first: number): Whole | boolean | string | undefined {
  switch (reader.field - first) {
    case 0:
    case 1:
      return whole(reader);
    case 2:
      reader.expect(WIRE.fixed32);
      return reader.float();
    case 3:
      reader.expect(WIRE.fixed64);
      return reader.double();
    case 4:
      return whole(reader) !== 0;
    case 5:
      return text(reader);
    default:
      reader.skip();
      return undefined;
  }
}

function part(reader: ProtobufReader): Uint8Array {
  reader.expect(WIRE.bytes);
  return reader.bytes();
}

/** Its rows, each by the names of the columns. */
function dataSet(bytes: Uint8Array, room: Room): MetricValue[] {
  const reader = new ProtobufReader(bytes);
  const columns: string[] = [];
  const types: number[] = [];
  const rows: Uint8Array[] = [];
  while (reader.next()) {
    if (reader.field === 2) {
      take(room);
      columns.push(text(reader));
    } else if (reader.field === 3) {
      // One by one, or packed.
      if (reader.wire !== WIRE.bytes) types.push(Number(whole(reader)));
      else {
        const packed = new ProtobufReader(reader.bytes());
        while (!packed.done) types.push(Number(packed.varint()));
      }
      if (types.length > SPARKPLUG_VALUES_MAX) throw new UnreadError('tooLarge');
    } else if (reader.field === 4) {
      take(room);
      rows.push(part(reader));
    } else reader.skip();
  }
  if (types.length !== columns.length || new Set(columns).size !== columns.length)
    throw new UnreadError('malformed');
  return rows.map((row) => {
    const cells = new ProtobufReader(row);
    const members: [string, MetricValue][] = [];
    while (cells.next()) {
      if (cells.field !== 1) {
        cells.skip();
        continue;
      }
      const at = members.length;
      if (at === columns.length) throw new UnreadError('malformed');
      take(room);
      members.push([columns[at]!, cell(part(cells), 1, types[at]!)]);
    }
    if (members.length !== columns.length) throw new UnreadError('malformed');
    return Object.fromEntries(members);
  });
}

function cell(bytes: Uint8Array, first: number, type: number): MetricValue {
  const reader = new ProtobufReader(bytes);
  let value: Whole | boolean | string | undefined;
  while (reader.next()) value = oneOf(reader, first) ?? value;
  return value === undefined ? null : scalar(value, type);
}

function template(bytes: Uint8Array, room: Room, depth: number): MetricValue {
  if (depth > TEMPLATE_DEPTH_MAX) throw new UnreadError('tooLarge');
  const reader = new ProtobufReader(bytes);
  const head: [string, MetricValue][] = [];
  const parameters: [string, MetricValue][] = [];
  const metrics: [string, MetricValue][] = [];
  while (reader.next()) {
    if (reader.field === 1) head.push(['version', text(reader)]);
    else if (reader.field === 2) {
      take(room);
      metrics.push(member(decodeMetric(part(reader)), room, depth));
    } else if (reader.field === 3) {
      take(room);
      parameters.push(parameter(part(reader)));
    } else if (reader.field === 4) head.push(['template', text(reader)]);
    else if (reader.field === 5) {
      if (whole(reader) !== 0) throw new UnreadError('definition');
    } else reader.skip();
  }
  return Object.fromEntries([
    ...head,
    ...(parameters.length > 0 ? [['parameters', Object.fromEntries(parameters)] as const] : []),
    ['metrics', Object.fromEntries(metrics)],
  ]);
}

/** Inside a template metrics have names; births do not tell their types, so each must. */
function member(metric: SparkplugMetric, room: Room, depth: number): [string, MetricValue] {
  const { name, datatype, value } = metric;
  if (name === null) throw new UnreadError('malformed');
  if (datatype === null && (typeof value === 'bigint' || Number.isInteger(value)))
    throw new UnreadError('untyped');
  return [name, jsonOf(metric, datatype, room, depth)];
}

function parameter(bytes: Uint8Array): [string, MetricValue] {
  const reader = new ProtobufReader(bytes);
  let name: string | null = null;
  let type: number | null = null;
  let value: Whole | boolean | string | undefined;
  while (reader.next()) {
    if (reader.field === 1) name = text(reader);
    else if (reader.field === 2) type = Number(whole(reader));
    else value = oneOf(reader, 3) ?? value;
  }
  if (name === null) throw new UnreadError('malformed');
  return [name, value === undefined ? null : scalar(value, type)];
}

/** Values in it, as windows count fields. */
export function leavesOf(value: MetricValue): number {
  if (typeof value !== 'object' || value === null) return 1;
  let sum = 0;
  for (const each of Array.isArray(value) ? value : Object.values(value))
    sum += leavesOf(each as MetricValue);
  return sum;
}
