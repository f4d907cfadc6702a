// Owns one simulated machine: its physics, and the sensor between the physics and the wire. Knows no clock, no
// firmware and no network.
import type { Kind, Moment, PhysicalFault, Reading } from './device.ts';
import { type Fault, growth } from './faults.ts';
import { kinds } from './kinds/kinds.ts';
import { quantise, type Random } from './random.ts';

const SETTLE_STEPS = 60;
const SETTLE_STEP_HOURS = 0.05;

const NO_FAULTS: ReadonlyMap<PhysicalFault, number> = new Map();

/** One device: its physics, and the sensor between the physics and the wire. */
export class Machine {
  readonly name: string;
  readonly #kind: Kind;
  readonly #model;
  readonly #random: Random;
  #stuckFault: Fault | null = null;
  #stuckAt = 0;

  constructor({ name, kind }: { readonly name: string; readonly kind: Kind }, random: Random) {
    this.name = name;
    this.#kind = kind;
    this.#model = kinds[kind].create(random.fork('physics'));
    this.#random = random.fork('sensor');
  }

  /** Lets three hours pass unseen, so that the first records show no start-up transient. */
  settle(startHour: number, usualStepHours: number): void {
    const stepHours = Math.max(usualStepHours, SETTLE_STEP_HOURS);
    for (let left = SETTLE_STEPS; left > 0; left -= 1) {
      const hour = (startHour - left * stepHours + 24 * SETTLE_STEPS) % 24;
      this.#model.step({ atMs: 0, hour, activity: 1, stepHours, faults: NO_FAULTS });
    }
  }

  read(moment: Omit<Moment, 'faults'>, fault: Fault | null): Reading {
    if (!fault) return this.#model.step({ ...moment, faults: NO_FAULTS });
    const grown = growth(fault, moment.atMs);
    if (fault.kind === 'stuck' || fault.kind === 'spike' || fault.kind === 'drift') {
      return this.#sense(this.#model.step({ ...moment, faults: NO_FAULTS }), fault, grown);
    }
    return this.#model.step({ ...moment, faults: new Map([[fault.kind, grown]]) });
  }

  /** What a faulty sensor makes of a sound reading. */
  #sense(reading: Reading, fault: Fault, grown: number): Reading {
    const name = fault.field.slice(reading.metric.length + 1);
    const value = reading.values[name];
    const size = kinds[this.#kind].spikes[name];
    if (value === undefined || size === undefined) return reading;
    if (fault.kind === 'stuck' && this.#stuckFault !== fault) {
      this.#stuckFault = fault;
      this.#stuckAt = value;
    }
    const wrong =
      fault.kind === 'stuck'
        ? this.#stuckAt
        : fault.kind === 'spike'
          ? value + size * this.#random.between(0.9, 1.3)
          : value + 0.6 * size * grown;
    return { metric: reading.metric, values: { ...reading.values, [name]: quantise(wrong, 3) } };
  }
}
