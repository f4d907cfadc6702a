// Re-hashes records block by block against the sealed batch roots and says which are missing and which are changed.
// Takes what blocks declare (pruned, lost) into account; trusts neither log nor ledger.
import type { Block } from '../format/block.ts';
import { DeviceTally, devicesDetail } from '../format/devices.ts';
import { FormatError } from '../format/errors.ts';
import { equalBytes } from '../format/hash.ts';
import type { DeviceHistory } from './devicehistory.ts';
import type { Findings } from './findings.ts';
import { BatchRoot, nodeSha256 } from './hashing.ts';
import type { RecordSource } from './recordsource.ts';

export interface RecordCounts {
  /** Data blocks whose records were re-hashed and fit. */
  blocksMatching: number;
  blocksChanged: number;
  recordsMatching: number;
  /** Sealed records that are not there and whose absence nobody declared. */
  recordsMissing: number;
  /** Sealed records that a prune block says were removed. */
  recordsPruned: number;
  /** Records held whose block lost others (declared), without the hashes that would show that these are unchanged. */
  recordsUnproven: number;
  /** Offsets that a gap block says were lost before they were sealed. */
  offsetsLost: number;
}

interface PrunedRange {
  readonly firstHeight: number;
  readonly lastHeight: number;
  /** Offsets [first, end). */
  readonly first: number;
  readonly end: number;
}

/** What prune blocks name: detail `{"firstHeight": h, "lastHeight": h}`, and `"first"`, `"end"` (offsets) for less than whole blocks. */
export class PrunedHeights {
  readonly #ranges: PrunedRange[] = [];

  add(block: Block): void {
    if (block.kind !== 'prune') return;
    const { firstHeight, lastHeight, first, end } = block.detail ?? {};
    if (typeof firstHeight !== 'number' || typeof lastHeight !== 'number' || lastHeight >= block.height)
      return;
    const offsets =
      typeof first === 'number' && typeof end === 'number'
        ? { first, end }
        : { first: 0, end: Number.MAX_SAFE_INTEGER };
    this.#ranges.push({ firstHeight, lastHeight, ...offsets });
  }

  /** Whether records of [from, to) may be missing by what is declared, whatever their blocks. */
  covers(from: number, to: number): boolean {
    let next = from;
    for (const { first, end } of this.#ranges.toSorted((a, b) => a.first - b.first))
      if (first <= next && end > next) next = end;
    return next >= to;
  }

  /** Whether the removal of all these records of a block is declared: `missing` as ascending spans [from, to). */
  declares(height: number, missing: readonly OffsetSpan[]): boolean {
    const ranges = this.#ranges
      .filter(({ firstHeight, lastHeight }) => firstHeight <= height && height <= lastHeight)
      .sort((a, b) => a.first - b.first);
    return missing.every(({ from, to }) => {
      let next = from;
      for (const { first, end } of ranges) if (first <= next && end > next) next = end;
      return next >= to;
    });
  }
}

export interface OffsetSpan {
  readonly from: number;
  readonly to: number;
}

interface Undeclared {
  readonly block: Block;
  readonly missing: readonly OffsetSpan[];
  readonly batch: BatchRoot;
}

/** Call `block` for each block in order, then `end` once: only then is what is missing judged. */
export class RecordCheck {
  readonly counts: RecordCounts = {
    blocksMatching: 0,
    blocksChanged: 0,
    recordsMatching: 0,
    recordsMissing: 0,
    recordsPruned: 0,
    recordsUnproven: 0,
    offsetsLost: 0,
  };
  readonly #source: RecordSource;
  readonly #findings: Findings;
  readonly #file: string;
  readonly #pruned: PrunedHeights;
  readonly #start: number;
  readonly #undeclared: Undeclared[] = [];
  readonly #history: DeviceHistory | null;

  /**
   * @param file what findings name as the place of records, e.g. 'log'
   * @param held offsets below `start` are not asked for
   * @param history hears of each record that is read
   */
  constructor(
    source: RecordSource,
    findings: Findings,
    file: string,
    pruned: PrunedHeights,
    held: { readonly start: number },
    history: DeviceHistory | null = null,
  ) {
    this.#history = history;
    this.#source = source;
    this.#findings = findings;
    this.#file = file;
    this.#pruned = pruned;
    this.#start = held.start;
  }

  /** Whether records are missing that no block seen so far declares removed. */
  get misses(): boolean {
    return this.#undeclared.length > 0;
  }

