// Reads CBOR and says where each item stands, so that it can be stored byte for byte. Refuses what is not well-formed,
// text that is not UTF-8, a repeated key, keys that are neither text nor whole numbers, and nesting beyond DEPTH_MAX.
//
//   item = head [content]         head = major type (3 bits), argument (5 bits, or 1, 2, 4, 8 further bytes)   RFC 8949 §3
//   major: 0 unsigned  1 negative  2 bytes  3 text  4 array  5 map  6 tag  7 simple, float, break
//
// Values: maps become objects without a prototype, whole-number keys their decimal text; tag 1 (seconds) becomes an
// ISO 8601 text, 2 and 3 numbers; other tags are read as their content. Numbers beyond 2^53 lose their last digits.

const DEPTH_MAX = 32;
const BREAK = Symbol('break');
const TEXT = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const EPOCH_SECONDS_MAX = 8.64e12;

export class CborError extends Error {
  override name = 'CborError';
}

const cut = () => new CborError('the data ends within an item');

export interface CborItem {
  /** Exactly as sent (a view). */
  readonly bytes: Buffer;
  readonly value: unknown;
}

export class CborReader {
  readonly #bytes: Buffer;
  /** Where the next item begins. */
  at: number;

  constructor(bytes: Buffer, at = 0) {
    this.#bytes = bytes;
    this.at = at;
  }

  get done(): boolean {
    return this.at >= this.#bytes.length;
  }

  /** The next item's value. Throws CborError. */
  value(): unknown {
    const value = this.#item(0);
    if (value === BREAK) throw new CborError('a break outside of anything that could end');
    return value;
  }

