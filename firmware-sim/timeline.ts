// Owns everything a scenario file makes happen, in order of scenario time: each record's bytes, links that go and come
// back, labelled faults. From the seed alone: the same file and start give the same bytes. Sends nothing.
import type { Protocol } from './clients/client.ts';
import type { Reading } from './device.ts';
import { type Fault, FaultPlan } from './faults.ts';
import { type Action, Firmware, type Outage } from './firmware.ts';
import type { FaultLabel } from './judge-anomalies.ts';
import { Machine } from './machine.ts';
import { encode } from './payload.ts';
import { Random } from './random.ts';
import type { FleetSpec, ScenarioFile } from './scenario-file.ts';

export interface TimelineDevice {
  readonly name: string;
  readonly kind: FleetSpec['kind'];
  readonly protocol: Protocol;
  readonly spec: FleetSpec;
}

/** A message as the device has it ready; several sends of it carry the same bytes. */
export interface TimelineRecord {
  /** Counts the records of the run, from 0; a copy has its original's. */
  readonly number: number;
  readonly copy: boolean;
  readonly index: number;
  readonly device: string;
  readonly topic: string;
  readonly sequence: number | null;
  /** When it was taken, scenario time, and what the device's clock said. */
  readonly atMs: number;
  readonly eventMs: number;
  readonly payload: string;
}

export type Step =
  | { readonly type: 'record'; readonly record: TimelineRecord }
  | { readonly type: 'down'; readonly index: number; readonly forgets: boolean }
  | { readonly type: 'up'; readonly index: number };

interface Measured {
  readonly reading: Reading;
  readonly fault: Fault | null;
}

const DAY_HOURS = 24;
const WEEKEND_ACTIVITY = 0.3;

export class Timeline {
  readonly devices: readonly TimelineDevice[];
  readonly #startMs: number;
  readonly #dayMs: number;
  readonly #file: ScenarioFile;
  readonly #firmware: Firmware[];
  readonly #machines: Machine[];
  readonly #lastReadMs: Float64Array;
  readonly #plan: FaultPlan | null;
  readonly #heap: Heap;
  readonly #ready: Step[] = [];
  #readyAtMs = 0;
  #number = 0;
  /** Numbers of the first and last record made during each fault. */
  readonly #during = new WeakMap<Fault, [first: number, last: number]>();
  /** Numbers of each device's newest records, for copies. */
  readonly #newest: number[];

