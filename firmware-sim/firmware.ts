// Owns what a device's firmware makes of its readings: when one is taken and under which time and counter it is sent,
// restarts, batches, copies, swaps, a wrong clock, a link that is gone for a while. A pure function of seed and
// scenario time; sends nothing.

import { cos, log } from './exact.ts';
import type { Random } from './random.ts';
import type { FleetSpec, Shape } from './scenario-file.ts';

export interface Taken {
  /** Scenario time at which the reading is taken, unix ms. */
  readonly atMs: number;
  /** What the device's clock says then. */
  readonly eventMs: number;
  /** The device's counter; null where it has none. */
  readonly sequence: number | null;
}

export type Action =
  /** Send these now, in this order; `copy` marks one that was sent before. */
  | { readonly type: 'send'; readonly readings: readonly (Taken & { readonly copy: boolean })[] }
  /** The link goes (true: the device restarts, and forgets what it had not sent), or comes back. */
  | { readonly type: 'down'; readonly forgets: boolean }
  | { readonly type: 'up' };

export interface Outage {
  readonly fromMs: number;
  readonly toMs: number;
}

export interface FirmwareOptions {
  readonly random: Random;
  readonly spec: FleetSpec;
  readonly startMs: number;
  readonly endMs: number;
  readonly hourAt: (atMs: number) => number;
  /** Outages that the scenario orders, e.g. of a reconnect storm; in order. */
  readonly outages: readonly Outage[];
}

const HOUR_MS = 3_600_000;
const MINUTE_MS = 60_000;
const RESTART_MS: readonly [number, number] = [500, 3_000];
const CHURN_MS: readonly [number, number] = [50, 500];
const NEVER = Number.POSITIVE_INFINITY;

export class Firmware {
  readonly #options: FirmwareOptions;
  readonly #random: Random;
  readonly #intervalMs: number;
  readonly #outages: Outage[];
  #readingMs: number;
  #restartMs: number;
  #offlineMs: number;
  #churnMs: number;
  #jumpMs: number;
  /** When the link comes back; infinite while it is there. */
  #upMs = NEVER;
  #jumpedMs = 0;
  #sequence: number;
  #held: (Taken & { copy: boolean })[] = [];

  constructor(options: FirmwareOptions) {
    this.#options = options;
    const { random, spec, startMs } = options;
    this.#random = random;
    this.#intervalMs = 1000 / spec.ratePerDevice;
    // Each device at a moment of its own within the interval, as a hall of sensors does.
    this.#readingMs = startMs + random.next() * this.#intervalMs;
    const { quirks } = spec;
    this.#restartMs = startMs + this.#waitMs(quirks.restartsPerHour, HOUR_MS);
    this.#offlineMs = startMs + this.#waitMs(quirks.offlinePerHour, HOUR_MS);
    this.#churnMs = startMs + this.#waitMs(spec.churnPerMinute, MINUTE_MS);
    this.#jumpMs = startMs + this.#waitMs(quirks.clockJumpsPerHour, HOUR_MS);
    this.#outages = [...options.outages];
    this.#sequence = quirks.sequence === 'clock' ? Math.max(0, Math.floor(this.#clock(startMs))) : 0;
  }

