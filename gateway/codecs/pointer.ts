// JSON pointers (RFC 6901) into payloads. Reads own members only; a pointer that leads nowhere is undefined.
import { lengthBit } from './json-lines.ts';

/** The text says nothing by its members' names. */
export const ANY_NAMES = -1;

export interface Pointer {
  readonly tokens: readonly string[];
  /**
   * What a JSON text, read as Latin-1, must contain to hold the last member, so that most payloads need no parsing;
   * null when the member could be an array element, which has no name in the text.
   */
  readonly needle: string | null;
  /** What JsonLine.nameLengths has of a text that may hold the last member; ANY_NAMES where it may have no name. */
  readonly nameBits: number;
}

/** Throws a RangeError when `text` is not a JSON pointer. */
export function parsePointer(text: string): Pointer {
  if (!/^(\/([^~/]|~0|~1)*)*$/.test(text)) throw new RangeError(`not a JSON pointer: ${text}`);
  const tokens = text
    .split('/')
    .slice(1)
    .map((token) => token.replaceAll('~1', '/').replaceAll('~0', '~'));
  const last = tokens.at(-1);
  const named = last !== undefined && !/^(0|[1-9][0-9]*)$/.test(last);
  return {
    tokens,
    needle: named ? Buffer.from(JSON.stringify(last)).toString('latin1') : null,
    nameBits: named ? lengthBit(Buffer.byteLength(last)) : ANY_NAMES,
  };
}

export function resolvePointer(value: unknown, pointer: Pointer): unknown {
  let at = value;
  for (const token of pointer.tokens) {
    if (typeof at !== 'object' || at === null) return undefined;
    if (Array.isArray(at) && !/^(0|[1-9][0-9]*)$/.test(token)) return undefined;
    if (!Object.hasOwn(at, token)) return undefined;
    at = (at as Record<string, unknown>)[token];
  }
  return at;
}

/** False only when the JSON text surely has no such member (names may be written with escapes). `text` is Latin-1. */
export function mayContain(text: string, pointer: Pointer): boolean {
  return pointer.needle === null || text.includes(pointer.needle) || text.includes('\\');
}
