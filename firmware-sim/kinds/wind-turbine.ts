// Owns the wind turbine: wind with gusts, a rotor with inertia, a power curve with cut-in, rating and cut-out.
// m/s, kW, rpm, degrees Celsius.
import { type DeviceModel, type KindDescription, type Moment, rhythm } from '../device.ts';
import { exp } from '../exact.ts';
import { quantise, type Random, Wander } from '../random.ts';

const CUT_IN = 3;
/** Around it the turbine neither starts nor stops: it would wear itself out in gusts. */
const HYSTERESIS = 0.5;
const RATED_WIND = 12;
const CUT_OUT = 25;
const RATED_KW = 3_000;
const RATED_RPM = 15;

const cube = (wind: number) => wind * wind * wind;

function curve(wind: number): number {
  if (wind < CUT_IN || wind >= CUT_OUT) return 0;
  // Power in the wind goes with the cube of its speed, until the blades are pitched to hold the rating.
  return Math.min(1, (cube(wind) - cube(CUT_IN)) / (cube(RATED_WIND) - cube(CUT_IN)));
}

class WindTurbine implements DeviceModel {
  readonly #random: Random;
  readonly #weather: Wander;
  readonly #gusts: Wander;
  #rotorWind: number;
  #rpm: number;
  /** The wind it starts and stops by: no gust does that. */
  #steadyWind: number;
  #turning = true;
  #nacelle = 25;

  constructor(random: Random) {
    this.#random = random;
    this.#weather = new Wander(random.fork('weather'), 0.999, 0.25);
    this.#gusts = new Wander(random.fork('gusts'), 0.8, 0.07);
    this.#rotorWind = random.between(7, 10);
    this.#rpm = RATED_RPM * 0.9;
    this.#steadyWind = this.#rotorWind;
  }

  step({ hour, stepHours, faults }: Moment) {
    const mean = (8 + 1.5 * rhythm(hour, 15, 4)) * exp(this.#weather.next());
    const wind = Math.max(0, mean * (1 + this.#gusts.next()));
    // Tonnes of blade follow the wind within half a minute, not at once.
    this.#rotorWind += Math.min(1, 120 * stepHours) * (wind - this.#rotorWind);
    this.#steadyWind += 0.03 * (wind - this.#steadyWind);
    if (this.#steadyWind > CUT_IN + HYSTERESIS) this.#turning = true;
    if (this.#steadyWind < CUT_IN - HYSTERESIS || this.#rotorWind >= CUT_OUT) this.#turning = false;
    const turning = this.#turning;
    // Ice spoils the profile: less power from the same wind, and a rotor out of balance.
    const ice = faults.get('blade-icing') ?? 0;
    const part = turning ? curve(this.#rotorWind) * (1 - 0.55 * ice) : 0;
    this.#nacelle += Math.min(1, 2 * stepHours) * (12 + 6 * rhythm(hour, 15, 4) + 45 * part - this.#nacelle);
    // It spins up and runs down in minutes; below cut-in it idles.
    const wanted = turning ? RATED_RPM * Math.min(1, 0.45 + 0.055 * this.#rotorWind) : 0.2;
    this.#rpm += Math.min(1, 40 * stepHours) * (wanted - this.#rpm);
    return {
      metric: 'turbine',
      values: {
        wind: quantise(wind, 1),
        power: quantise(Math.max(0, RATED_KW * part * (1 + 0.004 * this.#random.normal())), 0),
        rotor: quantise(this.#rpm + 0.02 * Math.abs(this.#random.normal()), 2),
        sway: quantise(
          0.05 + 0.12 * part + 0.6 * ice * (turning ? 1 : 0.1) + 0.01 * Math.abs(this.#random.normal()),
          3,
        ),
        nacelle: quantise(this.#nacelle + 0.1 * this.#random.normal(), 1),
      },
    };
  }
}

export const windTurbine: KindDescription = {
  metric: 'turbine',
  spikes: { wind: 20, nacelle: 40 },
  faults: { 'blade-icing': 'sway' },
  showsBetween: [0, 24],
  create: (random) => new WindTurbine(random),
};
