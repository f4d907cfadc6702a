// The metrics of what comes in, over all protocols.
import { counter, gauge, type Metric, type MetricFigures } from './metric.ts';

export const INGEST: readonly Metric[] = [
  gauge(
    'ingest_connections',
    'Open device connections.',
    ({ status }) => pick(status.ingest, 'connections'),
    'protocol',
  ),
  counter(
    'ingest_connections_refused_total',
    'Connections refused since start: for who made them, or too many.',
    connectionsRefused,
    'protocol',
  ),
  counter(
    'connections_over_limit_total',
    'Connections refused since start for the `connections` limits, by which one.',
    ({ ingest }) => ({ ...ingest.connections.refused }),
    'limit',
  ),
  gauge(
    'connection_addresses',
    'Remote addresses with open connections.',
    ({ ingest }) => ingest.connections.addresses,
  ),
  gauge(
    'connections',
    'Open connections of all listeners together.',
    ({ ingest }) => ingest.connections.open,
  ),
  counter(
    'ingest_dropped_total',
    'Records given up because their sender waits for no answer (MQTT QoS 0), by reason.',
    ({ ingest }) => ({ ...ingest.admission.dropped }),
    'reason',
  ),
  counter(
    'ingest_accepted_total',
    'Records accepted since start.',
    ({ status }) => pick(status.ingest, 'accepted'),
    'protocol',
  ),
  counter(
    'ingest_refused_total',
    'Records, and MQTT connections, refused since start.',
    ({ status }) => pick(status.ingest, 'rejected'),
    'protocol',
  ),
  counter(
    'ingest_refused_by_reason_total',
    'Records and callers refused since start, by reason.',
    ({ status }) => status.rejected,
    'reason',
  ),
  counter(
    'ingest_duplicates_total',
    'Records recognised as stored before, and acknowledged again.',
    ({ ingest }) => ingest.admission.duplicates,
  ),
  counter(
    'ingest_message_ids_forgotten_total',
    'Message ids that gave way to newer ones: their repetitions would be stored again.',
    ({ ingest }) => ingest.admission.messageIdsForgotten,
  ),
  counter(
    'ingest_clock_flagged_total',
    'Records stored whose device time is too far from the gateway’s, by side.',
    ({ ingest }) => ({ ...ingest.admission.clock }),
    'side',
  ),
  counter(
    'ingest_misfits_total',
    'Records stored though their payload does not fit its schema: quarantined or tagged.',
    ({ ingest }) => ({ ...ingest.admission.misfits }),
    'kept',
  ),
  gauge(
    'ingest_queued_bytes',
    'Bytes of records that wait their turn for the log.',
    ({ ingest }) => ingest.admission.queued.bytes,
  ),
  gauge(
    'ingest_queued_records',
    'Records that wait their turn for the log.',
    ({ ingest }) => ingest.admission.queued.items,
  ),
  gauge(
    'ingest_queued_lanes',
    'Connections or devices whose records wait their turn.',
    ({ ingest }) => ingest.admission.queued.lanes,
  ),
  gauge(
    'ingest_in_flight_records',
    'Records whose answer is still to come.',
    ({ ingest }) => ingest.admission.inFlight,
  ),
  counter(
    'ingest_snapshots_total',
    'Times the duplicate guard and the device table were saved.',
    ({ ingest }) => ingest.admission.snapshots,
  ),
  counter(
    'ingest_snapshot_failures_total',
    'Times saving them failed.',
    ({ ingest }) => ingest.admission.snapshotFailures,
  ),
];

function connectionsRefused({ ingest: { mqtt, websocket } }: MetricFigures): Record<string, number> {
  return { mqtt: mqtt?.connectionsRefused ?? 0, websocket: websocket?.connectionsRefused ?? 0 };
}

function pick<Key extends string>(
  by: Readonly<Record<string, Readonly<Record<Key, number>>>>,
  key: Key,
): Record<string, number> {
  return Object.fromEntries(Object.entries(by).map(([name, figures]) => [name, figures[key]]));
}
