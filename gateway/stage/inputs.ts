// Owns which records a deriving stage (windows, models) takes as input: device records chosen by MQTT topic
// filters. Refuses derived records, so that no stage ever feeds on results.
import { SOURCE, type TelemetryRecord } from '../../ledger/format/record.ts';
import { topicFilter } from '../codecs/topic-filter.ts';

/** A filter of device topics: the gateway's own `$…` topics cannot be named. */
export const inputTopicFilter = topicFilter.regex(/^[^$]/, 'must not begin with `$`: results are no input');

/** True for what a device sent; false for derived records and the gateway's own. */
export function isDeviceRecord(record: TelemetryRecord): boolean {
  return record.source <= SOURCE.http && !record.topic.startsWith('$');
}
