// Owns the truth ledger in memory, for looking records up by their content: 55 bytes a record. Judges nothing.
import { statSync } from 'node:fs';
import type { FaultLabel } from './judge-anomalies.ts';
import type { ScenarioFile } from './scenario-file.ts';
import { readTruth, type TruthEntry, TruthFileError } from './truth.ts';

const SLOT = 32;
const ACKED = 1;
const TURNED_AWAY = 2;
const SEEN = 4;

export interface RunFacts {
  readonly scenario: Pick<ScenarioFile, 'seconds' | 'dayMinutes'>;
  readonly startMs: number;
  readonly fromOffset: number;
}

export class Book {
  readonly facts: RunFacts;
  readonly devices: readonly string[];
  readonly faults: readonly FaultLabel[];
  /** SHA-256 that the run ended with; null when it was cut off. */
  readonly madeHash: string | null;
  readonly size: number;
  readonly acked: number;
  readonly #device: Uint32Array;
  /** How many records its device had made before. */
  readonly #ordinal: Uint32Array;
  readonly #madeBy = new Map<number, number>();
  readonly #sequence: Float64Array;
  readonly #flags: Uint8Array;
  readonly #high: Uint32Array;
  readonly #low: Uint32Array;
  /** Open addressing: number of the record plus one, 0 is free. */
  readonly #table: Uint32Array;

  /** @throws TruthFileError */
  constructor(path: string) {
    const most = Math.ceil(statSync(path).size / SLOT);
    this.#device = new Uint32Array(most);
    this.#ordinal = new Uint32Array(most);
    this.#sequence = new Float64Array(most);
    this.#flags = new Uint8Array(most);
    this.#high = new Uint32Array(most);
    this.#low = new Uint32Array(most);
    const notes: Record<string, unknown>[] = [];
    let size = 0;
    let acked = 0;
    for (const entry of readTruth(path)) {
      if (entry.type === 'made') {
        this.#add(size, entry);
        size += 1;
      } else if (entry.type === 'note') notes.push(entry.note);
      else if (entry.type === 'acked' && entry.number < size) acked += this.#ack(entry);
    }
    this.size = size;
    this.acked = acked;
    this.#table = this.#indexed(size);
    const run = notes.find((note) => note.type === 'run');
    if (!run) throw new TruthFileError(`${path} has no header: the run was cut off at once`);
    this.facts = run as unknown as RunFacts;
    this.devices = (run.devices as [string, string][]).map(([name]) => name);
    this.faults = notes.filter((note) => note.type === 'fault') as unknown as FaultLabel[];
    this.madeHash = (notes.find((note) => note.type === 'end')?.madeHash as string | undefined) ?? null;
  }

  /** Number of the record of this content; -1 when the fleet made none. */
  find(content: string): number {
    const [high, low] = halves(content);
    const mask = this.#table.length - 1;
    for (let place = low & mask; this.#table[place] !== 0; place = (place + 1) & mask) {
      const number = this.#table[place]! - 1;
      if (this.#high[number] === high && this.#low[number] === low) return number;
    }
    return -1;
  }

  isAcked(number: number): boolean {
    return (this.#flags[number]! & ACKED) !== 0;
  }

  isTurnedAway(number: number): boolean {
    return (this.#flags[number]! & TURNED_AWAY) !== 0;
  }

  isSeen(number: number): boolean {
    return (this.#flags[number]! & SEEN) !== 0;
  }

  see(number: number): void {
    this.#flags[number]! |= SEEN;
  }

  deviceOf(number: number): number {
    return this.#device[number]!;
  }

  ordinalOf(number: number): number {
    return this.#ordinal[number]!;
  }

  sequenceOf(number: number): number | null {
    const sequence = this.#sequence[number]!;
    return Number.isNaN(sequence) ? null : sequence;
  }

  #add(number: number, { device, sequence, content }: Extract<TruthEntry, { type: 'made' }>): void {
    this.#device[number] = device;
    const before = this.#madeBy.get(device) ?? 0;
    this.#ordinal[number] = before;
    this.#madeBy.set(device, before + 1);
    this.#sequence[number] = sequence ?? Number.NaN;
    [this.#high[number], this.#low[number]] = halves(content);
  }

  /** What was acknowledged may be other bytes than were made: Sparkplug counts per connection. */
  #ack({ number, turnedAway, content }: Extract<TruthEntry, { type: 'acked' }>): number {
    if (turnedAway) this.#flags[number]! |= TURNED_AWAY;
    if (this.isAcked(number)) return 0;
    this.#flags[number]! |= ACKED;
    [this.#high[number], this.#low[number]] = halves(content);
    return 1;
  }

  #indexed(size: number): Uint32Array {
    const table = new Uint32Array(2 ** Math.ceil(Math.log2(Math.max(16, 2 * size))));
    const mask = table.length - 1;
    for (let number = 0; number < size; number += 1) {
      let place = this.#low[number]! & mask;
      while (table[place] !== 0) place = (place + 1) & mask;
      table[place] = number + 1;
    }
    return table;
  }
}

function halves(content: string): [high: number, low: number] {
  return [Number.parseInt(content.slice(0, 8), 16), Number.parseInt(content.slice(8), 16)];
}
