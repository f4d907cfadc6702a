// Decides about every device message, whatever protocol it came by: refuse, recognise as repeated, or hand to the
// log; answers once the record is durable. Refuses to queue: the log's own bound is the only one.
import { type RecordInput, SOURCE } from '../../ledger/format/record.ts';
import { TopicTemplates } from '../codecs/template.ts';
import type { LogAppender, LogError, LogReader } from '../log/types.ts';
import type { Cursor } from '../state/state.ts';
import type { IngestConfig } from './config.ts';
import type { DeviceTable } from './devices.ts';
import { fingerprint, type Pending } from './duplicates.ts';
import { GivenReader } from './given.ts';
import { AdmissionMemory } from './memory.ts';
import type { Pressure } from './pressure.ts';
import { RateLimits } from './rate.ts';
import { deviceProblem, TopicRules, type TopicVerdict } from './topics.ts';
import type {
  AdmissionFigures,
  IngestLogger,
  IngestSource,
  Outcome,
  RejectReason,
  ShedReason,
  Submission,
} from './types.ts';

export interface AdmissionOptions {
  readonly config: IngestConfig;
  readonly log: LogAppender & { openReader(): Promise<LogReader> };
  /** Where the last snapshot is (consumer `admission`). Used by open() only. */
  readonly state: { loadCursor(consumer: string): Cursor | null };
  /** For the thread that saves snapshots through a connection of its own. */
  readonly dataDir: string;
  readonly logger: IngestLogger;
  /** How full the gateway is; without it only the log's own bounds refuse. */
  readonly pressure?: Pressure;
  /** Unix ms. Default Date.now. */
  readonly clock?: () => number;
  /** Monotonic ms, for rates. Default performance.now. */
  readonly steadyClock?: () => number;
}

type Done = (outcome: Outcome) => void;

const RETRY_MS = { overloaded: 250, 'disk-full': 5_000, unavailable: 5_000 } as const satisfies Record<
  Exclude<ShedReason, 'rate-limited'>,
  number
>;
const DUPLICATE: Outcome = { kind: 'duplicate' };
const NO_BYTES = new Uint8Array(0);
const NO_HEADERS: RecordInput['headers'] = [];
/** Fingerprints are unsigned. */
const NO_PRINT = -1;
const SOURCE_NAMES: Readonly<Record<number, IngestSource>> = {
  [SOURCE.mqtt]: 'mqtt',
  [SOURCE.websocket]: 'websocket',
  [SOURCE.http]: 'http',
};

type Shed = Extract<Outcome, { kind: 'shed' }>;

