// Owns the order of ending: what was started last is closed first. Knows nothing of what it closes.

/** What has been started so far, closed in reverse order. */
export class Opened {
  readonly #closers: (() => unknown)[] = [];

  add<T>(part: T, close: (part: T) => unknown): T {
    this.#closers.push(() => close(part));
    return part;
  }

  async close(): Promise<void> {
    for (let close = this.#closers.pop(); close; close = this.#closers.pop()) await close();
  }
}
