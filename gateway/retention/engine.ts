// Removes what the rules say, in the one order in which the ledger can never be found wanting:
//
//   plan      which records, by which rule: a row in state.db            a crash: planned anew, or declared and done
//   declare   the sealer signs a block that says so, and marks the row   a crash: declared twice, which says no more
//   remove    the files go, oldest first, or a smaller one takes a place a crash: it is done again, or finished on open
//   done      the row is closed
//
// So at every moment what is missing is declared; the reverse, declared and still there, is harmless. Refuses to remove
// what a configured consumer has not read or the sealer has not sealed.
import { hash } from 'node:crypto';
import { type LeafRun, LeafRuns, leavesOf } from '../../ledger/format/leaves.ts';
import { createRecordHasher, type TelemetryRecord } from '../../ledger/format/record.ts';
import type { LogFs } from '../log/fs.ts';
import { addLeaves, readLeaves } from '../log/retention/leaf-files.ts';
import { closedBatches, draftRewrite } from '../log/retention/rewrite.ts';
import { removeManifest, settleRewrite, writeManifest } from '../log/retention/settle.ts';
import type { RolledSegment } from '../log/types.ts';
import type { Removal, StateStore } from '../state/state.ts';
import { RetentionClasses } from './classes.ts';
import type { RetentionConfig } from './config.ts';
import { expiredClasses, type Judged, nextStep } from './plan.ts';
import { SegmentProfiles } from './segments.ts';

/** `log.segments`, perhaps in another thread. */
export interface SegmentPort {
  list(): Promise<readonly RolledSegment[]>;
  dropOldest(baseOffset: number): Promise<number>;
  replace(baseOffset: number, drafts: Readonly<Record<string, string>> & { log: string }): Promise<void>;
}

/** Offsets [first, end) of one data block. */
export interface BlockSpan {
  readonly first: number;
  readonly end: number;
}

export interface RetentionPorts {
  readonly config: RetentionConfig;
  readonly fs: LogFs;
  /** `<dataDir>/log`. */
  readonly folder: string;
  readonly indexIntervalBytes: number;
  /** Unix ms. */
  readonly clock: () => number;
  readonly segments: SegmentPort;
  readonly state: Pick<StateStore, 'cursors' | 'planRemoval' | 'openRemovals' | 'removalDone'>;
  /** Names of the consumers that are configured; the cursors of others hold nothing back. */
  readonly consumers: readonly string[];
  /** Data blocks of the signed ledger that overlap [first, end), in order. */
  readonly blocks: (first: number, end: number) => Promise<readonly BlockSpan[]>;
  readonly log: (
    level: 'debug' | 'info' | 'warn' | 'error',
    message: string,
    facts: Record<string, unknown>,
  ) => void;
}

/** declare: a removal waits for the sealer. worked: look again soon. idle: nothing to do until the next check. */
export type CheckResult = 'declare' | 'worked' | 'idle';

export interface RetentionFigures {
  segmentsDropped: number;
  segmentsRewritten: number;
  recordsRemoved: number;
  bytesFreed: number;
  /** Consumer that has read least, and how far it has. */
  heldBy: string | null;
  heldAt: number | null;
}

export class RetentionEngine {
  readonly figures: RetentionFigures = {
    segmentsDropped: 0,
    segmentsRewritten: 0,
    recordsRemoved: 0,
    bytesFreed: 0,
    heldBy: null,
    heldAt: null,
  };
  readonly #ports: RetentionPorts;
  readonly #classes: RetentionClasses;
  readonly #profiles: SegmentProfiles;
  readonly #strangers = new Set<string>();

  constructor(ports: RetentionPorts) {
    this.#ports = ports;
    this.#classes = new RetentionClasses(ports.config);
    this.#profiles = new SegmentProfiles(ports.fs, ports.folder, this.#classes);
  }

