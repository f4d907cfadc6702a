// Reads the protobuf wire format, strictly: every length is checked before it is used, groups and reserved wire types
// are refused, nothing is allocated by what a length says. Knows no message.
//
//   message = *(tag value)      tag = varint of (field number << 3 | wire type)
//   value   = varint (0) | 8 bytes (1) | varint length, bytes (2) | 4 bytes (5)      https://protobuf.dev, Encoding

export class ProtobufError extends Error {
  override name = 'ProtobufError';
}

/** A number where it is a safe integer, else a bigint: either way the exact value. */
export type Whole = number | bigint;

export const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;
export type Wire = (typeof WIRE)[keyof typeof WIRE];

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const MAX_FIELD = 2 ** 29 - 1;

export class ProtobufReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at: number;
  readonly #end: number;
  /** Of the field read last by next(). */
  field = 0;
  wire: Wire = WIRE.varint;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = 0;
    this.#end = bytes.length;
  }

  /** Reads the next tag into `field` and `wire`; false at the end. */
  next(): boolean {
    if (this.#at === this.#end) return false;
    const tag = this.varint();
    const field = typeof tag === 'number' ? Math.floor(tag / 8) : 0;
    if (field < 1 || field > MAX_FIELD) throw new ProtobufError('a field number that cannot be');
    const wire = Number(tag) & 7;
    if (wire !== WIRE.varint && wire !== WIRE.fixed64 && wire !== WIRE.bytes && wire !== WIRE.fixed32)
      throw new ProtobufError(`wire type ${wire} is not understood`);
    this.field = field;
    this.wire = wire;
    return true;
  }

  /** The value of the field just named must be of this wire type. */
  expect(wire: Wire): void {
    if (this.wire !== wire)
      throw new ProtobufError(`field ${this.field} has wire type ${this.wire}, not ${wire}`);
  }

  get done(): boolean {
    return this.#at === this.#end;
  }

  varint(): Whole {
    let value = 0;
    for (let shift = 0; shift < 49; shift += 7) {
      const byte = this.#byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    let large = BigInt(value);
    for (let shift = 49n; shift < 70n; shift += 7n) {
      const byte = this.#byte();
      if (shift === 63n && byte > 1) break;
      large += BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return large <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(large) : large;
    }
    throw new ProtobufError('a varint of more than 64 bits');
  }

  fixed32(): number {
    this.#need(4);
    this.#at += 4;
    return this.#view.getUint32(this.#at - 4, true);
  }

  float(): number {
    this.#need(4);
    this.#at += 4;
    return this.#view.getFloat32(this.#at - 4, true);
  }

  double(): number {
    this.#need(8);
    this.#at += 8;
    return this.#view.getFloat64(this.#at - 8, true);
  }

  /** A view of the bytes. */
  bytes(): Uint8Array {
    const length = this.varint();
    if (typeof length !== 'number') throw new ProtobufError('a length that cannot be');
    this.#need(length);
    this.#at += length;
    return this.#bytes.subarray(this.#at - length, this.#at);
  }

  text(): string {
    const bytes = this.bytes();
    try {
      return decoder.decode(bytes);
    } catch {
      throw new ProtobufError('a text that is not UTF-8');
    }
  }

  /** Passes over the value of the field just named. */
  skip(): void {
    if (this.wire === WIRE.varint) this.varint();
    else if (this.wire === WIRE.bytes) this.bytes();
    else {
      const length = this.wire === WIRE.fixed64 ? 8 : 4;
      this.#need(length);
      this.#at += length;
    }
  }

  #byte(): number {
    this.#need(1);
    return this.#bytes[this.#at++]!;
  }

  #need(length: number): void {
    if (length > this.#end - this.#at) throw new ProtobufError('the message is cut short');
  }
}
