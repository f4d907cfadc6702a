// What questions of provenance are answered with: shapes only, the same over HTTP and on the command line.
import type { BlockKind } from '../format/block.ts';
import type { Refusals } from '../format/refusals.ts';

/** A window or score that was computed from the record. */
export interface DerivedUse {
  readonly offset: number;
  readonly kind: 'window' | 'score';
  readonly topic: string;
  /** Height of its block; null while it is not sealed. */
  readonly height: number | null;
}

export interface SealedIn {
  readonly height: number;
  readonly first: number;
  readonly count: number;
  /** By the gateway's clock, unix ms. */
  readonly sealedMs: number;
  /** Names of the rules that made it critical; empty otherwise. */
  readonly critical: readonly string[];
  /** Leaf hash of the block, base64. */
  readonly hash: string;
}

export interface UnderCheckpoint {
  readonly origin: string;
  /** Blocks of the newest signed checkpoint. */
  readonly size: number;
  /** A checkpoint that a quorum has cosigned has the block; null where no authorities are asked. */
  readonly final: boolean | null;
}

/** A forwarder, and whether it has dealt with the record. */
export interface SinkState {
  readonly name: string;
  /** One past the last offset it has dealt with: acknowledged upstream, or not asked for by its topics. */
  readonly next: number;
  readonly passed: boolean;
}

export interface RecordProvenance {
  readonly record: {
    readonly offset: number;
    readonly device: string;
    readonly sequence: number | null;
    readonly topic: string;
    readonly source: number;
    readonly eventMs: number;
    readonly receivedMs: number;
    readonly contentType: string;
    readonly payloadBytes: number;
    /** Leaf hash of its bytes, base64. */
    readonly hash: string;
  };
  /** For a window or score: the records it was computed from, as far as it names them. */
  readonly madeFrom: { readonly offset: number } | { readonly fromMs: number; readonly toMs: number } | null;
  /** The record leads to the sealed root; null while it is not sealed, or where its block is not whole any more. */
  readonly intact: boolean | null;
  readonly block: SealedIn | null;
  readonly checkpoint: UnderCheckpoint | null;
  readonly usedBy: readonly DerivedUse[];
  /** The log was searched to here for uses; false in `usedByComplete` where more of it was not looked at. */
  readonly searchedTo: number;
  readonly usedByComplete: boolean;
  readonly sinks: readonly SinkState[];
}

export interface FlowReport {
  readonly fromMs: number;
  readonly toMs: number;
  /** Blocks sealed in that time by the gateway's clock; null where there are none. */
  readonly blocks: { readonly first: number; readonly last: number } | null;
  readonly kinds: Readonly<Partial<Record<BlockKind, number>>>;
  readonly criticalBlocks: number;
  /** Losses, silences and removals that the gateway declared. */
  readonly declared: readonly {
    readonly height: number;
    readonly kind: 'gap' | 'prune';
    readonly cause: string;
    readonly count: number;
  }[];
  /** What the gateway says it did not let in, by cause. */
  readonly refusals: Refusals;
  /** Offsets sealed: [first, end). */
  readonly offsets: { readonly first: number; readonly end: number };
  readonly records: {
    /** Read and led to their sealed roots. */
    readonly intact: number;
    /** In blocks that do not match their sealed roots. */
    readonly changed: number;
    /** Of blocks that are no longer whole in the log. */
    readonly notHeld: number;
    readonly bySource: Readonly<Record<string, number>>;
    readonly payloadBytes: number;
    readonly devices: number;
  };
  /** Where to go on: the report ends before this height. Null when all was looked at. */
  readonly nextHeight: number | null;
  readonly sinks: readonly SinkState[];
}
