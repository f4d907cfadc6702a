// Sparkplug B on the wire: topics, payloads and the values of metrics (Eclipse Sparkplug 3.0.0, chapters 4 and 6, and
// sparkplug_b.proto). Keeps no state: what an alias stands for, the birth certificates say (gateway/sparkplug).
//
//   topic   = "spBv1.0/" group "/" type "/" edge node [ "/" device ]  |  "spBv1.0/STATE/" host
//   Payload = timestamp 1, metrics 2*, seq 3, uuid 4, body 5
//   Metric  = name 1, alias 2, timestamp 3, datatype 4, is_historical 5, is_transient 6, is_null 7, metadata 8,
//             properties 9, and one of: int 10, long 11, float 12, double 13, boolean 14, string 15, bytes 16,
//             dataset 17, template 18, extension 19
import { ProtobufError, ProtobufReader, type Whole, WIRE } from './protobuf.ts';

export const SPARKPLUG_NAMESPACE = 'spBv1.0';

/** Metrics of one payload; a payload with more is refused. */
export const SPARKPLUG_METRICS_MAX = 10_000;
const NAME_CHARACTERS_MAX = 1_024;

const NODE_TYPES = new Set(['NBIRTH', 'NDEATH', 'NDATA', 'NCMD']);
const DEVICE_TYPES = new Set(['DBIRTH', 'DDEATH', 'DDATA', 'DCMD']);

export type SparkplugType =
  | 'NBIRTH'
  | 'NDEATH'
  | 'NDATA'
  | 'NCMD'
  | 'DBIRTH'
  | 'DDEATH'
  | 'DDATA'
  | 'DCMD'
  | 'STATE';

export interface SparkplugTopic {
  readonly type: SparkplugType;
  /** '' for STATE. */
  readonly group: string;
  /** The edge node; for STATE the host application. */
  readonly node: string;
  readonly device: string | null;
}

/** Null for a topic that is none of Sparkplug's. */
export function parseSparkplugTopic(topic: string): SparkplugTopic | null {
  if (!topic.startsWith(`${SPARKPLUG_NAMESPACE}/`)) return null;
  const [, group, type, node, device, ...more] = topic.split('/') as (string | undefined)[];
  if (more.length > 0 || !group || !type) return null;
  if (group === 'STATE')
    return node === undefined ? { type: 'STATE', group: '', node: type, device: null } : null;
  if (!node) return null;
  if (NODE_TYPES.has(type) && device === undefined)
    return { type: type as SparkplugType, group, node, device: null };
  if (DEVICE_TYPES.has(type) && device) return { type: type as SparkplugType, group, node, device };
  return null;
}

/** `group/edge node[/device]`, for STATE `STATE/host`: how records of it name their device. */
export function sparkplugDevice({ type, group, node, device }: SparkplugTopic): string {
  if (type === 'STATE') return `STATE/${node}`;
  return device === null ? `${group}/${node}` : `${group}/${node}/${device}`;
}

/** sparkplug_b.proto, enum DataType. */
const TYPE = {
  int8: 1,
  int16: 2,
  int32: 3,
  int64: 4,
  uint8: 5,
  uint16: 6,
  uint32: 7,
  uint64: 8,
  dateTime: 13,
} as const;

export interface SparkplugMetric {
  readonly name: string | null;
  readonly alias: Whole | null;
  readonly timestampMs: number | null;
  readonly datatype: number | null;
  readonly isHistorical: boolean;
  readonly isNull: boolean;
  /** As it stands in the payload; 'structured' for bytes, data sets, templates and extensions; undefined for none. */
  readonly value: Whole | boolean | string | { readonly structured: true } | undefined;
}

export interface SparkplugPayload {
  readonly timestampMs: number | null;
  readonly seq: number | null;
  readonly metrics: readonly SparkplugMetric[];
}

const STRUCTURED = { structured: true } as const;

