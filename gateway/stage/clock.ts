// Owns what stages know of time: a wall clock for what is written down, a monotonic one for pacing and silence. Nothing
// in a stage waits by the wall clock: people and time servers set it forth and back.

export interface Clock {
  /** Unix ms. May step. */
  nowMs(): number;
  /** Whole ms since this run of the gateway began. Never steps back. */
  monotonicMs(): number;
}

/** process.uptime counts CLOCK_MONOTONIC from the start of the process, the same in every thread. */
export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => Math.floor(process.uptime() * 1_000),
};
