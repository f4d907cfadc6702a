// Owns tumbling event-time windows: which windows a record counts in, when the gateway's clock was set back, the state as
// bytes. A pure function of the records fed: reads no clock, no file, and appends nothing.
import { SOURCE, type TelemetryRecord } from '../../ledger/format/record.ts';
import { isClockFlagged } from '../codecs/clock.ts';
import { StageStateError } from '../stage/deriving.ts';
import { inputTopic } from '../stage/inputs.ts';
import type { WindowsConfig } from './config.ts';
import type { Run } from './given-out.ts';
import { NEVER, Window, type WindowResult } from './window.ts';

/** Topic of the gateway's own record that lets event time go on while no device sends. */
export const TICK_TOPIC = '$tidemark/tick';

/**
 * Times of receipt in the log may go back by less than this without the clock having been set: they are taken when a message
 * is admitted, and in its turn it may wait until a slow disk has written what came before (`ingest.fairness.queueBytes`).
 */
export const DISORDER_MS = 60_000;

export interface WindowFigures {
  /** Window results given out. */
  readonly emitted: number;
  /**
   * Records left out: their window was complete; dated too far ahead; flagged for their time when they were accepted;
   * no room for another aggregate.
   */
  readonly late: number;
  readonly ahead: number;
  readonly flagged: number;
  readonly overLimit: number;
  /** Times the gateway's clock was seen to be set back by more than disorder in the log explains. */
  readonly clockSteps: number;
  /** Aggregates held now. */
  readonly openSeries: number;
}

export type FieldsOf = (record: TelemetryRecord) => Iterable<readonly [field: string, value: number]>;

/**
 * All configured windows. Per window the watermark is the largest min(eventMs, receivedMs + maxAheadMs) seen, less
 * allowedLatenessMs: a device with a clock in the future moves it no further than its receipt allows. A tick moves it
 * to the tick's receivedMs. A record whose time admission has flagged belongs to no window and moves no watermark.
 * Where the gateway's own clock was set back the watermark begins anew; a window given out before stays given out.
 */
export class TumblingWindows {
  readonly #windows: readonly Window[];
  readonly #fieldsOf: FieldsOf;
  /** Latest receipt since the clock was last set back. */
  #latestMs = NEVER;
  #clockSteps = 0;

  constructor(config: WindowsConfig, fieldsOf: FieldsOf) {
    this.#windows = config.map((window) => new Window(window));
    this.#fieldsOf = fieldsOf;
  }

