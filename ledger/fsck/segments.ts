// The checker's own reading of log segments (Kafka RecordBatch v2). Shares nothing with the writer and refuses
// to change a file: it only says what is there, what is damaged, and where reading can go on.
import { closeSync, fstatSync, openSync, readdirSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { crc32c } from './crc32c.ts';

/*
 * A segment is a run of record batches (KIP-98, Kafka "RecordBatch" magic 2), big-endian:
 *
 *   0 baseOffset i64 · 8 batchLength i32 (bytes after this field) · 12 partitionLeaderEpoch i32 · 16 magic i8 = 2
 *   17 crc u32 (CRC-32C over 21..end) · 21 attributes i16 · 23 lastOffsetDelta i32 · 27 baseTimestamp i64
 *   35 maxTimestamp i64 · 43 producerId i64 · 51 producerEpoch i16 · 53 baseSequence i32 · 57 recordsCount i32
 *   61 records…
 *
 * and after the last batch nothing, or zeros (space written ahead of time).
 */
const BATCH_HEADER_BYTES = 61;
const LENGTH_OVERHEAD_BYTES = 12;
const WINDOW_BYTES = 4 * 1024 * 1024;
const SCAN_BYTES = 1024 * 1024;

export interface SegmentFile {
  /** File name without folder, e.g. 00000000000000000000.log */
  readonly name: string;
  readonly path: string;
  /** The offset its name promises for its first record. */
  readonly baseOffset: number;
  /** What findings name as its folder: that of the data directory, or the cold tier it was fetched from. */
  readonly place: 'log' | 'cold';
}

export interface RecordBatch {
  /** Byte position of the batch in its file. */
  readonly position: number;
  /** Whole length in bytes, header included. */
  readonly bytes: number;
  readonly baseOffset: number;
  readonly lastOffset: number;
  /** Always 0 in our segments; no checksum covers it. */
  readonly leaderEpoch: number;
  readonly attributes: number;
  /** Producer id, epoch and base sequence: always -1/-1/-1 in our segments. */
  readonly producer: string;
  readonly baseTimestampMs: number;
  readonly maxTimestampMs: number;
  /** Number of records the header promises. */
  readonly count: number;
  /** The records part, still compressed if attributes say so. */
  readonly body: Uint8Array;
}

export type SegmentItem =
  | { readonly kind: 'batch'; readonly batch: RecordBatch }
  /** Unreadable bytes with a readable batch behind them. */
  | { readonly kind: 'damage'; readonly position: number; readonly bytes: number; readonly reason: string }
  /** Unreadable bytes up to the end of the file: a torn write in the last segment, damage in any other. */
  | {
      readonly kind: 'unfinished';
      readonly position: number;
      readonly bytes: number;
      readonly reason: string;
    }
  /** Zeros up to the end of the file. */
  | { readonly kind: 'zeros'; readonly position: number; readonly bytes: number };

/** The segments of `<dataDir>/log` in offset order; [] when there is no log folder. */
export function listSegments(dataDir: string): SegmentFile[] {
  const folder = join(dataDir, 'log');
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return names
    .filter((name) => /^\d{20}\.log$/.test(name))
    .sort()
    .map((name) => ({ name, path: join(folder, name), baseOffset: Number(name.slice(0, 20)), place: 'log' }));
}

/** Files of leaf hashes of removed records, `log/<base offset>.leaves`, in offset order. */
export function leafFiles(dataDir: string): string[] {
  const folder = join(dataDir, 'log');
  try {
    return readdirSync(folder)
      .filter((name) => /^\d{20}\.leaves$/.test(name))
      .sort()
      .map((name) => join(folder, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** A read-ahead view of one file whose size is fixed at opening, so that a growing tail cannot confuse a scan. */
class FileWindow {
  readonly size: number;
  readonly #fd: number;
  #start = 0;
  #bytes: Uint8Array = new Uint8Array(0);

  constructor(path: string) {
    this.#fd = openSync(path, 'r');
    this.size = fstatSync(this.#fd).size;
  }

  /** The bytes [position, position + length), or null where the file ends before. Views stay valid for ever. */
  at(position: number, length: number): Uint8Array | null {
    if (position + length > this.size) return null;
    if (position < this.#start || position + length > this.#start + this.#bytes.length)
      this.#fill(position, length);
    const from = position - this.#start;
    return from + length <= this.#bytes.length ? this.#bytes.subarray(from, from + length) : null;
  }

  #fill(position: number, length: number): void {
    const bytes = new Uint8Array(Math.min(Math.max(length, WINDOW_BYTES), this.size - position));
    let filled = 0;
    while (filled < bytes.length) {
      const read = readSync(this.#fd, bytes, filled, bytes.length - filled, position + filled);
      if (read === 0) break;
      filled += read;
    }
    this.#start = position;
    this.#bytes = bytes.subarray(0, filled);
  }

  /** Position of the first byte from `from` on that is not zero; the file's size when there is none. */
  firstNonZero(from: number): number {
    for (let position = from; position < this.size; ) {
      const bytes = this.at(position, Math.min(WINDOW_BYTES, this.size - position));
      if (!bytes) return position;
      const found = bytes.findIndex((byte) => byte !== 0);
      if (found !== -1) return position + found;
      position += bytes.length;
    }
    return this.size;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

type Read =
  | { readonly ok: true; readonly batch: RecordBatch }
  | { readonly ok: false; readonly reason: string };

function readBatch(window: FileWindow, position: number): Read {
  const header = window.at(position, BATCH_HEADER_BYTES);
  if (!header) return { ok: false, reason: `only ${window.size - position} bytes, a batch header has 61` };
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const magic = view.getInt8(16);
  if (magic !== 2) return { ok: false, reason: `magic byte ${magic}, not 2` };
  const bytes = view.getInt32(8) + LENGTH_OVERHEAD_BYTES;
  if (bytes < BATCH_HEADER_BYTES)
    return { ok: false, reason: `batch length ${bytes - LENGTH_OVERHEAD_BYTES} is too small` };
  const baseOffset = Number(view.getBigInt64(0));
  const lastOffset = baseOffset + view.getInt32(23);
  if (
    !Number.isSafeInteger(baseOffset) ||
    baseOffset < 0 ||
    !Number.isSafeInteger(lastOffset) ||
    lastOffset < baseOffset
  ) {
    return { ok: false, reason: `impossible offsets ${baseOffset}..${lastOffset}` };
  }
  const whole = window.at(position, bytes);
  if (!whole) return { ok: false, reason: `batch of ${bytes} bytes passes the end of the file` };
  const crc = view.getUint32(17);
  const actual = crc32c(whole, 21);
  if (crc !== actual) {
    return { ok: false, reason: `CRC-32C is ${actual.toString(16)}, the batch says ${crc.toString(16)}` };
  }
  return {
    ok: true,
    batch: {
      position,
      bytes,
      baseOffset,
      lastOffset,
      leaderEpoch: view.getInt32(12),
      attributes: view.getInt16(21),
      producer: `${view.getBigInt64(43)}/${view.getInt16(51)}/${view.getInt32(53)}`,
      baseTimestampMs: Number(view.getBigInt64(27)),
      maxTimestampMs: Number(view.getBigInt64(35)),
      count: view.getInt32(57),
      body: whole.subarray(BATCH_HEADER_BYTES),
    },
  };
}

/** Where reading can go on after unreadable bytes at `position`; null where nothing readable follows. */
function resumeAt(window: FileWindow, position: number, minOffset: number): number | null {
  const follows = (at: number) => {
    const next = readBatch(window, at);
    return next.ok && next.batch.baseOffset >= minOffset;
  };
  // The damaged batch's own length first: a payload may itself contain the bytes of a valid batch.
  const header = window.at(position, LENGTH_OVERHEAD_BYTES);
  if (header) {
    const length = new DataView(header.buffer, header.byteOffset, header.byteLength).getInt32(8);
    const next = position + LENGTH_OVERHEAD_BYTES + length;
    if (length > 0 && next < window.size && follows(next)) return next;
  }
  // Then every place where a magic byte could stand.
  for (let start = position + 1; start + BATCH_HEADER_BYTES <= window.size; start += SCAN_BYTES) {
    const chunk = window.at(start + 16, Math.min(SCAN_BYTES, window.size - start - 16))!;
    for (let hit = chunk.indexOf(2); hit !== -1; hit = chunk.indexOf(2, hit + 1)) {
      if (follows(start + hit)) return start + hit;
    }
  }
  return null;
}

/** Everything in one segment file, in file order, from byte `from` (the start of a batch) on. */
export function* scanSegment(segment: SegmentFile, from = 0): Generator<SegmentItem> {
  const window = new FileWindow(segment.path);
  try {
    let position = from;
    let nextOffset = segment.baseOffset;
    while (position < window.size) {
      const read = readBatch(window, position);
      if (read.ok) {
        yield { kind: 'batch', batch: read.batch };
        position += read.batch.bytes;
        nextOffset = read.batch.lastOffset + 1;
        continue;
      }
      const rest = window.size - position;
      if (window.firstNonZero(position) === window.size) {
        yield { kind: 'zeros', position, bytes: rest };
        return;
      }
      const resume = resumeAt(window, position, nextOffset);
      if (resume === null) {
        // A stray byte in space written ahead is named where it is, not where the zeros begin.
        const at = window.firstNonZero(position);
        const from = at - position >= BATCH_HEADER_BYTES ? at : position;
        yield { kind: 'unfinished', position: from, bytes: window.size - from, reason: read.reason };
        return;
      }
      yield { kind: 'damage', position, bytes: resume - position, reason: read.reason };
      position = resume;
    }
  } finally {
    window.close();
  }
}
