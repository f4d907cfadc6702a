// Owns reading a segment by the spans of its key index: a few KiB for one record, however large its batch. Every span is
// summed before it is decoded; what does not fit is a SpanFault, and the segment is then read the long way.
import { crc32c } from '@node-rs/crc32';
import type { TelemetryRecord } from '../../ledger/format/record.ts';
import { CODEC, codecOf, HEADER_BYTES, readHeader, whyForeign } from './batch.ts';
import { type LogFs, readFully } from './fs.ts';
import type { KeyIndex, Span } from './key-index-file.ts';
import { RecordDecoder, type RecordFilter } from './record-decoder.ts';
import { BatchRun, type RecordCopies } from './record-run.ts';
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

/** Position and length of spans first to last. */
export function extentOf(index: KeyIndex, first: number, last: number): { from: number; length: number } {
  const from = index.span(first).position;
  const length = index.span(last).end - from;
  if (length < 0 || length > index.summary.segmentBytes) throw new SpanFault('spans are out of order');
  return { from, length };
}

/** Spans first to last, read in one go into `into`, which must have room for them; at once where the disk allows. */
export function readSpans(
  fs: LogFs,
  file: SegmentFile,
  index: KeyIndex,
  first: number,
  last: number,
  into: Buffer,
): SpanBytes | Promise<SpanBytes> {
  const { from, length } = extentOf(index, first, last);
  const filled = (read: number): SpanBytes => {
    if (read < length) throw new SpanFault('the segment is shorter than its index says');
    return { first, last, bytes: into.subarray(0, length) };
  };
  const read = readFully(fs, file.fd, into, length, from);
  return typeof read === 'number' ? filled(read) : read.then(filled);
}

/** Reads runs of spans one after the other for one query, in a few buffers used in turn. */
export class SpanReads {
  readonly #fs: LogFs;
  readonly #buffers: Buffer[];
  #reads = 0;

  /** `ahead`: how many runs may be asked for before the first of them is done with. */
  constructor(fs: LogFs, ahead: number) {
    this.#fs = fs;
    this.#buffers = new Array<Buffer>(ahead).fill(Buffer.alloc(0));
  }

  /** Overwrites what the call `ahead` calls before this one has given. */
  start(file: SegmentFile, index: KeyIndex, first: number, last: number): SpanBytes | Promise<SpanBytes> {
    const turn = this.#reads++ % this.#buffers.length;
    const { length } = extentOf(index, first, last);
    if (this.#buffers[turn]!.length < length) this.#buffers[turn] = Buffer.allocUnsafeSlow(roundUp(length));
    return readSpans(this.#fs, file, index, first, last, this.#buffers[turn]!);
  }
}

function roundUp(bytes: number): number {
  return Math.ceil(bytes / 32_768) * 32_768;
}

/**
 * Gives `visit` the records from offset `from` on of one of the spans that were read, as far as the filter lets them
 * through, until it says false. With `copies` they do not hold on to `read`.
 */
export function visitRecords(
  index: KeyIndex,
  read: SpanBytes,
  number: number,
  from: number,
  filter: RecordFilter | null,
  texts: TextCache,
  copies: RecordCopies | null,
  visit: (record: TelemetryRecord) => boolean,
): void {
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
      for (;;) {
        const record = decoder.next(from, filter, copies);
        if (record === null) break;
        if (!visit(record)) return;
      }
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
      yield new RecordDecoder(new BatchRun(header, bytes, at), texts);
    } else {
      // The first records of a large batch; the spans after this one hold the rest.
      if (codecOf(header) !== CODEC.none) throw new SpanFault('a compressed batch in parts');
      yield new RecordDecoder({ ...header, count: -1, bytes, from: at + HEADER_BYTES, to }, texts);
    }
    at += header.sizeBytes;
  }
}