  /** Judges what was missing by the declarations that are known now. */
  end(): void {
    for (const { block, missing, batch } of this.#undeclared.splice(0)) {
      if (this.#pruned.declares(block.height, missing)) this.#countPruned(block, missing, batch);
      else this.#reportMissing(block, missing);
    }
  }

  /** Checks the records of a data block; counts what other kinds declare. */
  async block(block: Block): Promise<void> {
    if (block.kind === 'gap') this.counts.offsetsLost += block.count;
    if (block.kind !== 'data') return;
    const end = block.first + block.count;
    const batch = new BatchRoot();
    const tally = new DeviceTally();
    const missing: OffsetSpan[] = [];
    let left: ReadonlyMap<number, Uint8Array> | null = null;
    const miss = async (from: number, to: number) => {
      if (to <= from) return;
      missing.push({ from, to });
      // Of a block that is gone as a whole there is nothing left to prove.
      if (to - from === block.count) return;
      left ??= (await this.#source.leaves?.(block.first, end)) ?? new Map();
      for (let offset = from; offset < to; offset += 1) {
        const leaf = left.get(offset);
        if (leaf) batch.addLeaf(leaf);
      }
    };
    let next: number = block.first;
    let unreadable: string | null = null;
    const from = Math.max(block.first, Math.min(this.#start, end));
    await miss(next, from);
    next = from;
    for await (const records of this.#source.read(from, end)) {
      for (const record of records) {
        // A repeated offset is the log check's finding; here the first one counts.
        if (record.offset < next) continue;
        await miss(next, record.offset);
        next = record.offset + 1;
        try {
          batch.add(record);
          tally.add(record);
          this.#history?.record(record);
        } catch (error) {
          if (!(error instanceof FormatError)) throw error;
          unreadable ??= `record ${record.offset}: ${error.message}`;
        }
      }
    }
    await miss(next, end);
    if (missing.length > 0) this.#history?.unknown();
    if (missing.length === 0) {
      if (this.#judge(block, batch, unreadable)) this.#judgeDevices(block, tally);
    } else if (this.#pruned.declares(block.height, missing)) this.#countPruned(block, missing, batch);
    else this.#undeclared.push({ block, missing, batch });
  }

  #judge(block: Block, batch: BatchRoot, unreadable: string | null): boolean {
    const end = block.first + block.count;
    const isSame =
      !unreadable &&
      equalBytes(batch.root(), block.root) &&
      batch.eventMinMs === block.eventMinMs &&
      batch.eventMaxMs === block.eventMaxMs;
    if (isSame) {
      this.counts.blocksMatching += 1;
      this.counts.recordsMatching += block.count;
      return true;
    }
    this.counts.blocksChanged += 1;
    this.#findings.add(
      'error',
      'RECORDS_CHANGED',
      { file: this.#file },
      `records ${block.first} to ${end - 1} do not lead to the batch root of block ${block.height}: at least one was changed, inserted or moved since it was sealed${unreadable ? ` (${unreadable})` : ''}`,
      { height: block.height, first: block.first, last: end - 1 },
    );
    return false;
  }

  #judgeDevices(block: Block, tally: DeviceTally): void {
    const { devices, devicesRoot } = block.detail ?? {};
    if (devices === undefined && devicesRoot === undefined) return;
    const found = devicesDetail(tally.take(), nodeSha256);
    if (devices === found.devices && devicesRoot === found.devicesRoot) return;
    this.#findings.add(
      'error',
      'DEVICES_WRONG',
      { file: this.#file },
      `block ${block.height} commits to another summary of its devices than that of its records`,
      { height: block.height },
    );
  }

  #countPruned(block: Block, missing: readonly OffsetSpan[], batch: BatchRoot): void {
    const count = lengthOf(missing);
    this.counts.recordsPruned += count;
    if (count < block.count) this.#judgeRest(block, batch, block.count - count);
  }

  #reportMissing(block: Block, missing: readonly OffsetSpan[]): void {
    const count = lengthOf(missing);
    this.counts.recordsMissing += count;
    const first = missing[0]!.from;
    const last = missing.at(-1)!.to - 1;
    const which = count === 1 ? `record ${first} is` : `${count} records between ${first} and ${last} are`;
    this.#findings.add(
      'error',
      'RECORDS_MISSING',
      { file: this.#file },
      `${which} missing; block ${block.height} sealed ${block.first} to ${block.first + block.count - 1} and nothing declares their removal`,
      { height: block.height, first, last, count },
    );
  }

  /** Some records of the block are left: with the leaf hashes of the removed ones they must still lead to its root. */
  #judgeRest(block: Block, batch: BatchRoot, kept: number): void {
    if (batch.count < block.count) {
      this.counts.recordsUnproven += kept;
      return;
    }
    if (equalBytes(batch.root(), block.root)) {
      this.counts.recordsMatching += kept;
      return;
    }
    this.counts.blocksChanged += 1;
    this.#findings.add(
      'error',
      'RECORDS_CHANGED',
      { file: this.#file },
      `the ${kept} records that are left of block ${block.height} do not lead to its batch root together with the hashes of the removed ones: a record or a hash was changed`,
      { height: block.height, first: block.first, last: block.first + block.count - 1 },
    );
  }
}

function lengthOf(spans: readonly OffsetSpan[]): number {
  return spans.reduce((sum, { from, to }) => sum + to - from, 0);
}
