// Bounds how many costly reads are in work at once: the ingest thread serves devices first. Queues nothing.

export class Gate {
  readonly #limit: number;
  #inside = 0;
  #refused = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get refused(): number {
    return this.#refused;
  }

  /** Runs `work`, or answers 'full' at once when `limit` others are still running. */
  async run<T>(work: () => Promise<T>): Promise<T | 'full'> {
    if (this.#inside >= this.#limit) {
      this.#refused += 1;
      return 'full';
    }
    this.#inside += 1;
    try {
      return await work();
    } finally {
      this.#inside -= 1;
    }
  }
}

export const GATE_FULL = {
  status: 503,
  code: 'overloaded',
  detail: 'Too many reads are in work; try again shortly.',
  retryAfterMs: 1000,
} as const;
