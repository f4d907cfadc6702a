// Owns finding the place in the segments where an offset is, and the way from one segment, or from one side of a
// damaged place, to the next. Reads only what that takes; never passes over damage that covers what was asked for.
import { join } from 'node:path';
import { FileWindow } from './file-window.ts';
import { isMissing, type LogFs } from './fs.ts';
import { lastAtMost, listSegments } from './layout.ts';
import { damagedAt } from './read-errors.ts';
import { endOfData, findResumption } from './salvage.ts';
import { SegmentCursor } from './segment-cursor.ts';
import type { SharedReads } from './shared-reads.ts';
import { TextCache } from './text-cache.ts';
import type { WalkEnd } from './walk.ts';

const LISTING_MS = 1000;

export interface SegmentPlace {
  readonly base: number;
  /** Base offset of the next segment; infinite for the last one. */
  readonly until: number;
}

export class Seeker {
  readonly fs: LogFs;
  readonly folder: string;
  readonly texts = new TextCache();
  readonly #shared: SharedReads;
  #segments: number[] = [];
  #listedMs = Number.NEGATIVE_INFINITY;

  constructor(shared: SharedReads) {
    this.#shared = shared;
    this.fs = shared.fs;
    this.folder = shared.folder;
  }

  get first(): number | undefined {
    return this.#segments[0];
  }

  /** Looks at the folder again. */
  async list(): Promise<void> {
    this.#listedMs = performance.now();
    this.#segments = await listSegments(this.fs, this.folder);
  }

  /** The segment that holds `offset` by its name, or the first one after it, as last listed. */
  placeOf(offset: number): SegmentPlace | null {
    const index = Math.max(0, lastAtMost(this.#segments, offset));
    const base = this.#segments[index];
    if (base === undefined) return null;
    const after = this.#segments[index + 1];
    return { base, until: after ?? Number.POSITIVE_INFINITY };
  }

  /** The same; by a listing that is at most a moment old where later segments may have begun since. */
  async knownPlaceOf(offset: number): Promise<SegmentPlace | null> {
    const place = this.placeOf(offset);
    if (place && place.until !== Number.POSITIVE_INFINITY) return place;
    if (performance.now() - this.#listedMs >= LISTING_MS) await this.list();
    return this.placeOf(offset);
  }

  /** A position at the batch that holds `from`, or at the first one after it; null when there is none before `end`. */
  async seek(from: number, end: number): Promise<SegmentCursor | null> {
    if (this.first === undefined || from < this.first) await this.list();
    for (;;) {
      const base = this.placeOf(from)?.base;
      if (base === undefined || base >= end) return null;
      const cursor = await this.#open(base);
      // Removed by retention since the folder was listed.
      if (cursor === null) continue;
      try {
        if (from <= base) return cursor;
        await cursor.jump(from, await this.#entries(cursor, from), end);
        const stop = await cursor.skipTo(from, end);
        return stop ? await this.pass(cursor, stop, from, end) : cursor;
      } catch (error) {
        await cursor.close().catch(() => {});
        throw error;
      }
    }
  }

  async #open(base: number): Promise<SegmentCursor | null> {
    try {
      return new SegmentCursor(await this.#shared.open(base), this.texts);
    } catch (error) {
      if (!isMissing(error)) throw error;
      await this.list();
      return null;
    }
  }

  #entries(cursor: SegmentCursor, offset: number) {
    return cursor.file.entries(offset, cursor.file.baseOffset !== this.#segments.at(-1));
  }

  /**
   * No batch could be read at `stop` though more is durable: usually the segment just ends there and the next goes on.
   * Otherwise it is damage: thrown if it covers `want`, passed over if `want` lies after it.
   */
  async pass(cursor: SegmentCursor, stop: WalkEnd, want: number, end: number): Promise<SegmentCursor | null> {
    await this.list();
    const after = this.#segments.find((base) => base > cursor.file.baseOffset);
    if (after === stop.offset && stop.fault === 'end') {
      await cursor.close();
      return (await this.#open(after)) ?? this.seek(want, end);
    }
    const resume = await this.#resumption(cursor, stop, after);
    const offset = resume?.offset ?? after ?? end;
    if (want < offset) throw damagedAt(cursor.file.name, stop, offset);
    if (!resume) {
      await cursor.close();
      return this.seek(want, end);
    }
    cursor.moveTo(resume.position, resume.offset);
    const again = await cursor.skipTo(want, end);
    return again ? this.pass(cursor, again, want, end) : cursor;
  }

  async #resumption(cursor: SegmentCursor, stop: WalkEnd, after: number | undefined) {
    const { sizeBytes } = await this.fs.stat(join(this.folder, cursor.file.name));
    const window = new FileWindow(this.fs, cursor.file.fd);
    const dataEnd = await endOfData(window, stop.position, sizeBytes);
    if (dataEnd === stop.position) return null;
    const entries = await this.#entries(cursor, Number.MAX_SAFE_INTEGER);
    const resume = await findResumption(window, stop, dataEnd, entries);
    return resume && (after === undefined || resume.offset < after) ? resume : null;
  }
}
