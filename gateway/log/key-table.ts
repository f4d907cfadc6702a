// Owns the (device, topic) pairs met while a segment is indexed, found by their bytes: no text is made of what repeats.
// Refuses text that is not UTF-8, as readers do, and more keys or postings than an index may have.
import { FormFault } from './varint.ts';

/** Past these a segment gets spans only: a query by key then reads all that its times do not rule out. */
const MAX_KEYS = 262_144;
const MAX_POSTINGS = 8_000_000;
const MAX_TEXT_BYTES = 64 * 1024 * 1024;
const FIRST_SLOTS = 1024;
const FIRST_POSTINGS = 8192;
const FIRST_TEXT_BYTES = 32 * 1024;
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export interface Key {
  readonly device: Uint8Array;
  readonly topic: Uint8Array;
  /** Spans with records of it, ascending. */
  readonly spans: Uint32Array;
  readonly firstMs: number;
  readonly lastMs: number;
  readonly records: number;
}

/** Where the texts of a record lie. */
export interface KeyPlace {
  readonly deviceAt: number;
  readonly deviceBytes: number;
  readonly topicAt: number;
  readonly topicBytes: number;
}

// The fields of a key, one after the other in #fields: one line of the processor's cache for each record noted.
const HASH = 0;
/** In #texts: the device, then the topic. */
const TEXT_AT = 1;
const DEVICE_BYTES = 2;
const TOPIC_BYTES = 3;
const RECORDS = 4;
const POSTINGS = 5;
/** The posting noted last, and its span. */
const LAST_POSTING = 6;
const LAST_SPAN = 7;
const FIELDS = 8;

export class KeyTable {
  #count = 0;
  #fields = new Uint32Array((FIRST_SLOTS / 2) * FIELDS);
  /** First and last time of each key. */
  #times = new Float64Array(FIRST_SLOTS);
  #texts = new Uint8Array(FIRST_TEXT_BYTES);
  #textView = viewOf(this.#texts);
  #textBytes = 0;
  /** Two for each posting: its span, and the posting before it of the same key. */
  #postings = new Uint32Array(FIRST_POSTINGS * 2);
  #postingCount = 0;
  /** Open addressing: 1 + number of the key, 0 where free. Never more than half full. */
  #slots = new Uint32Array(FIRST_SLOTS);

  /** Keys are numbered from 0. */
  get count(): number {
    return this.#count;
  }

  get isTooLarge(): boolean {
    const isWordy = this.#textBytes > MAX_TEXT_BYTES;
    return isWordy || this.#count > MAX_KEYS || this.#postingCount > MAX_POSTINGS;
  }

