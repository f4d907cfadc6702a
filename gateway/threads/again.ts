// How long to wait before work that failed is begun anew: longer each time, but never given up. Knows nothing of the work.

export interface AgainOptions {
  readonly firstMs: number;
  readonly maxMs: number;
}

export class Again {
  readonly #options: AgainOptions;
  #nextMs: number;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: AgainOptions) {
    this.#options = options;
    this.#nextMs = options.firstMs;
  }

  get isWaiting(): boolean {
    return this.#timer !== null;
  }

  /** Calls `begin` once after the wait, which does not hold the process; returns how long that is. */
  later(begin: () => void): number {
    this.stop();
    const waitMs = this.#nextMs;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      begin();
    }, waitMs);
    this.#timer.unref();
    this.#nextMs = Math.min(waitMs * 2, this.#options.maxMs);
    return waitMs;
  }

  /** It went well: the next failure waits as the first. */
  succeeded(): void {
    this.#nextMs = this.#options.firstMs;
  }

  stop(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
  }
}