  constructor(file: ScenarioFile, startMs: number) {
    this.#file = file;
    this.#startMs = startMs;
    this.#dayMs = file.dayMinutes * 60_000;
    this.devices = devicesOf(file);
    const random = new Random(file.seed);
    const endMs = startMs + file.seconds * 1000;
    this.#machines = this.devices.map((device) => new Machine(device, random.fork(device.name)));
    this.#firmware = this.devices.map(
      ({ name, spec }) =>
        new Firmware({
          random: random.fork(`${name}/firmware`),
          spec,
          startMs,
          endMs,
          hourAt: (atMs) => this.#hourAt(atMs),
          outages: outagesOf(file, spec, random.fork(`${name}/storms`), startMs),
        }),
    );
    for (const [index, machine] of this.#machines.entries())
      machine.settle(file.startHour, this.#hours(1000 / this.devices[index]!.spec.ratePerDevice));
    this.#lastReadMs = new Float64Array(this.devices.length).fill(Number.NaN);
    this.#newest = new Array<number>(this.devices.length).fill(0);
    this.#plan =
      file.faultsPerHour === 0
        ? null
        : new FaultPlan({
            random: random.fork('faults'),
            devices: this.devices,
            fromMs: startMs,
            everyMs: 3_600_000 / file.faultsPerHour,
            dayMs: this.#dayMs,
            hourAt: (atMs) => this.#hourAt(atMs),
          });
    this.#heap = new Heap(this.#firmware.map((firmware) => firmware.nextAtMs));
  }

  /** Scenario time of the next step; infinite when there is none. */
  get nextAtMs(): number {
    this.#prepare();
    return this.#ready.length > 0 ? this.#readyAtMs : Number.POSITIVE_INFINITY;
  }

  /** Only while nextAtMs is finite. */
  next(): Step {
    this.#prepare();
    const step = this.#ready.shift();
    if (!step) throw new RangeError('the scenario is over');
    return step;
  }

  /** Faults that began before the next step, oldest first (the latest 10,000). */
  get faultsBegun(): readonly Fault[] {
    const untilMs = Number.isFinite(this.nextAtMs)
      ? this.nextAtMs
      : this.#startMs + this.#file.seconds * 1000;
    return this.#plan?.begunBy(untilMs) ?? [];
  }

  /** The same, each with the records that were made during it. */
  get labels(): readonly (Fault & FaultLabel)[] {
    return this.faultsBegun.map((fault) => ({ ...fault, records: this.#during.get(fault) ?? null }));
  }

  #prepare(): void {
    while (this.#ready.length === 0 && Number.isFinite(this.#heap.least)) {
      const index = this.#heap.first;
      const firmware = this.#firmware[index]!;
      this.#readyAtMs = this.#heap.least;
      const actions = firmware.step();
      this.#heap.replaceFirst(firmware.nextAtMs);
      for (const action of actions) this.#perform(index, action);
    }
  }

  #perform(index: number, action: Action): void {
    if (action.type !== 'send') {
      this.#ready.push({ ...action, index });
      return;
    }
    // The physics go on in order of time, whatever order the records are sent in.
    const values = new Map<number, Measured>();
    for (const { atMs } of [...action.readings].sort((a, b) => a.atMs - b.atMs))
      if (!values.has(atMs)) values.set(atMs, this.#measure(index, atMs));
    let payload = '';
    let topic = '';
    for (const { atMs, eventMs, sequence, copy } of action.readings) {
      const { name, protocol, spec } = this.devices[index]!;
      if (!copy) {
        ({ topic, payload } = encode(protocol, {
          fleet: spec.name,
          device: name,
          eventMs,
          sequence,
          ...values.get(atMs)!.reading,
        }));
        const { fault } = values.get(atMs)!;
        if (fault) this.#during.set(fault, [this.#during.get(fault)?.[0] ?? this.#number, this.#number]);
        this.#newest[index] = this.#number;
        this.#number += 1;
      }
      const record = {
        number: this.#newest[index]!,
        copy,
        index,
        device: name,
        topic,
        // Line protocol and Sparkplug have no place for a counter that the gateway goes by: stored at least once.
        sequence: protocol === 'line' || protocol === 'sparkplug' ? null : sequence,
        atMs,
        eventMs,
        payload,
      };
      this.#ready.push({ type: 'record', record });
    }
  }

  #measure(index: number, atMs: number): Measured {
    const machine = this.#machines[index]!;
    const before = this.#lastReadMs[index]!;
    const usual = 1000 / this.devices[index]!.spec.ratePerDevice;
    this.#lastReadMs[index] = atMs;
    const stepHours = this.#hours(Number.isNaN(before) ? usual : Math.max(0, atMs - before));
    const moment = { atMs, hour: this.#hourAt(atMs), activity: this.#activityAt(atMs), stepHours };
    const fault = this.#plan?.at(machine.name, atMs) ?? null;
    return { reading: machine.read(moment, fault), fault };
  }

  #hours(realMs: number): number {
    return (realMs / this.#dayMs) * DAY_HOURS;
  }

  #hourAt(atMs: number): number {
    return (this.#file.startHour + this.#hours(atMs - this.#startMs)) % DAY_HOURS;
  }

  #activityAt(atMs: number): number {
    const days = Math.floor((this.#file.startHour + this.#hours(atMs - this.#startMs)) / DAY_HOURS);
    return (this.#file.startWeekday - 1 + days) % 7 >= 5 ? WEEKEND_ACTIVITY : 1;
  }
}

export function devicesOf(file: ScenarioFile): TimelineDevice[] {
  return file.fleets.flatMap((spec) => {
    const protocols = Array.isArray(spec.protocol) ? spec.protocol : [spec.protocol];
    return Array.from({ length: spec.count }, (_, index) => ({
      name: `${spec.name}-${index + 1}`,
      kind: spec.kind,
      protocol: protocols[index % protocols.length]!,
      spec,
    }));
  });
}

function outagesOf(file: ScenarioFile, spec: FleetSpec, random: Random, startMs: number): Outage[] {
  return file.storms
    .filter(({ fleets }) => fleets === undefined || fleets.includes(spec.name))
    .map(({ atSeconds, forSeconds, spreadSeconds }) => {
      const fromMs = startMs + atSeconds * 1000;
      return { fromMs, toMs: fromMs + (forSeconds + spreadSeconds * random.next()) * 1000 };
    })
    .sort((a, b) => a.fromMs - b.fromMs);
}

/** Indices by their next time, least first; equal times by index, so that the order is the same in every run. */
class Heap {
  readonly #at: Float64Array;
  readonly #order: Uint32Array;

  constructor(at: readonly number[]) {
    this.#at = Float64Array.from(at);
    this.#order = Uint32Array.from(at.keys());
    for (let place = Math.floor(at.length / 2) - 1; place >= 0; place -= 1) this.#sink(place);
  }

  get first(): number {
    return this.#order[0]!;
  }

  get least(): number {
    return this.#at[this.first]!;
  }

  replaceFirst(at: number): void {
    this.#at[this.first] = at;
    this.#sink(0);
  }

  #before(a: number, b: number): boolean {
    const difference = this.#at[a]! - this.#at[b]!;
    return difference < 0 || ((difference === 0 || Number.isNaN(difference)) && a < b);
  }

  #sink(from: number): void {
    const order = this.#order;
    const index = order[from]!;
    let place = from;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= order.length) break;
      if (child + 1 < order.length && this.#before(order[child + 1]!, order[child]!)) child += 1;
      if (!this.#before(order[child]!, index)) break;
      order[place] = order[child]!;
      place = child;
    }
    order[place] = index;
  }
}
