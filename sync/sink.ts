// Owns the role every upstream plays for a forwarder, and its errors. Knows no protocol and keeps no cursor.
import { CodedError } from '../ledger/format/errors.ts';
import type { TelemetryRecord } from '../ledger/format/record.ts';

/**
 * One upstream, one connection at a time. A sink repeats nothing by itself: when a connection is lost every
 * send that was not acknowledged in full fails, and the forwarder, which owns the order and the cursor,
 * connects again and sends again from the first record not acknowledged.
 */
export interface Sink {
  /**
   * Connects, dropping an earlier connection first. Rejects with SinkError UNREACHABLE or REFUSED, or CLOSED
   * when `signal` is aborted meanwhile. The signal only ends the attempt, not the connection.
   */
  connect(signal: AbortSignal): Promise<void>;
  /**
   * Sends records in order; resolves when the upstream has acknowledged every one. May be called again before
   * an earlier call is settled: what it gives follows what was given before. Rejects with SinkError LOST or
   * RECORD_REFUSED; after that every send rejects until the next connect.
   */
  send(records: readonly TelemetryRecord[]): Promise<void>;
  /** Drops the connection; unsettled sends reject with CLOSED. May be called at any time, more than once. */
  close(): Promise<void>;
}

export type SinkErrorCode =
  | 'UNREACHABLE' // no connection: network, name, TLS, time-out
  | 'REFUSED' // the upstream answered and refuses us: credentials, client id, protocol
  | 'LOST' // the connection ended, or acknowledged nothing for too long
  | 'RECORD_REFUSED' // the upstream refuses this one record
  | 'CLOSED'; // close() was called, or the attempt was aborted

/** Never holds a secret: message and facts go to logs and to the status page. */
export class SinkError extends CodedError<SinkErrorCode> {
  override name = 'SinkError';
}
