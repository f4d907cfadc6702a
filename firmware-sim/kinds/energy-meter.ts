// Owns the three-phase energy meter: load follows people and machines, a counter adds up what was drawn and never
// runs back. W, V, Wh.
import { type DeviceModel, type KindDescription, type Moment, rhythm } from '../device.ts';
import { exp } from '../exact.ts';
import { quantise, type Random, Wander } from '../random.ts';

const BASE_W = 900;
const PEOPLE_W = 6_500;
/** The register of the meter: nine digits of Wh, then it begins again. */
const REGISTER_WH = 1e9;

class EnergyMeter implements DeviceModel {
  readonly #random: Random;
  readonly #load: Wander;
  readonly #grid: Wander;
  #counterWh: number;

  constructor(random: Random) {
    this.#random = random;
    this.#load = new Wander(random.fork('load'), 0.95, 0.12);
    this.#grid = new Wander(random.fork('grid'), 0.99, 1.5);
    this.#counterWh = Math.floor(random.between(1e6, 5e8));
  }

  step({ hour, activity, stepHours, faults }: Moment) {
    const people = activity * (rhythm(hour, 9, 2.5) + rhythm(hour, 14.5, 2.5)) + 0.4 * rhythm(hour, 20, 1.5);
    const wanted = (BASE_W + PEOPLE_W * people) * exp(this.#load.next());
    // Without one of three phases its machines stand still, and its voltage is gone.
    const lost = faults.has('phase-loss');
    const watts = lost ? wanted * 0.62 : wanted;
    this.#counterWh = (this.#counterWh + watts * stepHours) % REGISTER_WH;
    const volts = 231 - watts * 0.0003 + this.#grid.next();
    return {
      metric: 'energy',
      values: {
        wh: Math.floor(this.#counterWh),
        power: quantise(watts * (1 + 0.002 * this.#random.normal()), 0),
        l1: quantise(volts + 0.2 * this.#random.normal(), 1),
        l2: quantise(lost ? 3 * this.#random.next() : volts + 0.2 * this.#random.normal(), 1),
        l3: quantise(volts + 0.2 * this.#random.normal(), 1),
      },
    };
  }
}

export const energyMeter: KindDescription = {
  metric: 'energy',
  spikes: { power: 15_000, l1: 60 },
  faults: { 'phase-loss': 'l2' },
  showsBetween: [0, 24],
  create: (random) => new EnergyMeter(random),
};
