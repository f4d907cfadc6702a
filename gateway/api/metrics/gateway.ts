// The metrics of the gateway as a whole: readiness, pressure, devices, readers, callers.
import { counter, gauge, type Metric } from './metric.ts';

export const GATEWAY: readonly Metric[] = [
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
  counter(
    'ingest_thread_busy_seconds_total',
    'Seconds since start that the ingest thread was at work, not waiting for something to do.',
    () => performance.eventLoopUtilization().active / 1000,
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
