// Owns what one record looks like as an MQTT message upstream. Opens no connection.
//
// envelope none: payload = the device's bytes. With MQTT 5 the rest travels as user properties:
//   tidemark-offset, tidemark-event-ms, tidemark-source, and where known tidemark-device, tidemark-sequence
// envelope json, one object, members in this order:
//   {"offset":17,"eventMs":…,"receivedMs":…,"device":"…","topic":"…","sequence":5|null,"source":"mqtt",
//    "contentType":"…","payload":<the payload's own JSON text>}      or, where it is not JSON,
//   {…,"payloadBase64":"…"}
import { SOURCE, type Source, type TelemetryRecord } from '../../../ledger/format/record.ts';

const SOURCE_NAME = new Map<Source, string>(Object.entries(SOURCE).map(([name, value]) => [value, name]));
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Topic upstream: prefix, then the topic without a leading `$`, which brokers keep for themselves. */
export function upstreamTopic(topic: string, prefix: string): string {
  return prefix + (topic.startsWith('$') ? topic.slice(1) : topic);
}

export function upstreamPayload(record: TelemetryRecord, envelope: 'none' | 'json'): Buffer {
  if (envelope === 'json') return Buffer.from(jsonEnvelope(record));
  return Buffer.from(record.payload.buffer, record.payload.byteOffset, record.payload.byteLength);
}

/** The payload as text where it is JSON, so that it is carried letter for letter (numbers keep their digits). */
function jsonText(payload: Uint8Array): string | null {
  try {
    const text = utf8.decode(payload);
    JSON.parse(text);
    return text;
  } catch {
    return null;
  }
}

function jsonEnvelope(record: TelemetryRecord): string {
  const head = JSON.stringify({
    offset: record.offset,
    eventMs: record.eventMs,
    receivedMs: record.receivedMs,
    device: record.device,
    topic: record.topic,
    sequence: record.sequence,
    source: SOURCE_NAME.get(record.source),
    contentType: record.contentType,
  });
  const json = jsonText(record.payload);
  const payload =
    json === null
      ? `"payloadBase64":"${Buffer.from(record.payload).toString('base64')}"`
      : `"payload":${json}`;
  return `${head.slice(0, -1)},${payload}}`;
}

/** MQTT 5 user properties and content type [MQTT5 §3.3.2.3.7, §3.3.2.3.9]. */
export function upstreamProperties(record: TelemetryRecord, envelope: 'none' | 'json') {
  const userProperties: Record<string, string> = {
    'tidemark-offset': String(record.offset),
    'tidemark-event-ms': String(record.eventMs),
    'tidemark-source': SOURCE_NAME.get(record.source) ?? '',
  };
  if (record.device !== '') userProperties['tidemark-device'] = record.device;
  if (record.sequence !== null) userProperties['tidemark-sequence'] = String(record.sequence);
  const contentType = envelope === 'json' ? 'application/json' : record.contentType;
  return contentType === '' ? { userProperties } : { userProperties, contentType };
}
