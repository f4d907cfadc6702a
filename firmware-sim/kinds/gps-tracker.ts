// Owns the GPS tracker of a lorry: it drives by day, stands by night, and its position is as good as the satellites
// allow. Degrees (WGS 84), km/h; hdop without unit.
import { type DeviceModel, type KindDescription, type Moment, rhythm } from '../device.ts';
import { cos, exp, sin } from '../exact.ts';
import { quantise, type Random, Wander } from '../random.ts';

const KM_PER_DEGREE = 111.32;
/** A receiver scatters by about this much per unit of hdop. */
const SCATTER_KM = 0.0025;

class GpsTracker implements DeviceModel {
  readonly #random: Random;
  readonly #turn: Wander;
  readonly #traffic: Wander;
  readonly #sky: Wander;
  #latitude: number;
  #longitude: number;
  #heading: number;

  constructor(random: Random) {
    this.#random = random;
    this.#turn = new Wander(random.fork('turn'), 0.9, 0.15);
    this.#traffic = new Wander(random.fork('traffic'), 0.97, 0.35);
    this.#sky = new Wander(random.fork('sky'), 0.98, 0.2);
    this.#latitude = random.between(46, 54);
    this.#longitude = random.between(6, 15);
    this.#heading = random.between(0, 2 * Math.PI);
  }

  step({ hour, activity, stepHours, faults }: Moment) {
    const driving = activity * (rhythm(hour, 9, 2.5) + rhythm(hour, 15, 2.5)) + this.#traffic.next();
    const speed = Math.min(89, Math.max(0, 82 * (driving - 0.15)));
    if (speed > 0) this.#heading += this.#turn.next();
    const km = speed * stepHours;
    // A lorry that would leave the middle latitudes turns round: the flat-earth step below stays fair.
    if (this.#latitude > 60 || this.#latitude < 40) this.#heading = Math.PI - this.#heading;
    this.#latitude = Math.min(61, Math.max(39, this.#latitude + (km * cos(this.#heading)) / KM_PER_DEGREE));
    const eastKm = KM_PER_DEGREE * cos((this.#latitude * Math.PI) / 180);
    this.#longitude = ((this.#longitude + (km * sin(this.#heading)) / eastKm + 540) % 360) - 180;
    const jammed = faults.get('jamming') ?? 0;
    const hdop = 0.9 * exp(Math.abs(this.#sky.next())) + jammed * this.#random.between(12, 20);
    const scatter = (hdop * SCATTER_KM) / KM_PER_DEGREE;
    return {
      metric: 'position',
      values: {
        lat: quantise(this.#latitude + scatter * this.#random.normal(), 6),
        lon: quantise(this.#longitude + scatter * this.#random.normal(), 6),
        speed: quantise(Math.max(0, speed + 0.3 * this.#random.normal()), 1),
        hdop: quantise(hdop, 1),
      },
    };
  }
}

export const gpsTracker: KindDescription = {
  metric: 'position',
  spikes: { speed: 140, hdop: 20 },
  faults: { jamming: 'hdop' },
  showsBetween: [0, 24],
  create: (random) => new GpsTracker(random),
};
