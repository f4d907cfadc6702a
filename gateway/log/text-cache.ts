// Owns a small bounded cache from UTF-8 bytes to strings, for topics and device ids, which repeat. Refuses
// malformed UTF-8, so that text reads back exactly as it was written or not at all.
import { FormFault } from './varint.ts';

const SLOTS = 8192;
/** Longer text is decoded each time: it must not fill the cache. */
const MAX_CACHED_BYTES = 256;
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export class TextCache {
  readonly #slots: (string | undefined)[] = new Array<string | undefined>(SLOTS).fill(undefined);

  get(bytes: Uint8Array, from: number, to: number): string {
    if (from === to) return '';
    if (to - from > MAX_CACHED_BYTES) return decode(bytes, from, to);
    let hash = to - from;
    let all = 0;
    for (let at = from; at < to; at++) {
      all |= bytes[at]!;
      hash = Math.imul(hash ^ bytes[at]!, 0x0100_0193);
    }
    if (all > 0x7f) return decode(bytes, from, to);
    const slot = (hash ^ (hash >>> 15)) & (SLOTS - 1);
    const cached = this.#slots[slot];
    if (cached !== undefined && sameAscii(cached, bytes, from, to)) return cached;
    // ASCII is the same in Latin-1, which takes a quarter of the time.
    const text = latin1(bytes, from, to);
    this.#slots[slot] = text;
    return text;
  }
}

function latin1(bytes: Uint8Array, from: number, to: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + from, to - from).toString('latin1');
}

function sameAscii(text: string, bytes: Uint8Array, from: number, to: number): boolean {
  if (text.length !== to - from) return false;
  for (let index = 0; index < text.length; index++)
    if (text.charCodeAt(index) !== bytes[from + index]) return false;
  return true;
}

function decode(bytes: Uint8Array, from: number, to: number): string {
  try {
    return decoder.decode(bytes.subarray(from, to));
  } catch {
    throw new FormFault('text is not UTF-8');
  }
}
