// Owns the (device, topic) pairs met while a segment is indexed, found by their bytes: no text is made of what repeats.
// Refuses text that is not UTF-8, as readers do, and more keys or postings than an index may have.
import { FormFault } from './varint.ts';

/** Past these a segment gets spans only: a query by key then reads all that its times do not rule out. */
const MAX_KEYS = 262_144;
const MAX_POSTINGS = 8_000_000;
const FIRST_SLOTS = 1024;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export interface Key {
  readonly hash: number;
  readonly device: Uint8Array;
  readonly topic: Uint8Array;
  /** Spans with records of it, ascending. */
  readonly spans: number[];
  firstMs: number;
  lastMs: number;
  records: number;
}

/** Where the texts of a record lie. */
export interface KeyPlace {
  readonly deviceAt: number;
  readonly deviceBytes: number;
  readonly topicAt: number;
  readonly topicBytes: number;
}

export class KeyTable {
  readonly keys: Key[] = [];
  /** Open addressing: 1 + place in `keys`, 0 where free. Never more than half full. */
  #slots = new Uint32Array(FIRST_SLOTS);
  #postings = 0;

  get isTooLarge(): boolean {
    return this.keys.length > MAX_KEYS || this.#postings > MAX_POSTINGS;
  }

  /** Notes a record of `span`, whose texts lie in `bytes`. */
  note(bytes: Uint8Array, place: KeyPlace, eventMs: number, span: number): void {
    const key = this.#find(bytes, place) ?? this.#insert(bytes, place, eventMs);
    key.records += 1;
    if (eventMs < key.firstMs) key.firstMs = eventMs;
    if (eventMs > key.lastMs) key.lastMs = eventMs;
    const { spans } = key;
    if (spans.length > 0 && spans[spans.length - 1] === span) return;
    spans.push(span);
    this.#postings += 1;
  }

  #find(bytes: Uint8Array, place: KeyPlace): Key | null {
    const hash = hashOf(bytes, place);
    const mask = this.#slots.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const number = this.#slots[slot]!;
      if (number === 0) return null;
      const key = this.keys[number - 1]!;
      if (
        key.hash === hash &&
        isAt(bytes, place.deviceAt, place.deviceBytes, key.device) &&
        isAt(bytes, place.topicAt, place.topicBytes, key.topic)
      )
        return key;
    }
  }

  #insert(bytes: Uint8Array, place: KeyPlace, eventMs: number): Key {
    const device = new Uint8Array(bytes.subarray(place.deviceAt, place.deviceAt + place.deviceBytes));
    const topic = new Uint8Array(bytes.subarray(place.topicAt, place.topicAt + place.topicBytes));
    for (const text of [device, topic]) checkUtf8(text);
    const hash = hashOf(bytes, place);
    const key: Key = { hash, device, topic, spans: [], firstMs: eventMs, lastMs: eventMs, records: 0 };
    this.keys.push(key);
    if (this.keys.length * 2 > this.#slots.length) this.#grow();
    else this.#place(key, this.keys.length);
    return key;
  }

  #grow(): void {
    this.#slots = new Uint32Array(this.#slots.length * 2);
    for (const [index, key] of this.keys.entries()) this.#place(key, index + 1);
  }

  #place(key: Key, number: number): void {
    const mask = this.#slots.length - 1;
    let slot = key.hash & mask;
    while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
    this.#slots[slot] = number;
  }
}

/** FNV-1a over both texts, its bits mixed once more because the low ones choose the slot. */
function hashOf(bytes: Uint8Array, { deviceAt, deviceBytes, topicAt, topicBytes }: KeyPlace): number {
  let hash = 0x811c_9dc5 ^ deviceBytes;
  for (let at = deviceAt; at < deviceAt + deviceBytes; at++) hash = Math.imul(hash ^ bytes[at]!, 0x0100_0193);
  for (let at = topicAt; at < topicAt + topicBytes; at++) hash = Math.imul(hash ^ bytes[at]!, 0x0100_0193);
  return (hash ^ (hash >>> 15)) >>> 0;
}

function isAt(bytes: Uint8Array, at: number, length: number, text: Uint8Array): boolean {
  if (length !== text.length) return false;
  for (let index = 0; index < length; index++) if (bytes[at + index] !== text[index]) return false;
  return true;
}

function checkUtf8(text: Uint8Array): void {
  try {
    utf8.decode(text);
  } catch {
    throw new FormFault('text is not UTF-8');
  }
}
