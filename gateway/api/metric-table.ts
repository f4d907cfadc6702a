// The gateway's metrics as a table: name, kind, help, and where in the figures the value stands. Names end in their
// unit, counters in `_total`; the prefix `tidemark_` is put before. Counts nothing itself.
import type { AccessFigures } from '../access/control.ts';
import type { LogFigures } from '../log/types.ts';
import type { StageFigures } from '../stage/types.ts';
import type { IngestFigures } from './deps.ts';
import type { Status } from './status.ts';

export interface MetricFigures {
  readonly status: Status;
  readonly log: LogFigures;
  readonly ingest: IngestFigures;
  readonly readsRefused: number;
  /** By code of the refusal. */
  readonly callersRefused: Readonly<Record<string, number>>;
  /** Null where there are no names. */
  readonly access: AccessFigures | null;
}

/** One value; or one per value of the metric's label. */
type Values = number | Readonly<Record<string, number>>;
type Read = (figures: MetricFigures) => Values;

export interface Metric {
  readonly kind: 'counter' | 'gauge';
  readonly name: string;
  readonly help: string;
  readonly read: Read;
  readonly label: string | undefined;
}

const gauge = (name: string, help: string, read: Read, label?: string): Metric => {
  return { kind: 'gauge', name, help, read, label };
};
const counter = (name: string, help: string, read: Read, label?: string): Metric => {
  return { kind: 'counter', name, help, read, label };
};

const GATEWAY: readonly Metric[] = [
  gauge('ready', '1 while the gateway takes records.', ({ status }) => Number(status.ready)),
  gauge(
    'start_timestamp_seconds',
    'When this gateway started, unix time.',
    ({ status }) => status.startedMs / 1000,
  ),
  gauge('pressure', 'How full the gateway is, 0 to 1.', ({ status }) => status.pressure.value),
  gauge(
    'pressure_part',
    'What the pressure is made of, each 0 to 1; the greatest counts.',
    ({ status }) => ({ ...status.pressure.parts }),
    'part',
  ),
  gauge('devices', 'Devices known.', ({ status }) => status.devices),
  counter(
    'devices_forgotten_total',
    'Devices dropped from the table or the duplicate guard because their number is bounded.',
    ({ ingest }) => ingest.admission.devicesForgotten,
  ),
  counter(
    'derived_records_total',
    'Derived records appended since start.',
    ({ status }) => ({ ...status.derived }),
    'kind',
  ),
  gauge('tail_clients', 'Open live streams.', ({ status }) => status.tail.clients),
  counter(
    'tail_skipped_records_total',
    'Derived records a live stream missed because it or the limit was slow.',
    ({ status }) => status.tail.skipped,
  ),
  counter(
    'reads_refused_total',
    'Reads answered 503 because too many were in work.',
    ({ readsRefused }) => readsRefused,
  ),
  counter(
    'http_callers_refused_total',
    'Requests refused for who made them, by code.',
    ({ callersRefused }) => callersRefused,
    'code',
  ),
  counter(
    'access_accepted_total',
    'Callers and clients let in, by what they showed.',
    ({ access }) => access?.accepted ?? {},
    'by',
  ),
  counter(
    'access_refused_total',
    'Callers and clients not let in, on all ports, by code.',
    ({ access }) => access?.refused ?? {},
    'code',
  ),
  counter(
    'access_passwords_hashed_total',
    'Passwords that had to be hashed; the others were remembered.',
    ({ access }) => access?.hashed ?? 0,
  ),
];

