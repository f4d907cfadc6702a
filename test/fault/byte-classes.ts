// Owns the maps of our files: which byte belongs to which field, so that a test can reach every kind of byte by name. Its
// own reading of the forms, beside the writer's and the checker's.

export interface ByteClass {
  readonly name: string;
  readonly at: number;
  /** First byte of the unit (batch, entry) that must be named; null where a file is named as a whole. */
  readonly unit: number | null;
  readonly mayBe?: 'repairable' | 'damaged';
}

const BATCH_FIELDS: readonly (readonly [name: string, from: number, to: number])[] = [
  ['baseOffset', 0, 8],
  ['batchLength', 8, 12],
  ['partitionLeaderEpoch', 12, 16],
  ['magic', 16, 17],
  ['crc', 17, 21],
  ['attributes', 21, 23],
  ['lastOffsetDelta', 23, 27],
  ['baseTimestamp', 27, 35],
  ['maxTimestamp', 35, 43],
  ['producerId', 43, 51],
  ['producerEpoch', 51, 53],
  ['baseSequence', 53, 57],
  ['recordsCount', 57, 61],
  ['first byte of the records', 61, 62],
];

function batchStarts(segment: Buffer): number[] {
  const starts: number[] = [];
  for (let at = 0; at < segment.length; at += 12 + segment.readInt32BE(at + 8)) starts.push(at);
  return starts;
}

/** First and last byte of every header field of one batch. */
export function batchClasses(segment: Buffer, which: 'first' | 'middle' | 'last'): ByteClass[] {
  const starts = batchStarts(segment);
  const index = { first: 0, middle: starts.length >> 1, last: starts.length - 1 }[which];
  const start = starts[index]!;
  return BATCH_FIELDS.flatMap(([name, from, to]) =>
    [...new Set([from, to - 1])].map((at) => ({
      name: `${name} of the ${which} batch`,
      at: start + at,
      unit: start,
    })),
  );
}

/** The bytes of the fields of the records of one batch, each kind once. */
export function recordClasses(segment: Buffer): ByteClass[] {
  const starts = batchStarts(segment);
  const start = starts[starts.length >> 1]!;
  const found = new Map<string, number>();
  let at = start + 61;
  const varint = (name: string): number => {
    if (!found.has(name)) found.set(name, at);
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = segment[at++]!;
      value += (byte & 0x7f) * scale;
      scale *= 128;
      if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
    }
  };
  const bytes = (name: string, length: number): void => {
    if (length > 0) found.set(name, at);
    at += Math.max(0, length);
  };
  for (let left = segment.readInt32BE(start + 57); left > 0; left--) {
    varint('record length');
    bytes('record attributes', 1);
    varint('timestamp delta');
    varint('offset delta');
    bytes('key', varint('key length'));
    bytes('value', varint('value length'));
    for (let headers = varint('header count'); headers > 0; headers--) {
      const length = varint('header name length');
      const name = segment.toString('latin1', at, at + length);
      bytes(`name of header ${name}`, length);
      bytes(`value of header ${name}`, varint('header value length'));
    }
  }
  return [...found].map(([name, where]) => ({ name, at: where, unit: start }));
}

/** First and last byte of the fields of an index entry: in the first, a middle and the last entry. */
export function entryClasses(index: Buffer, entryBytes: 8 | 12): ByteClass[] {
  const count = index.length / entryBytes;
  const fields = entryBytes === 8 ? [0, 3, 4, 7] : [0, 7, 8, 11];
  return [...new Set([0, count >> 1, count - 1])].flatMap((entry) =>
    fields.map((at) => ({ name: `entry ${entry}`, at: entry * entryBytes + at, unit: 0 })),
  );
}

const KEY_HEADER_FIELDS = [
  ['magic', 0, 4],
  ['version', 4, 8],
  ['baseOffset', 8, 16],
  ['segmentBytes', 16, 20],
  ['spanCount', 20, 24],
  ['keyCount', 24, 28],
  ['flags', 28, 32],
  ['minMs', 32, 40],
  ['maxMs', 40, 48],
  ['lastOffset', 48, 56],
  ['recordCount', 56, 60],
  ['timeIndexCrc', 60, 64],
  ['spansCrc', 64, 68],
  ['keysCrc', 68, 72],
  ['blocksBytes', 72, 76],
  ['zero', 76, 92],
  ['headerCrc', 92, 96],
] as const;

