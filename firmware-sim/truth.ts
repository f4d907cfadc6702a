// Owns the truth ledger's file: what the fleet made, and what the gateway said to each, as it happens. Keeps nothing in
// memory but a write buffer; judges nothing.
import { createHash, hash } from 'node:crypto';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import type { TimelineRecord } from './timeline.ts';

/*
 * file  = "TIDESIM1", then slots of 32 bytes, big-endian; a note fills as many as it needs
 * made  = 1, 0 0 0, device index u32, event time f64, sequence f64 (NaN: none), first 8 bytes of the content's hash
 *         records are numbered in the order of their slots, from 0
 * acked = 2, flags, 0 0, record number u32, unix ms f64, latency ms f64, first 8 bytes of the stored content's hash
 *         flags: 1 the gateway had it already, 2 it had been turned away before, so others may have overtaken it
 * refused, dropped = 3, 4, 0 0 0, record number u32, unix ms f64, zeros
 * note  = 9, 0 0 0, length u32, UTF-8 JSON, zeros; a fault's names the first and last record made during it
 */
const MAGIC = 'TIDESIM1';
const SLOT = 32;
const BUFFER_BYTES = 256 * 1024;
const MADE = 1;
const ACKED = 2;
const REFUSED = 3;
const DROPPED = 4;
const NOTE = 9;

/** What a record is known by: its topic and bytes. Line protocol leaves the topic to the gateway. */
export function contentHash(topic: string | null, payload: string | Uint8Array): string {
  if (topic === null) return hash('sha256', payload, 'hex').slice(0, 16);
  const hasher = createHash('sha256').update(topic).update('\0').update(payload);
  return hasher.digest('hex').slice(0, 16);
}

export type TruthEntry =
  | {
      readonly type: 'made';
      readonly device: number;
      readonly eventMs: number;
      readonly sequence: number | null;
      readonly content: string;
    }
  | {
      readonly type: 'acked';
      readonly number: number;
      readonly atMs: number;
      readonly latencyMs: number;
      readonly duplicate: boolean;
      readonly turnedAway: boolean;
      readonly content: string;
    }
  | { readonly type: 'refused' | 'dropped'; readonly number: number; readonly atMs: number }
  | { readonly type: 'note'; readonly note: Readonly<Record<string, unknown>> };

export class TruthWriter {
  readonly #file: number;
  readonly #buffer = Buffer.alloc(BUFFER_BYTES);
  #used = 0;
  #closed = false;
  /** Over what the fleet made and the faults injected: what the seed decides, not what the gateway answered. */
  readonly #madeHash = createHash('sha256');
  #made = 0;

