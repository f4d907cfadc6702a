// One record: its fields, its canonical bytes, its JSON form. The door to record-*.ts; knows nothing of segments.
export {
  createRecordHasher,
  decodeRecord,
  encodeRecord,
  encodeRecordInto,
  recordLeafHash,
  recordSize,
} from './record-bytes.ts';
export { type RecordJson, recordFromJson, recordToJson } from './record-json.ts';
export { isSource, type RecordInput, SOURCE, type Source, type TelemetryRecord } from './record-types.ts';
