// Owns the pump: speed follows demand, vibration follows speed, a worn bearing adds impulses. mm/s and rpm.
import { type DeviceModel, type KindDescription, type Moment, rhythm } from '../device.ts';
import { quantise, type Random, Wander } from '../random.ts';

const RATED_RPM = 1480;

class Pump implements DeviceModel {
  readonly #random: Random;
  readonly #load: Wander;
  readonly #unbalance: number;
  #rpm = RATED_RPM * 0.8;

  constructor(random: Random) {
    this.#random = random;
    this.#load = new Wander(random.fork('load'), 0.9, 0.01);
    this.#unbalance = random.between(1.6, 2.4);
  }

  step({ hour, activity, faults }: Moment) {
    const demand =
      0.78 + activity * (0.12 * rhythm(hour, 8, 2) + 0.1 * rhythm(hour, 18, 2.5)) + this.#load.next();
    // The drive ramps: it does not jump to what is asked.
    this.#rpm += 0.4 * (RATED_RPM * demand - this.#rpm);
    const speed = this.#rpm / RATED_RPM;
    const wear = faults.get('bearing-wear') ?? 0;
    // Unbalance grows with the square of speed; the second harmonic adds in quadrature; wear adds a wide band.
    const first = this.#unbalance * speed * speed;
    const second = 0.25 * first;
    const bearing = wear * (2.2 + 0.5 * Math.abs(this.#random.normal()));
    const rms =
      Math.sqrt(first * first + second * second + bearing * bearing) * (1 + 0.015 * this.#random.normal());
    // A sine peaks at 1.41 rms; the impulses of a damaged race reach three to five times.
    const crest = 1.62 + 0.03 * this.#random.normal() + wear * (1.4 + 0.4 * Math.abs(this.#random.normal()));
    return {
      metric: 'vibration',
      values: {
        rms: quantise(rms, 3),
        peak: quantise(rms * crest, 3),
        rpm: quantise(this.#rpm + 2 * this.#random.normal(), 0),
      },
    };
  }
}

export const pump: KindDescription = {
  metric: 'vibration',
  spikes: { rms: 4, peak: 9 },
  faults: { 'bearing-wear': 'rms' },
  showsBetween: [0, 24],
  create: (random) => new Pump(random),
};
