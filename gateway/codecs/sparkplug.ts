// Sparkplug B on the wire: topics and payloads (Eclipse Sparkplug 3.0.0, chapters 4 and 6, and
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

/** Read only where its type is known: sparkplug-values.ts. A view of the payload. */
export interface Structured {
  readonly kind: 'bytes' | 'dataset' | 'template' | 'extension';
  readonly bytes: Uint8Array;
}

export interface SparkplugMetric {
  readonly name: string | null;
  readonly alias: Whole | null;
  readonly timestampMs: number | null;
  readonly datatype: number | null;
  readonly isHistorical: boolean;
  readonly isNull: boolean;
  /** As it stands in the payload; undefined for none. */
  readonly value: Whole | boolean | string | Structured | undefined;
}

export interface SparkplugPayload {
  readonly timestampMs: number | null;
  readonly seq: number | null;
  readonly metrics: readonly SparkplugMetric[];
}

const STRUCTURED = ['bytes', 'dataset', 'template', 'extension'] as const;

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

/** Throws ProtobufError. */
export function decodeMetric(bytes: Uint8Array): SparkplugMetric {
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
        metric.value = { kind: STRUCTURED[reader.field - 16]!, bytes: reader.bytes() };
        break;
      default:
        reader.skip();
    }
  }
  return metric;
}

export function whole(reader: ProtobufReader): Whole {
  reader.expect(WIRE.varint);
  return reader.varint();
}

export function text(reader: ProtobufReader): string {
  reader.expect(WIRE.bytes);
  return reader.text();
}

/** Times and types beyond 2^53 mean nothing. */
const safe = (value: Whole): number | null => (typeof value === 'number' ? value : null);
