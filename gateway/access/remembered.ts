// Keeps what was found right for a while, by a key that does not give it away. Bounded: the oldest goes first.

export class Remembered<Value> {
  readonly #max: number;
  readonly #keptMs: number;
  readonly #values = new Map<string, { readonly value: Value; readonly untilMs: number }>();

  constructor(max: number, keptMs: number) {
    this.#max = max;
    this.#keptMs = keptMs;
  }

  find(key: string, nowMs: number): Value | null {
    const known = this.#values.get(key);
    if (known === undefined) return null;
    if (known.untilMs > nowMs) return known.value;
    this.#values.delete(key);
    return null;
  }

  /** No longer than until `endMs`. */
  keep(key: string, value: Value, nowMs: number, endMs: number | null): void {
    if (this.#max === 0) return;
    this.#values.delete(key);
    this.#values.set(key, {
      value,
      untilMs: Math.min(nowMs + this.#keptMs, endMs ?? Number.POSITIVE_INFINITY),
    });
    if (this.#values.size <= this.#max) return;
    const oldest = this.#values.keys().next().value;
    if (oldest !== undefined) this.#values.delete(oldest);
  }

  clear(): void {
    this.#values.clear();
  }
}
