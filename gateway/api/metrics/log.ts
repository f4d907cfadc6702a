// The metrics of the log.
import { counter, gauge, type Metric } from './metric.ts';

export const LOG: readonly Metric[] = [
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
  gauge(
    'log_write_max_seconds',
    'The longest write of a batch since start, before its sync.',
    ({ log }) => log.writeMsMax / 1000,
  ),
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
