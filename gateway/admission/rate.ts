// Token buckets, one for each device and one for all together: says when a record comes too soon, and when to try
// again. Reads no clock. A bucket is the time at which it will be full again (generic cell rate algorithm, ITU-T I.371):
// one number a device, no timer.
import { z } from 'zod';
import { RecentMap } from './recent-map.ts';

const bucketSchema = z.strictObject({
  perSecond: z.number().gt(0).max(10_000_000).describe('Records per second in the long run.'),
  burst: z
    .int()
    .min(1)
    .max(10_000_000)
    .optional()
    .describe('Records that may come at once after a pause. Default: what comes in two seconds, at least 1.'),
});

export const rateConfigSchema = z.strictObject({
  device: bucketSchema
    .nullable()
    .default(null)
    .describe('For each device: {perSecond, burst}. null: no limit. Repetitions do not count.'),
  total: bucketSchema.nullable().default(null).describe('For all devices together; as above.'),
});

export type RateConfig = z.infer<typeof rateConfigSchema>;

interface Bucket {
  /** Time one record takes. */
  readonly stepMs: number;
  /** How much of the burst is left to use up, as time. */
  readonly slackMs: number;
}

interface Level {
  /** When the bucket is full again, by the clock of the calls. */
  fullAtMs: number;
}

const bucketOf = (config: RateConfig['device']): Bucket | null => {
  if (config === null) return null;
  const stepMs = 1_000 / config.perSecond;
  const burst = config.burst ?? Math.max(1, Math.ceil(2 * config.perSecond));
  return { stepMs, slackMs: (burst - 1) * stepMs };
};

/** Whoever waits for the common bucket is one of many: all of them asking for each single token would cost more than it gives. */
const SHARED_WAIT_MIN_MS = 100;

/** Ms until a record fits; 0 when it does now. */
function waitMs(bucket: Bucket, level: Level, nowMs: number): number {
  return Math.max(0, level.fullAtMs - bucket.slackMs - nowMs);
}

function take(bucket: Bucket, level: Level, nowMs: number): void {
  level.fullAtMs = Math.max(level.fullAtMs, nowMs) + bucket.stepMs;
}

export class RateLimits {
  readonly #device: Bucket | null;
  readonly #total: Bucket | null;
  /** A device forgotten here starts again with a full bucket. */
  readonly #levels: RecentMap<Level>;
  readonly #totalLevel: Level = { fullAtMs: Number.NEGATIVE_INFINITY };

  constructor(config: RateConfig, maxDevices: number) {
    this.#device = bucketOf(config.device);
    this.#total = bucketOf(config.total);
    this.#levels = new RecentMap(maxDevices, () => {});
  }

  /** No rate is set: nobody need be asked about. */
  get none(): boolean {
    return this.#device === null && this.#total === null;
  }

  /** 0: the record may come, and has been counted. Else ms until it may; then nothing has been counted. */
  admit(device: string, nowMs: number): number {
    if (this.#device === null && this.#total === null) return 0;
    const level = this.#device === null ? null : this.#level(device);
    const own = this.#device && level ? waitMs(this.#device, level, nowMs) : 0;
    const shared = this.#total ? waitMs(this.#total, this.#totalLevel, nowMs) : 0;
    if (own > 0 || shared > 0) return Math.ceil(Math.max(own, shared > 0 ? SHARED_WAIT_MIN_MS : 0, shared));
    if (this.#device && level) take(this.#device, level, nowMs);
    if (this.#total) take(this.#total, this.#totalLevel, nowMs);
    return 0;
  }

  #level(device: string): Level {
    const known = this.#levels.touch(device);
    if (known) return known;
    const level = { fullAtMs: Number.NEGATIVE_INFINITY };
    this.#levels.add(device, level);
    return level;
  }
}
