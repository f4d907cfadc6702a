// Owns taking closed segments away and putting others in their place while readers read on. Refuses to touch the segment
// being written, to leave a hole in the held offsets, and drafts that do not hold what they stand in for.
import { join } from 'node:path';
import { type Offset, offset } from '../../ledger/format/brand.ts';
import { FileWindow } from './file-window.ts';
import { isMissing, type LogFs } from './fs.ts';
import { segmentFile } from './layout.ts';
import type { SegmentChain } from './segment-chain.ts';
import { LogError, type RolledSegment, type RolledSegments } from './types.ts';
import { walk } from './walk.ts';

export interface SegmentStoreOptions {
  readonly fs: LogFs;
  readonly folder: string;
  readonly chain: SegmentChain;
  /** Begins a new segment now, between two batches; resolves once the old one is closed, rejects with why it is not. */
  readonly roll: () => Promise<void>;
}

export class SegmentStore implements RolledSegments {
  readonly #options: SegmentStoreOptions;
  #closed = false;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: SegmentStoreOptions) {
    this.#options = options;
  }

  list(): readonly RolledSegment[] {
    return this.#options.chain.rolled.map((segment) => ({
      baseOffset: offset(segment.baseOffset),
      endOffset: offset(segment.endOffset),
      sizeBytes: segment.sizeBytes,
      maxEventMs: segment.maxEventMs,
      lastWrittenMs: segment.lastWrittenMs,
    }));
  }

  dropOldest(baseOffset: Offset): Promise<number> {
    return this.#queued(async () => {
      const { fs, folder, chain } = this.#options;
      const oldest = chain.rolled[0];
      if (oldest?.baseOffset !== baseOffset)
        throw new RangeError(`${baseOffset} is not the oldest closed segment`);
      const log = segmentFile(baseOffset, 'log');
      const rest = (await this.#filesOf(baseOffset)).filter((name) => name !== log);
      // The log first: without it the others mean nothing and go at the next open, should a crash come between.
      await removed(fs, join(folder, log));
      chain.forgetOldest();
      await fs.syncDirectory(folder);
      for (const name of rest) await removed(fs, join(folder, name));
      return oldest.sizeBytes;
    });
  }

  replace(baseOffset: Offset, drafts: Readonly<Record<string, string>> & { log: string }): Promise<void> {
    return this.#queued(async () => {
      const { fs, folder, chain } = this.#options;
      const segment = chain.rolled.find((each) => each.baseOffset === baseOffset);
      if (!segment) throw new RangeError(`${baseOffset} is no closed segment`);
      const sizeBytes = await this.#checked(drafts.log, segment.baseOffset, segment.endOffset);
      const log = segmentFile(baseOffset, 'log');
      // No index may outlive the segment it points into, so they go first, for good; readers do without for a moment.
      for (const name of await this.#filesOf(baseOffset))
        if (name !== log) await removed(fs, join(folder, name));
      await fs.syncDirectory(folder);
      await fs.rename(drafts.log, join(folder, log));
      segment.sizeBytes = sizeBytes;
      await fs.syncDirectory(folder);
      for (const [kind, draft] of Object.entries(drafts))
        if (kind !== 'log') await fs.rename(draft, join(folder, log.replace(/log$/, kind)));
      await fs.syncDirectory(folder);
    });
  }

  roll(): Promise<void> {
    return this.#queued(this.#options.roll);
  }

  #queued<T>(act: () => Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new LogError('CLOSED', 'the log is closed'));
    const result = this.#last.then(act);
    this.#last = result.catch(() => {});
    return result;
  }

  /** Takes nothing more; resolves when nothing is under way. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#last;
  }

  /** Names in the folder that are the segment's log or one of its indexes; not drafts, nor damaged files set aside. */
  async #filesOf(baseOffset: number): Promise<string[]> {
    const stem = segmentFile(baseOffset, 'log').slice(0, -'log'.length);
    const names = await this.#options.fs.readdir(this.#options.folder);
    return names.filter((name) => name.startsWith(stem) && /^[a-z]+$/.test(name.slice(stem.length)));
  }

  /** Size of a draft that holds [from, until) in good batches and nothing else. */
  async #checked(draft: string, from: number, until: number): Promise<number> {
    const { fs } = this.#options;
    const { sizeBytes } = await fs.stat(draft);
    const fd = await fs.open(draft, 'read');
    try {
      const end = await walk(new FileWindow(fs, fd, { reuses: true }), 0, from);
      if (end.offset === until && end.position === sizeBytes) return sizeBytes;
      throw new LogError(
        'SEGMENT_DAMAGED',
        `a draft for segment ${from} cannot take its place: it ends at offset ${end.offset}, not ${until}`,
        { facts: { file: draft, position: end.position, offset: end.offset, reason: end.fault } },
      );
    } finally {
      await fs.close(fd);
    }
  }
}

async function removed(fs: LogFs, path: string): Promise<void> {
  try {
    await fs.unlink(path);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}
