// What adapters hand to admission and what they get back. Knows no protocol.
import type { Offset } from '../../ledger/format/brand.ts';
import type { Source } from '../../ledger/format/record.ts';

/** One device message as an adapter understood it. */
export interface Submission {
  readonly source: Source;
  readonly topic: string;
  /** Named by the device itself (HTTP header, WebSocket field); wins over the topic's. */
  readonly device: string | null;
  /** Used when neither the device nor the topic names one: the MQTT client id, else ''. */
  readonly fallbackDevice: string;
  /** ASCII, up to 255 bytes; '' when unknown. */
  readonly contentType: string;
  /** Stored byte for byte. Must stay unchanged until `done`. */
  readonly payload: Uint8Array;
  /** The device's counter where the protocol carries it; null: look for it in the payload. */
  readonly sequence: number | null;
  /** The device's time, unix ms, where the protocol carries it; null: look for it in the payload. */
  readonly eventMs: number | null;
  readonly headers?: readonly (readonly [name: string, value: Uint8Array])[];
  /** Names this message among its device's (Idempotency-Key, MQTT 5 user property `message-id`): see docs/protocols.md. */
  readonly messageId?: string | undefined;
  /** Its sender does not learn what became of it (MQTT QoS 0): the first to be given up when the gateway is full. */
  readonly unacknowledged?: boolean;
  /** Stands for the connection or client it came by: who shares one waits together when the log is busy. */
  readonly connection?: object;
  /** The payload as JSON where the adapter has parsed it already; undefined: not parsed yet. */
  readonly json?: unknown;
  /** The payload surely is JSON and says neither its time nor a counter: Admission.namesLookedFor() has been asked. */
  readonly givesNothing?: boolean;
}

/** What a record of a batch has of its own … */
export type Part = Pick<Submission, 'payload' | 'json' | 'givesNothing'>;
/** … and what all records of the batch have in common. */
export type Shared = Omit<Submission, keyof Part>;

/** `invalid`: the payload does not fit the schema its topic has. */
export type RejectReason = 'malformed' | 'bad-topic' | 'too-large' | 'not-allowed' | 'invalid';
/**
 * `rate-limited`: its device, or all together, send more than `ingest.rate` allows. `unavailable`: the gateway is
 * stopping, or its log can no longer be written.
 */
export type ShedReason = 'overloaded' | 'rate-limited' | 'disk-full' | 'unavailable';

export type Outcome =
  | {
      readonly kind: 'stored';
      readonly offset: Offset;
      /** Kept under `$tidemark/quarantine/…` instead of its topic: not to be passed on to subscribers. */
      readonly quarantined?: true;
    }
  | {
      readonly kind: 'duplicate';
      /** Of the first one, where it was known by its message id. */
      readonly offset?: Offset;
    }
  | { readonly kind: 'reject'; readonly reason: RejectReason; readonly detail: string }
  | {
      readonly kind: 'shed';
      readonly reason: ShedReason;
      readonly retryAfterMs: number;
      /** Given up early, to keep room for those who wait for an answer: do not try again. */
      readonly dropped?: true;
    };

export interface IngestLogger {
  debug(facts: object, message: string): void;
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

export type IngestSource = 'mqtt' | 'websocket' | 'http';

/** Counts since start; every refused submission is in exactly one of them. */
export interface AdmissionFigures {
  readonly accepted: Readonly<Record<IngestSource, number>>;
  readonly refused: Readonly<Record<IngestSource, number>>;
  readonly duplicates: number;
  readonly rejected: Readonly<Record<RejectReason, number>>;
  readonly shed: Readonly<Record<ShedReason, number>>;
  /** Of `shed`: given up because nobody waits for an answer (MQTT QoS 0), and so lost. */
  readonly dropped: Readonly<Record<ShedReason, number>>;
  /** Stored, and flagged because the device time is too far from ours. */
  readonly clock: Readonly<Record<'ahead' | 'behind', number>>;
  /** Stored though the payload does not fit its schema: apart, and where it belongs. */
  readonly misfits: { readonly quarantined: number; readonly tagged: number };
  /** Message ids that gave way to newer ones. */
  readonly messageIdsForgotten: number;
  readonly inFlight: number;
  /** Of those, not yet handed to the log: waiting their turn. */
  readonly queued: { readonly lanes: number; readonly items: number; readonly bytes: number };
  readonly devices: number;
  /** Devices dropped from the table or the duplicate guard because their number is bounded. */
  readonly devicesForgotten: number;
  /** Times a snapshot of guard and table was saved, and failed to be. */
  readonly snapshots: number;
  readonly snapshotFailures: number;
}
