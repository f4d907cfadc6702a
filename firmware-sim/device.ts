// Owns the role every simulated device plays: one step of its physics gives one reading. No clock, no network.

import { exp } from './exact.ts';
import type { Random } from './random.ts';

export const KINDS = [
  'pump',
  'cold-store',
  'inverter',
  'air-quality',
  'energy-meter',
  'gps-tracker',
  'wind-turbine',
] as const;
export type Kind = (typeof KINDS)[number];

/** What is wrong with the machine, not with its sensor. */
export type PhysicalFault =
  | 'bearing-wear'
  | 'door-left-open'
  | 'string-outage'
  | 'clipping'
  | 'filter-failure'
  | 'phase-loss'
  | 'jamming'
  | 'blade-icing';
/** What is wrong with a sensor: the machine is fine, the value is not. */
export type SensorFault = 'stuck' | 'spike' | 'drift';
export type FaultKind = PhysicalFault | SensorFault;

export interface Moment {
  /** Scenario time, unix ms. */
  readonly atMs: number;
  /** Time of day in hours, 0 <= h < 24, of the scenario's compressed day. */
  readonly hour: number;
  /** How much people are about: 1 on a working day, less at the weekend. */
  readonly activity: number;
  /** Hours of the day's physics that pass in this step: a compressed day makes more of each second. */
  readonly stepHours: number;
  /** Physical faults at work now: how far each has grown, 0 < x <= 1. */
  readonly faults: ReadonlyMap<PhysicalFault, number>;
}

export interface Reading {
  /** Last part of the topic. */
  readonly metric: string;
  /** Names and values, in the order they are sent. */
  readonly values: Readonly<Record<string, number>>;
}

/** State carries over from step to step; steps are taken once each, in order of time. */
export interface DeviceModel {
  step(moment: Moment): Reading;
}

export interface KindDescription {
  readonly metric: string;
  /** The values a sensor fault may strike, with the size of a plain spike in the value's own unit. */
  readonly spikes: Readonly<Record<string, number>>;
  /** Physical faults this kind can have, and the value each shows in most. */
  readonly faults: Readonly<Partial<Record<PhysicalFault, string>>>;
  /** Hours of the day in which a physical fault shows: an inverter at night shows none. */
  readonly showsBetween: readonly [fromHour: number, toHour: number];
  create(random: Random): DeviceModel;
}

/** A bump of height 1 at `peakHour`, `widthHours` wide (deviation), wrapping round midnight. */
export function rhythm(hour: number, peakHour: number, widthHours: number): number {
  const distance = Math.abs(((hour - peakHour + 36) % 24) - 12);
  return exp(-(distance * distance) / (2 * widthHours * widthHours));
}
