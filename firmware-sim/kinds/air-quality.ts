// Owns the air-quality node: people breathe, ventilation clears, dust wanders. ppm, µg/m³, °C, % relative humidity.
import { type DeviceModel, type KindDescription, type Moment, rhythm } from '../device.ts';
import { exp } from '../exact.ts';
import { quantise, type Random, Wander } from '../random.ts';

const OUTDOOR_PPM = 420;
const AIR_CHANGES_PER_HOUR = 3;

class AirQuality implements DeviceModel {
  readonly #random: Random;
  readonly #presence: Wander;
  readonly #dust: Wander;
  #co2 = 480;
  #pm25: number;

  constructor(random: Random) {
    this.#random = random;
    this.#presence = new Wander(random.fork('presence'), 0.98, 0.04);
    this.#dust = new Wander(random.fork('dust'), 0.97, 0.08);
    this.#pm25 = random.between(7, 10);
  }

  step({ hour, activity, stepHours, faults }: Moment) {
    const people = Math.max(
      0,
      activity * (rhythm(hour, 10, 2) + rhythm(hour, 15, 2)) + this.#presence.next(),
    );
    const exchange = Math.min(1, AIR_CHANGES_PER_HOUR * stepHours);
    this.#co2 += exchange * (OUTDOOR_PPM + 480 * people - this.#co2);
    // A filter that fails lets the dust of the street in.
    const street =
      8 * exp(this.#dust.next()) * (1 + 0.2 * rhythm(hour, 8, 1.5) + 0.2 * rhythm(hour, 17.5, 1.5));
    const target = street * (1 + 5 * (faults.get('filter-failure') ?? 0));
    this.#pm25 += Math.min(1, 2 * exchange) * (target - this.#pm25);
    const temperature = 20.5 + 2 * rhythm(hour, 15, 5) + 0.05 * this.#random.normal();
    return {
      metric: 'air',
      values: {
        co2: quantise(this.#co2 + 3 * this.#random.normal(), 0),
        pm25: quantise(Math.max(0, this.#pm25 + 0.15 * this.#random.normal()), 1),
        temperature: quantise(temperature, 2),
        humidity: quantise(46 - 1.5 * (temperature - 20.5) + 0.2 * this.#random.normal(), 1),
      },
    };
  }
}

export const airQuality: KindDescription = {
  metric: 'air',
  spikes: { co2: 700, temperature: 9, humidity: 25 },
  faults: { 'filter-failure': 'pm25' },
  showsBetween: [0, 24],
  create: (random) => new AirQuality(random),
};
