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

  /** Calls `begin` once after the wait, which does not hold the process. */
  later(begin: () => void): void {
    this.stop();
    this.#timer = setTimeout(() => {
      this.#timer = null;
      begin();
    }, this.#nextMs);
    this.#timer.unref();
    this.#nextMs = Math.min(this.#nextMs * 2, this.#options.maxMs);
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
