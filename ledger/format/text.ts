// UTF-8, strictly both ways, and names of keys and origins. Replaces nothing silently.
import { FormatError, type FormatErrorCode } from './errors.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** UTF-8 of well-formed text. Lone surrogates would become U+FFFD, so they are refused. */
export function toUtf8(text: string, what = 'text', code: FormatErrorCode = 'NOTE_INVALID'): Uint8Array {
  if (!text.isWellFormed()) throw new FormatError(code, `${what} has a lone surrogate`, { facts: { what } });
  return encoder.encode(text);
}

/** Writes UTF-8 into `target` at `position`; returns the bytes written. The text must be well formed and fit. */
export function writeUtf8(text: string, target: Uint8Array, position: number): number {
  return encoder.encodeInto(text, target.subarray(position)).written;
}

/** Strict UTF-8 to text; a byte order mark stays a character. */
export function fromUtf8(bytes: Uint8Array, what = 'text', code: FormatErrorCode = 'NOTE_INVALID'): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new FormatError(code, `${what} is not UTF-8`, { facts: { what }, cause });
  }
}

/** C2SP signed-note: a key name (and so an origin) is not empty and has no Unicode space and no plus. */
export function isKeyName(name: string): boolean {
  return (
    name.length > 0 && name.length <= 255 && name.isWellFormed() && !/[\p{White_Space}\p{Cc}+]/u.test(name)
  );
}
