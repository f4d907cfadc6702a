// Owns the judgement of a run: what the gateway acknowledged against what it holds. Every acknowledged record once, its
// own bytes, in the order its device sent it, and proven; nothing that no device made. Repairs and excuses nothing.
import { verifyProof } from '../ledger/verify/index.ts';
import { Book } from './book.ts';
import type { HeldRecord } from './held.ts';
import { AnomalyJudge, type AnomalyVerdict } from './judge-anomalies.ts';
import { type SinkCollector, SinkJudge, type SinkVerdict } from './judge-sink.ts';
import { WindowJudge, type WindowSettings, type WindowVerdict } from './judge-windows.ts';
import { Random } from './random.ts';
import { contentHash } from './truth.ts';

export type Problem = 'lost' | 'doubled' | 'reordered' | 'changed' | 'invented' | 'unproven';

export interface Offender {
  readonly problem: Problem;
  readonly device: string;
  readonly sequence: number | null;
  /** Where it stands, when it does. */
  readonly offset?: number;
  readonly detail?: string;
}

export interface Verdict {
  readonly made: number;
  readonly acked: number;
  /** Records of the gateway that were read, and those of them that its devices had no answer for. */
  readonly read: number;
  readonly unacked: number;
  /** Acknowledged, and not there. */
  readonly lost: number;
  /** Further copies of a numbered record. */
  readonly doubled: number;
  /** Behind a record that its device sent later. */
  readonly reordered: number;
  /** There under its number, with other bytes. */
  readonly changed: number;
  /** Under a device's name, and never made by it. */
  readonly invented: number;
  /** Of a sample of `proofs` acknowledged records: no proof, or one that does not verify. */
  readonly unproven: number;
  readonly proofs: number;
  readonly windows: WindowVerdict | null;
  readonly anomalies: AnomalyVerdict;
  /** What arrived upstream; null: nobody listened there. */
  readonly sink: SinkVerdict | null;
  /** The first twenty of each problem. */
  readonly offenders: readonly Offender[];
  readonly madeHash: string | null;
  /** Lost, doubled, reordered, changed, invented and unproven are all zero; windows and sink agree. */
  readonly ok: boolean;
}

export interface JudgeOptions {
  readonly truthPath: string;
  /** From offset `facts.fromOffset` of the truth ledger on, in order. */
  readonly held: (fromOffset: number) => AsyncIterable<readonly HeldRecord[]>;
  /** Text of a proof file, for the sample; null: none is to be had. Without it nothing is sampled. */
  readonly proofOf?: (offset: number) => Promise<string | null>;
  /** Verifier key text of the gateway, for the sample. */
  readonly gatewayKey?: string;
  /** How many acknowledged records have their proof checked. Default 100. */
  readonly proofs?: number;
  /** What the gateway was told about windows; null: windows are not looked at. */
  readonly windows?: readonly WindowSettings[] | null;
  /** Listened upstream since before the run. */
  readonly sink?: SinkCollector | null;
}

const MAX_OFFENDERS = 20;
const PROOFS = 100;
const DEVICE_SOURCES = 3;
/** Births, deaths and re-sent data of edge nodes are counted per connection: they are not in the truth ledger. */
const SPARKPLUG = /^spBv1\.0\//;

export async function judge(options: JudgeOptions): Promise<Verdict> {
  const book = new Book(options.truthPath);
  const court = new Court(book, options.proofs ?? PROOFS, options.proofOf !== undefined);
  const windows = options.windows ? new WindowJudge(options.windows) : null;
  const sink = options.sink ? new SinkJudge(options.sink) : null;
  const anomalies = new AnomalyJudge(book);
  for await (const records of options.held(book.facts.fromOffset)) {
    for (const record of records) {
      const number = court.hear(record);
      windows?.hear(record);
      anomalies.hear(record, number);
      sink?.hear(record);
    }
  }
  court.close();
  if (options.proofOf) await court.demandProofs(options.proofOf, options.gatewayKey);
  const windowVerdict = windows?.verdict() ?? null;
  const sinkVerdict = sink?.verdict() ?? null;
  const verdict = {
    ...court.counts,
    windows: windowVerdict,
    anomalies: anomalies.verdict(),
    sink: sinkVerdict,
  };
  const { lost, doubled, reordered, changed, invented, unproven } = court.counts;
  return {
    made: book.size,
    acked: book.acked,
    ...verdict,
    offenders: court.offenders,
    madeHash: book.madeHash,
    ok:
      lost + doubled + reordered + changed + invented + unproven === 0 &&
      windowVerdict?.ok !== false &&
      sinkVerdict?.ok !== false,
  };
}

