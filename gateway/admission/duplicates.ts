// Recognises a record that was accepted before: same device, same sequence, same bytes, among the device's most
// recent ones. Refuses to guess: another payload under a used sequence is a new record (the device restarted its
// counter), and a record still waiting for the disk is not yet "accepted before".
import { crc32 as crc32Ieee } from 'node:zlib';
import { crc32c } from '@node-rs/crc32';
import { type Copied, EntriesCopy } from './entries-copy.ts';
import { RecentMap } from './recent-map.ts';

const RING_FIRST = 8;
/** Bytes of one ring slot: f64 sequence and f64 fingerprint. */
export const SLOT_BYTES = 16;
const TWO_32 = 2 ** 32;
const LOW_21 = 0x1f_ffff;

/**
 * Covers topic and payload (two CRCs of different polynomials, seeded with the topic's), and the device's time where
 * it gave one. 53 bits: 32 alone would, in a fleet whose devices start their counters anew each day, take a new record
 * for a known one every few years, and lose it.
 */
export function fingerprint(topicCrc: number, payload: Uint8Array, givenEventMs: number | null): number {
  const low = crc32c(payload, topicCrc);
  const high = crc32Ieee(payload, topicCrc);
  if (givenEventMs === null) return (high & LOW_21) * TWO_32 + low;
  const timeHigh = Math.floor(givenEventMs / TWO_32) + 1;
  const mixedLow = Math.imul(Math.imul(low ^ givenEventMs, 0x9e3779b1) ^ timeHigh, 0x85ebca6b) >>> 0;
  const mixedHigh = Math.imul(Math.imul(high ^ timeHigh, 0xc2b2ae35) ^ givenEventMs, 0x27d4eb2f) >>> 11;
  return mixedHigh * TWO_32 + mixedLow;
}

export const topicCrcOf = (topic: string): number => crc32c(topic);

/** A record on its way to the disk; its repetitions wait here for the same outcome. */
export interface Pending {
  readonly device: string;
  readonly sequence: number;
  readonly fingerprint: number;
  waiting: (() => void)[] | null;
  /** Another record of the device with the same sequence and other bytes. */
  next: Pending | null;
}

class DeviceRing implements Copied {
  sequences = new Float64Array(RING_FIRST);
  fingerprints = new Float64Array(RING_FIRST);
  length = 0;
  at = 0;
  highest = -1;
  copyAt = -1;
  readonly pending = new Map<number, Pending>();

  has(sequence: number, print: number): boolean {
    if (sequence > this.highest) return false;
    for (let slot = 0; slot < this.length; slot += 1) {
      if (this.sequences[slot] === sequence && this.fingerprints[slot] === print) return true;
    }
    return false;
  }

  push(sequence: number, print: number): void {
    this.sequences[this.at] = sequence;
    this.fingerprints[this.at] = print;
    this.at = (this.at + 1) % this.sequences.length;
    if (this.length < this.sequences.length) this.length += 1;
    if (sequence > this.highest) this.highest = sequence;
  }

  grow(capacity: number): void {
    const sequences = new Float64Array(capacity);
    const fingerprints = new Float64Array(capacity);
    this.#copy(this.sequences, sequences, 0);
    this.#copy(this.fingerprints, fingerprints, 0);
    this.sequences = sequences;
    this.fingerprints = fingerprints;
    this.at = this.length % capacity;
  }

  /** The entries from the oldest to the newest: all sequences, then all fingerprints. */
  copyTo(slots: Float64Array, at: number): void {
    this.#copy(this.sequences, slots, at);
    this.#copy(this.fingerprints, slots, at + this.length);
  }

  #copy(from: Float64Array, to: Float64Array, at: number): void {
    const first = this.length < from.length ? 0 : this.at;
    to.set(from.subarray(first, this.length), at);
    to.set(from.subarray(0, first), at + this.length - first);
  }
}

