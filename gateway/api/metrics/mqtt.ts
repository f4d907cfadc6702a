// The metrics of MQTT: its connections, sessions, queues and retained messages.
import type { IngestFigures } from '../deps.ts';
import { counter, gauge, type Metric, type Read } from './metric.ts';

export const MQTT: readonly Metric[] = [
  counter(
    'mqtt_refused_publishes_total',
    'Connections closed because a publish was refused, and wills refused.',
    mqtt('refused'),
  ),
  counter(
    'mqtt_malformed_connections_total',
    'Connections closed for bytes that are not MQTT.',
    mqtt('malformed'),
  ),
  counter(
    'mqtt_timed_out_connections_total',
    'Connections closed for keeping still: no CONNECT, no keep alive, a subscriber that takes nothing.',
    mqtt('timeouts'),
  ),
  counter(
    'mqtt_forward_dropped_messages_total',
    'QoS 0 messages not forwarded to a subscriber that lags.',
    mqtt('forwardDropped'),
  ),
  gauge('mqtt_sessions', 'Sessions kept for clients.', mqtt('sessions')),
  gauge('mqtt_queued_messages', 'Messages kept for absent subscribers.', mqtt('queued')),
  counter(
    'mqtt_queue_refused_messages_total',
    'Messages not kept for an absent subscriber because its queue was full.',
    mqtt('queueRefused'),
  ),
  counter(
    'mqtt_queue_expired_messages_total',
    'Messages kept for a subscriber whose expiry came before it did.',
    mqtt('queueExpired'),
  ),
  gauge('mqtt_subscriptions', 'Subscriptions of all clients.', mqtt('subscriptions')),
  gauge('mqtt_store_waiting_changes', 'Changes of sessions not yet on disk.', mqtt('storeWaiting')),
  counter(
    'mqtt_store_failures_total',
    'Times sessions could not be saved; tried again until they are.',
    mqtt('storeFailures'),
  ),
  gauge('mqtt_retained_messages', 'Retained messages.', mqtt('retained')),
  counter(
    'mqtt_retained_refused_messages_total',
    'Messages passed on and not retained, for want of room.',
    mqtt('retainedRefused'),
  ),
];

/** 0 where MQTT is switched off. */
function mqtt(figure: keyof NonNullable<IngestFigures['mqtt']>): Read {
  return ({ ingest }) => ingest.mqtt?.[figure] ?? 0;
}