/** Throws ProtobufError. */
export function decodeSparkplug(payload: Uint8Array): SparkplugPayload {
  const reader = new ProtobufReader(payload);
  const metrics: SparkplugMetric[] = [];
  let timestampMs: number | null = null;
  let seq: number | null = null;
  while (reader.next()) {
    if (reader.field === 1) timestampMs = safe(whole(reader));
    else if (reader.field === 2) {
      reader.expect(WIRE.bytes);
      if (metrics.length === SPARKPLUG_METRICS_MAX)
        throw new ProtobufError(`more than ${SPARKPLUG_METRICS_MAX} metrics`);
      metrics.push(decodeMetric(reader.bytes()));
    } else if (reader.field === 3) {
      const given = whole(reader);
      if (given > 255) throw new ProtobufError('a sequence number above 255');
      seq = Number(given);
    } else if (reader.field === 4) text(reader);
    else {
      if (reader.field === 5) reader.expect(WIRE.bytes);
      reader.skip();
    }
  }
  return { timestampMs, seq, metrics };
}

function decodeMetric(bytes: Uint8Array): SparkplugMetric {
  const reader = new ProtobufReader(bytes);
  const metric = {
    name: null as string | null,
    alias: null as Whole | null,
    timestampMs: null as number | null,
    datatype: null as number | null,
    isHistorical: false,
    isNull: false,
    value: undefined as SparkplugMetric['value'],
  };
  while (reader.next()) {
    switch (reader.field) {
      case 1:
        metric.name = text(reader);
        if (metric.name.length > NAME_CHARACTERS_MAX)
          throw new ProtobufError(`a metric name of more than ${NAME_CHARACTERS_MAX} characters`);
        break;
      case 2:
        metric.alias = whole(reader);
        break;
      case 3:
        metric.timestampMs = safe(whole(reader));
        break;
      case 4:
        metric.datatype = safe(whole(reader));
        break;
      case 5:
        metric.isHistorical = whole(reader) !== 0;
        break;
      case 7:
        metric.isNull = whole(reader) !== 0;
        break;
      case 10:
      case 11:
        metric.value = whole(reader);
        break;
      case 12:
        reader.expect(WIRE.fixed32);
        metric.value = reader.float();
        break;
      case 13:
        reader.expect(WIRE.fixed64);
        metric.value = reader.double();
        break;
      case 14:
        metric.value = whole(reader) !== 0;
        break;
      case 15:
        metric.value = text(reader);
        break;
      case 6:
        whole(reader);
        break;
      case 8:
      case 9:
        reader.expect(WIRE.bytes);
        reader.skip();
        break;
      case 16:
      case 17:
      case 18:
      case 19:
        reader.expect(WIRE.bytes);
        reader.bytes();
        metric.value = STRUCTURED;
        break;
      default:
        reader.skip();
    }
  }
  return metric;
}

function whole(reader: ProtobufReader): Whole {
  reader.expect(WIRE.varint);
  return reader.varint();
}

function text(reader: ProtobufReader): string {
  reader.expect(WIRE.bytes);
  return reader.text();
}

/** Times and types beyond 2^53 mean nothing. */
const safe = (value: Whole): number | null => (typeof value === 'number' ? value : null);

/** What a metric's value is in JSON; undefined for a value this gateway does not read (bytes, data set, template). */
export type MetricValue = number | boolean | string | null;

/**
 * The value by its type: signed integers come as the unsigned ones of the same bits (Sparkplug 6.4.16). Whole numbers
 * beyond 2^53 are decimal text, and so are NaN and the infinities, which JSON has not.
 */
export function metricValue(metric: SparkplugMetric, datatype: number | null): MetricValue | undefined {
  const { value } = metric;
  if (metric.isNull) return null;
  if (value === undefined || typeof value === 'object') return undefined;
  if (typeof value === 'boolean' || typeof value === 'string') return value;
  const exact = signed(value, datatype);
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