export interface DuplicateLimits {
  /** Entries per device; 0 turns the guard off. */
  readonly window: number;
  /** Entries of all devices; at the limit windows stop growing (they keep what they have, at least 8). */
  readonly maxEntries: number;
  readonly maxDevices: number;
}

export class DuplicateGuard {
  readonly #limits: DuplicateLimits;
  readonly #rings: RecentMap<DeviceRing>;
  #capacity = 0;
  #forgotten = 0;
  #copy: EntriesCopy | null = null;

  constructor(limits: DuplicateLimits) {
    this.#limits = limits;
    this.#rings = new RecentMap(limits.maxDevices, (_device, ring) => {
      this.#capacity -= ring.sequences.length;
      this.#forgotten += 1;
    });
  }

  get enabled(): boolean {
    return this.#limits.window > 0;
  }

  get forgotten(): number {
    return this.#forgotten;
  }

  /** 'stored': accepted before and durable. A Pending: on its way. null: new. */
  find(device: string, sequence: number, print: number): 'stored' | Pending | null {
    const ring = this.#rings.touch(device);
    if (ring === undefined) return null;
    for (let pending = ring.pending.get(sequence) ?? null; pending !== null; pending = pending.next) {
      if (pending.fingerprint === print) return pending;
    }
    return ring.has(sequence, print) ? 'stored' : null;
  }

  /** The record goes to the log now; call settle() with its outcome. */
  begin(device: string, sequence: number, print: number): Pending {
    const ring = this.#ring(device);
    const next = ring.pending.get(sequence) ?? null;
    const pending: Pending = { device, sequence, fingerprint: print, waiting: null, next };
    ring.pending.set(sequence, pending);
    return pending;
  }

  /** Lets those who waited go on: they find the record stored, or take its place. */
  settle(pending: Pending, stored: boolean): void {
    const ring = stored ? this.#ring(pending.device) : this.#rings.touch(pending.device);
    if (ring) {
      this.#unlink(ring, pending);
      if (stored) this.#push(ring, pending.sequence, pending.fingerprint);
    }
    const waiting = pending.waiting;
    pending.waiting = null;
    if (waiting) for (const go of waiting) go();
  }

  /** A record read back from the log. */
  remember(device: string, sequence: number, print: number): void {
    this.#push(this.#ring(device), sequence, print);
  }

  #ring(device: string): DeviceRing {
    const known = this.#rings.touch(device);
    if (known) return known;
    const ring = new DeviceRing();
    this.#capacity += ring.sequences.length;
    this.#rings.add(device, ring);
    return ring;
  }

  #push(ring: DeviceRing, sequence: number, print: number): void {
    this.#copy?.before(ring);
    const capacity = ring.sequences.length;
    const { window, maxEntries } = this.#limits;
    if (ring.length === capacity && capacity < window) {
      const wanted = Math.min(capacity * 2, window);
      if (this.#capacity + wanted - capacity <= maxEntries) {
        ring.grow(wanted);
        this.#capacity += wanted - capacity;
      }
    }
    ring.push(sequence, print);
  }

  #unlink(ring: DeviceRing, pending: Pending): void {
    const head = ring.pending.get(pending.sequence) ?? null;
    if (head === pending) {
      if (pending.next) ring.pending.set(pending.sequence, pending.next);
      else ring.pending.delete(pending.sequence);
      return;
    }
    for (let before = head; before !== null; before = before.next) {
      if (before.next === pending) {
        before.next = pending.next;
        return;
      }
    }
  }

  /** The entries as they are now: how many each device has, least recent first, and what copies them. One at a time. */
  copy(): {
    readonly counts: readonly (readonly [device: string, entries: number])[];
    readonly copy: EntriesCopy;
  } {
    const rings = [...this.#rings.entries()].filter(([, ring]) => ring.length > 0);
    const counts = rings.map(([device, ring]) => [device, ring.length] as const);
    this.#copy = new EntriesCopy(
      rings.map(([, ring]) => ring),
      () => {
        this.#copy = null;
      },
    );
    return { counts, copy: this.#copy };
  }
}
