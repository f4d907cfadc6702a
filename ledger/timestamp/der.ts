// The little DER that timestamps need (X.690 §10): definite lengths in their shortest form, low tag numbers. Knows no types
// beyond the bytes; refuses everything else.

/** One element: its tag byte, its content, and all of its bytes. */
export interface Der {
  readonly tag: number;
  readonly content: Buffer;
  readonly bytes: Buffer;
}

export class DerError extends Error {
  override name = 'DerError';
}

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bytes: 0x04,
  null: 0x05,
  oid: 0x06,
  time: 0x18,
  sequence: 0x30,
  set: 0x31,
  /** Context tags, constructed: [0], [1], … */
  context: 0xa0,
  /** Context tag [0] of a primitive. */
  contextPrimitive: 0x80,
} as const;

/** The elements that bytes consist of. Throws DerError. */
export function readAll(bytes: Buffer): Der[] {
  const found: Der[] = [];
  for (let at = 0; at < bytes.length; ) {
    const element = readOne(bytes, at);
    found.push(element);
    at += element.bytes.length;
  }
  return found;
}

/** Bytes that are exactly one element with this tag. Throws DerError. */
export function read(bytes: Buffer, tag: number): Der {
  const [element, ...more] = readAll(bytes);
  if (element?.tag !== tag || more.length > 0)
    throw new DerError('not the one element that is expected here');
  return element;
}

/** The elements inside one; it has to have the tag. */
export function children(element: Der | undefined, tag: number): Der[] {
  if (element?.tag !== tag) throw new DerError(`an element with tag ${tag} is missing`);
  return readAll(element.content);
}

export function contentOf(element: Der | undefined, tag: number): Buffer {
  if (element?.tag !== tag) throw new DerError(`an element with tag ${tag} is missing`);
  return element.content;
}

function readOne(bytes: Buffer, at: number): Der {
  const tag = bytes[at]!;
  const short = bytes[at + 1];
  if ((tag & 0x1f) === 0x1f || short === undefined)
    throw new DerError('cut short, or a tag that is not used here');
  let from = at + 2;
  let length = short;
  if (short >= 0x80) {
    const size = short & 0x7f;
    if (size === 0 || size > 4 || from + size > bytes.length)
      throw new DerError('a length that DER does not have');
    length = bytes.readUIntBE(from, size);
    from += size;
    if (length < 0x80 || (size > 1 && length < 2 ** (8 * (size - 1))))
      throw new DerError('a length not in its shortest form');
  }
  if (from + length > bytes.length) throw new DerError('cut short');
  return { tag, content: bytes.subarray(from, from + length), bytes: bytes.subarray(at, from + length) };
}

export function write(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), content]);
  const size = Math.ceil(Math.log2(length + 1) / 8);
  const head = Buffer.alloc(2 + size);
  head[0] = tag;
  head[1] = 0x80 | size;
  head.writeUIntBE(length, 2, size);
  return Buffer.concat([head, content]);
}

/** A number of up to 2^53, or bytes of a positive number. */
export function integer(value: number | Uint8Array): Buffer {
  let bytes = typeof value === 'number' ? bytesOf(value) : Buffer.from(value);
  while (bytes.length > 1 && bytes[0] === 0 && bytes[1]! < 0x80) bytes = bytes.subarray(1);
  return write(TAG.integer, bytes[0]! >= 0x80 ? Buffer.concat([Buffer.from([0]), bytes]) : bytes);
}

const bytesOf = (value: number): Buffer =>
  Buffer.from(
    value.toString(16).padStart(value.toString(16).length + (value.toString(16).length % 2), '0'),
    'hex',
  );

/** An object identifier in dots. */
export function oid(text: string): Buffer {
  const [first, second, ...rest] = text.split('.').map(Number);
  const out: number[] = [];
  for (const part of [first! * 40 + second!, ...rest]) {
    const digits = [part & 0x7f];
    for (let left = Math.floor(part / 128); left > 0; left = Math.floor(left / 128))
      digits.unshift(0x80 | (left & 0x7f));
    out.push(...digits);
  }
  return write(TAG.oid, Buffer.from(out));
}

export function oidText(element: Der | undefined): string {
  const bytes = contentOf(element, TAG.oid);
  const parts: number[] = [];
  let value = 0;
  for (const byte of bytes) {
    value = value * 128 + (byte & 0x7f);
    if (byte < 0x80) {
      parts.push(value);
      value = 0;
    }
  }
  const [head = 0, ...rest] = parts;
  const first = Math.min(2, Math.floor(head / 40));
  return [first, head - first * 40, ...rest].join('.');
}

/** GeneralizedTime in UTC (RFC 3161 §2.4.2), unix ms. */
export function timeMs(element: Der | undefined): number {
  const text = contentOf(element, TAG.time).toString('latin1');
  const match = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:\.(\d{0,5}[1-9]))?Z$/.exec(text);
  if (!match) throw new DerError('not a time in UTC');
  const [, year, month, day, hour, minute, second, fraction] = match;
  const ms = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  if (Number.isNaN(ms)) throw new DerError('not a time there ever was');
  return ms + Math.floor(Number(`0.${fraction ?? 0}`) * 1000);
}
