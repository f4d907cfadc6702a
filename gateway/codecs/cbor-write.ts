// Writes CBOR (RFC 8949) of what JSON can say: answers to clients that speak it. Refuses anything else.

/** Deterministic lengths (§4.2.1); numbers that are no safe integers become doubles. Members that are undefined are left out. */
export function encodeCbor(value: unknown): Buffer {
  const parts: Buffer[] = [];
  write(value, parts);
  return Buffer.concat(parts);
}

function head(major: number, argument: number): Buffer {
  const type = major << 5;
  if (argument < 24) return Buffer.from([type | argument]);
  if (argument < 0x100) return Buffer.from([type | 24, argument]);
  if (argument < 0x1_0000) return Buffer.from([type | 25, argument >> 8, argument & 255]);
  const bytes = Buffer.alloc(argument < 0x1_0000_0000 ? 5 : 9);
  if (bytes.length === 5) {
    bytes[0] = type | 26;
    bytes.writeUInt32BE(argument, 1);
  } else {
    bytes[0] = type | 27;
    bytes.writeBigUInt64BE(BigInt(argument), 1);
  }
  return bytes;
}

function write(value: unknown, parts: Buffer[]): void {
  if (value === null) parts.push(Buffer.from([0xf6]));
  else if (typeof value === 'boolean') parts.push(Buffer.from([value ? 0xf5 : 0xf4]));
  else if (typeof value === 'number') parts.push(number(value));
  else if (typeof value === 'string') {
    const text = Buffer.from(value);
    parts.push(head(3, text.length), text);
  } else if (Array.isArray(value)) {
    parts.push(head(4, value.length));
    for (const element of value) write(element, parts);
  } else if (typeof value === 'object') {
    const members = Object.entries(value).filter(([, member]) => member !== undefined);
    parts.push(head(5, members.length));
    for (const [name, member] of members) {
      write(name, parts);
      write(member, parts);
    }
  } else throw new TypeError(`a ${typeof value} has no form in CBOR here`);
}

function number(value: number): Buffer {
  if (Number.isSafeInteger(value) && !Object.is(value, -0))
    return value >= 0 ? head(0, value) : head(1, -1 - value);
  const bytes = Buffer.alloc(9);
  bytes[0] = 0xfb;
  bytes.writeDoubleBE(value, 1);
  return bytes;
}
