// Owns when the ingest thread waits for the sync of a few records itself, instead of sending it through Node's thread
// pool and back: on a quick disk the trip takes longer than the sync. Goes by what syncs have taken; refuses to hold up
// the event loop for a disk that is not quick, but to try it now and then.

export interface DirectSyncLimits {
  /** Made at once while syncs made so take no longer than this, on average. */
  readonly quickMs: number;
  /** Tried at all while syncs by the pool, its trip included, take no longer than this on average … */
  readonly worthTryingMs: number;
  /** … once in so many. */
  readonly tryEvery: number;
  /** After one that took longer … */
  readonly slowMs: number;
  /** … the pool has the next ones for so long. */
  readonly poolMs: number;
}

const INGEST: DirectSyncLimits = { quickMs: 0.5, worthTryingMs: 5, tryEvery: 32, slowMs: 2, poolMs: 100 };
/** How much of an average the newest one is. */
const NEWEST_SHARE = 1 / 8;

export class DirectSync {
  readonly #limits: DirectSyncLimits;
  /** Milliseconds that only go up. */
  readonly #clock: () => number;
  #directMs = Number.POSITIVE_INFINITY;
  #pooledMs = Number.POSITIVE_INFINITY;
  #pooledInTurn = 0;
  #fromMs = Number.NEGATIVE_INFINITY;

  constructor(limits: DirectSyncLimits = INGEST, clock = () => performance.now()) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** Calls `sync` at once, or `pooled` with what to call when it is done. */
  run(sync: () => void, pooled: (onDone: () => void) => void): void {
    const beganMs = this.#clock();
    if (!this.#atOnce(beganMs)) {
      this.#pooledInTurn += 1;
      pooled(() => {
        this.#pooledMs = smoothed(this.#pooledMs, this.#clock() - beganMs);
      });
      return;
    }
    this.#pooledInTurn = 0;
    sync();
    const doneMs = this.#clock();
    const tookMs = doneMs - beganMs;
    this.#directMs = smoothed(this.#directMs, tookMs);
    if (tookMs > this.#limits.slowMs) this.#fromMs = doneMs + this.#limits.poolMs;
  }

  #atOnce(nowMs: number): boolean {
    const { quickMs, worthTryingMs, tryEvery } = this.#limits;
    if (nowMs < this.#fromMs) return false;
    return this.#directMs <= quickMs || (this.#pooledInTurn >= tryEvery && this.#pooledMs <= worthTryingMs);
  }
}

function smoothed(averageMs: number, newestMs: number): number {
  return Number.isFinite(averageMs) ? averageMs + (newestMs - averageMs) * NEWEST_SHARE : newestMs;
}
