// Frees space on a full disk under `log.whenFull: drop-oldest`: the oldest closed segments go, read or not, sealed or not.
// Refuses to drop anything it could not note for the ledger first.
import { setTimeout as sleep } from 'node:timers/promises';
import type { RolledSegments, SpaceMaker } from '../log/types.ts';
import type { StageLogger } from '../stage/host.ts';
import type { StateStore } from '../state/state.ts';

/** Devices wait meanwhile. A sealer that is that slow declares afterwards: the note is durable. */
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

export class DropOldest implements SpaceMaker {
  readonly #options: DropOldestOptions;

  constructor(options: DropOldestOptions) {
    this.#options = options;
  }

  async makeRoom(bytes: number): Promise<number> {
    const { segments, state, logger, clock = Date.now } = this.#options;
    const going: { baseOffset: number; endOffset: number; sizeBytes: number }[] = [];
    let expected = 0;
    for (const segment of segments.list()) {
      if (expected >= bytes) break;
      going.push(segment);
      expected += segment.sizeBytes;
    }
    if (going.length === 0) return 0;
    const first = going[0]!.baseOffset;
    const end = going.at(-1)!.endOffset;
    const rule = 'the disk is full';
    const removal = { first, end, records: end - first, cause: 'drop-oldest', rule, segment: null } as const;
    let id: number;
    try {
      id = state.planRemoval(removal, clock());
    } catch (error) {
      logger.error(
        { err: error, first, end },
        'the disk is full and not even a note of what is dropped can be written',
      );
      return 0;
    }
    const isDeclared = await this.#declared(id);
    const before = (await this.#options.freeBytes?.()) ?? null;
    let freed = 0;
    for (const segment of segments.list().filter(({ endOffset }) => endOffset <= end))
      freed += await segments.dropOldest(segment.baseOffset);
    // Otherwise it stays open until the sealer has said so.
    if (isDeclared) state.removalDone(id);
    logger.warn(
      { first, end, bytes: freed, isDeclared },
      `the disk is full: records ${first} to ${end - 1} dropped`,
    );
    if (before !== null) await this.#reallyFree(before + freed / 2);
    return freed;
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
