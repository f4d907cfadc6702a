// Owns what a fleet would send: every record's bytes and time, from a seed and a scenario clock alone. Sends
// nothing and reads no clock, so the same options give the same bytes.
import type { Kind, PhysicalFault, Reading } from './device.ts';
import { type Fault, FaultPlan, growth } from './faults.ts';
import { kinds } from './kinds/kinds.ts';
import { quantise, Random } from './random.ts';

export interface ScenarioDevice {
  readonly name: string;
  readonly kind: Kind;
}

export interface ScenarioOptions {
  readonly seed: number | string;
  readonly devices: readonly ScenarioDevice[];
  /** Scenario time of the first record, unix ms. */
  readonly startMs: number;
  /** Records per second of each device. */
  readonly ratePerDevice: number;
  /** Length of one day of physics. Default 24 h; a demo shows one in ten minutes. */
  readonly dayMs?: number;
  /** Hour of that day at startMs. */
  readonly startHour?: number;
  /**
   * Each device's first sequence. Default startMs: a device that restarts must not use a number again, and one
   * that keeps no counter over power loss takes it from the clock (right below 1000 records/s).
   */
  readonly firstSequence?: number;
  /** Default: the first after 0.1 day, one per 1/24 day. null: no faults. */
  readonly faults?: { readonly warmUpMs: number; readonly everyMs: number } | null;
}

export interface ScenarioRecord {
  /** Index in `devices`. */
  readonly index: number;
  readonly device: string;
  readonly topic: string;
  readonly sequence: number;
  /** When it is due, and the `ts` inside; scenario time, unix ms. */
  readonly atMs: number;
  /** JSON text: ts, seq, then the values. */
  readonly payload: string;
}

const DAY_MS = 86_400_000;
const SETTLE_STEPS = 60;
const SETTLE_STEP_HOURS = 0.05;

export class Scenario {
  readonly #options: Required<Omit<ScenarioOptions, 'faults'>>;
  readonly #plan: FaultPlan | null;
  readonly #machines: Machine[];
  readonly #intervalMs: number;
  #count = 0;

  constructor(options: ScenarioOptions) {
    const dayMs = options.dayMs ?? DAY_MS;
    this.#options = { dayMs, startHour: 9, firstSequence: options.startMs, ...options };
    this.#intervalMs = 1000 / options.ratePerDevice;
    const random = new Random(options.seed);
    const faults =
      options.faults === undefined ? { warmUpMs: dayMs / 10, everyMs: dayMs / 24 } : options.faults;
    this.#plan =
      faults &&
      new FaultPlan({
        random: random.fork('faults'),
        devices: options.devices,
        fromMs: options.startMs + faults.warmUpMs,
        everyMs: faults.everyMs,
        dayMs,
        hourAt: (atMs) => this.#hourAt(atMs),
      });
    this.#machines = options.devices.map((device) => new Machine(device, random.fork(device.name)));
    const stepHours = Math.max(this.#stepHours, SETTLE_STEP_HOURS);
    for (const machine of this.#machines) machine.settle(this.#options.startHour, stepHours);
  }

  get #stepHours(): number {
    return (this.#intervalMs / this.#options.dayMs) * 24;
  }

  #hourAt(atMs: number): number {
    return (this.#options.startHour + ((atMs - this.#options.startMs) / this.#options.dayMs) * 24) % 24;
  }

  /** Scenario time at which the next record is due. Devices take turns, evenly spread over the interval. */
  get nextAtMs(): number {
    return this.#options.startMs + Math.floor((this.#count * this.#intervalMs) / this.#machines.length);
  }

  next(): ScenarioRecord {
    const atMs = this.nextAtMs;
    const index = this.#count % this.#machines.length;
    const sequence = this.#options.firstSequence + Math.floor(this.#count / this.#machines.length);
    this.#count += 1;
    const machine = this.#machines[index]!;
    const fault = this.#plan?.at(machine.name, atMs) ?? null;
    const { metric, values } = machine.read(atMs, this.#hourAt(atMs), this.#stepHours, fault);
    const payload = JSON.stringify({ ts: atMs, seq: sequence, ...values });
    return { index, device: machine.name, topic: `plant/${machine.name}/${metric}`, sequence, atMs, payload };
  }

  /** Labels of the faults that began before the next record is due, oldest first (the latest 10,000). */
  get faultsBegun(): readonly Fault[] {
    return this.#plan?.begunBy(this.nextAtMs) ?? [];
  }
}

const NO_FAULTS: ReadonlyMap<PhysicalFault, number> = new Map();

/** One device: its physics, and the sensor between the physics and the wire. */
class Machine {
  readonly name: string;
  readonly #kind: Kind;
  readonly #model;
  readonly #random: Random;
  #stuckFault: Fault | null = null;
  #stuckAt = 0;

  constructor({ name, kind }: ScenarioDevice, random: Random) {
    this.name = name;
    this.#kind = kind;
    this.#model = kinds[kind].create(random.fork('physics'));
    this.#random = random.fork('sensor');
  }

  /** Lets three hours pass unseen, so that the first records show no start-up transient. */
  settle(startHour: number, stepHours: number): void {
    for (let left = SETTLE_STEPS; left > 0; left -= 1) {
      const hour = (startHour - left * stepHours + 24 * SETTLE_STEPS) % 24;
      this.#model.step({ atMs: 0, hour, stepHours, faults: NO_FAULTS });
    }
  }

  read(atMs: number, hour: number, stepHours: number, fault: Fault | null): Reading {
    if (!fault) return this.#model.step({ atMs, hour, stepHours, faults: NO_FAULTS });
    const grown = growth(fault, atMs);
    if (fault.kind === 'stuck' || fault.kind === 'spike' || fault.kind === 'drift') {
      return this.#sense(this.#model.step({ atMs, hour, stepHours, faults: NO_FAULTS }), fault, grown);
    }
    return this.#model.step({ atMs, hour, stepHours, faults: new Map([[fault.kind, grown]]) });
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
