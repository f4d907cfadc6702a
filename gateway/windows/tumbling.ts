// Owns tumbling event-time windows: which aggregate a value belongs to, when a window is complete, its state as
// bytes. A pure function of the records fed: reads no clock, no file, and appends nothing.
import { SOURCE, type TelemetryRecord } from '../../ledger/format/record.ts';
import { isClockFlagged } from '../codecs/clock.ts';
import { topicMatcher } from '../codecs/topic-matcher.ts';
import { StageStateError } from '../stage/deriving.ts';
import { inputTopic } from '../stage/inputs.ts';
import type { WindowConfig, WindowsConfig } from './config.ts';

/** Topic of the gateway's own record that lets event time go on while no device sends. */
export const TICK_TOPIC = '$tidemark/tick';

export interface FieldAggregate {
  readonly count: number;
  readonly min: number;
  readonly max: number;
  readonly mean: number;
}

/** One device's part of one completed window. */
export interface WindowResult {
  readonly window: string;
  readonly device: string;
  readonly sizeMs: number;
  readonly startMs: number;
  readonly endMs: number;
  readonly fields: Readonly<Record<string, FieldAggregate>>;
}

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
  /** Aggregates held now. */
  readonly openSeries: number;
}

export type FieldsOf = (record: TelemetryRecord) => Iterable<readonly [field: string, value: number]>;

interface Aggregate {
  count: number;
  min: number;
  max: number;
  mean: number;
}

type Devices = Map<string, Map<string, Aggregate>>;

/** Records' receipt can stand at any time, so "nothing seen yet" needs its own value. */
const NEVER = Number.NEGATIVE_INFINITY;

class Window {
  readonly config: WindowConfig;
  readonly matches: (topic: string) => boolean;
  /** Furthest event time seen, capped per record; the watermark is this less the allowed lateness. */
  progressMs = NEVER;
  emitted = 0;
  late = 0;
  ahead = 0;
  flagged = 0;
  overLimit = 0;
  openSeries = 0;
  /** Start of window → device → field. Few windows are open at once. */
  readonly open = new Map<number, Devices>();
  #earliestMs = Number.POSITIVE_INFINITY;

  constructor(config: WindowConfig) {
    this.config = config;
    this.matches = topicMatcher(config.topics);
  }

  get watermarkMs(): number {
    return this.progressMs - this.config.allowedLatenessMs;
  }

  /** When, by the gateway's clock, the earliest open window could be closed; infinite when none is open. */
  get dueMs(): number {
    return this.#earliestMs + this.config.sizeMs + this.config.allowedLatenessMs;
  }

  advance(progressMs: number): void {
    if (progressMs > this.progressMs) this.progressMs = progressMs;
  }

  add(record: TelemetryRecord, fields: readonly (readonly [string, number])[]): void {
    const { sizeMs, maxFutureMs } = this.config;
    const { eventMs } = record;
    if (eventMs > record.receivedMs + maxFutureMs) {
      this.ahead += 1;
      return;
    }
    const startMs = Math.floor(eventMs / sizeMs) * sizeMs;
    if (startMs + sizeMs <= this.watermarkMs) {
      this.late += 1;
      return;
    }
    let known = this.open.get(startMs)?.get(record.device);
    for (const [field, value] of fields) {
      const aggregate = known?.get(field);
      if (aggregate) take(aggregate, value);
      else if (this.openSeries >= this.config.maxSeries || (known?.size ?? 0) >= this.config.maxFields)
        this.overLimit += 1;
      else known = this.put(startMs, record.device, field, { count: 1, min: value, max: value, mean: value });
    }
  }