  /** The next item's value and its own bytes (a view). Throws CborError. */
  item(): CborItem {
    const start = this.at;
    const value = this.value();
    return { bytes: this.#bytes.subarray(start, this.at), value };
  }

  /**
   * Calls `member` for each pair of the map that stands next, with the value's own bytes (a view). Returns false, and
   * reads nothing, when no map stands there.
   */
  eachMember(member: (key: string, value: unknown, span: Buffer) => void): boolean {
    if (this.done || this.#bytes[this.at]! >> 5 !== 5) return false;
    const count = this.#count(this.#bytes[this.at++]! & 31);
    const seen = new Set<string>();
    for (let left = count; left > 0; left -= 1) {
      const key = this.#item(1);
      if (key === BREAK && count === Infinity) break;
      const name = nameOf(key);
      if (seen.has(name)) throw new CborError('a key stands twice in a map');
      seen.add(name);
      const start = this.at;
      const value = this.#item(1);
      if (value === BREAK) throw new CborError('a key has no value');
      member(name, value, this.#bytes.subarray(start, this.at));
    }
    return true;
  }

  /** The same for the elements of an array. */
  eachElement(element: (span: Buffer) => void): boolean {
    if (this.done || this.#bytes[this.at]! >> 5 !== 4) return false;
    const count = this.#count(this.#bytes[this.at++]! & 31);
    for (let left = count; left > 0; left -= 1) {
      const start = this.at;
      if (this.#item(1) === BREAK) {
        if (count === Infinity) break;
        throw new CborError('a break in an array of stated length');
      }
      element(this.#bytes.subarray(start, this.at));
    }
    return true;
  }

  #item(depth: number): unknown {
    if (depth > DEPTH_MAX) throw new CborError(`nested deeper than ${DEPTH_MAX} levels`);
    const head = this.#bytes[this.at];
    if (head === undefined) throw cut();
    this.at += 1;
    const minor = head & 31;
    switch (head >> 5) {
      case 0:
        return this.#argument(minor);
      case 1:
        return -1 - this.#argument(minor);
      case 2:
        return minor === 31 ? Buffer.concat(this.#parts(2)) : this.#take(this.#argument(minor));
      case 3:
        return minor === 31
          ? this.#parts(3)
              .map((part) => textOf(part))
              .join('')
          : textOf(this.#take(this.#argument(minor)));
      case 4:
        return this.#array(this.#count(minor), depth);
      case 5:
        return this.#map(this.#count(minor), depth);
      case 6:
        return this.#tagged(this.#argument(minor), depth);
      default:
        return this.#simple(minor);
    }
  }

  #argument(minor: number): number {
    if (minor < 24) return minor;
    if (minor > 27) throw new CborError('a reserved or misplaced length');
    const size = 1 << (minor - 24);
    const at = this.at;
    if (at + size > this.#bytes.length) throw cut();
    this.at = at + size;
    if (size === 1) return this.#bytes[at]!;
    if (size === 2) return this.#bytes.readUInt16BE(at);
    if (size === 4) return this.#bytes.readUInt32BE(at);
    return this.#bytes.readUInt32BE(at) * 0x1_0000_0000 + this.#bytes.readUInt32BE(at + 4);
  }

  #count(minor: number): number {
    return minor === 31 ? Number.POSITIVE_INFINITY : this.#argument(minor);
  }

  #take(length: number): Buffer {
    const end = this.at + length;
    if (end > this.#bytes.length) throw cut();
    const taken = this.#bytes.subarray(this.at, end);
    this.at = end;
    return taken;
  }

  /** The pieces of a string of unstated length: each of the same type, none of unstated length itself. */
  #parts(major: number): Buffer[] {
    const parts: Buffer[] = [];
    for (;;) {
      const head = this.#bytes[this.at];
      if (head === undefined) throw cut();
      this.at += 1;
      if (head === 0xff) return parts;
      if (head >> 5 !== major || (head & 31) === 31)
        throw new CborError('a piece of another type in a string');
      parts.push(this.#take(this.#argument(head & 31)));
    }
  }

  #array(count: number, depth: number): unknown[] {
    const elements: unknown[] = [];
    for (let left = count; left > 0; left -= 1) {
      const element = this.#item(depth + 1);
      if (element === BREAK) {
        if (count === Infinity) break;
        throw new CborError('a break in an array of stated length');
      }
      elements.push(element);
    }
    return elements;
  }

  #map(count: number, depth: number): Record<string, unknown> {
    const members = Object.create(null) as Record<string, unknown>;
    for (let left = count; left > 0; left -= 1) {
      const key = this.#item(depth + 1);
      if (key === BREAK && count === Infinity) break;
      const name = nameOf(key);
      if (name in members) throw new CborError('a key stands twice in a map');
      const value = this.#item(depth + 1);
      if (value === BREAK) throw new CborError('a key has no value');
      members[name] = value;
    }
    return members;
  }

  /** RFC 8949 §3.4 */
  #tagged(tag: number, depth: number): unknown {
    const value = this.#item(depth + 1);
    if (value === BREAK) throw new CborError('a tag has no content');
    if (tag === 1 && typeof value === 'number' && Math.abs(value) <= EPOCH_SECONDS_MAX)
      return new Date(Math.floor(value * 1_000)).toISOString();
    if ((tag === 2 || tag === 3) && Buffer.isBuffer(value)) {
      let magnitude = 0;
      for (const byte of value) magnitude = magnitude * 256 + byte;
      return tag === 2 ? magnitude : -1 - magnitude;
    }
    return value;
  }

  #simple(minor: number): unknown {
    const at = this.at;
    switch (minor) {
      case 20:
        return false;
      case 21:
        return true;
      case 22:
      case 23:
        return null;
      case 24: {
        const [simple] = this.#take(1);
        if (simple! < 32) throw new CborError('a simple value in a form it must not have');
        return null;
      }
      case 25:
        return halfFloat(this.#take(2).readUInt16BE(0));
      case 26:
        this.#take(4);
        return this.#bytes.readFloatBE(at);
      case 27:
        this.#take(8);
        return this.#bytes.readDoubleBE(at);
      case 31:
        return BREAK;
      default:
        if (minor > 27) throw new CborError('a reserved length');
        return null;
    }
  }
}

function textOf(bytes: Buffer): string {
  try {
    return TEXT.decode(bytes);
  } catch (cause) {
    throw new CborError('a text is not valid UTF-8', { cause });
  }
}

function nameOf(key: unknown): string {
  if (typeof key === 'string') return key;
  if (Number.isSafeInteger(key)) return String(key);
  throw new CborError('a key is neither text nor a whole number');
}

/** RFC 8949 appendix D */
function halfFloat(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const mantissa = half & 0x3ff;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (mantissa + 1024) * 2 ** (exponent - 25);
}

/** The value of the one item that `bytes` hold. Throws CborError. */
export function decodeCbor(bytes: Buffer): unknown {
  const reader = new CborReader(bytes);
  const value = reader.value();
  if (!reader.done) throw new CborError('further bytes stand behind the item');
  return value;
}
