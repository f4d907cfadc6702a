// Owns the solar inverter: sun and clouds give irradiance, strings give DC power, the inverter clips at its rating.
// kW, W/m², degrees Celsius.
import { type DeviceModel, type KindDescription, type Moment, rhythm } from '../device.ts';
import { power, sin } from '../exact.ts';
import { quantise, type Random, Wander } from '../random.ts';

const STRINGS = 4;
const STRING_KW = 5;
const RATED_AC_KW = 17;
const SUNRISE = 5;
const SUNSET = 21;

class Inverter implements DeviceModel {
  readonly #random: Random;
  readonly #clouds: Wander;
  #cell = 15;

  constructor(random: Random) {
    this.#random = random;
    this.#clouds = new Wander(random.fork('clouds'), 0.99, 0.05);
  }

  step({ hour, stepHours, faults }: Moment) {
    const day = (hour - SUNRISE) / (SUNSET - SUNRISE);
    const clear = day > 0 && day < 1 ? 980 * power(sin(Math.PI * day), 1.3) : 0;
    const irradiance = clear * Math.min(1, Math.max(0.2, 0.9 + this.#clouds.next()));
    const ambient = 12 + 8 * rhythm(hour, 15, 4);
    this.#cell += Math.min(1, 4 * stepHours) * (ambient + 0.028 * irradiance - this.#cell);
    // Silicon loses 0.4 % per degree above 25 °C.
    const yieldPart = (irradiance / 1000) * (1 - 0.004 * (this.#cell - 25));
    // One string of four trips, then a second where the outage is full.
    const out = faults.get('string-outage') ?? 0;
    const strings = STRINGS - (out > 0 ? (out < 0.5 ? 1 : 2) : 0);
    const dc = strings * STRING_KW * yieldPart * (1 + 0.006 * this.#random.normal());
    // A derated inverter (hot, or wrongly configured) cuts the top off.
    const limit = faults.has('clipping') ? 0.35 * RATED_AC_KW : RATED_AC_KW;
    const ac = Math.min(limit, dc * 0.975);
    return {
      metric: 'power',
      values: {
        ac: quantise(Math.max(0, ac), 3),
        dc: quantise(Math.max(0, dc), 3),
        irradiance: quantise(Math.max(0, irradiance * (1 + 0.004 * this.#random.normal())), 1),
        cell: quantise(this.#cell + 0.1 * this.#random.normal(), 1),
      },
    };
  }
}

export const inverter: KindDescription = {
  metric: 'power',
  spikes: { ac: 9, cell: 30 },
  faults: { 'string-outage': 'dc', clipping: 'ac' },
  showsBetween: [9, 17],
  create: (random) => new Inverter(random),
};
