// Owns the loop of a stage that turns inputs into results (windows, models): cursor, state, replay, saves, figures.
// Refuses to compute: what a result is, the derivation says. See derived.ts for why each result is there once.
import { setImmediate, setTimeout } from 'node:timers/promises';
import { type Offset, offset } from '../../ledger/format/brand.ts';
import { CodedError } from '../../ledger/format/errors.ts';
import type { RecordInput, Source, TelemetryRecord } from '../../ledger/format/record.ts';
import { type Clock, systemClock } from './clock.ts';
import { DerivedOutbox, type DerivedResult, fetchPastDamage } from './derived.ts';
import type { StageContext, StageFigures } from './types.ts';

/** A deterministic function of the records in order: state and results depend on nothing else. */
export interface Derivation {
  /** The results these records give. Everything computed is in the results when the promise resolves. */
  feed(records: readonly TelemetryRecord[]): Promise<readonly DerivedResult[]>;
  /** The whole state, to go on from after the last record fed. */
  serialise(): Uint8Array;
  figures(): StageFigures;
  /** Called while the log has nothing new, with how long it has been so: a record to append, or null. */
  idle?(nowMs: number, silentMs: number): RecordInput | null;
}

export interface DerivingOptions {
  readonly source: Source;
  /** `state` as the last save left it, null at the very first start. */
  readonly restore: (state: Uint8Array | null) => Derivation;
  readonly clock?: Clock;
}

export class StageStateError extends CodedError<'STAGE_STATE_VERSION'> {
  override name = 'StageStateError';

  constructor(facts: { readonly stage: string; readonly version: number; readonly known: number }) {
    super(
      'STAGE_STATE_VERSION',
      `the saved state of ${facts.stage} has version ${facts.version}, this tidemark knows ${facts.known}`,
      { facts, hint: 'a newer tidemark wrote this state: start that one again' },
    );
  }
}

// Small enough that results of one step are on their way within some 50 ms also at full load.
const FETCH = { maxBytes: 1024 * 1024, maxRecords: 4_096 };
const WAIT_MS = 500;
/**
 * At the tail, records are taken in small heaps instead of one by one: a stage that wakes for every sync takes the
 * processor from the thread that acknowledges. Costs a result at most this much delay.
 */
const GATHER_MS = 10;
const GATHER_BELOW_RECORDS = 512;
const REPORT_MS = 1_000;
/** The cursor is saved this often while it moves; less often as the state grows, so that saves stay below this rate. */
const SAVE_MS = 1_000;
const SAVE_BYTES_PER_MS = 256;
const SAVE_MAX_MS = 30_000;
/** Or after so many results, which bounds what a restart has to compare. */
const SAVE_RESULTS = 50_000;

// Saved state: version u8 = 1, scanFrom u64 big-endian (see derived.ts), then the derivation's own bytes.
const STATE_VERSION = 1;
const STATE_HEAD = 9;

function packState(scanFrom: Offset, state: Uint8Array): Uint8Array {
  const packed = new Uint8Array(STATE_HEAD + state.length);
  packed[0] = STATE_VERSION;
  new DataView(packed.buffer).setBigUint64(1, BigInt(scanFrom));
  packed.set(state, STATE_HEAD);
  return packed;
}

function unpackState(stage: string, packed: Uint8Array): { scanFrom: Offset; state: Uint8Array } {
  if (packed.length < STATE_HEAD || packed[0] !== STATE_VERSION) {
    throw new StageStateError({ stage, version: packed[0] ?? -1, known: STATE_VERSION });
  }
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  return { scanFrom: offset(Number(view.getBigUint64(1))), state: packed.subarray(STATE_HEAD) };
}

class DerivingStage<Config> {
  readonly #context: StageContext<Config>;
  readonly #clock: Clock;
  readonly #derivation: Derivation;
  readonly #outbox: DerivedOutbox;
  #next: Offset;
  /** Own results of inputs not yet dealt with lie at or after this offset. */
  #scanFrom: Offset;
  #saved: Offset | null;
  #savedAtMs: number;
  #saveEveryMs = SAVE_MS;
  #resultsSinceSave = 0;
  #reportedMs = 0;
  #lastFedMs: number;
  #damaged = 0;
  #missed = 0;

