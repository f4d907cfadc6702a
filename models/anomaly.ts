// Owns the decision: from a model's deviations of one series to a score, and whether it is an anomaly. Pure: the
// calibration it is given is all it remembers. Refuses to know devices, records or the model.
//
// Score. Each output u of the model is measured in two units of the series' own, so that one threshold serves series
// of any scale and temper: its usual size (a running mean of |u| in which outliers count at most OUTLIER times the
// usual), and its usual extremes (a running mean of the largest |u| of each BLOCK scores): a compressor that kicks
// every few minutes is not news. Both begin at what the model shows on normal series and follow with growing memory.
// The score is the sum over the outputs: on the simulated plant that found as many faults as the largest alone with a
// third fewer false alerts, for a fault mostly shows in more than one.

/** Scores per block; one block has one largest value. */
const BLOCK = 64;
/** Largest of BLOCK usual values: where extremes begin, and the least they are taken for. */
const USUAL_EXTREME = 4;
/** How much one value counts at most in the running means, in units of what is usual. */
const OUTLIER = 4;
const EXTREME_OUTLIER = 2;
/** Weight of where the calibration began, and longest memory, in scores. */
const BEGIN_WEIGHT = 32;
const MEMORY = 1024;
const EXTREME_SHARE = 0.2;
const LARGEST = 1e6;
/** A series that hardly deviates for hours must not make news of its first ordinary value: least usual size, in spreads. */
const LEAST_USUAL = 0.5;

/** What is remembered of one series. All numbers finite. */
export interface Calibration {
  /** Scores so far. */
  count: number;
  /** Scores for which the series still stays silent after an anomaly. */
  silent: number;
  /** Per output: usual size, usual extreme (in usual sizes), largest of the block at hand (in usual sizes). */
  readonly usual: Float64Array;
  readonly extreme: Float64Array;
  readonly block: Float64Array;
}

export interface JudgeSettings {
  /** Usual size of each output on normal series. */
  readonly spread: readonly number[];
  readonly threshold: number;
  /** Scores that only calibrate. */
  readonly warmupRecords: number;
  /** After an anomaly, so many scores cannot be another. */
  readonly refractoryRecords: number;
}

export interface Verdict {
  /** Sum over the outputs; a few is usual, finite. */
  readonly score: number;
  /** Which output had the largest part in it. */
  readonly channel: number;
  readonly anomaly: boolean;
}

/** `spread`: the usual size of each output on normal series. */
export function newCalibration(spread: readonly number[]): Calibration {
  return {
    count: 0,
    silent: 0,
    usual: Float64Array.from(spread),
    extreme: new Float64Array(spread.length).fill(USUAL_EXTREME),
    block: new Float64Array(spread.length),
  };
}

/**
 * Judges the next deviations of a series and learns from them. `only`: the one output that is judged (and learned
 * from) this time, where the others mean nothing.
 */
export function judge(
  calibration: Calibration,
  deviations: ArrayLike<number>,
  settings: JudgeSettings,
  only?: number,
): Verdict {
  let score = 0;
  let largest = 0;
  let channel = 0;
  const share = 1 / Math.min(MEMORY, BEGIN_WEIGHT + calibration.count);
  const { usual, extreme, block } = calibration;
  for (let at = 0; at < usual.length; at += 1) {
    if (only !== undefined && at !== only) continue;
    // A model that answers NaN has nothing to say; beyond LARGEST more says no more.
    const size = Math.min(LARGEST, Math.abs(deviations[at] || 0) / usual[at]!);
    const scaled = (size * USUAL_EXTREME) / Math.max(USUAL_EXTREME, extreme[at]!);
    score += scaled;
    if (scaled > largest) {
      largest = scaled;
      channel = at;
    }
    // 0.8 of the deviation is the mean of |u| for bell-shaped noise: sizes stay in deviations.
    const grown = usual[at]! * (1 + share * (Math.min(size, OUTLIER) / 0.8 - 1));
    usual[at] = Math.max(LEAST_USUAL * settings.spread[at]!, grown);
    block[at] = Math.max(block[at]!, size);
  }
  calibration.count += 1;
  if (calibration.count % BLOCK === 0) closeBlock(calibration);
  const ready = calibration.count > settings.warmupRecords && calibration.silent === 0;
  const anomaly = ready && score >= settings.threshold;
  if (anomaly) calibration.silent = settings.refractoryRecords;
  else if (calibration.silent > 0) calibration.silent -= 1;
  return { score, channel, anomaly };
}

function closeBlock({ extreme, block }: Calibration): void {
  for (let at = 0; at < extreme.length; at += 1) {
    const largest = Math.min(block[at]!, EXTREME_OUTLIER * extreme[at]!);
    extreme[at]! += EXTREME_SHARE * (largest - extreme[at]!);
    block[at] = 0;
  }
}
