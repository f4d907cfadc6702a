// `tidemark verify` for an evidence file: did this gateway sign two histories? Prints the answer; trusts what verify trusts.
import { FormatError } from '../ledger/format/errors.ts';
import { toHex } from '../ledger/format/hash.ts';
import { parseNote, parseVerifierKey, signedBy, type VerifierKey } from '../ledger/format/note.ts';
import { parsePolicy } from '../ledger/format/policy.ts';
import { checkEvidence, type EvidenceFile, parseEvidence } from '../ledger/verify/evidence.ts';
import { EXIT, type ExitCode } from './errors.ts';
import type { Trust } from './trust.ts';

/** Exit 0: the fork is proven. 1: it is not. 2: unusable, or nothing was given to trust. */
export function verifyEvidence(text: string, trust: Trust | null, asJson: boolean): ExitCode {
  let message: string;
  let exitCode: ExitCode;
  try {
    const evidence = parseEvidence(text);
    const keys = keysOf(trust);
    const key = keys?.find((known) =>
      parseNote(evidence.first).signatures.some((line) => signedBy(line, known)),
    );
    if (keys && !key) throw new FormatError('NOTE_NOT_SIGNED', 'no key that is trusted here signed it');
    ({ message, exitCode } = judge(evidence, key ?? null));
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    const isForm = error.code === 'EVIDENCE_INVALID' || error.code === 'BASE64_INVALID';
    message = isForm ? `unusable: ${error.message}` : `NOT PROVEN: ${error.message}`;
    exitCode = isForm ? EXIT.usage : EXIT.negative;
  }
  const trusted = trust?.from ?? null;
  process.stdout.write(
    asJson
      ? `${JSON.stringify({ kind: 'fork-evidence', proven: exitCode === EXIT.ok, message, trusted })}\n`
      : `${message}\ntrusting    ${trusted ?? 'nothing: give --policy FILE or --key KEY'}\n`,
  );
  return exitCode;
}

function judge(evidence: EvidenceFile, key: VerifierKey | null): { message: string; exitCode: ExitCode } {
  const verdict = checkEvidence(evidence, key);
  if (verdict.kind === 'no-fork') return { message: `NOT PROVEN: ${verdict.why}`, exitCode: EXIT.negative };
  const { first, second } = verdict;
  const what =
    first.size === second.size
      ? `two trees of ${first.size} blocks, ${toHex(first.root)} and ${toHex(second.root)}`
      : `a tree of ${first.size} blocks, and one of ${second.size} that does not extend it`;
  // Whoever makes a key can fork a history of its own.
  return key
    ? { message: `FORK PROVEN: ${first.origin} signed ${what}`, exitCode: EXIT.ok }
    : { message: `not decided: the key that the file itself names signed ${what}`, exitCode: EXIT.usage };
}

function keysOf(trust: Trust | null): VerifierKey[] | null {
  if (trust?.gatewayKey !== undefined) return [parseVerifierKey(trust.gatewayKey)];
  if (trust?.policy !== undefined) return parsePolicy(trust.policy).logs.map(({ key }) => key);
  return null;
}
