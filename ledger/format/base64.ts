// Base64 and base64url with exactly one spelling per byte string (RFC 4648 §3.5). Refuses everything else.
import { FormatError, type FormatErrorCode } from './errors.ts';

const STANDARD = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const URL_SAFE = `${STANDARD.slice(0, 62)}-_`;

function valuesOf(alphabet: string): Int8Array {
  const values = new Int8Array(128).fill(-1);
  for (let i = 0; i < 64; i++) values[alphabet.charCodeAt(i)] = i;
  return values;
}
const STANDARD_VALUES = valuesOf(STANDARD);
const URL_VALUES = valuesOf(URL_SAFE);

function encode(bytes: Uint8Array, alphabet: string, pad: string): string {
  let out = '';
  let i = 0;
  for (; i + 2 < bytes.length; i += 3) {
    const n = (bytes[i]! << 16) | (bytes[i + 1]! << 8) | bytes[i + 2]!;
    out += alphabet[n >> 18]! + alphabet[(n >> 12) & 63]! + alphabet[(n >> 6) & 63]! + alphabet[n & 63]!;
  }
  const left = bytes.length - i;
  if (left === 1) {
    const n = bytes[i]! << 4;
    out += alphabet[n >> 6]! + alphabet[n & 63]! + pad + pad;
  } else if (left === 2) {
    const n = (bytes[i]! << 10) | (bytes[i + 1]! << 2);
    out += alphabet[n >> 12]! + alphabet[(n >> 6) & 63]! + alphabet[n & 63]! + pad;
  }
  return out;
}

/** Decodes unpadded text; null when a character, the length or a spare bit is wrong. */
function decode(text: string, length: number, values: Int8Array): Uint8Array | null {
  if (length % 4 === 1) return null;
  const out = new Uint8Array(Math.floor((length * 3) / 4));
  let bits = 0;
  let held = 0;
  let at = 0;
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i);
    const value = code < 128 ? values[code]! : -1;
    if (value < 0) return null;
    bits = ((bits << 6) | value) & 0xffff;
    held += 6;
    if (held >= 8) {
      held -= 8;
      out[at++] = (bits >> held) & 0xff;
    }
  }
  // Spare bits must be zero, or one byte string would have several spellings.
  return (bits & ((1 << held) - 1)) === 0 ? out : null;
}

/** Standard base64 with padding. */
export function toBase64(bytes: Uint8Array): string {
  return encode(bytes, STANDARD, '=');
}

/** Strict standard base64 with padding. Throws FormatError with `code` (default BASE64_INVALID). */
export function fromBase64(
  text: string,
  what = 'value',
  code: FormatErrorCode = 'BASE64_INVALID',
): Uint8Array {
  const pad = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  const bytes = text.length % 4 === 0 ? decode(text, text.length - pad, STANDARD_VALUES) : null;
  if (!bytes)
    throw new FormatError(code, `${what} is not canonical base64`, {
      facts: { what, text: text.slice(0, 60) },
    });
  return bytes;
}

/** The same for a value of known length, such as the 32 bytes of a hash. */
export function fromBase64Sized(
  text: string,
  length: number,
  what: string,
  code: FormatErrorCode = 'BASE64_INVALID',
): Uint8Array {
  const bytes = fromBase64(text, what, code);
  if (bytes.length !== length) {
    throw new FormatError(code, `${what} has ${bytes.length} bytes, not ${length}`, {
      facts: { what, bytes: bytes.length, expected: length },
    });
  }
  return bytes;
}

/** base64url without padding (RFC 4648 §5). */
export function toBase64Url(bytes: Uint8Array): string {
  return encode(bytes, URL_SAFE, '');
}

/** Strict base64url without padding. Throws FormatError with `code` (default BASE64_INVALID). */
export function fromBase64Url(
  text: string,
  what = 'value',
  code: FormatErrorCode = 'BASE64_INVALID',
): Uint8Array {
  const bytes = decode(text, text.length, URL_VALUES);
  if (!bytes)
    throw new FormatError(code, `${what} is not canonical base64url`, {
      facts: { what, text: text.slice(0, 60) },
    });
  return bytes;
}
