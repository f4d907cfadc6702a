// Owns one segment's key index as it is looked up: what lies where in the segment, and where a device's records are.
// Believes only what its checksums confirm; a file that does not fit its segment is as good as none.
import { crc32c } from '@node-rs/crc32';
import { type LogFs, readFully, readSmallFile } from './fs.ts';
import {
  FLAG,
  KEY_ENTRY_BYTES,
  KEY_HEADER_BYTES,
  KEY_INDEX_MAGIC,
  KEY_INDEX_VERSION,
  SPAN_BYTES,
  WHOLE_BATCHES,
} from './key-index.ts';
import type { Kept } from './shared-reads.ts';
import { readInt64, readUint32 } from './varint.ts';

/** Larger than the index of a segment of 1 GiB can get; checked before anything is allocated. */
const MAX_SECTION_BYTES = 256 * 1024 * 1024;

export interface KeyIndexSummary {
  readonly baseOffset: number;
  /** It covers the segment up to here. */
  readonly segmentBytes: number;
  readonly spanCount: number;
  readonly keyCount: number;
  readonly withoutKeys: boolean;
  /** The segment was closed when it was made: there will be no further one. */
  readonly isComplete: boolean;
  /** Least and greatest eventMs. */
  readonly minMs: number;
  readonly maxMs: number;
  readonly lastOffset: number;
  readonly recordCount: number;
  /** Checksum of `.timeindex` as it must be; null where nobody vouched for it. */
  readonly timeIndexCrc: number | null;
  readonly spansCrc: number;
  readonly keysCrc: number;
  readonly blocksBytes: number;
}

/** What the header says; null when it is none of ours or damaged. */
export function parseKeyIndexHeader(header: Uint8Array): KeyIndexSummary | null {
  if (header.length < KEY_HEADER_BYTES) return null;
  if (readUint32(header, 0) !== KEY_INDEX_MAGIC || readUint32(header, 4) !== KEY_INDEX_VERSION) return null;
  if (crc32c(header.subarray(0, 92)) !== readUint32(header, 92)) return null;
  const flags = readUint32(header, 28);
  const i64 = (at: number) => readInt64(header, at, KEY_HEADER_BYTES);
  return {
    baseOffset: i64(8),
    segmentBytes: readUint32(header, 16),
    spanCount: readUint32(header, 20),
    keyCount: readUint32(header, 24),
    isComplete: (flags & FLAG.complete) !== 0,
    withoutKeys: (flags & FLAG.withoutKeys) !== 0,
    minMs: i64(32),
    maxMs: i64(40),
    lastOffset: i64(48),
    recordCount: readUint32(header, 56),
    timeIndexCrc: (flags & FLAG.timeIndexVouched) === 0 ? null : readUint32(header, 60),
    spansCrc: readUint32(header, 64),
    keysCrc: readUint32(header, 68),
    blocksBytes: readUint32(header, 72),
  };
}

/** The header of the file at `path`; null when there is none that can be believed. */
export async function readKeyIndexHeader(fs: LogFs, path: string): Promise<KeyIndexSummary | null> {
  let fd: number;
  try {
    fd = await fs.open(path, 'read');
  } catch {
    // An index that cannot be read is as good as none.
    return null;
  }
  try {
    return parseKeyIndexHeader(await readAt(fs, fd, 0, KEY_HEADER_BYTES));
  } catch {
    return null;
  } finally {
    await fs.close(fd).catch(() => {});
  }
}

/** Whether all checksums of the file at `path` are right; true too where there is none. */
export async function isSoundKeyIndex(fs: LogFs, path: string): Promise<boolean> {
  const bytes = await readSmallFile(fs, path, MAX_SECTION_BYTES).catch(() => null);
  if (bytes === null) return (await fs.stat(path).catch(() => null)) === null;
  const summary = parseKeyIndexHeader(bytes);
  if (!summary) return false;
  const tableAt = KEY_HEADER_BYTES + summary.spanCount * SPAN_BYTES;
  const blocksAt = tableAt + summary.keyCount * KEY_ENTRY_BYTES;
  if (blocksAt + summary.blocksBytes !== bytes.length) return false;
  if (crc32c(bytes.subarray(KEY_HEADER_BYTES, tableAt)) !== summary.spansCrc) return false;
  if (crc32c(bytes.subarray(tableAt, blocksAt)) !== summary.keysCrc) return false;
  for (let entry = tableAt; entry < blocksAt; entry += KEY_ENTRY_BYTES) {
    const at = blocksAt + readUint32(bytes, entry + 8);
    const block = bytes.subarray(at, at + readUint32(bytes, entry + 12));
    if (block.length < 20 || crc32c(block.subarray(4)) !== readUint32(block, 0)) return false;
  }
  return true;
}

