// Owns the cold store: air and goods exchange heat with each other and the outside, a thermostat runs the
// compressor, doors let warm air in. Degrees Celsius; compressor 0 or 1.
import { type DeviceModel, type KindDescription, type Moment, rhythm } from '../device.ts';
import { quantise, type Random, Wander } from '../random.ts';

const SET_POINT = 4;
const HYSTERESIS = 0.6;
/** Rates per hour: how fast air follows outside (walls, open door), goods follow air, and the cooling power. */
const WALL_RATE = 0.12;
const DOOR_RATE = 3;
const GOODS_RATE = 0.35;
const AIR_TO_GOODS_RATE = 0.8;
const COOLING_PER_HOUR = 14;
/** Steps are cut to this, so that a much compressed day stays stable. */
const MAX_STEP_HOURS = 0.01;

class ColdStore implements DeviceModel {
  readonly #random: Random;
  readonly #outside: Wander;
  #air: number;
  #goods: number;
  #cooling = false;
  /** Hours for which the door still stands open on an ordinary visit. */
  #doorHours = 0;

  constructor(random: Random) {
    this.#random = random;
    this.#outside = new Wander(random.fork('outside'), 0.995, 1.2);
    this.#air = SET_POINT + random.between(-HYSTERESIS, HYSTERESIS);
    this.#goods = SET_POINT + random.between(-0.2, 0.2);
  }

  step({ hour, activity, stepHours, faults }: Moment) {
    const outside = 17 + 5 * rhythm(hour, 15, 4) + this.#outside.next();
    const leftOpen = faults.get('door-left-open') ?? 0;
    // People come in by day, about twice an hour, for a minute or two.
    const visitsPerHour = 0.1 + 2 * activity * rhythm(hour, 12, 3.5);
    if (this.#random.next() < visitsPerHour * stepHours) this.#doorHours = this.#random.between(0.01, 0.035);
    for (let left = stepHours; left > 1e-9; left -= MAX_STEP_HOURS) {
      this.#relax(Math.min(left, MAX_STEP_HOURS), outside, leftOpen);
    }
    return {
      metric: 'climate',
      values: {
        air: quantise(this.#air + 0.04 * this.#random.normal(), 2),
        goods: quantise(this.#goods + 0.02 * this.#random.normal(), 2),
        compressor: this.#cooling ? 1 : 0,
      },
    };
  }

  #relax(hours: number, outside: number, leftOpen: number): void {
    const door = leftOpen > 0 ? leftOpen : this.#doorHours > 0 ? 0.6 : 0;
    this.#doorHours = Math.max(0, this.#doorHours - hours);
    if (this.#air > SET_POINT + HYSTERESIS) this.#cooling = true;
    else if (this.#air < SET_POINT - HYSTERESIS) this.#cooling = false;
    const gain =
      (WALL_RATE + DOOR_RATE * door) * (outside - this.#air) + AIR_TO_GOODS_RATE * (this.#goods - this.#air);
    this.#air += hours * (gain - (this.#cooling ? COOLING_PER_HOUR : 0));
    this.#goods += hours * GOODS_RATE * (this.#air - this.#goods);
  }
}

export const coldStore: KindDescription = {
  metric: 'climate',
  spikes: { air: 12, goods: 6 },
  faults: { 'door-left-open': 'air' },
  showsBetween: [0, 24],
  create: (random) => new ColdStore(random),
};