class Court {
  readonly counts = {
    read: 0,
    unacked: 0,
    lost: 0,
    doubled: 0,
    reordered: 0,
    changed: 0,
    invented: 0,
    unproven: 0,
    proofs: 0,
  };
  readonly offenders: Offender[] = [];
  readonly #book: Book;
  readonly #indexOf: ReadonlyMap<string, number>;
  /** Number of the last record of each device, in the order it stands in the log. */
  readonly #last: Float64Array;
  /** Records under a device's name that it did not make: changed ones, perhaps. */
  readonly #strangers = new Map<string, Offender>();
  #strangersInAll = 0;
  /** Reservoir of acknowledged records, for proofs. */
  readonly #sample: { offset: number; number: number }[] = [];
  readonly #sampleSize: number;
  readonly #random = new Random('proofs');
  #candidates = 0;

  constructor(book: Book, sampleSize: number, sampled: boolean) {
    this.#book = book;
    this.#indexOf = new Map(book.devices.map((name, index) => [name, index]));
    this.#last = new Float64Array(book.devices.length).fill(-1);
    this.#sampleSize = sampled ? sampleSize : 0;
  }

  /** The record's number in the truth ledger; -1 when the fleet did not make it. */
  hear(record: HeldRecord): number {
    if (record.source > DEVICE_SOURCES) return -1;
    this.counts.read += 1;
    const book = this.#book;
    const { topic, device, sequence, offset, payload } = record;
    let number = book.find(contentHash(topic, payload));
    if (number < 0) number = book.find(contentHash(null, payload));
    if (number < 0) {
      if (!this.#indexOf.has(device) || SPARKPLUG.test(topic)) return -1;
      this.#strangersInAll += 1;
      if (this.#strangers.size < 100_000)
        this.#strangers.set(`${device} ${sequence}`, { problem: 'invented', device, sequence, offset });
      return -1;
    }
    if (book.isSeen(number)) {
      // Whoever does not number its records is stored at least once.
      if (book.sequenceOf(number) !== null) this.#blame('doubled', number, offset);
      return number;
    }
    book.see(number);
    if (!book.isAcked(number)) {
      this.counts.unacked += 1;
      return number;
    }
    const index = book.deviceOf(number);
    if (!book.isTurnedAway(number)) {
      if (number < this.#last[index]!) this.#blame('reordered', number, offset);
      this.#last[index] = Math.max(number, this.#last[index]!);
    }
    this.#candidates += 1;
    if (this.#sample.length < this.#sampleSize) this.#sample.push({ offset, number });
    else {
      const place = this.#random.index(this.#candidates);
      if (place < this.#sampleSize) this.#sample[place] = { offset, number };
    }
    return number;
  }

  close(): void {
    const book = this.#book;
    for (let number = 0; number < book.size; number += 1) {
      if (!book.isAcked(number) || book.isSeen(number)) continue;
      const key = `${book.devices[book.deviceOf(number)]} ${book.sequenceOf(number)}`;
      const stranger = this.#strangers.get(key);
      if (stranger) {
        this.#strangers.delete(key);
        this.#strangersInAll -= 1;
        this.#blame('changed', number, stranger.offset);
      } else this.#blame('lost', number);
    }
    this.counts.invented = this.#strangersInAll;
    this.offenders.push(...[...this.#strangers.values()].slice(0, MAX_OFFENDERS));
  }

  async demandProofs(
    proofOf: (offset: number) => Promise<string | null>,
    gatewayKey: string | undefined,
  ): Promise<void> {
    for (const { offset, number } of this.#sample) {
      const text = await proofOf(offset);
      this.counts.proofs += 1;
      if (text === null) {
        this.#blame('unproven', number, offset, 'there is no proof');
        continue;
      }
      const { valid, record, steps, problem } = verifyProof(text, { gatewayKey });
      if (!valid || record?.offset !== offset)
        this.#blame(
          'unproven',
          number,
          offset,
          problem?.message ?? steps.find((step) => step.ok === false)?.detail ?? 'of another record',
        );
    }
  }

  #blame(problem: Exclude<Problem, 'invented'>, number: number, offset?: number, detail?: string): void {
    this.counts[problem] += 1;
    if (this.counts[problem] > MAX_OFFENDERS) return;
    const device = this.#book.devices[this.#book.deviceOf(number)]!;
    const sequence = this.#book.sequenceOf(number);
    this.offenders.push({
      problem,
      device,
      sequence,
      ...(offset !== undefined && { offset }),
      ...(detail !== undefined && { detail }),
    });
  }
}
