// Frees space on a full disk under `log.whenFull: drop-oldest`: the oldest closed segments go, read or not, sealed or not.
// Refuses to drop anything before a signed block declares it: until then the disk stays full and devices are refused.
import { setTimeout as sleep } from 'node:timers/promises';
import type { RolledSegment, RolledSegments, SpaceMaker } from '../log/types.ts';
import type { StageLogger } from '../stage/host.ts';
import type { Removal, StateStore } from '../state/state.ts';

/** Devices wait meanwhile. A sealer that is slower finds the note in the state; what it declares goes with the next try. */
const DECLARE_MAX_MS = 2_000;
const POLL_MS = 25;
const LET_GO_MAX_MS = 3_000;

export interface DropOldestOptions {
  readonly segments: RolledSegments;
  readonly state: Pick<StateStore, 'planRemoval' | 'openRemovals' | 'removalDone'>;
  readonly logger: StageLogger;
  /** Unix ms. */
  readonly clock?: () => number;
  readonly declareMaxMs?: number;
  /** Free bytes of the disk, or null where the system does not say. */
  readonly freeBytes?: () => Promise<number | null>;
}

type Noted = Pick<Removal, 'id' | 'first' | 'end'>;

export class DropOldest implements SpaceMaker {
  readonly #options: DropOldestOptions;

  constructor(options: DropOldestOptions) {
    this.#options = options;
  }

  async makeRoom(bytes: number): Promise<number> {
    const { segments, state, logger } = this.#options;
    let removal: Noted | null;
    try {
      removal = this.#begun() ?? this.#plan(bytes);
    } catch (error) {
      logger.error({ err: error }, 'the disk is full and not even a note of what is dropped can be written');
      return 0;
    }
    if (!removal) return 0;
    const { id, first, end } = removal;
    // A crash before the block is signed leaves the note: the sealer declares it, and the next try drops.
    if (!(await this.#declared(id))) {
      logger.error(
        { first, end },
        'the disk is full and the ledger could not declare yet what is to be dropped: records are refused until it has',
      );
      return 0;
    }
    const before = (await this.#options.freeBytes?.()) ?? null;
    let freed = 0;
    for (const segment of segments.list().filter(({ endOffset }) => endOffset <= end))
      freed += await segments.dropOldest(segment.baseOffset);
    // A crash before this closes the note is made good by retention, which finds the records gone.
    state.removalDone(id);
    logger.warn({ first, end, bytes: freed }, `the disk is full: records ${first} to ${end - 1} dropped`);
    if (before !== null) await this.#reallyFree(before + freed / 2);
    return freed;
  }

  /** What was noted before and is still there. */
  #begun(): Noted | null {
    const { segments, state } = this.#options;
    const start = segments.list()[0]?.baseOffset;
    const isBegun = ({ cause, end }: Removal) =>
      cause === 'drop-oldest' && start !== undefined && end > start;
    return state.openRemovals().find(isBegun) ?? null;
  }

  /** Notes the oldest segments that come to `bytes`; null when there are none. */
  #plan(bytes: number): Noted | null {
    const { segments, state, clock = Date.now } = this.#options;
    const going: RolledSegment[] = [];
    let expected = 0;
    for (const segment of segments.list()) {
      if (expected >= bytes) break;
      going.push(segment);
      expected += segment.sizeBytes;
    }
    if (going.length === 0) return null;
    const first = going[0]!.baseOffset;
    const end = going.at(-1)!.endOffset;
    const rule = 'the disk is full';
    const removal = { first, end, records: end - first, cause: 'drop-oldest', rule, segment: null } as const;
    return { id: state.planRemoval(removal, clock()), first, end };
  }

  /** Readers may have a dropped file open; they let go of it within a second or two, and only then is its space free. */
  async #reallyFree(bytes: number): Promise<void> {
    const deadline = performance.now() + LET_GO_MAX_MS;
    while (performance.now() < deadline) {
      if (((await this.#options.freeBytes?.()) ?? bytes) >= bytes) return;
      await sleep(POLL_MS);
    }
  }

  async #declared(id: number): Promise<boolean> {
    const { state, declareMaxMs = DECLARE_MAX_MS } = this.#options;
    const deadline = performance.now() + declareMaxMs;
    for (;;) {
      const mine = state.openRemovals().find((removal) => removal.id === id);
      if (!mine || mine.declaredHeight !== null) return true;
      if (performance.now() >= deadline) return false;
      await sleep(POLL_MS);
    }
  }
}
