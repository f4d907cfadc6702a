// Makes the smaller stand-in of a closed segment: the same offsets, without the records retention removes. Writes drafts
// beside the segment and never touches the segment itself. Refuses a segment that cannot be read from end to end.
import { createHash, hash } from 'node:crypto';
import { join } from 'node:path';
import { constants, zstdCompressSync } from 'node:zlib';
import {
  encodeLeaves,
  type LeafRun,
  LeafRuns,
  leavesOf,
  mergeLeaves,
} from '../../../ledger/format/leaves.ts';
import { createRecordHasher, type TelemetryRecord } from '../../../ledger/format/record.ts';
import {
  type BatchHeader,
  CODEC,
  codecOf,
  HEADER_BYTES,
  readHeader,
  sealBatch,
  whyForeign,
  writeBaseOffset,
} from '../batch.ts';
import { FileWindow } from '../file-window.ts';
import { datasync, isMissing, type LogFs, writeFully } from '../fs.ts';
import { segmentFile } from '../layout.ts';
import { RecordDecoder } from '../record-decoder.ts';
import { bodySize, textLengths, writeRecord } from '../record-encoder.ts';
import { BatchRun } from '../record-run.ts';
import { IndexBuilder } from '../segment-index.ts';
import { TextCache } from '../text-cache.ts';
import { difference, FormFault, varintSize } from '../varint.ts';
import { batchAt } from '../walk.ts';

/** What a draft's name ends in. */
export const DRAFT = 'rewrite';
const WRITE_BYTES = 1024 * 1024;
/** Room for the length of a record: a varint of a 32-bit number. */
const LENGTH_BYTES = 5;
/** Time of a batch in which nothing is left: Kafka's own mark for it. */
const NO_TIMESTAMP = -1;

export interface RewriteOptions {
  readonly fs: LogFs;
  readonly folder: string;
  readonly baseOffset: number;
  /** One past the segment's last offset. */
  readonly endOffset: number;
  readonly indexIntervalBytes: number;
  readonly keep: (record: TelemetryRecord) => boolean;
  /** Whether the ledger's block that covers this offset has records that are kept: then its leaf hash is kept too. */
  readonly isLeafNeeded: (offset: number) => boolean;
  /** Leaf hashes an earlier rewrite left. */
  readonly leaves: readonly LeafRun[];
}

export interface DraftFile {
  readonly kind: string;
  readonly path: string;
  readonly sizeBytes: number;
  readonly sha256: string;
}

export type Rewrite =
  | {
      readonly kind: 'drafted';
      readonly files: readonly DraftFile[];
      readonly kept: number;
      readonly removed: number;
    }
  | { readonly kind: 'unreadable'; readonly position: number; readonly reason: string };

/** Each whole batch of a closed segment with its bytes, in order; where and why it cannot go on. */
export async function* closedBatches(
  fs: LogFs,
  folder: string,
  baseOffset: number,
  endOffset: number,
): AsyncGenerator<ReadBatch, { position: number; reason: string } | null> {
  const fd = await fs.open(join(folder, segmentFile(baseOffset, 'log')), 'read');
  try {
    const window = new FileWindow(fs, fd);
    const texts = new TextCache();
    let position = 0;
    let expected = baseOffset;
    while (expected < endOffset) {
      const header = await batchAt(window, position);
      if (typeof header === 'string') return { position, reason: header };
      const foreign = whyForeign(header);
      if (header.baseOffset !== expected || foreign !== null)
        return { position, reason: foreign ?? 'bad base offset' };
      const at = window.at(position);
      const bytes = window.bytes.subarray(at, at + header.sizeBytes);
      let records: TelemetryRecord[];
      try {
        records = allRecords(header, bytes, texts);
      } catch (error) {
        if (error instanceof FormFault) return { position, reason: error.message };
        throw error;
      }
      yield { header, bytes, records };
      position += header.sizeBytes;
      expected = header.lastOffset + 1;
    }
    return null;
  } finally {
    await fs.close(fd);
  }
}

export interface ReadBatch {
  readonly header: BatchHeader;
  readonly bytes: Uint8Array;
  readonly records: readonly TelemetryRecord[];
}

