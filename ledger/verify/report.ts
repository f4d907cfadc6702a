// What a verification says: steps, status, trust, times, and what was verified. Decides nothing.
import type { FormatErrorCode } from '../format/errors.ts';

export const STEP_NAMES = [
  'record hash',
  'batch root',
  'block',
  'checkpoint',
  'gateway signature',
  'cosignatures',
] as const;
export type StepName = (typeof STEP_NAMES)[number];

export interface VerifyStep {
  readonly name: StepName;
  /** true: holds. false: broken, here. null: not reached or not decided; `detail` says why. */
  readonly ok: boolean | null;
  /** One sentence for people. */
  readonly detail: string;
}

/**
 * final: the policy's quorum cosigned. pending: signed by the policy's gateway, quorum not met yet.
 * signed-by-gateway-only: signed by the trusted gateway key and no quorum is asked.
 * integrity-only: record, block and checkpoint fit together, but nothing trusted was given to check a signature.
 * invalid: a step failed. unusable: the input could not be read; see `problem`.
 */
export type VerifyStatus =
  | 'final'
  | 'pending'
  | 'signed-by-gateway-only'
  | 'integrity-only'
  | 'invalid'
  | 'unusable';

/** Where the key that the gateway's signature was checked against came from. */
export type VerifyTrust = 'policy' | 'gateway-key' | 'none';

export interface VerifyReport {
  /** No step failed and the input was readable. Look at `status` for how much that is worth. */
  readonly valid: boolean;
  readonly status: VerifyStatus;
  readonly trust: VerifyTrust;
  /** Always all six, in order. */
  readonly steps: readonly VerifyStep[];
  /** Why the input is unusable; null otherwise. */
  readonly problem: { readonly code: FormatErrorCode; readonly message: string } | null;
  /** Null when the proof file is unusable, or proves a range. */
  readonly record: RecordSummary | null;
  /** What a file of consecutive records proves; null for a proof of one record. */
  readonly range: RangeSummary | null;
  /** Null where its text could not be read. Trust these only as far as the steps hold. */
  readonly block: BlockSummary | null;
  readonly checkpoint: CheckpointSummary | null;
  readonly times: VerifyTimes;
}

export interface RecordSummary {
  readonly offset: number;
  readonly topic: string;
  readonly device: string;
  readonly sequence: number | null;
  readonly source: number;
  readonly contentType: string;
  readonly eventMs: number;
  readonly receivedMs: number;
  readonly payloadBytes: number;
  /** Leaf hash of the record bytes, lower-case hex. */
  readonly hash: string;
}

/** Consecutive offsets, each accounted for when the steps hold. */
export interface RangeSummary {
  readonly first: number;
  readonly last: number;
  /** Records shown. */
  readonly records: number;
  /** Records that retention removed, shown by their hashes. */
  readonly removed: number;
  /** Offsets that a gap block declares lost before they were sealed. */
  readonly lost: number;
  readonly firstReceivedMs: number | null;
  readonly lastReceivedMs: number | null;
}

export interface BlockSummary {
  readonly origin: string;
  readonly height: number;
  readonly kind: string;
  readonly first: number;
  readonly count: number;
  /** Leaf hash of the block, lower-case hex. */
  readonly hash: string;
  /** SHA-256 of the policy text in force when it was sealed, lower-case hex. */
  readonly policyHash: string;
}

export interface CheckpointSummary {
  readonly origin: string;
  readonly size: number;
  /** Lower-case hex. */
  readonly root: string;
}

export interface VerifyTimes {
  /** What the gateway's clock said when it sealed the block; null where there is no block. */
  readonly sealedMs: number | null;
  /** The record existed no later than this, unless more authorities lie than the policy tolerates. */
  readonly existedByMs: number | null;
  /** Verified cosignatures, in note order. */
  readonly cosigned: readonly { readonly name: string; readonly timeMs: number }[];
}
