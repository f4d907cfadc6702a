// Owns the damage that fuzzing does to good input, all of it drawn from a seed. Knows nothing of what the bytes mean.

export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** 0 ≤ n < 1 (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** 0 ≤ n < below */
  below(below: number): number {
    return Math.floor(this.next() * below);
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!;
  }
}

const INTERESTING = [0x00, 0x01, 0x7f, 0x80, 0xff, 0x0a, 0x20, 0x22, 0x2d, 0x30, 0x5c, 0x7b, 0x7d];

type Bytes = Buffer<ArrayBufferLike>;
type Mutation = (bytes: Bytes, random: Random, others: readonly Uint8Array[]) => Bytes;

const span = (bytes: Bytes, random: Random): [from: number, to: number] => {
  const from = random.below(bytes.length + 1);
  const length = random.below(2) ? random.below(9) : random.below(bytes.length - from + 1);
  return [from, Math.min(bytes.length, from + length)];
};

const MUTATIONS: readonly Mutation[] = [
  function flip(bytes, random) {
    if (bytes.length > 0) bytes[random.below(bytes.length)]! ^= 1 << random.below(8);
    return bytes;
  },
  function set(bytes, random) {
    if (bytes.length > 0) bytes[random.below(bytes.length)] = random.pick(INTERESTING);
    return bytes;
  },
  function nudge(bytes, random) {
    if (bytes.length > 0) bytes[random.below(bytes.length)]! += random.below(2) ? 1 : 255;
    return bytes;
  },
  (bytes, random) => bytes.subarray(0, random.below(bytes.length + 1)),
  function cut(bytes, random) {
    const [from, to] = span(bytes, random);
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]);
  },
  function repeat(bytes, random) {
    const [from, to] = span(bytes, random);
    return Buffer.concat([bytes.subarray(0, to), bytes.subarray(from)]);
  },
  function zero(bytes, random) {
    const [from, to] = span(bytes, random);
    return bytes.fill(0, from, to);
  },
  function insert(bytes, random) {
    const at = random.below(bytes.length + 1);
    const noise = Buffer.from(Array.from({ length: 1 + random.below(24) }, () => random.below(256)));
    return Buffer.concat([bytes.subarray(0, at), noise, bytes.subarray(at)]);
  },
  function splice(bytes, random, others) {
    const other = Buffer.from(random.pick(others));
    const [from, to] = span(other, random);
    const at = random.below(bytes.length + 1);
    return Buffer.concat([bytes.subarray(0, at), other.subarray(from, to), bytes.subarray(at)]);
  },
  function swap(bytes, random) {
    const [from, to] = span(bytes, random);
    const at = random.below(from + 1);
    return Buffer.concat([
      bytes.subarray(0, at),
      bytes.subarray(from, to),
      bytes.subarray(at, from),
      bytes.subarray(to),
    ]);
  },
];

/** One of the good inputs, damaged one to four times; now and then nothing but noise, now and then nothing is changed. */
export function damaged(good: readonly Uint8Array[], random: Random): { bytes: Bytes; isGood: boolean } {
  const kind = random.below(20);
  if (kind === 0) return { bytes: Buffer.from(random.pick(good)), isGood: true };
  if (kind === 1)
    return {
      bytes: Buffer.from(Array.from({ length: random.below(200) }, () => random.below(256))),
      isGood: false,
    };
  let bytes: Bytes = Buffer.from(random.pick(good));
  for (let left = 1 + random.below(4); left > 0; left--) bytes = random.pick(MUTATIONS)(bytes, random, good);
  return { bytes, isGood: false };
}