  constructor(context: StageContext<Config>, options: DerivingOptions, start: Offset) {
    this.#context = context;
    this.#clock = options.clock ?? systemClock;
    const { name, state, reader, appender, signal } = context;
    this.#outbox = new DerivedOutbox({
      stage: name,
      source: options.source,
      reader,
      appender,
      clock: () => this.#clock.nowMs(),
      signal,
      pause: (ms) => this.#pause(ms),
      log: context.log,
    });
    const cursor = state.loadCursor(name);
    const unpacked = cursor?.state ? unpackState(name, cursor.state) : null;
    this.#derivation = options.restore(unpacked?.state ?? null);
    this.#next = cursor?.next ?? start;
    this.#saved = cursor?.next ?? null;
    this.#scanFrom = unpacked?.scanFrom ?? this.#next;
    this.#savedAtMs = this.#clock.monotonicMs();
    this.#lastFedMs = this.#savedAtMs;
  }

  async run(): Promise<void> {
    const { signal } = this.#context;
    await this.#outbox.learn(this.#scanFrom);
    if (signal.aborted) return; // it may not have learned everything: a save now would forget the rest
    this.#report();
    while (!signal.aborted) {
      const records = await this.#fetch();
      const complete = records.length > 0 ? await this.#step(records) : await this.#idle();
      if (!complete) return; // told to stop before the results were durable: the cursor stays, a replay makes them
      await this.#saveIfDue();
      if (this.#clock.monotonicMs() - this.#reportedMs >= REPORT_MS) this.#report();
      if (records.length > 0 && records.length < GATHER_BELOW_RECORDS) await this.#pause(GATHER_MS);
      else await setImmediate(); // lets a stop message in, also when every fetch is answered from memory
    }
    await this.#save();
    this.#report();
  }

  /** Resolves after `ms`, or at once when the stage is told to stop. */
  #pause(ms: number): Promise<void> {
    return setTimeout(ms, undefined, { signal: this.#context.signal }).catch(() => undefined);
  }

  async #fetch(): Promise<TelemetryRecord[]> {
    const options = { ...FETCH, maxWaitMs: WAIT_MS, signal: this.#context.signal };
    return fetchPastDamage(this.#context.reader, this.#next, options, (from, resume, error) => {
      this.#damaged += resume - from;
      this.#next = resume;
      this.#context.log('error', 'damaged part of the log skipped', { from, resume, ...error.facts });
    });
  }

  async #step(records: readonly TelemetryRecord[]): Promise<boolean> {
    const first = records[0]!.offset;
    if (first > this.#next) this.#missed += first - this.#next;
    const results = await this.#derivation.feed(records);
    for (const result of results) this.#outbox.add(result);
    this.#resultsSinceSave += results.length;
    // A crash here loses nothing: the same inputs are read again.
    if (!(await this.#outbox.flush())) return false;
    // A crash from here to the save repeats these inputs; `learn` finds their results in the log.
    this.#next = offset(records.at(-1)!.offset + 1);
    this.#lastFedMs = this.#clock.monotonicMs();
    return true;
  }

  async #idle(): Promise<boolean> {
    const silentMs = this.#clock.monotonicMs() - this.#lastFedMs;
    const record = this.#derivation.idle?.(this.#clock.nowMs(), silentMs) ?? null;
    if (record) {
      this.#lastFedMs = this.#clock.monotonicMs();
      await this.#context.appender.appendAll([record]).catch((error: unknown) => {
        this.#context.log('warn', 'the log took no tick, trying again later', { reason: String(error) });
      });
    }
    return true;
  }

  async #saveIfDue(): Promise<void> {
    const due = this.#clock.monotonicMs() - this.#savedAtMs >= this.#saveEveryMs;
    if (due || this.#resultsSinceSave >= SAVE_RESULTS) await this.#save();
  }

  async #save(): Promise<void> {
    this.#savedAtMs = this.#clock.monotonicMs();
    if (this.#saved === this.#next) return;
    if (!this.#outbox.replaying(this.#next)) this.#scanFrom = await this.#context.reader.end();
    const state = packState(this.#scanFrom, this.#derivation.serialise());
    this.#context.state.saveCursor(this.#context.name, this.#next, state);
    this.#saved = this.#next;
    this.#resultsSinceSave = 0;
    this.#saveEveryMs = Math.min(SAVE_MAX_MS, Math.max(SAVE_MS, state.length / SAVE_BYTES_PER_MS));
  }

  #report(): void {
    this.#reportedMs = this.#clock.monotonicMs();
    const { appended, replayed, refused } = this.#outbox.figures;
    this.#context.report({
      ...this.#derivation.figures(),
      next: this.#next,
      appended,
      replayed,
      refused,
      damaged: this.#damaged,
      missed: this.#missed,
    });
  }
}

/** Runs a derivation as the body of a stage, until the stage is told to stop. */
export async function runDerivation<Config>(
  context: StageContext<Config>,
  options: DerivingOptions,
): Promise<void> {
  const stage = new DerivingStage(context, options, await context.reader.start());
  await stage.run();
}