const LOG: readonly Metric[] = [
  gauge('log_end_offset', 'The next offset: records ever made durable.', ({ log }) => log.end),
  gauge('log_start_offset', 'Oldest offset still held.', ({ log }) => log.start),
  gauge('log_bytes', 'Bytes of log segments on disk.', ({ log }) => log.bytes),
  gauge('log_segments', 'Log segments on disk.', ({ log }) => log.segments),
  counter('log_records_total', 'Records made durable since start.', ({ log }) => log.appendedRecords),
  counter('log_appended_bytes_total', 'Bytes made durable since start.', ({ log }) => log.appendedBytes),
  counter('log_batches_total', 'Record batches written since start.', ({ log }) => log.batches),
  counter('log_syncs_total', 'fdatasync calls since start.', ({ log }) => log.syncs),
  counter(
    'log_sync_seconds_total',
    'Time spent in fdatasync since start.',
    ({ log }) => log.syncMsTotal / 1000,
  ),
  gauge('log_sync_max_seconds', 'The longest fdatasync since start.', ({ log }) => log.syncMsMax / 1000),
  gauge('log_pending_bytes', 'Bytes taken in and not yet durable.', ({ log }) => log.pendingBytes),
  gauge('log_pending_records', 'Records taken in and not yet durable.', ({ log }) => log.pendingRecords),
  gauge(
    'log_pending_limit_bytes',
    'Pending bytes at which records are refused.',
    ({ log }) => log.maxPendingBytes,
  ),
  gauge(
    'log_unsynced_bytes',
    'Bytes acknowledged and not yet synced (log.sync with an interval).',
    ({ log }) => log.unsyncedBytes,
  ),
  counter(
    'log_plain_bytes_total',
    'Bytes appended since start, before compression.',
    ({ log }) => log.plainBytes,
  ),
  gauge(
    'log_disk_free_bytes',
    'Free space on the log’s disk; -1 where it is not known.',
    ({ log }) => log.diskFreeBytes ?? -1,
  ),
  gauge('log_disk_full', '1 while the disk refuses records.', ({ log }) => Number(log.diskFull)),
  gauge('log_failed', '1 once the log can no longer be written.', ({ log }) => Number(log.failed)),
  counter(
    'log_refused_total',
    'Appends the log refused since start, by code.',
    ({ log }) => log.refused,
    'code',
  ),
];