  /** Notes a record of `span`, whose texts lie in `bytes`. */
  note(bytes: DataView, place: KeyPlace, eventMs: number, span: number): void {
    const hash = hashOf(bytes, place);
    let number = this.#find(hash, bytes, place);
    if (number < 0) number = this.#insert(hash, bytes, place, eventMs);
    const times = this.#times;
    if (eventMs < times[number * 2]!) times[number * 2] = eventMs;
    if (eventMs > times[number * 2 + 1]!) times[number * 2 + 1] = eventMs;
    const fields = this.#fields;
    const at = number * FIELDS;
    fields[at + RECORDS]! += 1;
    if (fields[at + POSTINGS]! > 0 && fields[at + LAST_SPAN] === span) return;
    const posting = this.#postingCount++;
    if (posting * 2 === this.#postings.length) this.#postings = doubled(this.#postings);
    this.#postings[posting * 2] = span;
    this.#postings[posting * 2 + 1] = fields[at + LAST_POSTING]!;
    fields[at + POSTINGS]! += 1;
    fields[at + LAST_POSTING] = posting;
    fields[at + LAST_SPAN] = span;
  }

  texts(number: number): { readonly device: Uint8Array; readonly topic: Uint8Array } {
    const at = number * FIELDS;
    const from = this.#fields[at + TEXT_AT]!;
    const topicFrom = from + this.#fields[at + DEVICE_BYTES]!;
    const end = topicFrom + this.#fields[at + TOPIC_BYTES]!;
    return { device: this.#texts.subarray(from, topicFrom), topic: this.#texts.subarray(topicFrom, end) };
  }

  key(number: number): Key {
    const fields = this.#fields;
    const at = number * FIELDS;
    const spans = new Uint32Array(fields[at + POSTINGS]!);
    let posting = fields[at + LAST_POSTING]!;
    for (let index = spans.length - 1; index >= 0; index--) {
      spans[index] = this.#postings[posting * 2]!;
      posting = this.#postings[posting * 2 + 1]!;
    }
    return {
      ...this.texts(number),
      spans,
      firstMs: this.#times[number * 2]!,
      lastMs: this.#times[number * 2 + 1]!,
      records: fields[at + RECORDS]!,
    };
  }

  /** The number of the key, or -1. */
  #find(hash: number, bytes: DataView, place: KeyPlace): number {
    const slots = this.#slots;
    const fields = this.#fields;
    const mask = slots.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const number = slots[slot]! - 1;
      if (number < 0) return -1;
      const at = number * FIELDS;
      if (fields[at + HASH] !== hash) continue;
      const { deviceBytes, topicBytes } = place;
      if (fields[at + DEVICE_BYTES] !== deviceBytes || fields[at + TOPIC_BYTES] !== topicBytes) continue;
      const from = fields[at + TEXT_AT]!;
      if (!areSame(bytes, place.deviceAt, this.#textView, from, deviceBytes)) continue;
      if (areSame(bytes, place.topicAt, this.#textView, from + deviceBytes, topicBytes)) return number;
    }
  }

  #insert(hash: number, bytes: DataView, place: KeyPlace, eventMs: number): number {
    const at = bytes.byteOffset;
    const device = new Uint8Array(bytes.buffer, at + place.deviceAt, place.deviceBytes);
    const topic = new Uint8Array(bytes.buffer, at + place.topicAt, place.topicBytes);
    for (const text of [device, topic]) checkUtf8(text);
    const number = this.#count++;
    if (this.#count * 2 > this.#slots.length) this.#grow();
    const from = this.#textBytes;
    this.#textBytes += device.length + topic.length;
    while (this.#textBytes > this.#texts.length) this.#texts = doubled(this.#texts);
    if (this.#textView.byteLength < this.#texts.length) this.#textView = viewOf(this.#texts);
    this.#texts.set(device, from);
    this.#texts.set(topic, from + device.length);
    this.#fields.set([hash, from, device.length, topic.length], number * FIELDS);
    this.#times[number * 2] = eventMs;
    this.#times[number * 2 + 1] = eventMs;
    this.#place(hash, number);
    return number;
  }

  /** Doubles the slots, and the room for as many keys as may be in them. */
  #grow(): void {
    this.#fields = doubled(this.#fields);
    this.#times = doubled(this.#times);
    this.#slots = new Uint32Array(this.#slots.length * 2);
    for (let number = 0; number < this.#count - 1; number++)
      this.#place(this.#fields[number * FIELDS + HASH]!, number);
  }

  #place(hash: number, number: number): void {
    const mask = this.#slots.length - 1;
    let slot = hash & mask;
    while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
    this.#slots[slot] = number + 1;
  }
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

function doubled<T extends Uint8Array | Uint32Array | Float64Array>(array: T): T {
  const larger = new (array.constructor as new (length: number) => T)(array.length * 2);
  larger.set(array);
  return larger;
}

/** Of both texts, four bytes at a time. */
function hashOf(bytes: DataView, { deviceAt, deviceBytes, topicAt, topicBytes }: KeyPlace): number {
  const hash = mixIn(0x811c_9dc5 ^ deviceBytes, bytes, deviceAt, deviceAt + deviceBytes);
  return mixIn(hash, bytes, topicAt, topicAt + topicBytes) >>> 0;
}

/** Each step brings high bits down, because the low ones choose the slot. */
function mixIn(seed: number, bytes: DataView, from: number, to: number): number {
  let hash = seed;
  let at = from;
  for (; at + 4 <= to; at += 4) {
    hash = Math.imul(hash ^ bytes.getInt32(at, true), 0x9e37_79b1);
    hash ^= hash >>> 15;
  }
  for (; at < to; at++) hash = Math.imul(hash ^ bytes.getUint8(at), 0x0100_0193);
  return hash ^ (hash >>> 15);
}

function areSame(a: DataView, aAt: number, b: DataView, bAt: number, length: number): boolean {
  let index = 0;
  for (; index + 4 <= length; index += 4)
    if (a.getInt32(aAt + index, true) !== b.getInt32(bAt + index, true)) return false;
  for (; index < length; index++) if (a.getUint8(aAt + index) !== b.getUint8(bAt + index)) return false;
  return true;
}

function checkUtf8(text: Uint8Array): void {
  try {
    utf8.decode(text);
  } catch {
    throw new FormFault('text is not UTF-8');
  }
}
