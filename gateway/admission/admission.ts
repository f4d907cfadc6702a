// Decides about every device message, whatever protocol it came by: refuse, recognise as repeated, or hand to the
// log in its turn; answers once the record is durable. What a record must be, judge.ts says; who waits, fair-queue.ts.
import type { Offset } from '../../ledger/format/brand.ts';
import type { LogAppender, LogError, LogReader } from '../log/types.ts';
import type { Cursor } from '../state/state.ts';
import type { Chores } from '../threads/chores.ts';
import { INGEST_RULES, type IngestConfig, type IngestRules } from './config.ts';
import { Counts, sourceName } from './counts.ts';
import type { DeviceTable } from './devices.ts';
import { FairQueue } from './fair-queue.ts';
import { type Candidate, Judge } from './judge.ts';
import { AdmissionMemory } from './memory.ts';
import type { Pressure } from './pressure.ts';
import { RateLimits } from './rate.ts';
import type {
  AdmissionFigures,
  IngestLogger,
  IngestSource,
  Outcome,
  Part,
  RejectReason,
  Shared,
  ShedReason,
  Submission,
} from './types.ts';

export interface AdmissionOptions {
  readonly config: IngestConfig;
  readonly log: LogAppender & { openReader(): Promise<LogReader> };
  /** Where the last snapshot is (consumer `admission`). Used by open() only. */
  readonly state: { loadCursor(consumer: string): Cursor | null };
  /** For the chore that saves snapshots through a connection of its own. */
  readonly dataDir: string;
  readonly chores: Chores;
  readonly logger: IngestLogger;
  /** How full the gateway is; without it only the bounds of queue and log refuse. */
  readonly pressure?: Pressure;
  /** Unix ms. Default Date.now. */
  readonly clock?: () => number;
  /** Monotonic ms, for rates. Default performance.now. */
  readonly steadyClock?: () => number;
}

/** `place`: of the record in its batch; 0 where it came by itself. */
type Done = (outcome: Outcome, place: number) => void;
type Shed = Extract<Outcome, { kind: 'shed' }>;

const RETRY_MS = { overloaded: 250, 'disk-full': 5_000, unavailable: 5_000 } as const satisfies Record<
  Exclude<ShedReason, 'rate-limited'>,
  number
>;
const DUPLICATE: Outcome = { kind: 'duplicate' };
const CONFLICT: Outcome = {
  kind: 'reject',
  reason: 'malformed',
  detail: 'the message id was used for another message of this device',
};

const shed = (reason: keyof typeof RETRY_MS): Shed => {
  return { kind: 'shed', reason, retryAfterMs: RETRY_MS[reason] };
};

/** Whoever waits for no answer does not try again. */
const told = (outcome: Shed, unacknowledged: boolean): Shed =>
  unacknowledged ? { ...outcome, dropped: true } : outcome;

function refusedByLog(error: LogError): Outcome {
  if (error.code === 'DISK_FULL') return shed('disk-full');
  if (error.code === 'BUFFER_FULL') return shed('overloaded');
  if (error.code === 'RECORD_TOO_LARGE')
    return { kind: 'reject', reason: 'too-large', detail: error.message };
  if (error.code === 'RECORD_INVALID') return { kind: 'reject', reason: 'malformed', detail: error.message };
  return shed('unavailable');
}

export class Admission {
  readonly #options: AdmissionOptions;
  readonly #clock: () => number;
  readonly #steady: () => number;
  readonly #counts = new Counts();
  readonly #memory: AdmissionMemory;
  readonly #queue: FairQueue<Candidate>;
  #judge: Judge;
  #rates: RateLimits;
  #inFlight = 0;
  #drained: (() => void) | null = null;
  #closing = false;

  private constructor(options: AdmissionOptions) {
    const { config } = options;
    this.#options = options;
    this.#clock = options.clock ?? Date.now;
    this.#steady = options.steadyClock ?? (() => performance.now());
    this.#judge = new Judge(config);
    this.#memory = new AdmissionMemory(options, this.#judge.topics);
    this.#rates = new RateLimits(config.rate, config.maxDevices);
    this.#queue = new FairQueue(config.fairness, (candidate) => this.#append(candidate));
  }

