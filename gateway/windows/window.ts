// Owns one configured window over all devices: what is open, how far its time has come, what it has given out.
import type { TelemetryRecord } from '../../ledger/format/record.ts';
import { topicMatcher } from '../codecs/topic-matcher.ts';
import type { WindowConfig } from './config.ts';
import { GivenOut } from './given-out.ts';

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

interface Aggregate {
  count: number;
  min: number;
  max: number;
  mean: number;
}

type Devices = Map<string, Map<string, Aggregate>>;

/** Records' receipt can stand at any time, so "nothing seen yet" needs its own value. */
export const NEVER = Number.NEGATIVE_INFINITY;

export class Window {
  readonly config: WindowConfig;
  readonly matches: (topic: string) => boolean;
  /** Furthest event time seen, capped per record; the watermark is this less the allowed lateness. */
  progressMs = NEVER;
  readonly given: GivenOut;
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
    this.given = new GivenOut(config.sizeMs);
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

  add(
    { eventMs, device }: TelemetryRecord,
    receivedMs: number,
    fields: readonly (readonly [string, number])[],
  ): void {
    const { sizeMs, maxFutureMs } = this.config;
    if (eventMs > receivedMs + maxFutureMs) {
      this.ahead += 1;
      return;
    }
    const startMs = Math.floor(eventMs / sizeMs) * sizeMs;
    if (startMs + sizeMs <= this.watermarkMs || this.given.has(startMs)) {
      this.late += 1;
      return;
    }
    let known = this.open.get(startMs)?.get(device);
    for (const [field, value] of fields) {
      const aggregate = known?.get(field);
      if (aggregate) take(aggregate, value);
      else if (this.openSeries >= this.config.maxSeries || (known?.size ?? 0) >= this.config.maxFields)
        this.overLimit += 1;
      else known = this.put(startMs, device, field, { count: 1, min: value, max: value, mean: value });
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
    while (this.#earliestMs + this.config.sizeMs <= this.watermarkMs) this.#give(this.#earliestMs, results);
  }

  /**
   * The gateway's clock was set back to `nowMs`: time begins anew with the record that shows it. What is open beyond it was
   * dated by the wrong clock, or by a device that runs ahead: it is given out now, for nothing that comes
   * would complete it until that time has come, and then values of both times would be in it.
   */
  stepBack(nowMs: number, results: WindowResult[]): void {
    this.progressMs = NEVER;
    const beyond = [...this.open.keys()].filter((startMs) => startMs > nowMs + this.config.maxAheadMs);
    for (const startMs of beyond.sort((a, b) => a - b)) this.#give(startMs, results);
  }

  #give(startMs: number, results: WindowResult[]): void {
    const { name, sizeMs } = this.config;
    for (const [device, fields] of this.open.get(startMs)!) {
      const entries = [...fields].map(([field, aggregate]) => [field, finished(aggregate)] as const);
      const endMs = startMs + sizeMs;
      results.push({ window: name, device, sizeMs, startMs, endMs, fields: Object.fromEntries(entries) });
      this.emitted += 1;
      this.openSeries -= fields.size;
    }
    this.open.delete(startMs);
    this.given.add(startMs);
    if (startMs === this.#earliestMs)
      this.#earliestMs = Math.min(Number.POSITIVE_INFINITY, ...this.open.keys());
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
