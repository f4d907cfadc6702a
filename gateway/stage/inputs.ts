// Owns which records a deriving stage (windows, models) takes as input: device records, and those into which a
// device's payload was decoded, chosen by MQTT topic filters. Refuses results, so that no stage ever feeds on them.
import { SOURCE, type TelemetryRecord } from '../../ledger/format/record.ts';

/** Under it stand Sparkplug metrics by name, one record for each payload and time (gateway/sparkplug). */
export const SPARKPLUG_PREFIX = '$tidemark/sparkplug/';

/** The topic by which a stage chooses the record, or null where it is no input. */
export function inputTopic(record: TelemetryRecord): string | null {
  if (isDeviceRecord(record)) return record.topic;
  if (record.source !== SOURCE.gateway || !record.topic.startsWith(SPARKPLUG_PREFIX)) return null;
  return `spBv1.0/${record.topic.slice(SPARKPLUG_PREFIX.length)}`;
}

/** True for what a device sent; false for derived records and the gateway's own. */
export function isDeviceRecord(record: TelemetryRecord): boolean {
  return record.source <= SOURCE.http && !record.topic.startsWith('$');
}
