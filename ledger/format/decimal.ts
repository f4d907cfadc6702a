// Whole numbers as text, one spelling each. Refuses leading zeros, signs where none belong, and > 2^53-1.
import { FormatError, type FormatErrorCode } from './errors.ts';

/** Reads a decimal from 0 to 2^53-1 without sign or leading zeros. Throws a FormatError with `code`. */
export function parseDecimal(text: string, what: string, code: FormatErrorCode = 'NUMBER_INVALID'): number {
  const value = /^(0|[1-9][0-9]{0,15})$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value)) throw notDecimal(text, what, code);
  return value;
}

/** The same with an optional minus sign (not for zero): times before 1970. */
export function parseSignedDecimal(
  text: string,
  what: string,
  code: FormatErrorCode = 'NUMBER_INVALID',
): number {
  if (!text.startsWith('-')) return parseDecimal(text, what, code);
  const value = parseDecimal(text.slice(1), what, code);
  if (value === 0) throw notDecimal(text, what, code);
  return -value;
}

function notDecimal(text: string, what: string, code: FormatErrorCode): FormatError {
  const shown = text.slice(0, 40);
  return new FormatError(
    code,
    `${what} is not a whole number from 0 to 2^53-1 without leading zeros: ${JSON.stringify(shown)}`,
    {
      facts: { what, text: shown },
    },
  );
}
