// Owns making the key index of one segment from its file, at once or as it grows. Makes none where a byte of the segment cannot be
// read: an index must not hide damage.
import { join } from 'node:path';
import { FileWindow } from './file-window.ts';
import { type LogFs, replaceFile } from './fs.ts';
import { loadTimeIndex } from './index-load.ts';
import { KeyIndexBuilder } from './key-index.ts';
import { readKeyIndexHeader } from './key-index-file.ts';
import { segmentFile } from './layout.ts';
import { FormFault } from './varint.ts';
import { batchAt } from './walk.ts';

/** Whether the segment's key index is there and covers all of it. */
export async function hasKeyIndex(fs: LogFs, folder: string, baseOffset: number): Promise<boolean> {
  const summary = await readKeyIndexHeader(fs, join(folder, segmentFile(baseOffset, 'keys')));
  if (summary?.baseOffset !== baseOffset || !summary.isComplete) return false;
  const { sizeBytes } = await fs.stat(join(folder, segmentFile(baseOffset, 'log')));
  return summary.segmentBytes === sizeBytes;
}

export interface AdvanceOptions {
  /** Called after each MiB with how long it took; waiting in it makes room for others. */
  readonly pause?: (tookMs: number) => Promise<void>;
  readonly signal?: AbortSignal;
  /** The index of a growing segment is written again when it covers this much more. Default 16 MiB. */
  readonly writeEveryBytes?: number;
}

const PAUSE_EVERY_BYTES = 1024 * 1024;
const WRITE_EVERY_BYTES = 16 * 1024 * 1024;

/** One segment on its way into its index. */
export class SegmentIndexing {
  readonly baseOffset: number;
  readonly #fs: LogFs;
  readonly #folder: string;
  readonly #builder: KeyIndexBuilder;
  /** The file it was begun with. */
  #fileId: string | undefined | null = null;
  #maxTimestamp = Number.NEGATIVE_INFINITY;
  #written = 0;
  #broken: string | null = null;

  constructor(fs: LogFs, folder: string, baseOffset: number) {
    this.#fs = fs;
    this.#folder = folder;
    this.baseOffset = baseOffset;
    this.#builder = new KeyIndexBuilder(baseOffset);
  }

  /** Nothing more can come of it: begin anew. */
  get isBroken(): boolean {
    return this.#broken !== null;
  }

  /**
   * Takes in the batches before offset `until`, all of them durable, and writes the index: at once when the segment is
   * closed (`until` is where the next one begins), else when enough has come. Resolves with why there can be none: damage,
   * foreign batches, another file of that name; null when all is well. Errors are those of the disk.
   */
  async advance(until: number, closed: boolean, options: AdvanceOptions = {}): Promise<string | null> {
    if (this.#broken) return this.#broken;
    const path = join(this.#folder, segmentFile(this.baseOffset, 'log'));
    const { fileId } = await this.#fs.stat(path);
    const fd = await this.#fs.open(path, 'read');
    try {
      this.#fileId ??= fileId;
      if (this.#fileId !== fileId) this.#broken = 'replaced by another file';
      this.#broken ??= await this.#takeIn(new FileWindow(this.#fs, fd, { reuses: true }), until, options);
    } catch (error) {
      if (!(error instanceof FormFault)) throw error;
      this.#broken = error.message;
    } finally {
      await this.#fs.close(fd);
    }
    if (this.#broken || options.signal?.aborted) return this.#broken;
    const grown = this.#builder.position - this.#written;
    if (!closed && grown < (options.writeEveryBytes ?? WRITE_EVERY_BYTES)) return null;
    const after = await this.#fs.stat(path);
    if (after.fileId !== fileId) return 'replaced by another file';
    // Zeros are still being cut off: the index is complete only of a complete segment.
    if (closed && after.sizeBytes !== this.#builder.position)
      return 'the segment does not end where it should';
    const { bytes } = this.#builder.finish(closed, closed ? await this.#vouchedFor() : null);
    await replaceFile(this.#fs, join(this.#folder, segmentFile(this.baseOffset, 'keys')), bytes);
    this.#written = this.#builder.position;
    return null;
  }

  async #takeIn(window: FileWindow, until: number, options: AdvanceOptions): Promise<string | null> {
    const builder = this.#builder;
    let began = performance.now();
    let paused = builder.position;
    while (builder.next < until && !options.signal?.aborted) {
      const header = await batchAt(window, builder.position);
      if (typeof header === 'string') return header;
      if (header.baseOffset !== builder.next) return 'bad base offset';
      this.#maxTimestamp = Math.max(this.#maxTimestamp, header.maxTimestamp);
      if (!builder.add(header, window.bytes, window.at(builder.position))) return 'a batch not read here';
      if (builder.position - paused < PAUSE_EVERY_BYTES) continue;
      paused = builder.position;
      await options.pause?.(performance.now() - began);
      began = performance.now();
    }
    return null;
  }

  /** The time index where its last entry has the greatest time there is, which is what a shortened one lacks. */
  async #vouchedFor(): Promise<Buffer | null> {
    const times = await loadTimeIndex(this.#fs, this.#folder, this.baseOffset);
    const right = times.parsed.whole && times.parsed.entries.at(-1)?.timestamp === this.#maxTimestamp;
    return right ? times.bytes : null;
  }
}
