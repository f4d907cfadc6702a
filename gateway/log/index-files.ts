// Owns the index files of the segment being written: brings the builder's entries to disk now and then, off the
// append path. Failing is allowed: what is missing is made again at the next open.
import { join } from 'node:path';
import { datasync, type LogFs, replaceFile, writeFully } from './fs.ts';
import { type SegmentFileKind, segmentFile } from './layout.ts';
import { type IndexBuilder, OFFSET_ENTRY_BYTES } from './segment-index.ts';

const FLUSH_ENTRIES = 16;
const FLUSH_SEGMENT_BYTES = 4 * 1024 * 1024;

interface IndexFile {
  readonly kind: Extract<SegmentFileKind, 'index' | 'timeindex'>;
  fd: number;
  flushed: number;
}

export class IndexFiles {
  readonly builder: IndexBuilder;
  readonly #fs: LogFs;
  readonly #folder: string;
  readonly #files: readonly IndexFile[] = [
    { kind: 'index', fd: -1, flushed: 0 },
    { kind: 'timeindex', fd: -1, flushed: 0 },
  ];
  #flushing: Promise<void> | null = null;
  #flushedAt = 0;

  constructor(fs: LogFs, folder: string, builder: IndexBuilder) {
    this.#fs = fs;
    this.#folder = folder;
    this.builder = builder;
  }

  /** Called after every durable batch; `position` is the segment's end. */
  maybeFlush(position: number): void {
    if (this.#flushing) return;
    const pending = (this.builder.offsetBytes.length - this.#files[0]!.flushed) / OFFSET_ENTRY_BYTES;
    if (pending < FLUSH_ENTRIES && (pending === 0 || position - this.#flushedAt < FLUSH_SEGMENT_BYTES))
      return;
    this.#flushedAt = position;
    this.#flushing = this.#flush()
      .catch(() => {})
      .finally(() => {
        this.#flushing = null;
      });
  }

  #bytes(file: IndexFile): Buffer {
    return file.kind === 'index' ? this.builder.offsetBytes : this.builder.timeBytes;
  }

  async #flush(): Promise<void> {
    for (const file of this.#files) {
      if (file.fd < 0) {
        // Begun anew: whatever an earlier run left there may end in entries that are wrong.
        const path = join(this.#folder, segmentFile(this.builder.baseOffset, file.kind));
        await this.#fs.unlink(path).catch(() => {});
        file.fd = await this.#fs.open(path, 'create');
        file.flushed = 0;
      }
      const bytes = this.#bytes(file);
      await writeFully(this.#fs, file.fd, bytes.subarray(file.flushed), file.flushed);
      file.flushed = bytes.length;
    }
  }

  /** Completes both files, synced. They are closed in any case; throws what went wrong. */
  async close(): Promise<void> {
    await this.#flushing;
    this.builder.addTime();
    try {
      await this.#flush();
      for (const file of this.#files) await datasync(this.#fs, file.fd);
    } finally {
      await this.abandon();
    }
  }

  /** Closes the files as they are. */
  async abandon(): Promise<void> {
    await this.#flushing;
    for (const file of this.#files) {
      if (file.fd >= 0) await this.#fs.close(file.fd).catch(() => {});
      file.fd = -1;
    }
  }
}

/** Puts complete index files of a closed segment in place of what is there. */
export async function replaceIndexFiles(fs: LogFs, folder: string, builder: IndexBuilder): Promise<void> {
  await replaceFile(fs, join(folder, segmentFile(builder.baseOffset, 'index')), builder.offsetBytes);
  await replaceFile(fs, join(folder, segmentFile(builder.baseOffset, 'timeindex')), builder.timeBytes);
}