/** First and last byte of every field of a key index: header, first and last span, first and last key with its block. */
export function keyIndexClasses(index: Buffer): ByteClass[] {
  const classes: ByteClass[] = [];
  const field = (name: string, from: number, to: number) => {
    for (const at of new Set([from, to - 1])) classes.push({ name, at, unit: 0 });
  };
  for (const [name, from, to] of KEY_HEADER_FIELDS) field(name, from, to);
  const spans = index.readUInt32BE(20);
  const keys = index.readUInt32BE(24);
  for (const number of new Set([0, spans - 1])) {
    const at = 96 + number * 40;
    for (const [name, from, to] of [
      ['position', 0, 4],
      ['crc', 4, 8],
      ['firstOffset', 8, 12],
      ['batchBase', 12, 16],
      ['baseTimestamp', 16, 24],
      ['minMs', 24, 32],
      ['maxMs', 32, 40],
    ] as const)
      field(`${name} of span ${number}`, at + from, at + to);
  }
  const tableAt = 96 + spans * 40;
  const blocksAt = tableAt + keys * 16;
  for (const number of new Set([0, keys - 1])) {
    const entry = tableAt + number * 16;
    for (const [name, from] of [
      ['deviceHash', 0],
      ['topicHash', 4],
      ['at', 8],
      ['length', 12],
    ] as const)
      field(`${name} of key ${number}`, entry + from, entry + from + 4);
    const block = blocksAt + index.readUInt32BE(entry + 8);
    const end = block + index.readUInt32BE(entry + 12);
    for (const [name, from, to] of [
      ['crc', 0, 4],
      ['firstMs', 4, 12],
      ['lastMs', 12, 20],
    ] as const)
      field(`${name} of block ${number}`, block + from, block + to);
    for (let at = block + 20; at < end; at++) classes.push({ name: `block ${number}`, at, unit: 0 });
  }
  return classes;
}

/** Every byte of a small text file. */
export function textClasses(text: Buffer): ByteClass[] {
  return Array.from(text, (byte, at) => ({ name: `"${String.fromCharCode(byte)}"`, at, unit: null }));
}

/** Bytes of the file header in which a flip means nothing: cookie for caches, version of the library that wrote. */
const HARMLESS_HEADER = new Set([40, 41, 42, 43, 96, 97, 98, 99]);

/** Fields of an SQLite file's header, and of every page that holds a table or an index: header, pointers, cells. */
export function databaseClasses(db: Buffer): ByteClass[] {
  const pageBytes = db.readUInt16BE(16);
  const classes: ByteClass[] = [];
  for (let at = 0; at < 100; at += 1)
    if (!HARMLESS_HEADER.has(at)) classes.push({ name: 'file header', at, unit: null });
  for (let page = 0; page * pageBytes < db.length; page++) {
    const from = page * pageBytes;
    const header = from + (page === 0 ? 100 : 0);
    const type = db[header]!;
    if (type !== 13 && type !== 10) continue;
    const cells = db.readUInt16BE(header + 3);
    const named = (name: string, at: number) =>
      classes.push({ name: `page ${page + 1}: ${name}`, at, unit: null });
    named('type', header);
    named('first free block', header + 2);
    named('number of cells', header + 4);
    named('start of cells', header + 6);
    named('fragmented bytes', header + 7);
    // The schema's text is page 1: a changed letter in a comment is no damage.
    if (page === 0) continue;
    for (let cell = 0; cell < cells; cell++) {
      const pointer = header + 8 + cell * 2;
      named('cell pointer', pointer + 1);
      const start = from + db.readUInt16BE(pointer);
      const length = db[start]!;
      named('cell length', start);
      for (const at of [1, 2, 3, 4, 5, 6, length >> 1, length]) named(`cell, byte ${at}`, start + at);
    }
  }
  return classes;
}
