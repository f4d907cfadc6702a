// Owns one reading position inside one segment file: where the next batch begins, which one is being decoded. Moves
// forward only. What it reads it shares with the thread's other readers through segment-file.ts.
import type { BatchFault, BatchHeader } from './batch.ts';
import type { CheckedBatch } from './checked-batch.ts';
import type { RecordDecoder } from './record-decoder.ts';
import type { SegmentFile } from './segment-file.ts';
import { lastEndingBefore, type OffsetEntry } from './segment-index.ts';
import type { TextCache } from './text-cache.ts';
import type { WalkEnd } from './walk.ts';

const READ_MIN_BYTES = 16 * 1024;
const READ_MAX_BYTES = 128 * 1024;
const READ_LIKE_BYTES = 1280 * 1024;
/** A header and what little there may be before the next one. */
const STEP_BYTES = 4 * 1024;

export class SegmentCursor {
  readonly file: SegmentFile;
  /** Where the next batch begins. */
  position = 0;
  /** The offset expected there; while a batch is being decoded, the next offset to return. */
  next: number;
  /** The batch last read: it ends at `position`. */
  batch: CheckedBatch | null = null;
  /** Its records, until all have been returned; null too when it is of a kind not read here. */
  decoder: RecordDecoder | null = null;
  readonly #texts: TextCache;
  #closed = false;
  #bytesPerRecord = 256;

  /** Takes over the caller's hold on the file. */
  constructor(file: SegmentFile, texts: TextCache) {
    this.file = file;
    this.next = file.baseOffset;
    this.#texts = texts;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.file.release();
  }

  /**
   * Goes to the indexed batch that holds `offset`, else to the last one that ends before it, if the segment confirms
   * one. Entries may be wrong.
   */
  async jump(offset: number, entries: readonly OffsetEntry[], end: number): Promise<void> {
    const before = lastEndingBefore(entries, offset);
    for (let index = Math.min(before + 1, entries.length - 1); index >= 0; index--) {
      const entry = entries[index]!;
      const header = await this.file.header(entry.position, { offset: entry.lastOffset, end }, STEP_BYTES);
      if (typeof header === 'string' || header.lastOffset !== entry.lastOffset) continue;
      if (header.baseOffset < this.file.baseOffset || header.baseOffset > offset) continue;
      this.position = entry.position;
      this.next = header.baseOffset;
      return;
    }
  }

  /** Goes to a place where a batch is known to begin. */
  moveTo(position: number, offset: number): void {
    this.position = position;
    this.next = offset;
    this.decoder = null;
  }

  /** Steps over whole batches to the one that holds `offset`; where and why it could not. */
  async skipTo(offset: number, end: number): Promise<WalkEnd | null> {
    const { position, next } = this;
    const stop = await this.#step(offset, end, false);
    if (!stop) return null;
    // A wrong length in an unchecked header may have led astray: go again and sum every batch, to say where it is.
    this.position = position;
    this.next = next;
    return this.#step(offset, end, true);
  }

  async #step(offset: number, end: number, checked: boolean): Promise<WalkEnd | null> {
    while (this.next < end) {
      const expected = { offset: this.next, end };
      const found = checked
        ? await this.file.batch(this.position, expected, READ_MAX_BYTES)
        : await this.file.header(this.position, expected, READ_MIN_BYTES);
      if (typeof found === 'string') return this.#stop(found);
      const header = 'header' in found ? found.header : found;
      if (header.baseOffset !== this.next) return this.#stop('bad base offset');
      if (header.lastOffset >= offset) return null;
      this.position += header.sizeBytes;
      this.next = header.lastOffset + 1;
    }
    return null;
  }

  /**
   * Reads and checks the batch at the position, of which records below `end` are durable, and makes it the one being
   * decoded, from offset `want` on. Null when it did; else where and why not. `wantBytes` is how much the caller may
   * still take.
   */
  async readBatch(want: number, end: number, wantBytes: number): Promise<WalkEnd | null> {
    const ahead = Math.min((end - want) * this.#bytesPerRecord * 1.1, wantBytes) + 4096;
    // A batch as large as the last one is read in one go.
    const like = Math.min(this.header?.sizeBytes ?? 0, READ_LIKE_BYTES);
    const readBytes = Math.max(Math.min(Math.max(ahead, READ_MIN_BYTES), READ_MAX_BYTES), like);
    const expected = { offset: this.next, end };
    const batch = await this.file.batch(this.position, expected, Math.ceil(readBytes));
    if (typeof batch === 'string') return this.#stop(batch);
    const { header } = batch;
    if (header.baseOffset !== this.next) return this.#stop('bad base offset');
    const perRecord = header.sizeBytes / Math.max(1, header.count);
    this.#bytesPerRecord = Math.ceil((this.#bytesPerRecord + perRecord) / 2);
    this.position += header.sizeBytes;
    this.batch = batch;
    this.decoder = batch.foreign === null ? batch.decoder(want, this.#texts) : null;
    return null;
  }

  /** The header of the batch last read. */
  get header(): BatchHeader | null {
    return this.batch?.header ?? null;
  }

  #stop(fault: BatchFault): WalkEnd {
    return { position: this.position, offset: this.next, fault };
  }
}
