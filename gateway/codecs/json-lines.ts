// Says where a line of JSON ends, and that it is one JSON text, in one pass over its bytes and without making its values:
// most records need to be kept, not understood. Refuses to judge what is unusual (escapes, deep nesting, mistakes): that
// is left to JSON.parse.
//
//   value = object / array / string / number / true / false / null           RFC 8259 §3 to §7

const QUOTE = 0x22;
const PLUS = 0x2b;
const COMMA = 0x2c;
const MINUS = 0x2d;
const DOT = 0x2e;
const ZERO = 0x30;
const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const LF = 0x0a;

/** One bit for each open bracket fits into an int32; what is nested deeper is left to JSON.parse. */
const DEPTH_MAX = 30;

const TRUE = Buffer.from('true');
const FALSE = Buffer.from('false');
const NULL = Buffer.from('null');

const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= 0x30 && byte <= 0x39;
const isBlank = (byte: number): boolean => byte === 0x20 || byte === 0x09 || byte === 0x0d;

/** Position after the digits from `at` on. */
function afterDigits(text: Uint8Array, at: number): number {
  let next = at;
  while (next < text.length && isDigit(text[next])) next += 1;
  return next;
}

/** Position after the number that begins at `at`, or -1. */
function afterNumber(text: Uint8Array, at: number): number {
  const whole = text[at] === MINUS ? at + 1 : at;
  let next = text[whole] === ZERO ? whole + 1 : afterDigits(text, whole);
  if (next === whole) return -1;
  if (text[next] === DOT) {
    const fraction = next + 1;
    next = afterDigits(text, fraction);
    if (next === fraction) return -1;
  }
  if (text[next] === 0x65 || text[next] === 0x45) {
    const sign = text[next + 1];
    const exponent = sign === PLUS || sign === MINUS ? next + 2 : next + 1;
    next = afterDigits(text, exponent);
    if (next === exponent) return -1;
  }
  return next;
}

/** Position after the string whose opening quote is at `at`; -1: none, or one with escapes. */
function afterString(text: Uint8Array, at: number): number {
  for (let next = at + 1; next < text.length; next += 1) {
    const byte = text[next]!;
    if (byte === QUOTE) return next + 1;
    if (byte === BACKSLASH || byte < 0x20) return -1;
  }
  return -1;
}

function afterWord(text: Uint8Array, at: number, word: Uint8Array): number {
  for (let index = 0; index < word.length; index += 1) if (text[at + index] !== word[index]) return -1;
  return at + word.length;
}

/** Position after a value that is neither object nor array, or -1. */
function afterScalar(text: Uint8Array, at: number): number {
  switch (text[at]) {
    case QUOTE:
      return afterString(text, at);
    case 0x74:
      return afterWord(text, at, TRUE);
    case 0x66:
      return afterWord(text, at, FALSE);
    case 0x6e:
      return afterWord(text, at, NULL);
    default:
      return afterNumber(text, at);
  }
}

/** Position from `at` on of a byte that is no blank; the text's end where there is none. */
function afterBlanks(text: Uint8Array, at: number): number {
  let next = at;
  while (next < text.length && isBlank(text[next]!)) next += 1;
  return next;
}

/** One line after the other. The answer stands in its fields until the next read(): this runs for every record. */
export class JsonLine {
  /** Where it ends: at its LF, or at the end of the text. */
  end = 0;
  /** Bit n is set where a member's name, at any depth, has n bytes; bit 31: that many or more. */
  nameLengths = 0;

  /**
   * True: the line that begins at `start` surely is one JSON text, with blanks around it or none. False: it may be one or
   * not, or may be blank. `text` is valid UTF-8.
   */
  read(text: Uint8Array, start: number): boolean {
    this.nameLengths = 0;
    this.end = this.#read(text, start);
    return this.end !== -1;
  }

  #read(text: Uint8Array, start: number): number {
    let depth = 0;
    /** A bit for each bracket that is open, the innermost lowest: 1 for an object. */
    let objects = 0;
    let at = afterBlanks(text, start);
    for (;;) {
      // A value begins at `at`.
      const byte = text[at];
      if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        if (depth === DEPTH_MAX) return -1;
        const isObject = byte === OPEN_BRACE;
        at = afterBlanks(text, at + 1);
        if (text[at] !== (isObject ? CLOSE_BRACE : CLOSE_BRACKET)) {
          depth += 1;
          objects = (objects << 1) | (isObject ? 1 : 0);
          if (isObject) at = this.#afterName(text, at);
          if (at === -1) return -1;
          continue;
        }
        at += 1;
      } else {
        at = afterScalar(text, at);
        if (at === -1) return -1;
      }
      // A value ended before `at`, and perhaps what is around it.
      for (;;) {
        at = afterBlanks(text, at);
        if (depth === 0) return at === text.length || text[at] === LF ? at : -1;
        const inObject = (objects & 1) === 1;
        const next = text[at];
        if (next === COMMA) {
          at = afterBlanks(text, at + 1);
          if (inObject) at = this.#afterName(text, at);
          if (at === -1) return -1;
          break;
        }
        if (next !== (inObject ? CLOSE_BRACE : CLOSE_BRACKET)) return -1;
        depth -= 1;
        objects >>= 1;
        at += 1;
      }
    }
  }

  /** Position after a member's name and colon, blanks included, or -1. */
  #afterName(text: Uint8Array, at: number): number {
    if (text[at] !== QUOTE) return -1;
    const name = afterString(text, at);
    if (name === -1) return -1;
    this.nameLengths |= lengthBit(name - at - 2);
    const colon = afterBlanks(text, name);
    return text[colon] === COLON ? afterBlanks(text, colon + 1) : -1;
  }
}

/** As `nameLengths` has it. */
export const lengthBit = (bytes: number): number => 1 << Math.min(bytes, 31);
