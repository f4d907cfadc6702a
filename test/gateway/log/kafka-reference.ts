// Owns a slow transcription of Kafka's RecordBatch v2 (KIP-98) and record layout, sharing nothing with the log's own
// codec: the yardstick its bytes are held against.
import type { RecordInput } from '../../../ledger/format/record.ts';

function crc32c(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f6_3b78 : crc >>> 1;
  }
  return (crc ^ 0xffff_ffff) >>> 0;
}

function varint(value: bigint): number[] {
  let zigzag = value >= 0n ? value * 2n : -value * 2n - 1n;
  const out: number[] = [];
  while (zigzag >= 128n) {
    out.push(Number(zigzag % 128n) + 128);
    zigzag /= 128n;
  }
  out.push(Number(zigzag));
  return out;
}

const integer = (value: bigint, width: number): number[] =>
  Array.from({ length: width }, (_, index) => Number((value >> BigInt(8 * (width - 1 - index))) & 0xffn));
const long = (value: number | bigint) => integer(BigInt(value), 8);
const sized = (bytes: Iterable<number> | null) => {
  if (bytes === null) return varint(-1n);
  const list = [...bytes];
  return [...varint(BigInt(list.length)), ...list];
};
const utf8 = (text: string) => [...new TextEncoder().encode(text)];

function kafkaHeaders(record: RecordInput): [string, Iterable<number>][] {
  return [
    ['topic', utf8(record.topic)],
    ['type', utf8(record.contentType)],
    ['src', [record.source]],
    ['rx', long(record.receivedMs)],
    ...(record.sequence === null ? [] : [['seq', long(record.sequence)] as [string, number[]]]),
    ...(record.salt.length === 0 ? [] : [['salt', record.salt] as [string, Uint8Array]]),
    ...record.headers.map(([name, value]) => [`h.${name}`, value] as [string, Uint8Array]),
  ];
}

/** The batch of `records` as Kafka lays it out; `records` section given when it is stored otherwise (compressed). */
export function referenceBatch(
  baseOffset: number,
  records: readonly RecordInput[],
  changes: { attributes?: number; stored?: (plain: Uint8Array) => Uint8Array } = {},
): Buffer {
  const baseTimestamp = BigInt(records[0]!.eventMs);
  const maxTimestamp = BigInt(Math.max(...records.map((record) => record.eventMs)));
  const section = records.flatMap((record, delta) => {
    const headers = kafkaHeaders(record);
    const body = [
      0,
      ...varint(BigInt(record.eventMs) - baseTimestamp),
      ...varint(BigInt(delta)),
      ...sized(record.device === '' ? null : utf8(record.device)),
      ...sized(record.payload),
      ...varint(BigInt(headers.length)),
      ...headers.flatMap(([name, value]) => [...sized(utf8(name)), ...sized(value)]),
    ];
    return [...varint(BigInt(body.length)), ...body];
  });
  const stored = changes.stored?.(Uint8Array.from(section)) ?? section;
  const summed = [
    ...integer(BigInt(changes.attributes ?? 0), 2),
    ...integer(BigInt(records.length - 1), 4),
    ...long(baseTimestamp),
    ...long(maxTimestamp),
    ...long(-1),
    ...integer(-1n, 2),
    ...integer(-1n, 4),
    ...integer(BigInt(records.length), 4),
    ...stored,
  ];
  const afterLength = [
    ...integer(0n, 4),
    2,
    ...integer(BigInt(crc32c(Uint8Array.from(summed))), 4),
    ...summed,
  ];
  return Buffer.from([...long(baseOffset), ...integer(BigInt(afterLength.length), 4), ...afterLength]);
}
