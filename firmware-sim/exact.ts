// Owns exp, log, sine, cosine and powers for everything that becomes bytes: from additions, multiplications, divisions and
// square roots alone, which IEEE 754 defines to the last bit. `Math.exp` and its like are the engine's own choice and have
// changed between versions of Node. Good to one or two units in the last place; only for the sizes that physics needs.

/** ln 2 and π/2, split so that a small whole number times the first part is exact (Cody and Waite). */
const LN2_HIGH = 0.6931471803691238;
const LN2_LOW = 1.9082149292705877e-10;
const HALF_PI_HIGH = 1.5707963267341256;
const HALF_PI_LOW = 6.077100506506192e-11;
/** Terms of the series: beyond these they are below one part in 2^54. */
const EXP_TERMS = 14;
const LOG_TERMS = 11;
const CIRCLE_TERMS = 10;
/** Above, the split of π/2 would lose digits. */
const LARGEST_ANGLE = 1e6;

const float = new DataView(new ArrayBuffer(8));

/** x times 2^power, exact, for -1022 <= power <= 1023. */
function scaled(x: number, power: number): number {
  float.setUint32(0, (power + 1023) << 20);
  float.setUint32(4, 0);
  return x * float.getFloat64(0);
}

export function exp(x: number): number {
  if (!(Math.abs(x) < 700)) return x < 0 ? 0 : x;
  const power = Math.floor(x * Math.LOG2E + 0.5);
  const rest = x - power * LN2_HIGH - power * LN2_LOW;
  let sum = 1;
  for (let term = EXP_TERMS; term > 0; term -= 1) sum = 1 + (rest / term) * sum;
  return scaled(sum, power);
}

/** Of a normal number above 0. */
export function log(x: number): number {
  float.setFloat64(0, x);
  let power = (float.getUint32(0) >>> 20) - 1023;
  let part = scaled(x, -power);
  if (part > Math.SQRT2) {
    part /= 2;
    power += 1;
  }
  // ln m = 2 artanh((m - 1) / (m + 1))
  const ratio = (part - 1) / (part + 1);
  const square = ratio * ratio;
  let sum = 0;
  for (let term = LOG_TERMS; term >= 0; term -= 1) sum = sum * square + 1 / (2 * term + 1);
  return power * LN2_HIGH + (2 * ratio * sum + power * LN2_LOW);
}

export function sin(angle: number): number {
  return circle(angle, 0);
}

export function cos(angle: number): number {
  return circle(angle, 1);
}

/** The sine, `quarters` of a turn ahead. */
function circle(angle: number, quarters: number): number {
  if (!(Math.abs(angle) < LARGEST_ANGLE)) throw new RangeError(`${angle} is no angle a simulation needs`);
  const turned = Math.floor(angle / (HALF_PI_HIGH + HALF_PI_LOW) + 0.5);
  const rest = angle - turned * HALF_PI_HIGH - turned * HALF_PI_LOW;
  const quarter = (((turned + quarters) % 4) + 4) % 4;
  const square = rest * rest;
  const first = quarter % 2 === 0 ? 1 : 0;
  // Nested: 1 - x²/(n(n+1)) (1 - x²/((n+2)(n+3)) …), from 2·3 for the sine and from 1·2 for the cosine.
  let sum = 1;
  for (let term = CIRCLE_TERMS; term > 0; term -= 1) {
    const lower = 2 * term - 1 + first;
    sum = 1 - (square / (lower * (lower + 1))) * sum;
  }
  const value = first === 1 ? rest * sum : sum;
  return quarter < 2 ? value : -value;
}

/** Of a base above 0; 0 for 0. */
export function power(base: number, exponent: number): number {
  return base === 0 ? 0 : exp(exponent * log(base));
}
