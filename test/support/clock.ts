// A clock of tests whose wall and monotonic side are one.
import type { Clock } from '../../gateway/stage/clock.ts';

export function clockOf(nowMs: () => number): Clock {
  return { nowMs, monotonicMs: nowMs };
}
