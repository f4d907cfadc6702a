// Owns which faults strike which device and when: seeded, labelled, decided in order of time. Changes no reading.
import type { FaultKind, Kind, PhysicalFault } from './device.ts';
import { kinds } from './kinds/kinds.ts';
import type { Random } from './random.ts';

/** The label an anomaly detector is judged by. */
export interface Fault {
  readonly device: string;
  readonly kind: FaultKind;
  /** The value it shows in most, as the gateway names fields: metric.value. */
  readonly field: string;
  /** Scenario time, unix ms; from <= t < to. */
  readonly fromMs: number;
  readonly toMs: number;
}

export interface FaultPlanOptions {
  readonly random: Random;
  readonly devices: readonly { readonly name: string; readonly kind: Kind }[];
  /** No fault begins before. */
  readonly fromMs: number;
  /** Mean time between the beginnings of two faults. */
  readonly everyMs: number;
  /** Length of the scenario's day; the durations of faults are parts of it. */
  readonly dayMs: number;
  readonly hourAt: (atMs: number) => number;
}

/** Durations in hours of the scenario's day (25 s each when a day takes ten minutes). */
const DURATION_HOURS: Readonly<Record<FaultKind, readonly [low: number, high: number]>> = {
  'bearing-wear': [0.9, 1.6],
  'door-left-open': [0.6, 1],
  'string-outage': [0.6, 1],
  clipping: [0.6, 1],
  'filter-failure': [0.9, 1.6],
  'phase-loss': [0.6, 1],
  jamming: [0.3, 0.8],
  'blade-icing': [0.9, 1.6],
  stuck: [0.8, 1.2],
  spike: [0.02, 0.06],
  drift: [0.9, 1.6],
};
/** A machine is left alone after a fault, so that one label is not mistaken for the echo of another. */
const REST_HOURS = 4;
/** Three in four are physical: those are what the gateway's owner wants to hear of. */
const PHYSICAL_SHARE = 0.75;
const MAX_KEPT = 10_000;

export class FaultPlan {
  readonly #options: FaultPlanOptions;
  readonly #hourMs: number;
  readonly #latest = new Map<string, Fault>();
  #planned: Fault[] = [];
  #nextMs: number;

  constructor(options: FaultPlanOptions) {
    this.#options = options;
    this.#hourMs = options.dayMs / 24;
    // The first comes soon: whoever starts a demo wants to see one.
    this.#nextMs = options.fromMs + Math.round(options.everyMs * options.random.between(0.2, 0.8));
  }

  /** The fault at work on `device` at `atMs`, or null. Ask in order of time. */
  at(device: string, atMs: number): Fault | null {
    while (this.#nextMs <= atMs) this.#strike();
    const fault = this.#latest.get(device);
    return fault && fault.fromMs <= atMs && atMs < fault.toMs ? fault : null;
  }

  /** Faults that began at or before `atMs` (the latest 10,000), in order. */
  begunBy(atMs: number): readonly Fault[] {
    while (this.#nextMs <= atMs) this.#strike();
    return this.#planned;
  }

  #gap(): number {
    return Math.round(this.#options.everyMs * this.#options.random.between(0.5, 1.5));
  }

  #strike(): void {
    const { random, devices, hourAt } = this.#options;
    const fromMs = this.#nextMs;
    this.#nextMs += Math.max(1, this.#gap());
    const hour = hourAt(fromMs);
    const able = devices.filter(({ name, kind }) => {
      const [first, last] = kinds[kind].showsBetween;
      const before = this.#latest.get(name);
      const rested = !before || fromMs >= before.toMs + REST_HOURS * this.#hourMs;
      return rested && hour >= first && hour < last;
    });
    if (able.length === 0) return;
    const { name, kind } = random.pick(able);
    const { metric, faults, spikes } = kinds[kind];
    const physical = Object.entries(faults) as [PhysicalFault, string][];
    const chosen =
      random.next() < PHYSICAL_SHARE
        ? random.pick(physical)
        : ([random.pick(['stuck', 'spike', 'drift'] as const), random.pick(Object.keys(spikes))] as const);
    const [low, high] = DURATION_HOURS[chosen[0]];
    const fault: Fault = {
      device: name,
      kind: chosen[0],
      field: `${metric}.${chosen[1]}`,
      fromMs,
      toMs: fromMs + Math.max(1, Math.round(random.between(low, high) * this.#hourMs)),
    };
    this.#latest.set(name, fault);
    this.#planned.push(fault);
    if (this.#planned.length > 2 * MAX_KEPT) this.#planned = this.#planned.slice(-MAX_KEPT);
  }
}

/** How far `fault` has grown at `atMs`, 0 < x <= 1: wear and drift creep, a door swings open, a fuse blows at once. */
export function growth(fault: Fault, atMs: number): number {
  const progress = (atMs - fault.fromMs) / (fault.toMs - fault.fromMs);
  switch (fault.kind) {
    case 'bearing-wear':
    case 'filter-failure':
    case 'blade-icing':
    case 'drift':
      return Math.min(1, 0.1 + progress * 1.5);
    case 'door-left-open':
      return Math.min(1, 0.4 + progress * 3);
    case 'string-outage':
      return progress < 0.5 ? 0.4 : 1;
    case 'clipping':
    case 'phase-loss':
    case 'jamming':
    case 'stuck':
    case 'spike':
      return 1;
  }
}