  /** The windows this record completed. Derived records are no input. */
  feed(record: TelemetryRecord): WindowResult[] {
    const results: WindowResult[] = [];
    const topic = inputTopic(record);
    const isTick = record.source === SOURCE.gateway && record.topic === TICK_TOPIC;
    const receivedMs = this.#receipt(record, isTick, results);
    if (isTick) {
      for (const window of this.#windows) window.advance(receivedMs);
    } else if (topic !== null && isClockFlagged(record)) {
      for (const window of this.#windows) if (window.matches(topic)) window.flagged += 1;
    } else if (topic !== null) {
      let fields: readonly (readonly [string, number])[] | null = null;
      for (const window of this.#windows) {
        if (window.matches(topic)) {
          fields ??= [...this.#fieldsOf(record)];
          if (fields.length > 0) window.add(record, receivedMs, fields);
        }
        window.advance(Math.min(record.eventMs, receivedMs + window.config.maxAheadMs));
      }
    }
    for (const window of this.#windows) window.complete(results);
    return results;
  }

  /** When the record came, as far as that can be believed; sees the clock being set back. */
  #receipt({ source, receivedMs }: TelemetryRecord, isTick: boolean, results: WindowResult[]): number {
    // What a stage made may have waited for a full disk since it was stamped, with a clock since put right.
    if (!isTick && source > SOURCE.http)
      return this.#latestMs === NEVER ? receivedMs : Math.min(receivedMs, this.#latestMs);
    if (this.#isSetBack(receivedMs)) {
      this.#clockSteps += 1;
      this.#latestMs = receivedMs;
      for (const window of this.#windows) window.stepBack(receivedMs, results);
    } else if (receivedMs > this.#latestMs) this.#latestMs = receivedMs;
    return receivedMs;
  }

  #isSetBack(nowMs: number): boolean {
    return nowMs < this.#latestMs - DISORDER_MS;
  }

  /** Whether a tick at this gateway time would close a window. */
  wantsTick(nowMs: number): boolean {
    return this.#windows.some(
      (window) => nowMs >= window.dueMs || (window.openSeries > 0 && this.#isSetBack(nowMs)),
    );
  }

  /** Smallest of the windows' watermarks; null before the first record. */
  get watermarkMs(): number | null {
    const lowest = Math.min(...this.#windows.map((window) => window.watermarkMs));
    return Number.isFinite(lowest) ? lowest : null;
  }

  figures(): WindowFigures {
    const sum = (of: (window: Window) => number) =>
      this.#windows.reduce((total, window) => total + of(window), 0);
    return {
      emitted: sum((window) => window.emitted),
      late: sum((window) => window.late),
      ahead: sum((window) => window.ahead),
      flagged: sum((window) => window.flagged),
      overLimit: sum((window) => window.overLimit),
      clockSteps: this.#clockSteps,
      openSeries: sum((window) => window.openSeries),
    };
  }

  /**
   * State, version 2: UTF-8 JSON {"version":2,"latestMs"|null,"clockSteps","windows":[{"name","sizeMs","progressMs"|null,
   * "emitted","late","ahead","flagged","overLimit","givenBelowMs"|null,"given":[[firstMs,lastMs]…],
   * "open":[[startMs,[[device,[[field,count,min,max,mean]…]]…]]…]}]}. Numbers in their shortest exact form, maps in
   * insertion order, so that a restored operator goes on bit for bit. Version 1 has no `latestMs`, `clockSteps` and `given…`.
   */
  serialise(): Uint8Array {
    const windows = this.#windows.map((window) => ({
      name: window.config.name,
      sizeMs: window.config.sizeMs,
      progressMs: numberOrNull(window.progressMs),
      emitted: window.emitted,
      late: window.late,
      ahead: window.ahead,
      flagged: window.flagged,
      overLimit: window.overLimit,
      givenBelowMs: numberOrNull(window.given.floorMs),
      given: window.given.runs,
      open: [...window.open].map(([startMs, devices]) => [
        startMs,
        [...devices].map(([device, fields]) => [
          device,
          [...fields].map(([field, { count, min, max, mean }]) => [field, count, min, max, mean]),
        ]),
      ]),
    }));
    const latestMs = numberOrNull(this.#latestMs);
    const state = { version: STATE_VERSION, latestMs, clockSteps: this.#clockSteps, windows };
    return new TextEncoder().encode(JSON.stringify(state));
  }

  /**
   * Takes up a serialised state. A window is the same when name and size are; what was open of others, which the
   * configuration no longer has, is dropped: the answer says how many aggregates. Throws StageStateError for a
   * version it does not know.
   */
  restore(state: Uint8Array): number {
    const saved = JSON.parse(new TextDecoder().decode(state)) as SavedState;
    if (saved.version !== STATE_VERSION && saved.version !== 1) {
      throw new StageStateError({ stage: 'windows', version: saved.version, known: STATE_VERSION });
    }
    this.#latestMs = saved.latestMs ?? NEVER;
    this.#clockSteps = saved.clockSteps ?? 0;
    let dropped = 0;
    for (const from of saved.windows) {
      const to = this.#windows.find(
        ({ config }) => config.name === from.name && config.sizeMs === from.sizeMs,
      );
      for (const [startMs, devices] of from.open) {
        for (const [device, fields] of devices) {
          if (!to) dropped += fields.length;
          for (const [field, count, min, max, mean] of fields)
            to?.put(startMs, device, field, { count, min, max, mean });
        }
      }
      if (!to) continue;
      to.progressMs = from.progressMs ?? NEVER;
      to.emitted = from.emitted;
      to.late = from.late;
      to.ahead = from.ahead;
      to.flagged = from.flagged ?? 0;
      to.overLimit = from.overLimit;
      if (from.given) to.given.restore(from.givenBelowMs ?? NEVER, from.given);
      else this.#assumeGiven(to);
    }
    return dropped;
  }

  /** Version 1: what was given out nobody knows, so all that is complete was; something came when progress says so. */
  #assumeGiven({ config, progressMs, watermarkMs, given }: Window): void {
    if (progressMs === NEVER) return;
    given.raise(Math.floor(watermarkMs / config.sizeMs) * config.sizeMs);
    this.#latestMs = Math.max(this.#latestMs, progressMs - config.maxAheadMs);
  }
}

const numberOrNull = (value: number): number | null => (value === NEVER ? null : value);

const STATE_VERSION = 2;

interface SavedState {
  readonly version: number;
  readonly latestMs?: number | null;
  readonly clockSteps?: number;
  readonly windows: readonly {
    readonly name: string;
    readonly sizeMs: number;
    readonly progressMs: number | null;
    readonly emitted: number;
    readonly late: number;
    readonly ahead: number;
    /** Absent in states of 0.1. */
    readonly flagged?: number;
    readonly overLimit: number;
    readonly givenBelowMs?: number | null;
    readonly given?: readonly Run[];
    readonly open: readonly (readonly [
      startMs: number,
      devices: readonly (readonly [
        device: string,
        fields: readonly (readonly [string, number, number, number, number])[],
      ])[],
    ])[];
  }[];
}
