// What was refused at the door or given up there, per cause and interval, so that the ledger says it. Counts nothing
// itself: it is told totals since the gateway started, and remembers which of them a block has said already.
import type { LossTotals } from '../../gateway/stage/types.ts';
import type { JsonObject } from '../format/canonical.ts';

const NOTHING: LossTotals = { refused: {}, dropped: {} };

export class LossAccount {
  readonly #bootId: string;
  #said: LossTotals;
  #fromMs: number;

  /** @param stored of an earlier start of the stage; counts only within one run of the gateway */
  constructor(bootId: string, stored: Uint8Array | null, nowMs: number) {
    this.#bootId = bootId;
    this.#said = readStored(bootId, stored);
    this.#fromMs = nowMs;
  }

  /** For state.db, with the cursor. */
  get state(): Uint8Array {
    return Buffer.from(JSON.stringify({ bootId: this.#bootId, ...this.#said }));
  }

  /**
   * What came since the last statement, for the detail of a block, or null for nothing. It counts as said from now on: a
   * crash before the block is signed loses it together with the whole run's totals, and the next block says unclean-boot.
   */
  take(totals: LossTotals | undefined, nowMs: number): JsonObject | null {
    if (!totals) return null;
    const refused = since(totals.refused, this.#said.refused);
    const dropped = since(totals.dropped, this.#said.dropped);
    if (Object.keys(refused).length + Object.keys(dropped).length === 0) return null;
    const detail = { refused, dropped, fromMs: this.#fromMs, toMs: nowMs };
    this.#said = totals;
    this.#fromMs = nowMs;
    return detail;
  }
}

function since(now: Readonly<Record<string, number>>, said: Readonly<Record<string, number>>): JsonObject {
  const more = Object.entries(now).map(([cause, count]) => [cause, count - (said[cause] ?? 0)] as const);
  return Object.fromEntries(more.filter(([, count]) => count > 0));
}

function readStored(bootId: string, stored: Uint8Array | null): LossTotals {
  if (!stored) return NOTHING;
  try {
    const found = JSON.parse(Buffer.from(stored).toString('utf8'));
    const isWhole = found.bootId === bootId && areCounts(found.refused) && areCounts(found.dropped);
    return isWhole ? { refused: found.refused, dropped: found.dropped } : NOTHING;
  } catch {
    return NOTHING;
  }
}

const areCounts = (value: unknown): value is Record<string, number> =>
  typeof value === 'object' &&
  value !== null &&
  !Array.isArray(value) &&
  Object.values(value).every((count) => Number.isSafeInteger(count) && count >= 0);