  /** One step: carries out what is declared, or else plans the next removal. Errors of the disk come through. */
  async check(): Promise<CheckResult> {
    const { state, segments } = this.#ports;
    const open = await this.#ownRemovals();
    const declared = open.find(({ declaredHeight }) => declaredHeight !== null);
    if (declared) {
      await this.#remove(declared);
      return 'worked';
    }
    if (open.length > 0) return 'declare';
    const held = this.#heldFrom();
    const all = await segments.list();
    this.#profiles.keepOnly(all);
    const eligible = await this.#judge(all.filter(({ endOffset }) => endOffset <= held));
    const { clock, config } = this.#ports;
    const totalBytes = all.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const step = nextStep(config, this.#classes, eligible, totalBytes, clock());
    if (!step) return 'idle';
    const { rule } = step;
    if (step.kind === 'drop') {
      const first = step.segments[0]!.baseOffset;
      const end = step.segments.at(-1)!.endOffset;
      state.planRemoval(
        { first, end, records: end - first, cause: 'retention', rule, segment: null },
        clock(),
      );
    } else {
      const { baseOffset: first, endOffset: end } = step.segment;
      const { records } = step;
      state.planRemoval({ first, end, records, cause: 'retention', rule, segment: first }, clock());
    }
    return 'declare';
  }

  /** Those of retention. What was dropped on a full disk is only closed once it is declared as well. */
  async #ownRemovals(): Promise<Removal[]> {
    const { state, segments } = this.#ports;
    const open = state.openRemovals();
    const dropped = open.filter(
      ({ cause, declaredHeight }) => cause === 'drop-oldest' && declaredHeight !== null,
    );
    if (dropped.length > 0) {
      const start = (await segments.list())[0]?.baseOffset ?? Number.MAX_SAFE_INTEGER;
      for (const { id, end } of dropped) if (end <= start) state.removalDone(id);
    }
    return open.filter(({ cause }) => cause === 'retention');
  }

  /** Everything below it has been read by every configured consumer. */
  #heldFrom(): number {
    const { state, consumers, log } = this.#ports;
    const cursors = new Map(state.cursors().map(({ consumer, next }) => [consumer, next as number]));
    for (const name of cursors.keys()) {
      if (consumers.includes(name) || this.#strangers.has(name)) continue;
      this.#strangers.add(name);
      log('info', `the cursor of ${name}, which is not configured, holds nothing back`, { consumer: name });
    }
    // One that has not saved a cursor yet may still begin at the oldest record.
    const positions = consumers.map((name) => ({ name, next: cursors.get(name) ?? 0 }));
    const least = positions.reduce((min, each) => (each.next < min.next ? each : min), {
      name: '',
      next: Number.MAX_SAFE_INTEGER,
    });
    this.figures.heldBy = least.name || null;
    this.figures.heldAt = least.name ? least.next : null;
    return least.next;
  }

  async #judge(segments: readonly RolledSegment[]): Promise<Judged[]> {
    const { shortestMs } = this.#classes;
    if (shortestMs === null) return segments.map((segment) => ({ segment, profile: null }));
    const judged: Judged[] = [];
    for (const segment of segments) {
      const firstMs = await this.#profiles.firstMs(segment);
      const mayBeOld = firstMs === null || firstMs + shortestMs <= this.#ports.clock();
      judged.push({ segment, profile: mayBeOld ? await this.#profiles.profile(segment) : null });
    }
    return judged;
  }

  async #remove(removal: Removal): Promise<void> {
    const { state, log } = this.#ports;
    if (removal.cause === 'retention' && removal.end > this.#heldFrom()) {
      // A consumer configured since then begins further back. What was declared and stays does no harm.
      log(
        'info',
        `records ${removal.first} to ${removal.end - 1} stay: ${this.figures.heldBy} needs them`,
        {},
      );
      state.removalDone(removal.id);
      return;
    }
    if (removal.segment === null) await this.#drop(removal);
    else await this.#rewrite(removal, removal.segment);
    state.removalDone(removal.id);
  }

