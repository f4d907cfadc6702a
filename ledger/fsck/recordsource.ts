// Where a check takes records from: segments on disk, or a gateway's HTTP API. One forward-moving interface for both.
// Refuses to fill holes: what is not held is left out and the caller looks at the offsets.
import { existsSync, readFileSync } from 'node:fs';
import { decodeLeaves, type LeafRun, leavesOf, runEnd } from '../format/leaves.ts';
import type { TelemetryRecord } from '../format/record.ts';
import type { ColdCopies, ColdSegment } from './coldcopies.ts';
import { decodeBatch } from './records.ts';
import { leafFiles, listSegments, type SegmentFile, type SegmentItem, scanSegment } from './segments.ts';

export interface RecordSource {
  /** First offset held and one past the last that can be read now. */
  bounds(): Promise<{ readonly start: number; readonly end: number }>;
  /** Records with first ≤ offset < end in order, in portions; ask for rising ranges. */
  read(first: number, end: number): AsyncGenerator<readonly TelemetryRecord[]>;
  /** Leaf hashes of removed records in [first, end), by offset; where there are such. */
  leaves?(first: number, end: number): Promise<ReadonlyMap<number, Uint8Array>>;
}

/** Segments read with the checker's own decoder. Unreadable batches are left out. */
export class SegmentRecords implements RecordSource {
  readonly #dataDir: string;
  readonly #cold: ColdCopies | null;
  #walk: AsyncGenerator<readonly TelemetryRecord[]> | null = null;
  /** Records decoded and not yet asked for. */
  #held: readonly TelemetryRecord[] = [];
  #skipBefore = 0;
  #leaves: readonly { run: LeafRun; last: number }[] | null = null;
  /** Of the cold segments read last. */
  readonly #coldLeaves = new Map<ColdSegment, readonly LeafRun[]>();

  /** @param cold what only the cold tier has; the caller closes it */
  constructor(dataDir: string, cold: ColdCopies | null = null) {
    this.#dataDir = dataDir;
    this.#cold = cold;
  }

  async bounds(): Promise<{ start: number; end: number }> {
    const segments = listSegments(this.#dataDir);
    const cold = this.#cold?.segments ?? [];
    const last = segments.at(-1);
    if (!last) return { start: cold[0]?.baseOffset ?? 0, end: cold.at(-1)?.end ?? 0 };
    let end = last.baseOffset;
    for (const item of scanSegment(last)) if (item.kind === 'batch') end = item.batch.lastOffset + 1;
    return { start: cold[0]?.baseOffset ?? segments[0]!.baseOffset, end };
  }

  async *read(first: number, end: number): AsyncGenerator<readonly TelemetryRecord[]> {
    this.#skipBefore = first;
    this.#walk ??= this.#batches(first);
    for (;;) {
      const wanted = this.#held.filter((record) => record.offset >= first && record.offset < end);
      if (wanted.length > 0) yield wanted;
      this.#held = this.#held.filter((record) => record.offset >= end);
      if (this.#held.length > 0) return;
      const next = await this.#walk.next();
      if (next.done) return;
      this.#held = next.value;
    }
  }

  async leaves(first: number, end: number): Promise<ReadonlyMap<number, Uint8Array>> {
    const found = new Map<number, Uint8Array>();
    for (const { run, last } of this.#leafRuns()) {
      if (last < first || run.first >= end) continue;
      for (const { offset, hash } of leavesOf([run], first, end)) found.set(offset, hash);
    }
    const cold = this.#cold?.segments.filter((each) => each.end > first && each.baseOffset < end) ?? [];
    for (const segment of cold)
      for (const { offset, hash } of leavesOf(await this.#leavesOfCold(segment), first, end))
        found.set(offset, hash);
    return found;
  }

  async #leavesOfCold(segment: ColdSegment): Promise<readonly LeafRun[]> {
    const known = this.#coldLeaves.get(segment);
    if (known) return known;
    for (const each of this.#coldLeaves.keys())
      if (each.end <= segment.baseOffset) this.#coldLeaves.delete(each);
    const runs = (await this.#cold?.leaves(segment)) ?? [];
    this.#coldLeaves.set(segment, runs);
    return runs;
  }

  /** Files that cannot be read count as none: what they would vouch for is then reported as not checked. */
  #leafRuns(): readonly { run: LeafRun; last: number }[] {
    this.#leaves ??= leafFiles(this.#dataDir).flatMap((path) => {
      try {
        return decodeLeaves(readFileSync(path)).map((run) => ({ run, last: runEnd(run) - 1 }));
      } catch {
        return [];
      }
    });
    return this.#leaves;
  }

  /** Decoded batches in order, without those that end before the offset asked for last. */
  async *#batches(first: number): AsyncGenerator<readonly TelemetryRecord[]> {
    for (const segment of this.#cold?.segments ?? []) {
      if (segment.end <= Math.max(first, this.#skipBefore)) continue;
      const copy = await this.#cold!.log(segment);
      if (copy) yield* this.#recordsOf(copy);
    }
    const segments = listSegments(this.#dataDir);
    for (const [index, segment] of segments.entries()) {
      const following = segments[index + 1];
      if (following && following.baseOffset <= Math.max(first, this.#skipBefore)) continue;
      // A running gateway's retention may have removed it since it was listed.
      if (!existsSync(segment.path)) continue;
      yield* this.#recordsOf(segment);
    }
  }

  *#recordsOf(segment: SegmentFile): Generator<readonly TelemetryRecord[]> {
    for (const item of scanSegment(segment)) yield* this.#decode(item);
  }

  *#decode(item: SegmentItem): Generator<readonly TelemetryRecord[]> {
    if (item.kind !== 'batch' || item.batch.lastOffset < this.#skipBefore) return;
    const decoded = decodeBatch(item.batch);
    if (decoded.ok) yield decoded.records;
  }
}
