// Owns the question whether something done every so often is due again, by a clock that people and time servers set.

/** A clock that was set back, or forth and back again, puts nothing off: what seems to lie ahead is due. */
export function isDue(nowMs: number, lastMs: number, everyMs: number): boolean {
  return nowMs < lastMs || nowMs - lastMs >= everyMs;
}
