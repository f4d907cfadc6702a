// What the walk of an audit over the blocks notes down: kinds, declared losses, removals, silences and clock steps.
import type { Block, BlockKind } from '../format/block.ts';
import { RefusalTally, saysRefusedOnly } from '../format/refusals.ts';
import type { Findings } from './findings.ts';
import { PrunedHeights } from './recordcheck.ts';

export interface DeclaredLoss {
  readonly height: number;
  readonly cause: string;
  /** Offsets lost; 0 for an unclean boot, a cut tail or a clock step. */
  readonly count: number;
}

const DECLARED_MAX = 100;
/** A heartbeat may be late by a commit that waits for a slow disk. */
const LATE_FACTOR = 2;

export class Seen {
  readonly kinds: Record<BlockKind, number> = {
    genesis: 0,
    data: 0,
    heartbeat: 0,
    gap: 0,
    prune: 0,
    policy: 0,
    key: 0,
  };
  readonly declared: DeclaredLoss[] = [];
  declaredCount = 0;
  readonly refusals = new RefusalTally();
  readonly pruned = new PrunedHeights();
  firstSealedMs: number | null = null;
  #before: Block | null;
  readonly #findings: Findings;
  readonly #heartbeatMs: number;

  /** @param before the last block of an audit before this one */
  constructor(findings: Findings, heartbeatMs: number, before: Block | null) {
    this.#findings = findings;
    this.#heartbeatMs = heartbeatMs;
    this.#before = before;
  }

  block(block: Block, file: string): void {
    this.kinds[block.kind] += 1;
    this.firstSealedMs ??= block.sealedMs;
    this.pruned.add(block);
    this.#times(block, file);
    this.#before = block;
    this.refusals.add(block);
    if (block.kind !== 'gap' || saysRefusedOnly(block)) return;
    this.declaredCount += 1;
    if (this.declared.length >= DECLARED_MAX) return;
    const cause = block.detail?.cause;
    this.declared.push({
      height: block.height,
      cause: typeof cause === 'string' ? cause : 'unknown',
      count: block.count,
    });
  }

  #times(block: Block, file: string): void {
    const before = this.#before;
    if (!before) return;
    const { height } = block;
    if (block.bootId !== before.bootId) {
      if (block.sealedMs < before.sealedMs)
        this.#findings.add(
          'note',
          'CLOCK_STEPPED',
          { file },
          `block ${height}, of another run, was sealed ${before.sealedMs - block.sealedMs} ms before the one below it by the gateway's clock`,
          { height },
        );
      return;
    }
    const silentMs = block.monotonicMs - before.monotonicMs;
    if (silentMs <= LATE_FACTOR * this.#heartbeatMs) return;
    this.#findings.add(
      'warning',
      'BLOCKS_LATE',
      { file },
      `nothing was sealed for ${Math.round(silentMs / 1000)} s before block ${height} though the gateway was running: a heartbeat is due every ${Math.round(this.#heartbeatMs / 1000)} s`,
      { height, silentMs },
    );
  }
}
