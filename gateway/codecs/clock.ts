// Whose device time is not to be believed: the rule, and the header that says so in the record. Changes no time.
import type { RecordInput } from '../../ledger/format/record.ts';

/** Value `ahead` or `behind`: the record's device time is too far from the time it was received. */
export const CLOCK_HEADER = 'tidemark-clock';

export interface ClockLimits {
  /** null: a device time may be ahead of (behind) its receipt as far as it likes. */
  readonly maxAheadMs: number | null;
  readonly maxBehindMs: number | null;
}

export type ClockFlag = 'ahead' | 'behind';

export function clockFlag(eventMs: number, receivedMs: number, limits: ClockLimits): ClockFlag | null {
  const aheadMs = eventMs - receivedMs;
  if (limits.maxAheadMs !== null && aheadMs > limits.maxAheadMs) return 'ahead';
  if (limits.maxBehindMs !== null && -aheadMs > limits.maxBehindMs) return 'behind';
  return null;
}

/** True where the gateway has flagged the record's time: it says nothing of when something happened. */
export function isClockFlagged({ headers }: Pick<RecordInput, 'headers'>): boolean {
  return headers.length > 0 && headers.some(([name]) => name === CLOCK_HEADER);
}
