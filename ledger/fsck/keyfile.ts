// The checker's reading of the parts of a key index (docs/formats.md): its spans, and the block of a device and topic. Believes
// their lengths only as far as the bytes reach; whether they are right, keycheck.ts says.

export const HEADER_BYTES = 96;
export const SPAN_BYTES = 40;
const BEGINS_WITH_BATCH = 0xffff_ffff;

export interface Span {
  /** Byte of its entry in the index. */
  readonly at: number;
  readonly position: number;
  readonly end: number;
  readonly crc: number;
  readonly firstOffset: number;
  readonly batchBase: number | null;
  readonly baseTimestampMs: number;
  readonly minMs: number;
  readonly maxMs: number;
}

export interface KeyBlock {
  readonly at: number;
  readonly firstMs: number;
  readonly lastMs: number;
  readonly records: number;
  readonly spans: readonly number[];
}

export interface KeyFile {
  readonly segmentBytes: number;
  readonly lastOffset: number;
  readonly records: number;
  readonly spans: readonly Span[];
  /** Null where the index lists none. */
  readonly keys: ReadonlyMap<string, KeyBlock> | null;
}

export function readSpans(bytes: Buffer, base: number, count: number, segmentBytes: number): Span[] {
  return Array.from({ length: count }, (_, number) => {
    const at = HEADER_BYTES + number * SPAN_BYTES;
    const batchBase = bytes.readUInt32BE(at + 12);
    return {
      at,
      position: bytes.readUInt32BE(at),
      end: number + 1 < count ? bytes.readUInt32BE(at + SPAN_BYTES) : segmentBytes,
      crc: bytes.readUInt32BE(at + 4),
      firstOffset: base + bytes.readUInt32BE(at + 8),
      batchBase: batchBase === BEGINS_WITH_BATCH ? null : base + batchBase,
      baseTimestampMs: Number(bytes.readBigInt64BE(at + 16)),
      minMs: Number(bytes.readBigInt64BE(at + 24)),
      maxMs: Number(bytes.readBigInt64BE(at + 32)),
    };
  });
}

/** One of the key table's blocks; `at` is its byte in the index. */
export function readBlock(block: Buffer, at: number): { device: Buffer; topic: Buffer; key: KeyBlock } {
  let next = 20;
  const varuint = (): number => {
    let value = 0;
    for (let scale = 1; next < block.length; scale *= 128) {
      const byte = block[next++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
    }
    return value;
  };
  const text = (): Buffer => {
    const length = varuint();
    next += length;
    return block.subarray(next - length, next);
  };
  const device = text();
  const topic = text();
  const records = varuint();
  const spans: number[] = [];
  for (let left = varuint(); left > 0 && next < block.length; left--)
    spans.push((spans.at(-1) ?? -1) + 1 + varuint());
  const [firstMs, lastMs] = [4, 12].map((from) => Number(block.readBigInt64BE(from)));
  return { device, topic, key: { at, firstMs: firstMs!, lastMs: lastMs!, records, spans } };
}