function allRecords(header: BatchHeader, bytes: Uint8Array, texts: TextCache): TelemetryRecord[] {
  const decoder = new RecordDecoder(new BatchRun(header, bytes, 0), texts);
  const records: TelemetryRecord[] = [];
  for (let record = decoder.next(0); record; record = decoder.next(record.offset + 1)) records.push(record);
  return records;
}

/** Drafts of the segment, its indexes and the leaf hashes that must stay; durable, under names of their own. */
export async function draftRewrite(options: RewriteOptions): Promise<Rewrite> {
  const { fs, folder, baseOffset, endOffset, keep, isLeafNeeded } = options;
  const log = await DraftWriter.open(fs, folder, baseOffset, 'log');
  const index = new IndexBuilder(baseOffset, options.indexIntervalBytes);
  const leaves = new LeafRuns();
  const earlier = [...options.leaves];
  const hashRecord = createRecordHasher((data) => hash('sha256', data, 'buffer'));
  const put = async (header: Pick<BatchHeader, 'lastOffset' | 'maxTimestamp'>, bytes: Uint8Array) => {
    index.add({ ...header, sizeBytes: bytes.length }, log.position);
    await log.write(bytes);
  };
  let kept = 0;
  let removed = 0;
  /** Offsets [from, to) of batches in which nothing is left, not yet written. */
  let holeFrom = baseOffset;
  let holeTo = baseOffset;
  const closeHole = async () => {
    if (holeTo > holeFrom)
      await put({ lastOffset: holeTo - 1, maxTimestamp: NO_TIMESTAMP }, emptyBatch(holeFrom, holeTo));
  };
  try {
    const batches = closedBatches(fs, folder, baseOffset, endOffset);
    for (;;) {
      const next = await batches.next();
      if (next.done) {
        if (next.value) {
          await log.discard();
          return { kind: 'unreadable', ...next.value };
        }
        break;
      }
      const { header, bytes, records } = next.value;
      const staying = records.filter((record) => {
        if (keep(record)) return true;
        if (isLeafNeeded(record.offset)) leaves.add(record.offset, hashRecord(record));
        return false;
      });
      kept += staying.length;
      removed += records.length - staying.length;
      if (staying.length === 0) {
        holeTo = header.lastOffset + 1;
        continue;
      }
      await closeHole();
      holeFrom = header.lastOffset + 1;
      holeTo = holeFrom;
      if (staying.length === records.length) await put(header, bytes);
      else {
        const smaller = thinnedBatch(header, staying);
        await put({ lastOffset: header.lastOffset, maxTimestamp: smaller.maxTimestamp }, smaller.bytes);
      }
    }
    await closeHole();
  } catch (error) {
    await log.discard().catch(() => {});
    throw error;
  }
  const files = [await log.finish()];
  index.addTime();
  const small: [string, Uint8Array][] = [
    ['index', index.offsetBytes],
    ['timeindex', index.timeBytes],
  ];
  const needed = earlier.length === 0 ? leaves.runs : joined(earlier, leaves.runs, isLeafNeeded);
  if (needed.length > 0) small.push(['leaves', encodeLeaves(needed)]);
  for (const [kind, bytes] of small) {
    const writer = await DraftWriter.open(fs, folder, baseOffset, kind);
    await writer.write(bytes);
    files.push(await writer.finish());
  }
  return { kind: 'drafted', files, kept, removed };
}

/** Leaf hashes of before and of now, those of blocks of which nothing is left any more left out. */
function joined(
  before: readonly LeafRun[],
  now: readonly LeafRun[],
  isNeeded: (offset: number) => boolean,
): LeafRun[] {
  const all = new LeafRuns();
  for (const { offset, hash: leaf } of leavesOf(mergeLeaves(before, now)))
    if (isNeeded(offset)) all.add(offset, leaf);
  return all.runs;
}

/** The batch that says: nothing is left of [from, to). */
function emptyBatch(from: number, to: number): Uint8Array {
  const bytes = Buffer.alloc(HEADER_BYTES);
  const times = { baseTimestamp: NO_TIMESTAMP, maxTimestamp: NO_TIMESTAMP };
  sealBatch(bytes, 0, HEADER_BYTES, { count: 0, lastOffsetDelta: to - 1 - from, ...times });
  writeBaseOffset(bytes, 0, from);
  return bytes;
}

