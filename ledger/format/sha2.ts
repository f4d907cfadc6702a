// SHA-256 and SHA-512 (FIPS 180-4) where there are no native ones: in the browser, in the published verifier. Small, because
// the library's two are a quarter of that verifier; tests hold both equal to it and to node:crypto. Servers hand in
// node:crypto's where speed counts.

const WORD = (1n << 64n) - 1n;
const ROUNDS = 80;
const BLOCK_BYTES = 128;

/** The first 64 bits of the fraction of the `degree`-th root of `value`, FIPS 180-4 §4.2.3 and §5.3.5. */
function rootFraction(value: bigint, degree: bigint): bigint {
  const target = value << (64n * degree);
  let low = 0n;
  let high = 1n << 73n;
  while (high - low > 1n) {
    const middle = (low + high) >> 1n;
    if (middle ** degree <= target) low = middle;
    else high = middle;
  }
  return low & WORD;
}

function firstPrimes(count: number): bigint[] {
  const primes: bigint[] = [];
  for (let n = 2n; primes.length < count; n++) if (primes.every((prime) => n % prime !== 0n)) primes.push(n);
  return primes;
}

const PRIMES = firstPrimes(ROUNDS);
const K = PRIMES.map((prime) => rootFraction(prime, 3n));
const START = PRIMES.slice(0, 8).map((prime) => rootFraction(prime, 2n));
/** SHA-256's constants are the upper halves of SHA-512's first 64. */
const upper = (words: readonly bigint[]) =>
  Int32Array.from(words, (word) => Number(BigInt.asIntN(32, word >> 32n)));
const K32 = upper(K.slice(0, 64));
const START32 = upper(START);
const schedule = new Int32Array(64);

/** The message, a 1 bit, zeros, and the length in bits, in whole blocks (§5.1). */
function padded(data: Uint8Array, blockBytes: number): DataView<ArrayBuffer> {
  const size = Math.ceil((data.length + 1 + blockBytes / 8) / blockBytes) * blockBytes;
  const bytes = new Uint8Array(size);
  bytes.set(data);
  bytes[data.length] = 0x80;
  const view = new DataView(bytes.buffer);
  view.setBigUint64(size - 8, BigInt(data.length) * 8n);
  return view;
}

export function sha256(data: Uint8Array): Uint8Array {
  const view = padded(data, 64);
  const w = schedule;
  const state = START32.slice();
  for (let at = 0; at < view.byteLength; at += 64) {
    let [a, b, c, d, e, f, g, h] = state as unknown as Eight<number>;
    for (let t = 0; t < 64; t++) {
      if (t < 16) w[t] = view.getInt32(at + t * 4);
      else {
        const x = w[t - 15]!;
        const y = w[t - 2]!;
        const low = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
        const high = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
        w[t] = high + w[t - 7]! + low + w[t - 16]!;
      }
      const big = ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
      const mixed = (h + big + ((e & f) ^ (~e & g)) + K32[t]! + w[t]!) | 0;
      const other = ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
      h = g;
      g = f;
      f = e;
      e = (d + mixed) | 0;
      d = c;
      c = b;
      b = a;
      a = (mixed + other + ((b & c) ^ (b & d) ^ (c & d))) | 0;
    }
    [a, b, c, d, e, f, g, h].forEach((word, i) => {
      state[i]! += word;
    });
  }
  const digest = new Uint8Array(32);
  const out = new DataView(digest.buffer);
  state.forEach((word, i) => {
    out.setInt32(i * 4, word);
  });
  return digest;
}

type Eight<T> = [T, T, T, T, T, T, T, T];

const rotate = (x: bigint, by: bigint) => (x >> by) | ((x << (64n - by)) & WORD);

export function sha512(data: Uint8Array): Uint8Array {
  const view = padded(data, BLOCK_BYTES);
  const state = [...START];
  for (let at = 0; at < view.byteLength; at += BLOCK_BYTES) {
    const w: bigint[] = [];
    let [a, b, c, d, e, f, g, h] = state as [bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint];
    for (let t = 0; t < ROUNDS; t++) {
      if (t < 16) w.push(view.getBigUint64(at + t * 8));
      else {
        const x = w[t - 15]!;
        const y = w[t - 2]!;
        const low = rotate(x, 1n) ^ rotate(x, 8n) ^ (x >> 7n);
        const high = rotate(y, 19n) ^ rotate(y, 61n) ^ (y >> 6n);
        w.push((high + w[t - 7]! + low + w[t - 16]!) & WORD);
      }
      const mixed =
        h + (rotate(e, 14n) ^ rotate(e, 18n) ^ rotate(e, 41n)) + ((e & f) ^ (~e & g)) + K[t]! + w[t]!;
      const other = (rotate(a, 28n) ^ rotate(a, 34n) ^ rotate(a, 39n)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g;
      g = f;
      f = e;
      e = (d + mixed) & WORD;
      d = c;
      c = b;
      b = a;
      a = (mixed + other) & WORD;
    }
    [a, b, c, d, e, f, g, h].forEach((word, i) => {
      state[i] = (state[i]! + word) & WORD;
    });
  }
  const digest = new Uint8Array(64);
  const out = new DataView(digest.buffer);
  state.forEach((word, i) => {
    out.setBigUint64(i * 8, word);
  });
  return digest;
}
