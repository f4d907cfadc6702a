// Owns the answer to "how far is the log durable": from the writer's shared number, or, in another process, by
// walking the last segment. The second sees what is written, which may be a moment ahead of the sync.
import { join } from 'node:path';
import { FileWindow } from './file-window.ts';
import { isMissing, type LogFs } from './fs.ts';
import { lastConfirmed, loadOffsetIndex } from './index-load.ts';
import { listSegments, segmentFile } from './layout.ts';
import { endOfData, findResumption } from './salvage.ts';
import { type WalkEnd, walk } from './walk.ts';

export interface EndOfLog {
  /** The end; one found earlier will do where it is past `beyond`. */
  get(beyond?: number): number | Promise<number>;
  /** True once the end is past `known`; false after `timeoutMs`, on abort, or when waits are cancelled. */
  waitBeyond(known: number, timeoutMs: number, signal?: AbortSignal): Promise<boolean>;
  cancelWaits(): void;
}

const POLL_MS = 50;

/** For readers in another process. */
export class FoundEnd implements EndOfLog {
  readonly #fs: LogFs;
  readonly #folder: string;
  readonly #cancel = new AbortController();
  #base = -1;
  #place: WalkEnd = { position: 0, offset: 0, fault: 'end' };

  constructor(fs: LogFs, folder: string) {
    this.#fs = fs;
    this.#folder = folder;
  }

  async get(beyond = Number.POSITIVE_INFINITY): Promise<number> {
    if (this.#place.offset > beyond) return this.#place.offset;
    // A second try covers a segment that begins, or goes, between listing and opening.
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#find();
      } catch (error) {
        if (!isMissing(error) || attempt === 2) throw error;
      }
    }
  }

  async #find(): Promise<number> {
    const base = (await listSegments(this.#fs, this.#folder)).at(-1);
    if (base === undefined) return 0;
    const path = join(this.#folder, segmentFile(base, 'log'));
    const { sizeBytes } = await this.#fs.stat(path);
    const fd = await this.#fs.open(path, 'read');
    try {
      const window = new FileWindow(this.#fs, fd);
      const { entries } = (await loadOffsetIndex(this.#fs, this.#folder, base)).parsed;
      if (base !== this.#base) {
        const place = await lastConfirmed(window, base, entries);
        const position = place ? place.position + place.header.sizeBytes : 0;
        this.#place = { position, offset: place ? place.header.lastOffset + 1 : base, fault: 'end' };
        this.#base = base;
      }
      for (;;) {
        this.#place = await walk(window, this.#place.position, this.#place.offset);
        if (this.#place.fault === 'end') break;
        const dataEnd = await endOfData(window, this.#place.position, sizeBytes);
        const next = await findResumption(window, this.#place, dataEnd, entries);
        if (!next) break;
        this.#place = { ...next, fault: 'end' };
      }
      return this.#place.offset;
    } finally {
      await this.#fs.close(fd);
    }
  }

  async waitBeyond(known: number, timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      if ((await this.get()) > known) return true;
      const left = deadline - performance.now();
      if (left <= 0 || signal?.aborted || this.#cancel.signal.aborted) return false;
      await pause(Math.min(left, POLL_MS), signal);
    }
  }

  cancelWaits(): void {
    this.#cancel.abort();
  }
}

function pause(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', finish);
      resolve();
    };
    const timer = setTimeout(finish, delayMs);
    signal?.addEventListener('abort', finish, { once: true });
  });
}
