// What `tidemark verify` judges a proof with: the policy or key as given, or, with the state of an audit, what was in force at
// the size of the proof's checkpoint. Says which.
import { parseCheckpoint } from '../ledger/format/checkpoint.ts';
import { FormatError } from '../ledger/format/errors.ts';
import { parseNote, parseVerifierKey, signedBy } from '../ledger/format/note.ts';
import { type Policy, parsePolicy } from '../ledger/format/policy.ts';
import { trustAt } from '../ledger/fsck/trustat.ts';
import type { VerifyOptions } from '../ledger/verify/index.ts';
import { readState } from './audit-state.ts';
import type { Invocation } from './command.ts';
import { CommandError, EXIT } from './errors.ts';
import type { Trust } from './trust.ts';

export interface InForce {
  readonly options: VerifyOptions;
  /** For people: what was trusted, and how it came to be that. */
  readonly from: string | null;
}

/** @throws CommandError where the state cannot be used for this proof */
export function inForce(invocation: Invocation, trust: Trust | null, proofText: string): InForce {
  const file = invocation.text('state');
  if (file === undefined) return { options: trust ?? {}, from: trust?.from ?? null };
  if (trust === null) throw new CommandError(EXIT.usage, '--state goes with --policy or --key');
  const state = readState(file);
  if (!state)
    throw new CommandError(EXIT.usage, `there is no state file ${file}`, {
      hint: '`tidemark audit … --state FILE` makes it',
    });
  const head = headOf(proofText);
  // A proof without a checkpoint that can be read is the verifier's to refuse.
  if (!head) return { options: trust, from: trust.from };
  const { note, checkpoint } = head;
  try {
    const given = trust.gatewayKey === undefined ? null : parseVerifierKey(trust.gatewayKey);
    const policy =
      trust.policy === undefined ? null : parsePolicy(trust.policy, { allowNonIntersecting: true });
    const found = trustAt(state, checkpoint, { policy, gatewayKey: given });
    const beyond =
      checkpoint.size > found.audited ? `; the checkpoint is beyond the ${found.audited} blocks audited` : '';
    if (!found.policy) {
      const key =
        found.keys.find((one) => note.signatures.some((line) => signedBy(line, one))) ?? found.keys[0];
      const from = `${trust.from}, and the keys it handed over to by the audit in ${file}${beyond}`;
      return { options: { gatewayKey: key ?? given ?? undefined }, from };
    }
    const logs = found.keys.map((key) => ({ key, url: null, notAfter: null }));
    const used: Policy = { ...found.policy, logs: logs.length > 0 ? logs : found.policy.logs };
    const which = found.epoch
      ? `epoch ${found.epoch.epoch}, in force from block ${found.epoch.height} on, by the audit in ${file}${beyond}`
      : `as given: the chain audited in ${file} never had it`;
    return { options: { policy: used }, from: `${trust.from}, ${which}` };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new CommandError(EXIT.usage, `${file}: ${error.message}`, { cause: error });
  }
}

function headOf(proofText: string) {
  try {
    const { checkpoint } = JSON.parse(proofText) as { checkpoint?: unknown };
    const note = parseNote(String(checkpoint));
    return { note, checkpoint: parseCheckpoint(note.text) };
  } catch {
    return null;
  }
}
