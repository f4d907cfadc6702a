// Owns what a fleet would send: every record's bytes and time, from a seed and a scenario clock alone. Sends
// nothing and reads no clock, so the same options give the same bytes.
import type { Kind } from './device.ts';
import { type Fault, FaultPlan } from './faults.ts';
import { Machine } from './machine.ts';
import { Random } from './random.ts';

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
    for (const machine of this.#machines) machine.settle(this.#options.startHour, this.#stepHours);
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
    const { metric, values } = machine.read(
      { atMs, hour: this.#hourAt(atMs), activity: 1, stepHours: this.#stepHours },
      fault,
    );
    const payload = JSON.stringify({ ts: atMs, seq: sequence, ...values });
    return { index, device: machine.name, topic: `plant/${machine.name}/${metric}`, sequence, atMs, payload };
  }

  /** Labels of the faults that began before the next record is due, oldest first (the latest 10,000). */
  get faultsBegun(): readonly Fault[] {
    return this.#plan?.begunBy(this.nextAtMs) ?? [];
  }
}