/** The batch with only `records` left: same base offset, same offset deltas, same last offset. */
function thinnedBatch(
  header: BatchHeader,
  records: readonly TelemetryRecord[],
): { bytes: Uint8Array; maxTimestamp: number } {
  const baseTimestamp = records[0]!.eventMs;
  const sized = records.map((record) => {
    const lengths = textLengths(record);
    if (typeof lengths === 'string') throw new FormFault(lengths);
    const timestampDelta = difference(record.eventMs, baseTimestamp);
    const offsetDelta = record.offset - header.baseOffset;
    const size = bodySize(record, timestampDelta, offsetDelta, lengths.topic, lengths.device);
    return { record, lengths, timestampDelta, offsetDelta, size };
  });
  const room = sized.reduce(
    (sum, { size }) => sum + Math.max(LENGTH_BYTES, varintSize(size)) + size,
    HEADER_BYTES,
  );
  let bytes = Buffer.alloc(room);
  let at = HEADER_BYTES;
  for (const { record, lengths, timestampDelta, offsetDelta, size } of sized)
    at = writeRecord(
      bytes,
      at,
      record,
      size,
      timestampDelta,
      offsetDelta,
      lengths.topic,
      lengths.device,
      false,
    );
  let codec: number = CODEC.none;
  if (codecOf(header) === CODEC.zstd) {
    const packed = zstdCompressSync(bytes.subarray(HEADER_BYTES, at), {
      params: { [constants.ZSTD_c_compressionLevel]: 3 },
    });
    if (packed.length < at - HEADER_BYTES) {
      bytes = Buffer.concat([bytes.subarray(0, HEADER_BYTES), packed]);
      at = bytes.length;
      codec = CODEC.zstd;
    }
  }
  const maxTimestamp = records.reduce((max, { eventMs }) => Math.max(max, eventMs), baseTimestamp);
  const lastOffsetDelta = header.lastOffset - header.baseOffset;
  sealBatch(bytes, 0, at, { count: records.length, baseTimestamp, maxTimestamp, codec, lastOffsetDelta });
  writeBaseOffset(bytes, 0, header.baseOffset);
  const batch = bytes.subarray(0, at);
  if (typeof readHeader(batch, 0, at) === 'string') throw new FormFault('a thinned batch is none');
  return { bytes: batch, maxTimestamp };
}

export function draftPath(folder: string, baseOffset: number, kind: string): string {
  return `${join(folder, segmentFile(baseOffset, 'log')).replace(/log$/, kind)}.${DRAFT}`;
}

/** One draft: written in large pieces, hashed on the way, synced at the end. */
class DraftWriter {
  readonly #fs: LogFs;
  readonly #fd: number;
  readonly #kind: string;
  readonly #path: string;
  readonly #sha = createHash('sha256');
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #written = 0;

  private constructor(fs: LogFs, fd: number, path: string, kind: string) {
    this.#fs = fs;
    this.#fd = fd;
    this.#path = path;
    this.#kind = kind;
  }

  static async open(fs: LogFs, folder: string, baseOffset: number, kind: string): Promise<DraftWriter> {
    const path = draftPath(folder, baseOffset, kind);
    await fs.unlink(path).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
    return new DraftWriter(fs, await fs.open(path, 'create'), path, kind);
  }

  get position(): number {
    return this.#written + this.#pendingBytes;
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#sha.update(bytes);
    // A copy: what a batch is a view of may be read over before it is written.
    this.#pending.push(Uint8Array.from(bytes));
    this.#pendingBytes += bytes.length;
    if (this.#pendingBytes >= WRITE_BYTES) await this.#flush();
  }

  async #flush(): Promise<void> {
    const bytes = Buffer.concat(this.#pending);
    this.#pending = [];
    this.#pendingBytes = 0;
    await writeFully(this.#fs, this.#fd, bytes, this.#written);
    this.#written += bytes.length;
  }

  async finish(): Promise<DraftFile> {
    try {
      await this.#flush();
      await datasync(this.#fs, this.#fd);
    } finally {
      await this.#fs.close(this.#fd);
    }
    const { position: sizeBytes } = this;
    return { kind: this.#kind, path: this.#path, sizeBytes, sha256: this.#sha.digest('hex') };
  }

  async discard(): Promise<void> {
    await this.#fs.close(this.#fd);
    await this.#fs.unlink(this.#path);
  }
}
