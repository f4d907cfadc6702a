// Owns judging anomalies by the labels of injected faults: each by the record it names, so that no device's wrong clock and
// no replay after an outage moves it. A false alarm is no broken promise: it is counted.
import type { Book } from './book.ts';
import type { HeldRecord } from './held.ts';

export interface AnomalyVerdict {
  /** Labelled faults during which their device measured anything. */
  readonly injected: number;
  /** Of those: with at least one anomaly on their device, from their beginning to a while after their end. */
  readonly found: number;
  readonly byKind: Readonly<Record<string, { readonly injected: number; readonly found: number }>>;
  /** Labelled faults so short, or so late, that no record was made during them: nobody could find those. */
  readonly unseen: number;
  /** Anomalies on records of this run. */
  readonly anomalies: number;
  /** Those that belong to no fault. */
  readonly falseAlarms: number;
  /** How much was watched, in days of the plant times devices: what false alarms are measured by. */
  readonly deviceDays: number;
}

/** A fault as the truth ledger labels it. */
export interface FaultLabel {
  readonly device: string;
  readonly kind: string;
  /** Numbers of the first and last record made during it; null: none was. */
  readonly records: readonly [first: number, last: number] | null;
}

const ANOMALIES = /^\$tidemark\/anomalies\//;
/** So many records of its device after a fault still show it in a model's window of 64: the return to normal is news too. */
const ECHO_RECORDS = 64;
const FIRST_ROOM = 65_536;

export class AnomalyJudge {
  readonly #book: Book;
  /** By device index, in order. */
  readonly #faults: ReadonlyMap<number, readonly FaultLabel[]>;
  readonly #labelled: readonly FaultLabel[];
  readonly #found = new Set<FaultLabel>();
  /** By offset from the run's beginning: number of the record that stands there plus one, 0: none of this run. */
  #numbers = new Uint32Array(FIRST_ROOM);
  #anomalies = 0;
  #falseAlarms = 0;

  constructor(book: Book) {
    this.#book = book;
    this.#labelled = book.faults.filter(({ records }) => records);
    const indexOf = new Map(book.devices.map((name, index) => [name, index]));
    this.#faults = Map.groupBy(this.#labelled, ({ device }) => indexOf.get(device) ?? -1);
  }

  /** `number`: that of the record in the truth ledger, -1 when the fleet did not make it. Ask in order of offset. */
  hear(record: HeldRecord, number: number): void {
    if (number >= 0) this.#remember(record.offset, number);
    else if (ANOMALIES.test(record.topic)) this.#weigh(record);
  }

  #remember(offset: number, number: number): void {
    const place = offset - this.#book.facts.fromOffset;
    if (place >= this.#numbers.length) {
      const larger = new Uint32Array(2 * Math.max(place, this.#numbers.length));
      larger.set(this.#numbers);
      this.#numbers = larger;
    }
    this.#numbers[place] = number + 1;
  }

  #weigh({ payload }: HeldRecord): void {
    const { offset } = JSON.parse(Buffer.from(payload).toString()) as { readonly offset: number };
    const number = (this.#numbers[offset - this.#book.facts.fromOffset] ?? 0) - 1;
    if (number < 0) return;
    this.#anomalies += 1;
    const ordinal = this.#book.ordinalOf(number);
    const fault = this.#faults
      .get(this.#book.deviceOf(number))
      // Of two whose echoes overlap, the later one.
      ?.findLast(
        ({ records }) => number >= records![0] && ordinal <= this.#book.ordinalOf(records![1]) + ECHO_RECORDS,
      );
    if (fault) this.#found.add(fault);
    else this.#falseAlarms += 1;
  }

  verdict(): AnomalyVerdict {
    const byKind: Record<string, { injected: number; found: number }> = {};
    for (const fault of this.#labelled) {
      byKind[fault.kind] ??= { injected: 0, found: 0 };
      byKind[fault.kind]!.injected += 1;
      if (this.#found.has(fault)) byKind[fault.kind]!.found += 1;
    }
    const { seconds, dayMinutes } = this.#book.facts.scenario;
    return {
      injected: this.#labelled.length,
      found: this.#found.size,
      byKind,
      unseen: this.#book.faults.length - this.#labelled.length,
      anomalies: this.#anomalies,
      falseAlarms: this.#falseAlarms,
      deviceDays: (this.#book.devices.length * seconds) / (dayMinutes * 60),
    };
  }
}
