// What a record is: its fields and their limits. Encodes nothing.
import type { Offset } from './brand.ts';

/** Where a record came from; the number is the wire value in the record bytes. */
export const SOURCE = { mqtt: 1, websocket: 2, http: 3, window: 4, model: 5, gateway: 6 } as const;
export type Source = (typeof SOURCE)[keyof typeof SOURCE];

/** What a producer hands to the log; the log adds the offset. */
export interface RecordInput {
  /** The device's time in unix ms, or receivedMs where it gave none. May be negative; a safe integer. */
  readonly eventMs: number;
  /** The gateway's time of receipt, unix ms. */
  readonly receivedMs: number;
  /** UTF-8, 1..65535 bytes. */
  readonly topic: string;
  /** Device id, UTF-8, 0..65535 bytes ('' when unknown). */
  readonly device: string;
  /** The device's own counter, 0..2^53-1, or null where it does not number its records. */
  readonly sequence: number | null;
  readonly source: Source;
  /** ASCII, 0..255 bytes. */
  readonly contentType: string;
  /** Names are ASCII 1..255 bytes and unique; values 0..65535 bytes. Sorted by name bytes in the record bytes. */
  readonly headers: readonly (readonly [name: string, value: Uint8Array])[];
  /** Exactly the bytes the device sent. */
  readonly payload: Uint8Array;
  /** 16 random bytes for topics marked private, else empty. */
  readonly salt: Uint8Array;
}

/** One durable record as it stands in the log. */
export interface TelemetryRecord extends RecordInput {
  readonly offset: Offset;
}

export function isSource(value: number): value is Source {
  return Number.isInteger(value) && value >= SOURCE.mqtt && value <= SOURCE.gateway;
}