  async #drop(removal: Removal): Promise<void> {
    const { segments, log } = this.#ports;
    const going = (await segments.list()).filter(({ endOffset }) => endOffset <= removal.end);
    await this.#carryLeaves(going, removal.end);
    let bytes = 0;
    for (const { baseOffset } of going) {
      bytes += await segments.dropOldest(baseOffset);
      this.figures.segmentsDropped += 1;
    }
    this.figures.recordsRemoved += removal.records;
    this.figures.bytesFreed += bytes;
    log('info', `records ${removal.first} to ${removal.end - 1} removed: ${removal.rule}`, {
      segments: going.length,
      bytes,
      block: removal.declaredHeight,
    });
  }

  /** The block that reaches from the segments that go into the one that stays can only be proven with their hashes. */
  async #carryLeaves(going: readonly RolledSegment[], end: number): Promise<void> {
    const { blocks, fs, folder } = this.#ports;
    const block = (await blocks(end, end + 1))[0];
    if (!block || block.first >= end) return;
    const leaves = new LeafRuns();
    for (const segment of going) {
      if (segment.endOffset <= block.first) continue;
      for (const { offset, hash: leaf } of await this.#leavesIn(segment, block.first))
        leaves.add(offset, leaf);
    }
    await addLeaves(fs, folder, end, leaves.runs);
  }

  async #leavesIn(segment: RolledSegment, from: number): Promise<{ offset: number; hash: Uint8Array }[]> {
    const { fs, folder } = this.#ports;
    const hashRecord = createRecordHasher((data) => hash('sha256', data, 'buffer'));
    const earlier = [...leavesOf(await readLeaves(fs, folder, segment.baseOffset), from)];
    const found = new Map(earlier.map(({ offset, hash: leaf }) => [offset, leaf]));
    for await (const { header, records } of closedBatches(
      fs,
      folder,
      segment.baseOffset,
      segment.endOffset,
    )) {
      if (header.lastOffset < from) continue;
      for (const record of records) if (record.offset >= from) found.set(record.offset, hashRecord(record));
    }
    return [...found].sort(([a], [b]) => a - b).map(([offset, leaf]) => ({ offset, hash: leaf }));
  }

  async #rewrite(removal: Removal, base: number): Promise<void> {
    const { segments, fs, folder, clock, log, indexIntervalBytes } = this.#ports;
    const segment = (await segments.list()).find(({ baseOffset }) => baseOffset === base);
    if (!segment) return;
    const expired = expiredClasses(this.#classes, await this.#profiles.profile(segment), clock());
    const rule = [...expired].map((index) => this.#classes.classes[index]!.text).join('; ');
    // Done already before a crash, or the rules have changed since: then it is planned and declared anew.
    if (rule !== removal.rule) return;
    const keep = ({ topic }: TelemetryRecord) => !expired.has(this.#classes.of(topic));
    const leaves: LeafRun[] = await readLeaves(fs, folder, base);
    const isLeafNeeded = await this.#neededLeaves(segment, keep);
    const { baseOffset, endOffset } = segment;
    const options = { fs, folder, baseOffset, endOffset, indexIntervalBytes, keep, isLeafNeeded, leaves };
    try {
      const drafted = await draftRewrite(options);
      if (drafted.kind === 'unreadable') {
        log('error', `segment ${base} is damaged at byte ${drafted.position}: nothing of it is removed`, {
          reason: drafted.reason,
        });
        return;
      }
      const paths = Object.fromEntries(drafted.files.map(({ kind, path }) => [kind, path]));
      await writeManifest(fs, folder, { segment: base, files: drafted.files });
      await segments.replace(base, paths as { log: string });
      await removeManifest(fs, folder);
      this.figures.segmentsRewritten += 1;
      this.figures.recordsRemoved += drafted.removed;
      this.figures.bytesFreed += segment.sizeBytes - drafted.files[0]!.sizeBytes;
      log('info', `${drafted.removed} records of segment ${base} removed: ${removal.rule}`, {
        kept: drafted.kept,
        block: removal.declaredHeight,
      });
    } catch (error) {
      // Drafts go, or take their place if that was decided already, so that a full disk is not made fuller.
      await settleRewrite(fs, folder).catch(() => {});
      throw error;
    }
  }

  /** Whether the block of an offset keeps some record: those that reach beyond the segment count as if. */
  async #neededLeaves(
    segment: RolledSegment,
    keep: (record: TelemetryRecord) => boolean,
  ): Promise<(offset: number) => boolean> {
    const { blocks, fs, folder } = this.#ports;
    const spans = await blocks(segment.baseOffset, segment.endOffset);
    const isNeeded = spans.map(({ first, end }) => first < segment.baseOffset || end > segment.endOffset);
    const blockOf = blockFinder(spans);
    for await (const { records } of closedBatches(fs, folder, segment.baseOffset, segment.endOffset)) {
      for (const record of records) {
        const block = blockOf(record.offset);
        if (block >= 0 && !isNeeded[block] && keep(record)) isNeeded[block] = true;
      }
    }
    return (offset) => isNeeded[blockOf(offset)] ?? false;
  }
}

/** Index of the span that covers an offset, or -1. */
function blockFinder(spans: readonly BlockSpan[]): (offset: number) => number {
  let last = 0;
  return (offset) => {
    const covers = (index: number) => {
      const span = spans[index];
      return span !== undefined && span.first <= offset && offset < span.end;
    };
    if (covers(last)) return last;
    if (covers(last + 1)) return ++last;
    const found = spans.findIndex(({ first, end }) => first <= offset && offset < end);
    if (found >= 0) last = found;
    return found;
  };
}