const shed = (reason: keyof typeof RETRY_MS): Shed => {
  return { kind: 'shed', reason, retryAfterMs: RETRY_MS[reason] };
};

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
  readonly #topics: TopicRules;
  readonly #memory: AdmissionMemory;
  readonly #given = new GivenReader();
  readonly #rates: RateLimits;
  readonly #accepted: Record<IngestSource, number> = { mqtt: 0, websocket: 0, http: 0 };
  readonly #refused: Record<IngestSource, number> = { mqtt: 0, websocket: 0, http: 0 };
  readonly #rejected: Record<RejectReason, number> = {
    malformed: 0,
    'bad-topic': 0,
    'too-large': 0,
    'not-allowed': 0,
    invalid: 0,
  };
  readonly #shed: Record<ShedReason, number> = {
    overloaded: 0,
    'rate-limited': 0,
    'disk-full': 0,
    unavailable: 0,
  };
  readonly #dropped: Record<ShedReason, number> = { ...this.#shed };
  #duplicateCount = 0;
  #inFlight = 0;
  /** Fingerprint of the record made last; NO_PRINT: not looked after. */
  #print = NO_PRINT;
  #drained: (() => void) | null = null;
  #closing = false;

  private constructor(options: AdmissionOptions) {
    const { config } = options;
    this.#options = options;
    this.#clock = options.clock ?? Date.now;
    this.#steady = options.steadyClock ?? (() => performance.now());
    this.#topics = new TopicRules(new TopicTemplates(config.templates), config);
    this.#memory = new AdmissionMemory(options);
    this.#rates = new RateLimits(config.rate, config.maxDevices);
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

  /** Calls `done` exactly once: after durability, or with why not (then possibly at once). Never throws. */
  submit(submission: Submission, done: Done): void {
    const source = SOURCE_NAMES[submission.source] ?? 'mqtt';
    this.#inFlight += 1;
    if (this.#closing) {
      this.#finish(source, done, shed('unavailable'));
      return;
    }
    const verdict = this.#topics.verdict(submission.topic);
    const device = submission.device ?? verdict.match.device ?? submission.fallbackDevice;
    const refusal = this.#refusal(submission, verdict, device);
    if (refusal !== null) {
      this.#finish(source, done, refusal);
      return;
    }
    const record = this.#record(submission, verdict, device);
    this.#enter(record, this.#print, submission.unacknowledged === true, done);
  }

  /** Counts a refusal the adapter made itself, before there was a submission. */
  countRefusal(source: IngestSource, reason: RejectReason): void {
    this.#refused[source] += 1;
    this.#rejected[reason] += 1;
  }

  figures(): AdmissionFigures {
    return {
      accepted: { ...this.#accepted },
      refused: { ...this.#refused },
      duplicates: this.#duplicateCount,
      rejected: { ...this.#rejected },
      shed: { ...this.#shed },
      dropped: { ...this.#dropped },
      inFlight: this.#inFlight,
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

  #refusal({ payload }: Submission, verdict: TopicVerdict, device: string): Outcome | null {
    const { maxPayloadBytes, maxDeviceBytes } = this.#options.config;
    if (payload.length > maxPayloadBytes) {
      const detail = `the payload has ${payload.length} bytes, the limit is ${maxPayloadBytes}`;
      return { kind: 'reject', reason: 'too-large', detail };
    }
    if (verdict.problem !== null) return { kind: 'reject', reason: 'bad-topic', detail: verdict.problem };
    const named = device === verdict.match.device;
    const problem = named ? verdict.deviceProblem : deviceProblem(device, maxDeviceBytes);
    return problem === null ? null : { kind: 'reject', reason: 'malformed', detail: problem };
  }

  /** The record to store; its fingerprint is left in #print. */
  #record(submission: Submission, { match, crc }: TopicVerdict, device: string): RecordInput {
    this.#given.read(submission, match);
    const { eventMs, sequence } = this.#given;
    const guarded = sequence !== null && this.#memory.duplicates.enabled;
    this.#print = guarded ? fingerprint(crc, submission.payload, eventMs) : NO_PRINT;
    const receivedMs = this.#clock();
    return {
      eventMs: eventMs ?? receivedMs,
      receivedMs,
      topic: submission.topic,
      device,
      sequence,
      source: submission.source,
      contentType: submission.contentType,
      headers: submission.headers ?? NO_HEADERS,
      payload: submission.payload,
      salt: NO_BYTES,
    };
  }

  /** To the log, unless the record is known: then the answer is, or will be, the first one's. */
  #enter(record: RecordInput, print: number, unacknowledged: boolean, done: Done): void {
    const { device, sequence } = record;
    const guarded = sequence !== null && print !== NO_PRINT;
    const known = guarded ? this.#memory.duplicates.find(device, sequence, print) : null;
    if (known === 'stored') {
      this.#finish(SOURCE_NAMES[record.source]!, done, DUPLICATE);
    } else if (known !== null) {
      // Not durable yet. Should the first one fail, this one comes here again and takes its place.
      known.waiting ??= [];
      known.waiting.push(() => this.#enter(record, print, unacknowledged, done));
    } else {
      // Only what would take room is refused for the want of it: a repetition is answered, so that it ends.
      const refusal = this.#noRoom(device, unacknowledged);
      if (refusal !== null) this.#finish(SOURCE_NAMES[record.source]!, done, refusal);
      else
        this.#append(record, done, guarded ? this.#memory.duplicates.begin(device, sequence, print) : null);
    }
  }

  #noRoom(device: string, unacknowledged: boolean): Outcome | null {
    const reason = this.#options.pressure?.refusal(unacknowledged) ?? null;
    const waitMs = reason === null ? this.#rates.admit(device, this.#steady()) : 0;
    if (reason === null && waitMs === 0) return null;
    const outcome: Shed =
      reason === null ? { kind: 'shed', reason: 'rate-limited', retryAfterMs: waitMs } : shed(reason);
    return unacknowledged ? { ...outcome, dropped: true } : outcome;
  }

  #append(record: RecordInput, done: Done, pending: Pending | null): void {
    const source = SOURCE_NAMES[record.source]!;
    this.#options.log.append(record, (error, offset) => {
      if (error) {
        // Nothing of it is kept in the log. Answer first, so that the repetition is not told sooner than the original.
        this.#finish(source, done, refusedByLog(error));
        if (pending) this.#memory.duplicates.settle(pending, false);
        return;
      }
      // A crash from here on re-delivers at worst: the device saw no ack and retries; the guard, rebuilt from the
      // log, recognises the repetition.
      this.#memory.reached(offset);
      this.devices.seen(record.device, record.topic, record.receivedMs, offset, record.source);
      this.#finish(source, done, { kind: 'stored', offset });
      if (pending) this.#memory.duplicates.settle(pending, true);
    });
  }

  #finish(source: IngestSource, done: Done, outcome: Outcome): void {
    this.#inFlight -= 1;
    if (outcome.kind === 'stored') this.#accepted[source] += 1;
    else if (outcome.kind === 'duplicate') this.#duplicateCount += 1;
    else {
      this.#refused[source] += 1;
      if (outcome.kind === 'reject') this.#rejected[outcome.reason] += 1;
      else {
        this.#shed[outcome.reason] += 1;
        if (outcome.dropped) this.#dropped[outcome.reason] += 1;
      }
    }
    try {
      done(outcome);
    } catch (error) {
      // One connection's trouble must not reach the log's writer, on whose stack this runs.
      this.#options.logger.error({ err: error, source }, 'answering a device failed');
    }
    if (this.#inFlight === 0) this.#drained?.();
  }
}