/** A piece of the segment whose bytes have this checksum. */
export interface Span {
  readonly number: number;
  readonly position: number;
  readonly end: number;
  readonly crc: number;
  readonly firstOffset: number;
  /** The batch whose records go on here; null where the span begins with a batch of its own. */
  readonly batch: { readonly baseOffset: number; readonly baseTimestamp: number } | null;
}

export interface KeyFilter {
  readonly device?: string | undefined;
  readonly topic?: string | undefined;
}

export class KeyIndex implements Kept {
  readonly summary: KeyIndexSummary;
  sizeBytes: number;
  readonly #fs: LogFs;
  readonly #fd: number;
  readonly #spans: Buffer;
  readonly #onForget: (index: KeyIndex) => void;
  #table: Buffer | null = null;
  #users = 0;
  #forgotten = false;
  #closed = false;

  private constructor(
    fs: LogFs,
    fd: number,
    summary: KeyIndexSummary,
    spans: Buffer,
    onForget: (index: KeyIndex) => void,
  ) {
    this.#fs = fs;
    this.#fd = fd;
    this.summary = summary;
    this.#spans = spans;
    this.sizeBytes = spans.length;
    this.#onForget = onForget;
  }

  /**
   * The index at `path` if it is whole and was made from the segment that is open as `segmentFd`: its first and last
   * span must be there. Else null.
   */
  static async load(
    fs: LogFs,
    path: string,
    baseOffset: number,
    segmentFd: number,
    onForget: (index: KeyIndex) => void,
  ): Promise<KeyIndex | null> {
    let fd: number;
    try {
      fd = await fs.open(path, 'read');
    } catch {
      return null;
    }
    try {
      const summary = parseKeyIndexHeader(await readAt(fs, fd, 0, KEY_HEADER_BYTES));
      if (summary?.baseOffset === baseOffset && summary.spanCount > 0) {
        const spans = await readAt(fs, fd, KEY_HEADER_BYTES, summary.spanCount * SPAN_BYTES);
        if (crc32c(spans) === summary.spansCrc) {
          const index = new KeyIndex(fs, fd, summary, spans, onForget);
          if (await index.#fits(segmentFd)) return index;
        }
      }
    } catch {
      // As below: whatever is wrong with it, the segment has everything.
    }
    await fs.close(fd).catch(() => {});
    return null;
  }

  async #fits(segmentFd: number): Promise<boolean> {
    for (const number of [0, this.summary.spanCount - 1]) {
      const { position, end, crc } = this.span(number);
      if (crc32c(await readAt(this.#fs, segmentFd, position, end - position)) !== crc) return false;
    }
    return true;
  }

  /** Keeps the file open while `act` runs, also when it is forgotten meanwhile. */
  async using<T>(act: () => Promise<T>): Promise<T> {
    this.#users += 1;
    try {
      return await act();
    } finally {
      this.#users -= 1;
      this.#closeUnused();
    }
  }

  forget(): void {
    this.#forgotten = true;
    this.#onForget(this);
    this.#closeUnused();
  }

  #closeUnused(): void {
    if (!this.#forgotten || this.#users > 0 || this.#closed) return;
    this.#closed = true;
    void this.#fs.close(this.#fd).catch(() => {});
  }

  span(number: number): Span {
    const at = number * SPAN_BYTES;
    const spans = this.#spans;
    const { baseOffset, segmentBytes, spanCount } = this.summary;
    const batchBase = readUint32(spans, at + 12);
    return {
      number,
      position: readUint32(spans, at),
      end: number + 1 < spanCount ? readUint32(spans, at + SPAN_BYTES) : segmentBytes,
      crc: readUint32(spans, at + 4),
      firstOffset: baseOffset + readUint32(spans, at + 8),
      batch:
        batchBase === WHOLE_BATCHES
          ? null
          : {
              baseOffset: baseOffset + batchBase,
              baseTimestamp: readInt64(spans, at + 16, spans.length),
            },
    };
  }

  /** The span that holds `offset` if any does. */
  spanOf(offset: number): number {
    let low = 0;
    let high = this.summary.spanCount;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const first = this.summary.baseOffset + readUint32(this.#spans, middle * SPAN_BYTES + 8);
      if (first <= offset) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }

  /** The last span to read, from `first` on, for the records before offset `until`, or for about `maxBytes`. */
  lastSpanFor(first: number, until: number, maxBytes: number): number {
    const { baseOffset, spanCount } = this.summary;
    const from = readUint32(this.#spans, first * SPAN_BYTES);
    let last = first;
    while (last + 1 < spanCount) {
      const at = (last + 1) * SPAN_BYTES;
      if (baseOffset + readUint32(this.#spans, at + 8) >= until) break;
      if (readUint32(this.#spans, at) - from >= maxBytes) break;
      last += 1;
    }
    return last;
  }

  /** Whether the span has records with fromMs <= eventMs < toMs, as far as its first and last time tell. */
  mayHold(number: number, fromMs: number, toMs: number): boolean {
    const at = number * SPAN_BYTES;
    return (
      readInt64(this.#spans, at + 32, this.#spans.length) >= fromMs &&
      readInt64(this.#spans, at + 24, this.#spans.length) < toMs
    );
  }

  /**
   * Spans with records of the device and topic, ascending; null where the index lists none: then all may have some.
   * Throws what the disk says; also null when the file's checksums are wrong.
   */
  async spansOf(filter: KeyFilter, fromMs: number, toMs: number): Promise<readonly number[] | null> {
    if (filter.device === undefined && filter.topic === undefined) return null;
    if (this.summary.withoutKeys) return null;
    const table = await this.#loadTable();
    if (!table) return null;
    const lists: number[][] = [];
    for (const at of this.#candidates(table, filter)) {
      const spans = await this.#block(
        readUint32(table, at + 8),
        readUint32(table, at + 12),
        filter,
        fromMs,
        toMs,
      );
      if (spans === null) return null;
      if (spans.length > 0) lists.push(spans);
    }
    if (lists.length < 2) return lists[0] ?? [];
    return [...new Set(lists.flat())].sort((a, b) => a - b);
  }

  async #loadTable(): Promise<Buffer | null> {
    if (this.#table) return this.#table;
    const { spanCount, keyCount, keysCrc } = this.summary;
    const from = KEY_HEADER_BYTES + spanCount * SPAN_BYTES;
    const table = await readAt(this.#fs, this.#fd, from, keyCount * KEY_ENTRY_BYTES);
    if (crc32c(table) !== keysCrc) return null;
    this.#table = table;
    this.sizeBytes = this.#spans.length + table.length;
    return table;
  }

  /** Places in the table whose hashes fit. */
  *#candidates(table: Buffer, filter: KeyFilter): Generator<number> {
    const topicHash = filter.topic === undefined ? null : crc32c(filter.topic);
    const deviceHash = filter.device === undefined ? null : crc32c(filter.device);
    let at = deviceHash === null ? 0 : this.#firstOf(table, deviceHash);
    for (; at < table.length; at += KEY_ENTRY_BYTES) {
      if (deviceHash !== null && readUint32(table, at) !== deviceHash) return;
      if (topicHash === null || readUint32(table, at + 4) === topicHash) yield at;
    }
  }

  #firstOf(table: Buffer, deviceHash: number): number {
    let low = 0;
    let high = table.length / KEY_ENTRY_BYTES;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (readUint32(table, middle * KEY_ENTRY_BYTES) < deviceHash) low = middle + 1;
      else high = middle;
    }
    return low * KEY_ENTRY_BYTES;
  }

  /** The spans of one key: none when its hash only looked right, or its times rule it out; null when damaged. */
  async #block(
    at: number,
    length: number,
    filter: KeyFilter,
    fromMs: number,
    toMs: number,
  ): Promise<number[] | null> {
    const { spanCount, keyCount, blocksBytes } = this.summary;
    if (at + length > blocksBytes || length < 20) return null;
    const from = KEY_HEADER_BYTES + spanCount * SPAN_BYTES + keyCount * KEY_ENTRY_BYTES;
    const block = await readAt(this.#fs, this.#fd, from + at, length);
    if (block.length < length || crc32c(block.subarray(4)) !== readUint32(block, 0)) return null;
    if (readInt64(block, 12, length) < fromMs || readInt64(block, 4, length) >= toMs) return [];
    const reader = new VaruintReader(block, 20);
    const device = reader.text();
    const topic = reader.text();
    if (filter.device !== undefined && filter.device !== device) return [];
    if (filter.topic !== undefined && filter.topic !== topic) return [];
    reader.next();
    const count = reader.next();
    const spans: number[] = [];
    for (let previous = -1, index = 0; index < count; index++) {
      previous += reader.next() + 1;
      if (previous >= spanCount) return null;
      spans.push(previous);
    }
    return spans;
  }
}

class VaruintReader {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes;
    this.#at = at;
  }

  next(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.#bytes[this.#at++] ?? 0;
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    return value;
  }

  text(): string {
    const length = this.next();
    const from = this.#at;
    this.#at += length;
    return this.#bytes.toString('utf8', from, this.#at);
  }
}

async function readAt(fs: LogFs, fd: number, position: number, length: number): Promise<Buffer> {
  if (length > MAX_SECTION_BYTES) throw new RangeError(`a section of ${length} bytes`);
  const bytes = Buffer.allocUnsafeSlow(length);
  return bytes.subarray(0, await readFully(fs, fd, bytes, length, position));
}
