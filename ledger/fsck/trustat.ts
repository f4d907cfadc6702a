// Which policy and which gateway keys a proof is to be judged with, for an auditor who has followed the chain: those in force
// at the size of its checkpoint, by the policy and key blocks that an audit found right. Verifies no proof; reads no file.

import { parseBlock } from '../format/block.ts';
import type { Checkpoint } from '../format/checkpoint.ts';
import { ChainEpochs, type PolicyEpoch } from '../format/epochs.ts';
import { FormatError } from '../format/errors.ts';
import type { VerifierKey } from '../format/note.ts';
import type { Policy } from '../format/policy.ts';
import type { AuditState } from './auditstate.ts';
import { gatewayKeys, policyFor } from './signatures.ts';

export interface TrustAt {
  readonly policy: Policy | null;
  readonly keys: readonly VerifierKey[];
  /** Of the chain; null where the trusted policy was never the chain's and stands for itself. */
  readonly epoch: PolicyEpoch | null;
  /** Blocks that were audited; the checkpoint may be beyond them. */
  readonly audited: number;
}

/** @throws FormatError STATE_INVALID where the state is of another gateway, or its changes are not as they must be */
export function trustAt(
  state: AuditState,
  checkpoint: Checkpoint,
  trusted: { readonly policy: Policy | null; readonly gatewayKey: VerifierKey | null },
): TrustAt {
  const { origin, size } = checkpoint;
  if (state.origin !== origin) throw invalid(`the state is of ${state.origin}, the proof of ${origin}`);
  const [genesis, ...changes] = state.epochBlocks.map((bytes) => parseBlock(bytes));
  const epochs = new ChainEpochs(genesis!);
  for (const block of changes) {
    const [violation] = epochs.add(block);
    if (violation) throw invalid(violation.message);
  }
  const policy = policyFor(size, epochs, trusted.policy);
  const inForce = epochs.policyAt(size);
  return {
    policy,
    keys: gatewayKeys(checkpoint, epochs, trusted.policy, trusted.gatewayKey).keys,
    epoch: policy !== null && policy === inForce.policy ? inForce : null,
    audited: state.position.size,
  };
}

function invalid(why: string): FormatError {
  return new FormatError('STATE_INVALID', `the state file cannot be used: ${why}`);
}
