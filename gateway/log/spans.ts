// Owns reading a segment by the spans of its key index: a few KiB for one record, however large its batch. Every span is
// summed before it is decoded; what does not fit is a SpanFault, and the segment is then read the long way.
import { crc32c } from '@node-rs/crc32';
import type { TelemetryRecord } from '../../ledger/format/record.ts';
import { CODEC, codecOf, HEADER_BYTES, readHeader, whyForeign } from './batch.ts';
import { type LogFs, readFully } from './fs.ts';
import type { KeyIndex, Span } from './key-index-file.ts';
import { RecordDecoder, type RecordFilter, runOfBatch } from './record-decoder.ts';
import type { SegmentFile } from './segment-file.ts';
import type { TextCache } from './text-cache.ts';
import { FormFault } from './varint.ts';

/** The key index does not describe these bytes: one of the two is damaged, or the index is another file's. */
export class SpanFault extends Error {
  override name = 'SpanFault';
}

export interface SpanBytes {
  readonly first: number;
  readonly last: number;
  readonly bytes: Buffer;
}

/** Spans first to last, read in one go. */
export async function readSpans(
  fs: LogFs,
  file: SegmentFile,
  index: KeyIndex,
  first: number,
  last: number,
): Promise<SpanBytes> {
  const from = index.span(first).position;
  const length = index.span(last).end - from;
  if (length < 0 || length > index.summary.segmentBytes) throw new SpanFault('spans are out of order');
  const bytes = Buffer.allocUnsafeSlow(length);
  const read = await readFully(fs, file.fd, bytes, length, from);
  if (read < length) throw new SpanFault('the segment is shorter than its index says');
  return { first, last, bytes };
}

/** Records from offset `from` on of one of the spans that were read, as far as the filter lets them through. */
export function* recordsOf(
  index: KeyIndex,
  read: SpanBytes,
  number: number,
  from: number,
  filter: RecordFilter | null,
  texts: TextCache,
): Generator<TelemetryRecord> {
  const span = index.span(number);
  const at = span.position - index.span(read.first).position;
  const end = at + span.end - span.position;
  const { bytes } = read;
  if (crc32c(bytes.subarray(at, end)) !== span.crc) throw new SpanFault('a span has another checksum');
  try {
    const decoders = span.batch
      ? [partOf(span, bytes, at, end, index.summary.lastOffset, texts)]
      : batchesIn(bytes, at, end, texts);
    for (const decoder of decoders)
      for (let record = decoder.next(from, filter); record; record = decoder.next(from, filter)) yield record;
  } catch (error) {
    if (error instanceof FormFault) throw new SpanFault('a span does not hold records', { cause: error });
    throw error;
  }
}

function partOf(
  span: Span,
  bytes: Buffer,
  from: number,
  to: number,
  lastOffset: number,
  texts: TextCache,
): RecordDecoder {
  return new RecordDecoder({ ...span.batch!, lastOffset, count: -1, bytes, from, to }, texts);
}

function* batchesIn(bytes: Buffer, from: number, to: number, texts: TextCache): Generator<RecordDecoder> {
  for (let at = from; at < to; ) {
    const header = readHeader(bytes, at, to);
    if (typeof header === 'string' || whyForeign(header) !== null)
      throw new SpanFault('no batch where one should begin');
    if (at + header.sizeBytes <= to) {
      yield new RecordDecoder(runOfBatch(header, bytes, at), texts);
    } else {
      // The first records of a large batch; the spans after this one hold the rest.
      if (codecOf(header) !== CODEC.none) throw new SpanFault('a compressed batch in parts');
      yield new RecordDecoder({ ...header, count: -1, bytes, from: at + HEADER_BYTES, to }, texts);
    }
    at += header.sizeBytes;
  }
}
