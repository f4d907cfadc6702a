// Finds where a top-level member's value, or an array's elements, stand in a JSON text, so that they can be stored byte
// for byte. Refuses to validate values: the caller has parsed the same bytes already, or parses what it is given.
//
//   object = ws "{" [ member *( "," member ) ] ws "}"       RFC 8259 §4
//   member = ws string ws ":" ws value
//   array  = ws "[" [ value *( "," value ) ] ws "]"         RFC 8259 §5

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

const isSpace = (byte: number) => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;

function skipSpace(text: Buffer, at: number): number {
  let next = at;
  while (next < text.length && isSpace(text[next]!)) next += 1;
  return next;
}

/** `at` is the opening quote; answers the position after the closing one. */
function skipString(text: Buffer, at: number): number {
  for (let next = at + 1; next < text.length; next += 1) {
    const byte = text[next]!;
    if (byte === BACKSLASH) next += 1;
    else if (byte === QUOTE) return next + 1;
  }
  return text.length;
}

/** Position after the value that begins at `at`. Does not recurse: nesting costs no stack. */
function skipValue(text: Buffer, at: number): number {
  let depth = 0;
  for (let next = at; next < text.length; ) {
    const byte = text[next]!;
    if (byte === QUOTE) {
      next = skipString(text, next);
      if (depth === 0) return next;
      continue;
    }
    if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth += 1;
    else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
      if (depth === 0) return next; // the end of the object around a bare number or word
      depth -= 1;
      if (depth === 0) return next + 1;
    } else if (depth === 0 && (byte === COMMA || isSpace(byte))) return next;
    next += 1;
  }
  return text.length;
}

function isName(text: Buffer, start: number, end: number, name: Buffer, nameText: string): boolean {
  const plain = end - start === name.length && text.compare(name, 0, name.length, start, end) === 0;
  if (plain) return true;
  if (text.subarray(start, end).indexOf(BACKSLASH) === -1) return false;
  return JSON.parse(text.toString('utf8', start, end)) === nameText;
}

/** A finder for one member name; made once, used for every frame. */
export function memberFinder(nameText: string): (text: Buffer) => Buffer | null {
  const name = Buffer.from(JSON.stringify(nameText));
  /**
   * The exact bytes (a view) of the member's value in `text`, which must be a valid JSON text; null when `text` is
   * no object or has no such member. Of several members of one name the last counts, as with JSON.parse.
   */
  return (text) => {
    let at = skipSpace(text, 0);
    if (text[at] !== OPEN_BRACE) return null;
    at = skipSpace(text, at + 1);
    let found: Buffer | null = null;
    while (at < text.length && text[at] === QUOTE) {
      const nameStart = at;
      const nameEnd = skipString(text, at);
      at = skipSpace(text, nameEnd);
      if (text[at] !== COLON) return found;
      const start = skipSpace(text, at + 1);
      const end = skipValue(text, start);
      if (isName(text, nameStart, nameEnd, name, nameText)) found = text.subarray(start, end);
      at = skipSpace(text, end);
      if (text[at] !== COMMA) return found;
      at = skipSpace(text, at + 1);
    }
    return found;
  };
}

/**
 * The exact bytes (views) of an array's elements, one after the other. Sees to what stands between and around them;
 * whether each is a JSON value is left to whoever parses them.
 */
export class ArrayElements {
  readonly isArray: boolean;
  readonly #text: Buffer;
  #at: number;
  #ended: boolean;

  constructor(text: Buffer) {
    this.#text = text;
    this.#at = skipSpace(text, 0);
    this.isArray = text[this.#at] === OPEN_BRACKET;
    this.#at = skipSpace(text, this.#at + 1);
    this.#ended = text[this.#at] === CLOSE_BRACKET;
  }

  /** Null after the last one, and where no element can stand: see `isWhole`. */
  next(): Buffer | null {
    const text = this.#text;
    if (this.#ended || this.#at >= text.length) return null;
    const start = this.#at;
    const end = skipValue(text, start);
    this.#at = skipSpace(text, end);
    if (text[this.#at] === COMMA) this.#at = skipSpace(text, this.#at + 1);
    else if (text[this.#at] === CLOSE_BRACKET) this.#ended = true;
    else this.#at = text.length;
    return text.subarray(start, end);
  }

  /** After the last one: the array ended, and nothing follows it. */
  get isWhole(): boolean {
    return this.#ended && skipSpace(this.#text, this.#at + 1) === this.#text.length;
  }
}

/** The exact bytes (views) of the elements of `text`, which must be a valid JSON text; null when it is no array. */
export function arrayElements(text: Buffer): Buffer[] | null {
  const elements = new ArrayElements(text);
  if (!elements.isArray) return null;
  const all: Buffer[] = [];
  for (let element = elements.next(); element !== null; element = elements.next()) all.push(element);
  return all;
}
