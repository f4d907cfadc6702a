// Owns the variable-length integers of Kafka records (zigzag, 7 bits a byte, least significant first). Refuses
// values wider than their type; knows nothing of records.
//
//   varint   zigzag of an int32, 1..5 bytes
//   varlong  zigzag of an int64, 1..10 bytes
//
// Zigzag: n >= 0 -> 2n, n < 0 -> -2n - 1.

/** Largest magnitude for which zigzag stays exact in a double. */
const EXACT = 2 ** 51;
const SMALL = 2 ** 30;

export function varintSize(value: number): number {
  const zigzag = ((value << 1) ^ (value >> 31)) >>> 0;
  return zigzag < 0x80 ? 1 : zigzag < 0x4000 ? 2 : zigzag < 0x20_0000 ? 3 : zigzag < 0x1000_0000 ? 4 : 5;
}

/** Writes an int32; returns the position after it. */
export function writeVarint(into: Uint8Array, at: number, value: number): number {
  let zigzag = ((value << 1) ^ (value >> 31)) >>> 0;
  let next = at;
  while (zigzag > 0x7f) {
    into[next++] = (zigzag & 0x7f) | 0x80;
    zigzag >>>= 7;
  }
  into[next++] = zigzag;
  return next;
}

/** Exact difference of two safe integers: a number where that is exact enough for zigzag, else a bigint. */
export function difference(value: number, base: number): number | bigint {
  const delta = value - base;
  return delta <= EXACT && delta >= -EXACT ? delta : BigInt(value) - BigInt(base);
}

export function varlongSize(value: number | bigint): number {
  if (typeof value === 'number' && value < SMALL && value >= -SMALL) return varintSize(value);
  let zigzag = wideZigzag(value);
  let size = 1;
  for (; zigzag > 0x7fn; zigzag >>= 7n) size += 1;
  return size;
}

/** Writes an int64 (a number must not pass ±2^51: see `difference`); returns the position after it. */
export function writeVarlong(into: Uint8Array, at: number, value: number | bigint): number {
  if (typeof value === 'number' && value < SMALL && value >= -SMALL) return writeVarint(into, at, value);
  let zigzag = wideZigzag(value);
  let next = at;
  for (; zigzag > 0x7fn; zigzag >>= 7n) into[next++] = Number(zigzag & 0x7fn) | 0x80;
  into[next++] = Number(zigzag);
  return next;
}

function wideZigzag(value: number | bigint): bigint {
  const wide = BigInt(value);
  return BigInt.asUintN(64, (wide << 1n) ^ (wide >> 63n));
}

/** Why bytes with a good checksum still are no record batch of ours. */
export class FormFault extends Error {
  override name = 'FormFault';
}

/** Reads forward through [at, end) of a buffer; every read checks the bound and throws FormFault past it. */
export class ByteReader {
  readonly bytes: Uint8Array;
  at: number;
  readonly end: number;

  constructor(bytes: Uint8Array, at: number, end: number) {
    this.bytes = bytes;
    this.at = at;
    this.end = end;
  }

  byte(): number {
    if (this.at >= this.end) throw new FormFault('a field runs past the end');
    return this.bytes[this.at++]!;
  }

  varint(): number {
    const first = this.byte();
    let zigzag = first;
    if (first > 0x7f) {
      zigzag = first & 0x7f;
      for (let shift = 7; ; shift += 7) {
        const byte = this.byte();
        if (shift === 28 && byte > 0x0f) throw new FormFault('a varint is wider than 32 bits');
        zigzag |= (byte & 0x7f) << shift;
        if (byte < 0x80) break;
      }
    }
    return (zigzag >>> 1) ^ -(zigzag & 1);
  }

  /** `base` plus the varlong here, which must come out as a safe integer. */
  varlongPlus(base: number): number {
    const from = this.at;
    let width = 0;
    while (this.byte() > 0x7f) {
      if (++width === 10) throw new FormFault('a varlong is wider than 64 bits');
    }
    if (width < 4) {
      this.at = from;
      return safe(base + this.varint());
    }
    let zigzag = 0n;
    for (let index = width; index >= 0; index--)
      zigzag = (zigzag << 7n) | BigInt(this.bytes[from + index]! & 0x7f);
    if (zigzag >> 64n) throw new FormFault('a varlong is wider than 64 bits');
    return safe(Number(BigInt(base) + ((zigzag >> 1n) ^ -(zigzag & 1n))));
  }

  /** A length that must fit into what is left; -1 is passed on for "null". */
  length(): number {
    const length = this.varint();
    if (length < -1 || length > this.end - this.at) throw new FormFault('a length runs past the end');
    return length;
  }

  int64(): number {
    const value = readInt64(this.bytes, this.at, this.end);
    this.at += 8;
    return safe(value);
  }
}

function safe(value: number): number {
  if (!Number.isSafeInteger(value)) throw new FormFault('a number is beyond 2^53');
  return value;
}

/** Big-endian int64 as a double: exact for safe integers, and not a safe integer for all others. */
export function readInt64(bytes: Uint8Array, at: number, end: number): number {
  if (at + 8 > end) throw new FormFault('a field runs past the end');
  const high = (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
  return high * 0x1_0000_0000 + readUint32(bytes, at + 4);
}

export function readUint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

export function readInt32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}

export function writeInt64(into: Uint8Array, at: number, value: number): void {
  const high = Math.floor(value / 0x1_0000_0000);
  writeInt32(into, at, high);
  writeInt32(into, at + 4, value - high * 0x1_0000_0000);
}

/** Also for values up to 2^32 - 1: the low 32 bits are written. */
export function writeInt32(into: Uint8Array, at: number, value: number): void {
  into[at] = value >>> 24;
  into[at + 1] = value >>> 16;
  into[at + 2] = value >>> 8;
  into[at + 3] = value;
}