  put(startMs: number, device: string, field: string, aggregate: Aggregate): Map<string, Aggregate> {
    const devices = this.open.get(startMs) ?? new Map<string, Map<string, Aggregate>>();
    this.open.set(startMs, devices);
    const fields = devices.get(device) ?? new Map<string, Aggregate>();
    devices.set(device, fields);
    fields.set(field, aggregate);
    this.openSeries += 1;
    if (startMs < this.#earliestMs) this.#earliestMs = startMs;
    return fields;
  }

  /** Takes out every window that ends at or before the watermark, earliest first. */
  complete(results: WindowResult[]): void {
    const { name, sizeMs } = this.config;
    while (this.#earliestMs + sizeMs <= this.watermarkMs) {
      const startMs = this.#earliestMs;
      for (const [device, fields] of this.open.get(startMs)!) {
        const entries = [...fields].map(([field, aggregate]) => [field, finished(aggregate)] as const);
        const endMs = startMs + sizeMs;
        results.push({ window: name, device, sizeMs, startMs, endMs, fields: Object.fromEntries(entries) });
        this.emitted += 1;
        this.openSeries -= fields.size;
      }
      this.open.delete(startMs);
      this.#earliestMs = Math.min(Number.POSITIVE_INFINITY, ...this.open.keys());
    }
  }
}

function take(aggregate: Aggregate, value: number): void {
  aggregate.count += 1;
  if (value < aggregate.min) aggregate.min = value;
  if (value > aggregate.max) aggregate.max = value;
  // Divided before subtracting, so that it cannot overflow.
  aggregate.mean += value / aggregate.count - aggregate.mean / aggregate.count;
}

/** A running mean can pass its own bounds by a rounding. */
function finished({ count, min, max, mean }: Aggregate): FieldAggregate {
  return { count, min, max, mean: Math.min(max, Math.max(min, mean)) };
}

/**
 * All configured windows. Per window the watermark is the largest min(eventMs, receivedMs + maxAheadMs) seen, less
 * allowedLatenessMs: a device with a clock in the future moves it no further than its receipt allows. A tick moves it
 * to the tick's receivedMs. A record whose time admission has flagged belongs to no window and moves no watermark.
 */
export class TumblingWindows {
  readonly #windows: readonly Window[];
  readonly #fieldsOf: FieldsOf;

  constructor(config: WindowsConfig, fieldsOf: FieldsOf) {
    this.#windows = config.map((window) => new Window(window));
    this.#fieldsOf = fieldsOf;
  }

  /** The windows this record completed. Derived records are no input. */
  feed(record: TelemetryRecord): WindowResult[] {
    const results: WindowResult[] = [];
    const topic = inputTopic(record);
    if (record.source === SOURCE.gateway && record.topic === TICK_TOPIC) {
      for (const window of this.#windows) window.advance(record.receivedMs);
    } else if (topic !== null && isClockFlagged(record)) {
      for (const window of this.#windows) if (window.matches(topic)) window.flagged += 1;
    } else if (topic !== null) {
      let fields: readonly (readonly [string, number])[] | null = null;
      for (const window of this.#windows) {
        if (window.matches(topic)) {
          fields ??= [...this.#fieldsOf(record)];
          if (fields.length > 0) window.add(record, fields);
        }
        window.advance(Math.min(record.eventMs, record.receivedMs + window.config.maxAheadMs));
      }
    }
    for (const window of this.#windows) window.complete(results);
    return results;
  }

  /** Gateway time from which a tick would close a window; infinite when none is open. */
  get dueMs(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...this.#windows.map((window) => window.dueMs));
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
      openSeries: sum((window) => window.openSeries),
    };
  }

  /**
   * State, version 1: UTF-8 JSON {"version":1,"windows":[{"name","sizeMs","progressMs"|null,"emitted","late","ahead",
   * "flagged","overLimit","open":[[startMs,[[device,[[field,count,min,max,mean]…]]…]]…]}]}. Numbers in their shortest
   * exact form, maps in insertion order, so that a restored operator goes on bit for bit.
   */
  serialise(): Uint8Array {
    const windows = this.#windows.map((window) => ({
      name: window.config.name,
      sizeMs: window.config.sizeMs,
      progressMs: window.progressMs === NEVER ? null : window.progressMs,
      emitted: window.emitted,
      late: window.late,
      ahead: window.ahead,
      flagged: window.flagged,
      overLimit: window.overLimit,
      open: [...window.open].map(([startMs, devices]) => [
        startMs,
        [...devices].map(([device, fields]) => [
          device,
          [...fields].map(([field, { count, min, max, mean }]) => [field, count, min, max, mean]),
        ]),
      ]),
    }));
    return new TextEncoder().encode(JSON.stringify({ version: STATE_VERSION, windows }));
  }

  /**
   * Takes up a serialised state. A window is the same when name and size are; what was open of others, which the
   * configuration no longer has, is dropped: returns how many aggregates that were.
   */
  restore(state: Uint8Array): number {
    const saved = JSON.parse(new TextDecoder().decode(state)) as SavedState;
    if (saved.version !== STATE_VERSION) {
      throw new StageStateError({ stage: 'windows', version: saved.version, known: STATE_VERSION });
    }
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
    }
    return dropped;
  }
}

const STATE_VERSION = 1;

interface SavedState {
  readonly version: number;
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
    readonly open: readonly (readonly [
      startMs: number,
      devices: readonly (readonly [
        device: string,
        fields: readonly (readonly [string, number, number, number, number])[],
      ])[],
    ])[];
  }[];
}
