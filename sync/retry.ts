// Owns how long to wait between retries, and the waiting. Never gives up: whether to retry is the caller's business.
import { setTimeout } from 'node:timers/promises';

export interface BackoffOptions {
  readonly firstMs: number;
  readonly maxMs: number;
  /** 0 <= x < 1, e.g. Math.random. */
  readonly random: () => number;
}

/**
 * Exponential backoff with equal jitter: half of the step is fixed, half random, so that gateways which lost
 * the same upstream together do not come back together, and none comes back at once.
 */
export class Backoff {
  readonly #options: BackoffOptions;
  #stepMs: number;

  constructor(options: BackoffOptions) {
    this.#options = options;
    this.#stepMs = options.firstMs;
  }

  /** The next wait in ms: within firstMs/2 and maxMs. */
  next(): number {
    const stepMs = this.#stepMs;
    this.#stepMs = Math.min(stepMs * 2, this.#options.maxMs);
    return Math.round(stepMs / 2 + (stepMs / 2) * this.#options.random());
  }

  /** Call when there was progress, not merely a connection: one that is accepted and dropped must not spin. */
  reset(): void {
    this.#stepMs = this.#options.firstMs;
  }
}

/** Resolves after `waitMs`, or at once when `signal` is aborted; never rejects. */
export function pause(waitMs: number, signal: AbortSignal): Promise<void> {
  return setTimeout(waitMs, undefined, { signal }).catch(() => undefined);
}
