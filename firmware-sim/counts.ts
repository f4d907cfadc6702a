// What devices count of their records, the same in every kind of run. Adds nothing up.

export interface SendCounts {
  /** Records sent at least once, and sends beyond the first of a record. */
  readonly sent: number;
  readonly resent: number;
  /** Records the gateway said are on disk; `duplicates` of the answers were for one it had said so of before. */
  readonly acked: number;
  readonly duplicates: number;
  /** Records the gateway will never take. */
  readonly refused: number;
  /** Given up by a device whose buffer was full, or that restarted. None of them was acknowledged. */
  readonly dropped: number;
}

export type Running<T> = { -readonly [K in keyof T]: T[K] };

export function noSends(): Running<SendCounts> {
  return { sent: 0, resent: 0, acked: 0, duplicates: 0, refused: 0, dropped: 0 };
}