  /** Loads the last snapshot and reads back from the log what came after it: repetitions are known across restarts. */
  static async open(options: AdmissionOptions): Promise<Admission> {
    const admission = new Admission(options);
    const reader = await options.log.openReader();
    try {
      await admission.#memory.restore(reader, options.state.loadCursor('admission'));
    } finally {
      await reader.close();
    }
    admission.#memory.startSaving();
    return admission;
  }

  /** The devices heard of, for reading. */
  get devices(): DeviceTable {
    return this.#memory.devices;
  }

  /** Other rules for what comes from now on. Buckets begin full. */
  update(rules: IngestRules): void {
    const config = { ...this.#options.config };
    for (const key of INGEST_RULES) Object.assign(config, { [key]: rules[key] });
    this.#judge = new Judge(config);
    this.#rates = new RateLimits(config.rate, config.maxDevices);
    this.#queue.update(config.fairness);
  }

  /** Calls `done` exactly once: after durability, or with why not (then possibly at once). Never throws. */
  submit(submission: Submission, done: Done): void {
    this.#inFlight += 1;
    const verdict = this.#closing ? shed('unavailable') : this.#judge.judge(submission, this.#clock(), done);
    if ('kind' in verdict) this.#finish(sourceName(submission.source), { done, place: 0 }, verdict);
    else this.#enter(verdict);
  }

  /** The same for parts [from, to) of a batch, in order. What they have in common is looked at once. */
  submitParts(shared: Shared, parts: readonly Part[], from: number, to: number, done: Done): void {
    const isFull = this.#options.pressure?.refusal(shared.unacknowledged === true) != null;
    const common = this.#closing || isFull ? null : this.#judge.common(shared, this.#clock());
    if (common === null) {
      for (let place = from; place < to; place += 1) {
        const { payload, json, givesNothing = false } = parts[place]!;
        this.submit({ ...shared, payload, json, givesNothing }, (outcome) => done(outcome, place));
      }
      return;
    }
    const source = sourceName(shared.source);
    for (let place = from; place < to; place += 1) {
      this.#inFlight += 1;
      const verdict = this.#judge.judgePart(common, parts[place]!, place, done);
      if ('kind' in verdict) this.#finish(source, { done, place }, verdict);
      else this.#enter(verdict, false);
    }
  }

  /**
   * What JsonLine.nameLengths has of payloads that need to be parsed, under this topic; ANY_NAMES: each does. Of all others
   * `givesNothing` may be said.
   */
  namesLookedFor(topic: string): number {
    return this.#judge.namesLookedFor(topic);
  }

  /** Counts a refusal the adapter made itself, before there was a submission. */
  countRefusal(source: IngestSource, reason: RejectReason): void {
    this.#counts.reject(source, reason);
  }

  /** Bytes of records that wait their turn: part of how full the gateway is. */
  get queuedBytes(): number {
    return this.#queue.figures.bytes;
  }

  figures(): AdmissionFigures {
    const { accepted, refused, rejected, shed, dropped, clock, misfits, duplicates } = this.#counts;
    return {
      accepted: { ...accepted },
      refused: { ...refused },
      duplicates,
      rejected: { ...rejected },
      shed: { ...shed },
      dropped: { ...dropped },
      clock: { ...clock },
      misfits: { ...misfits },
      messageIdsForgotten: this.#memory.messages.forgotten,
      inFlight: this.#inFlight,
      queued: this.#queue.figures,
      devices: this.devices.size,
      devicesForgotten: this.devices.forgotten + this.#memory.duplicates.forgotten,
      ...this.#memory.saves,
    };
  }

  /** Refuses what comes from now on, waits for what is in flight, saves a last snapshot. Close the log after it. */
  async close(): Promise<void> {
    this.#closing = true;
    if (this.#inFlight > 0) await new Promise<void>((resolve) => (this.#drained = resolve));
    await this.#memory.close();
  }

  /** To the log, unless the record is known: then the answer is, or will be, the first one's. */
  #enter(candidate: Candidate, askPressure = true): void {
    const source = sourceName(candidate.record.source);
    const known = this.#known(candidate);
    if (known === null) this.#enterNew(candidate, source, askPressure);
    else if (known === 'stored') this.#finish(source, candidate, DUPLICATE);
    else if (known === 'conflict') this.#finish(source, candidate, CONFLICT);
    else if ('offset' in known) this.#finish(source, candidate, { kind: 'duplicate', offset: known.offset });
    else {
      // Not durable yet. Should the first one fail, this one comes here again and takes its place.
      known.waiting ??= [];
      known.waiting.push(() => this.#enter(candidate));
    }
  }

  /** Only what would take room is refused for the want of it: a repetition is answered, so that it ends. */
  #enterNew(candidate: Candidate, source: IngestSource, askPressure: boolean): void {
    const { record, unacknowledged, lane } = candidate;
    const refusal = this.#noRoom(record.device, unacknowledged, askPressure);
    if (refusal !== null) {
      this.#finish(source, candidate, refusal);
      return;
    }
    candidate.pending = this.#begin(candidate);
    if (this.#queue.offer(lane, candidate, unacknowledged)) return;
    this.#finish(source, candidate, told(shed('overloaded'), unacknowledged));
    this.#settle(candidate.pending, null);
  }

  #known({ record: { device, sequence }, print, digest }: Candidate) {
    if (digest !== null) return this.#memory.messages.find(digest, print);
    return print < 0 ? null : this.#memory.duplicates.find(device, sequence!, print);
  }

  #begin({ record: { device, sequence }, print, digest }: Candidate): Candidate['pending'] {
    if (digest !== null) return this.#memory.messages.begin(digest, print);
    return print < 0 ? null : this.#memory.duplicates.begin(device, sequence!, print);
  }