  /** Scenario time of the next step; infinite after the end, when the link is there again. */
  get nextAtMs(): number {
    const first = this.#upcoming();
    if (first <= this.#options.endMs) return first;
    return Number.isFinite(this.#upMs) ? this.#options.endMs : NEVER;
  }

  step(): Action[] {
    const atMs = this.nextAtMs;
    const { spec, endMs } = this.#options;
    // At the end every link is there again and what was held back goes out, so that nothing is left over by plan.
    if (atMs >= endMs && Number.isFinite(this.#upMs)) return this.#up();
    if (atMs === this.#upMs) return this.#up();
    if (atMs === this.#outages[0]?.fromMs) {
      const { fromMs, toMs } = this.#outages.shift()!;
      return this.#down(atMs, toMs - fromMs, false);
    }
    if (atMs === this.#restartMs) {
      this.#restartMs = atMs + this.#waitMs(spec.quirks.restartsPerHour, HOUR_MS);
      return this.#restart(atMs);
    }
    if (atMs === this.#offlineMs) {
      this.#offlineMs = atMs + this.#waitMs(spec.quirks.offlinePerHour, HOUR_MS);
      const [low, high] = spec.quirks.offlineSeconds;
      return this.#down(atMs, this.#random.between(low, high) * 1000, false);
    }
    if (atMs === this.#churnMs) {
      this.#churnMs = atMs + this.#waitMs(spec.churnPerMinute, MINUTE_MS);
      return this.#down(atMs, this.#random.between(...CHURN_MS), false);
    }
    if (atMs === this.#jumpMs) {
      this.#jumpMs = atMs + this.#waitMs(spec.quirks.clockJumpsPerHour, HOUR_MS);
      this.#jumpedMs += this.#random.between(-1, 1) * spec.quirks.clockJumpSeconds * 1000;
      return [];
    }
    return this.#read(atMs);
  }

  #upcoming(): number {
    return Math.min(
      this.#readingMs < this.#options.endMs ? this.#readingMs : NEVER,
      this.#restartMs,
      this.#offlineMs,
      this.#churnMs,
      this.#jumpMs,
      this.#upMs,
      this.#outages[0]?.fromMs ?? NEVER,
    );
  }

  /** Exponential, so that devices of a fleet do not do it in step. */
  #waitMs(times: number, perMs: number): number {
    return times === 0 ? NEVER : (-log(1 - this.#random.next()) * perMs) / times;
  }

  #clock(atMs: number): number {
    const { clockOffsetSeconds, clockDriftPpm } = this.#options.spec.quirks;
    const drift = ((atMs - this.#options.startMs) * clockDriftPpm) / 1e6;
    return atMs + clockOffsetSeconds * 1000 + drift + this.#jumpedMs;
  }

  /** A link that is down already stays down for the longer of the two. */
  #down(atMs: number, forMs: number, forgets: boolean): Action[] {
    const wasUp = !Number.isFinite(this.#upMs);
    this.#upMs = wasUp ? atMs + forMs : Math.max(this.#upMs, atMs + forMs);
    return wasUp || forgets ? [{ type: 'down', forgets }] : [];
  }

  #up(): Action[] {
    this.#upMs = NEVER;
    return [{ type: 'up' }];
  }

  #restart(atMs: number): Action[] {
    const { sequence } = this.#options.spec.quirks;
    this.#held = [];
    if (sequence === 'reset') this.#sequence = 0;
    if (sequence === 'clock') this.#sequence = Math.max(this.#sequence, Math.floor(this.#clock(atMs)));
    return this.#down(atMs, this.#random.between(...RESTART_MS), true);
  }

  #read(atMs: number): Action[] {
    const { spec, endMs } = this.#options;
    const { batch, duplicates, reordered, sequence } = spec.quirks;
    const eventMs = Math.max(0, Math.floor(this.#clock(atMs)));
    const taken = { atMs, eventMs, sequence: sequence === 'none' ? null : this.#sequence, copy: false };
    this.#sequence += 1;
    this.#held.push(taken);
    const rate = rateAt(spec.shape, atMs - this.#options.startMs, this.#options.hourAt(atMs));
    this.#readingMs = atMs + this.#intervalMs / rate;
    const last = this.#readingMs >= endMs;
    if (this.#held.length < batch && !last) return [];
    const swap = this.#held.length === 1 && !last && this.#random.next() < reordered;
    // Held back alone, it goes out with the next one, and after it.
    if (swap) return [];
    const readings = this.#held;
    this.#held = [];
    if (batch === 1 && readings.length === 2) readings.reverse();
    const copies =
      duplicates > 0 && this.#random.next() < duplicates ? [{ ...readings.at(-1)!, copy: true }] : [];
    return [{ type: 'send', readings: [...readings, ...copies] }];
  }
}

/** Rate at `sinceMs` after the start, times the usual. */
export function rateAt(shape: Shape, sinceMs: number, hour: number): number {
  const at = sinceMs / 1000;
  switch (shape.type) {
    case 'steady':
      return 1;
    case 'burst':
      return at % shape.everySeconds < shape.seconds ? shape.factor : 1;
    case 'diurnal':
      return shape.low + (1 - shape.low) * (0.5 - 0.5 * cos(((hour - 4) / 24) * 2 * Math.PI));
    case 'storm': {
      const part = (at - shape.atSeconds) / shape.seconds;
      return part <= 0 || part >= 1 ? 1 : 1 + (shape.factor - 1) * (1 - Math.abs(2 * part - 1));
    }
  }
}