const INGEST: readonly Metric[] = [
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
  counter(
    'mqtt_refused_publishes_total',
    'Connections closed because a publish was refused, and wills refused.',
    mqtt('refused'),
  ),
  counter(
    'mqtt_malformed_connections_total',
    'Connections closed for bytes that are not MQTT 3.1.1.',
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

const STAGES: readonly Metric[] = [
  gauge(
    'stage_lag_records',
    'Records between the end of the log and the stage’s cursor.',
    ({ status }) => stage(status, (figures) => figures.lag),
    'stage',
  ),
  gauge(
    'stage_running',
    '1 while the stage’s worker runs.',
    ({ status }) => stage(status, (figures) => Number(figures.running === true)),
    'stage',
  ),
  counter(
    'stage_failures_total',
    'Times the stage’s worker failed and was started again.',
    ({ status }) => stage(status, (figures) => figures.failures),
    'stage',
  ),
];

/** Nothing where the stage is switched off. */
const sparkplug = (figure: string): Read => {
  return ({ status }) => {
    const value = status.stages.sparkplug?.[figure];
    return typeof value === 'number' ? value : 0;
  };
};

const SPARKPLUG: readonly Metric[] = [
  gauge('sparkplug_nodes', 'Sparkplug edge nodes whose births are known.', sparkplug('nodes')),
  gauge('sparkplug_nodes_online', 'Of these, online.', sparkplug('nodesOnline')),
  gauge('sparkplug_devices_online', 'Sparkplug devices online.', sparkplug('devicesOnline')),
  counter('sparkplug_values_total', 'Metric values decoded by name.', sparkplug('values')),
  counter(
    'sparkplug_sequence_gaps_total',
    'Skipped sequence numbers of edge nodes.',
    sparkplug('sequenceGaps'),
  ),
  counter(
    'sparkplug_unknown_aliases_total',
    'Metric values left out because no birth names their alias.',
    sparkplug('unknownAliases'),
  ),
  counter(
    'sparkplug_without_birth_total',
    'Payloads not decoded because their edge node or device has not been born.',
    sparkplug('withoutBirth'),
  ),
  counter(
    'sparkplug_malformed_total',
    'Payloads that are not Sparkplug B, since start.',
    sparkplug('malformed'),
  ),
  counter('sparkplug_unread_values_total', 'Values of kinds that are not read.', sparkplug('unreadValues')),
  counter(
    'sparkplug_rebirths_requested_total',
    'Rebirth commands sent to edge nodes, since start.',
    sparkplug('rebirthsRequested'),
  ),
  counter(
    'sparkplug_nodes_forgotten_total',
    'Edge nodes that gave way because their number or their metrics are bounded.',
    sparkplug('nodesForgotten'),
  ),
];

/** One value an authority, from the figures the sealer reports as `authority.<name>.…`. */
function authorities(value: (state: unknown, size: number) => number): Read {
  return ({ status }) => {
    const figures = status.stages.sealer ?? {};
    const names = Object.keys(figures).flatMap((key) => /^authority\.(.+)\.state$/.exec(key)?.[1] ?? []);
    return Object.fromEntries(
      names.map((name) => [
        name,
        value(figures[`authority.${name}.state`], Number(figures[`authority.${name}.size`])),
      ]),
    );
  };
}

const LEDGER: readonly Metric[] = [
  gauge('ledger_blocks', 'Blocks under the newest signed checkpoint.', ({ status }) => status.ledger.blocks),
  gauge(
    'ledger_sealed_offset',
    'First offset not yet in a signed block.',
    ({ status }) => status.ledger.sealed,
  ),
  gauge(
    'ledger_checkpoint_timestamp_seconds',
    'When the newest signed block was sealed, unix time; 0 for none.',
    ({ status }) => (status.ledger.checkpointMs ?? 0) / 1000,
  ),
  gauge(
    'ledger_final_blocks',
    'Blocks under the newest checkpoint that a quorum of authorities has cosigned; without authorities, all.',
    ({ status }) => status.ledger.finalSize,
  ),
  gauge('ledger_alarm', '1 while the ledger needs a person: rolled back, forked, damaged.', ({ status }) =>
    Number((status.stages.sealer?.alarm ?? null) !== null),
  ),
  gauge(
    'authority_up',
    '1 for an authority that cosigns.',
    authorities((state) => Number(state === 'ok')),
    'authority',
  ),
  gauge(
    'authority_cosigned_blocks',
    'Blocks under the newest checkpoint an authority has cosigned.',
    authorities((_state, size) => size),
    'authority',
  ),
];

export const METRICS: readonly Metric[] = [...GATEWAY, ...LOG, ...INGEST, ...STAGES, ...SPARKPLUG, ...LEDGER];

function pick<Key extends string>(
  by: Readonly<Record<string, Readonly<Record<Key, number>>>>,
  key: Key,
): Record<string, number> {
  return Object.fromEntries(Object.entries(by).map(([name, figures]) => [name, figures[key]]));
}

function connectionsRefused({ ingest: { mqtt, websocket } }: MetricFigures): Record<string, number> {
  return { mqtt: mqtt?.connectionsRefused ?? 0, websocket: websocket?.connectionsRefused ?? 0 };
}

/** 0 where MQTT is switched off. */
function mqtt(figure: keyof NonNullable<IngestFigures['mqtt']>): Read {
  return ({ ingest }) => ingest.mqtt?.[figure] ?? 0;
}

function stage(
  status: Status,
  read: (figures: StageFigures) => StageFigures[string] | undefined,
): Record<string, number> {
  const values = Object.entries(status.stages).map(([name, figures]) => [name, read(figures)] as const);
  return Object.fromEntries(
    values.filter((entry): entry is readonly [string, number] => typeof entry[1] === 'number'),
  );
}