  #settle(pending: Candidate['pending'], offset: Offset | null): void {
    if (pending === null) return;
    if ('digest' in pending) this.#memory.messages.settle(pending, offset);
    else this.#memory.duplicates.settle(pending, offset !== null);
  }

  #noRoom(device: string, unacknowledged: boolean, askPressure: boolean): Outcome | null {
    const reason = (askPressure ? this.#options.pressure?.refusal(unacknowledged) : null) ?? null;
    const waitMs = reason === null && !this.#rates.none ? this.#rates.admit(device, this.#steady()) : 0;
    if (reason === null && waitMs === 0) return null;
    const outcome: Shed =
      reason === null ? { kind: 'shed', reason: 'rate-limited', retryAfterMs: waitMs } : shed(reason);
    return told(outcome, unacknowledged);
  }

  #append(candidate: Candidate): void {
    const { record, pending, bytes, misfit } = candidate;
    const source = sourceName(record.source);
    this.#options.log.append(record, (error, offset) => {
      if (error) {
        // Nothing of it is kept in the log. Answer first, so that the repetition is not told sooner than the original.
        this.#finish(source, candidate, refusedByLog(error));
        this.#settle(pending, null);
      } else {
        // A crash from here on re-delivers at worst: the device saw no ack and retries; the guard, rebuilt from the
        // log, recognises the repetition.
        this.#memory.reached(offset);
        this.devices.seen(record.device, record.topic, record.receivedMs, offset, record.source);
        this.#counts.stored(candidate);
        const stored: Outcome =
          misfit === 'quarantine'
            ? { kind: 'stored', offset, quarantined: true }
            : { kind: 'stored', offset };
        this.#finish(source, candidate, stored);
        this.#settle(pending, offset);
      }
      this.#queue.finished(bytes);
    });
  }

  #finish(source: IngestSource, told: Pick<Candidate, 'done' | 'place'>, outcome: Outcome): void {
    this.#inFlight -= 1;
    this.#counts.outcome(source, outcome);
    try {
      told.done(outcome, told.place);
    } catch (error) {
      // One connection's trouble must not reach the log's writer, on whose stack this runs.
      this.#options.logger.error({ err: error, source }, 'answering a device failed');
    }
    if (this.#inFlight === 0) this.#drained?.();
  }
}
