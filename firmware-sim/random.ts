// Owns the simulator's only source of chance: seeded, so the same seed gives the same bytes. Not for secrets.
import { cos, log } from './exact.ts';

/** FNV-1a over the text's UTF-16 units, 32 bits: turns labels into seeds. */
function hash32(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  }
  return hash >>> 0;
}

/** sfc32 (C. Doty-Humphrey, PractRand): 128 bits of state, period at least 2^32, passes BigCrush. */
export class Random {
  readonly #label: string;
  #a: number;
  #b: number;
  #c: number;
  #counter = 1;

  constructor(seed: number | string) {
    this.#label = String(seed);
    this.#a = hash32(`a:${this.#label}`);
    this.#b = hash32(`b:${this.#label}`);
    this.#c = hash32(`c:${this.#label}`);
    for (let round = 0; round < 15; round += 1) this.#uint32();
  }

  /** An independent stream: adding a device does not change what the others do. */
  fork(label: string): Random {
    return new Random(`${this.#label}/${label}`);
  }

  #uint32(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0;
    this.#counter = (this.#counter + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0;
    return sum >>> 0;
  }

  /** 0 <= x < 1. */
  next(): number {
    return this.#uint32() / 0x1_0000_0000;
  }

  /** low <= x < high. */
  between(low: number, high: number): number {
    return low + (high - low) * this.next();
  }

  /** 0 <= n < count, whole. */
  index(count: number): number {
    return Math.floor(this.next() * count);
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.index(items.length)];
    if (item === undefined) throw new RangeError('nothing to pick from');
    return item;
  }

  /** Mean 0, deviation 1 (Box–Muller; the second value is not kept, so each call stands alone). */
  normal(): number {
    const radius = Math.sqrt(-2 * log(1 - this.next()));
    return radius * cos(2 * Math.PI * this.next());
  }
}

/** First-order autoregressive noise around 0: slow wandering, as of load, clouds or air. */
export class Wander {
  readonly #random: Random;
  readonly #keep: number;
  readonly #step: number;
  #value: number;

  /** `keep` of the last value stays each step (0..1); `deviation` is that of the values, not of the steps. */
  constructor(random: Random, keep: number, deviation: number) {
    this.#random = random;
    this.#keep = keep;
    this.#step = deviation * Math.sqrt(1 - keep * keep);
    this.#value = deviation * random.normal();
  }

  next(): number {
    this.#value = this.#keep * this.#value + this.#step * this.#random.normal();
    return this.#value;
  }
}

/** To the step a real sensor would report, without the tail of binary fractions. */
export function quantise(value: number, decimals: number): number {
  let scale = 1;
  for (let left = decimals; left > 0; left -= 1) scale *= 10;
  return Math.round(value * scale) / scale + 0;
}
