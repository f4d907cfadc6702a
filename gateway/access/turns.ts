// Bounds how much slow work runs at once, and how much may wait for it. Refuses the rest at once.

export class Turns {
  #maxRunning: number;
  #maxWaiting: number;
  #running = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(maxRunning: number, maxWaiting: number) {
    this.#maxRunning = maxRunning;
    this.#maxWaiting = maxWaiting;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  limit(maxRunning: number, maxWaiting: number): void {
    this.#maxRunning = maxRunning;
    this.#maxWaiting = maxWaiting;
  }

  /** What `work` resolves with, or 'full' at once. */
  async take<T>(work: () => Promise<T>): Promise<T | 'full'> {
    if (this.#running >= this.#maxRunning) {
      if (this.#waiting.length >= this.#maxWaiting) return 'full';
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#running += 1;
    try {
      return await work();
    } finally {
      // The place goes on to the next one, unless there are now fewer places.
      const next = this.#running <= this.#maxRunning ? this.#waiting.shift() : undefined;
      if (next) next();
      else this.#running -= 1;
    }
  }
}