  constructor(path: string, header: Readonly<Record<string, unknown>>) {
    this.#file = openSync(path, 'w');
    writeSync(this.#file, MAGIC);
    this.note(header);
  }

  get made(): number {
    return this.#made;
  }

  add(record: TimelineRecord, content: string): void {
    if (record.number !== this.#made) throw new RangeError(`record ${record.number} was made out of turn`);
    this.#made += 1;
    const slot = this.#slot(MADE, 0, record.index);
    slot.writeDoubleBE(record.eventMs, 8);
    slot.writeDoubleBE(record.sequence ?? Number.NaN, 16);
    slot.write(content, 24, 'hex');
    this.#madeHash.update(slot);
  }

  acked(
    number: number,
    facts: { atMs: number; latencyMs: number; duplicate: boolean; turnedAway: boolean; content: string },
  ): void {
    const slot = this.#slot(ACKED, (facts.duplicate ? 1 : 0) | (facts.turnedAway ? 2 : 0), number);
    slot.writeDoubleBE(facts.atMs, 8);
    slot.writeDoubleBE(facts.latencyMs, 16);
    slot.write(facts.content, 24, 'hex');
  }

  ended(type: 'refused' | 'dropped', number: number, atMs: number): void {
    this.#slot(type === 'refused' ? REFUSED : DROPPED, 0, number).writeDoubleBE(atMs, 8);
  }

  /** `label` counts towards the hash: it is decided by the seed. */
  note(note: Readonly<Record<string, unknown>>, kind: 'label' | 'remark' = 'remark'): void {
    const text = Buffer.from(JSON.stringify(note));
    if (kind === 'label') this.#madeHash.update(text);
    this.#slot(NOTE, 0, text.length);
    for (let at = 0; at < text.length; at += SLOT) text.copy(this.#room(), 0, at, at + SLOT);
  }

  /** SHA-256 of everything made, hex. Writes a last note and closes the file. */
  close(): string {
    const madeHash = this.#madeHash.digest('hex');
    this.note({ type: 'end', made: this.#made, madeHash });
    this.#flush();
    if (!this.#closed) closeSync(this.#file);
    this.#closed = true;
    return madeHash;
  }

  #slot(type: number, flags: number, number: number): Buffer {
    const slot = this.#room();
    slot[0] = type;
    slot[1] = flags;
    slot.writeUInt32BE(number, 4);
    return slot;
  }

  #room(): Buffer {
    if (this.#used + SLOT > BUFFER_BYTES) this.#flush();
    const slot = this.#buffer.subarray(this.#used, this.#used + SLOT);
    slot.fill(0);
    this.#used += SLOT;
    return slot;
  }

  #flush(): void {
    for (let at = 0; at < this.#used; ) at += writeSync(this.#file, this.#buffer, at, this.#used - at);
    this.#used = 0;
  }
}

export class TruthFileError extends Error {
  override name = 'TruthFileError';
}

/** The entries of a truth file in order. A run that was cut off ends without its last note. @throws TruthFileError */
export function* readTruth(path: string): Generator<TruthEntry> {
  const file = openSync(path, 'r');
  try {
    const magic = Buffer.alloc(MAGIC.length);
    if (readSync(file, magic) !== MAGIC.length || magic.toString('latin1') !== MAGIC)
      throw new TruthFileError(`${path} is not a truth file of \`tidemark sim run\``);
    const slots = slotsOf(file);
    for (;;) {
      const { value: slot } = slots.next();
      if (!slot) return;
      yield entryOf(slot, slots, path);
    }
  } finally {
    closeSync(file);
  }
}

function entryOf(slot: Buffer, slots: Iterator<Buffer, undefined>, path: string): TruthEntry {
  const number = slot.readUInt32BE(4);
  const content = slot.toString('hex', 24, 32);
  switch (slot[0]) {
    case MADE: {
      const sequence = slot.readDoubleBE(16);
      return {
        type: 'made',
        device: number,
        eventMs: slot.readDoubleBE(8),
        sequence: Number.isNaN(sequence) ? null : sequence,
        content,
      };
    }
    case ACKED:
      return {
        type: 'acked',
        number,
        atMs: slot.readDoubleBE(8),
        latencyMs: slot.readDoubleBE(16),
        duplicate: (slot[1]! & 1) !== 0,
        turnedAway: (slot[1]! & 2) !== 0,
        content,
      };
    case REFUSED:
      return { type: 'refused', number, atMs: slot.readDoubleBE(8) };
    case DROPPED:
      return { type: 'dropped', number, atMs: slot.readDoubleBE(8) };
    case NOTE: {
      const pieces: Buffer[] = [];
      for (let left = number; left > 0; left -= SLOT) {
        const { value } = slots.next();
        if (!value) throw new TruthFileError(`${path} ends in the middle of a note: the run was cut off`);
        pieces.push(Buffer.from(value));
      }
      return { type: 'note', note: JSON.parse(Buffer.concat(pieces).toString('utf8', 0, number)) };
    }
    default:
      throw new TruthFileError(`${path} holds an entry of the unknown type ${slot[0]}`);
  }
}

/** Each slot is valid until the next is asked for. */
function* slotsOf(file: number): Generator<Buffer, undefined> {
  const piece = Buffer.alloc(BUFFER_BYTES);
  for (let position = MAGIC.length; ; ) {
    const read = readSync(file, piece, 0, BUFFER_BYTES, position);
    const whole = read - (read % SLOT);
    if (whole === 0) return undefined;
    for (let at = 0; at < whole; at += SLOT) yield piece.subarray(at, at + SLOT);
    position += whole;
  }
}
