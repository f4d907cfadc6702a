// `tidemark verify`: a proof file checked offline, step by step.
import { FormatError } from '../../ledger/format/errors.ts';
import { toHex } from '../../ledger/format/hash.ts';
import { policyHash } from '../../ledger/format/policy.ts';
import { asProofFile } from '../../ledger/format/tlog-proof.ts';
import { isEvidence } from '../../ledger/verify/evidence.ts';
import { type VerifyReport, verifyProof } from '../../ledger/verify/index.ts';
import type { Invocation } from '../command.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { verifyEvidence } from '../evidence.ts';
import { type InForce, inForce } from '../in-force.ts';
import { stampLine, stampOf } from '../stamp.ts';
import { fileLine, storedFile } from '../stored-file.ts';
import { readText, trustOf } from '../trust.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const file = invocation.positionals[0]!;
  const text = readText(file, 'proof file');
  const trust = trustOf(invocation);
  if (isEvidence(text)) return verifyEvidence(text, trust, invocation.flag('json'));
  const proofText = asProofFileOr(text);
  const used = inForce(invocation, trust, proofText);
  const report = verifyProof(proofText, used.options);
  const stamp = report.valid ? stampOf(invocation, proofText) : null;
  const stored = report.valid ? storedFile(invocation, proofText) : null;
  if (invocation.flag('json'))
    process.stdout.write(
      `${JSON.stringify({ ...report, trusted: used.from, timestamp: stamp, file: stored })}\n`,
    );
  else
    process.stdout.write(
      (stored ? fileLine(stored) : '') + (stamp ? stampLine(stamp) : '') + format(report, used),
    );
  if ((stamp && 'problem' in stamp) || stored?.ok === false) return EXIT.negative;
  if (report.status === 'unusable') return EXIT.usage;
  if (!report.valid) return EXIT.negative;
  // Everything fits together, but anyone can make a proof that fits together: without a key it proves nothing.
  return report.trust === 'none' ? EXIT.usage : EXIT.ok;
}

/** A tlog-proof of ours is read as the proof it was made from; what cannot be read is left for the verifier to say. */
function asProofFileOr(text: string): string {
  try {
    return asProofFile(text);
  } catch (error) {
    if (error instanceof FormatError) throw new CommandError(EXIT.usage, error.message, { cause: error });
    throw error;
  }
}

const MARKS = new Map<boolean | null, string>([
  [true, 'ok  '],
  [false, 'FAIL'],
  [null, '–   '],
]);

function format(report: VerifyReport, { from, options }: InForce): string {
  if (report.problem)
    return `unusable: ${report.problem.message} (${report.problem.code})
  a proof file is what \`tidemark prove\` or the gateway’s proof address gives
`;
  const width = Math.max(...report.steps.map((step) => step.name.length));
  const lines = report.steps.map(
    (step) => `${MARKS.get(step.ok)} ${step.name.padEnd(width)}  ${step.detail}`,
  );
  const { record, range, times } = report;
  if (record)
    lines.push(
      '',
      `record      offset ${record.offset}, ${record.topic}${record.device ? ` from ${record.device}` : ''}, ${record.payloadBytes} bytes, received ${iso(record.receivedMs)}`,
    );
  if (range)
    lines.push(
      '',
      `records     offsets ${range.first} to ${range.last}: ${range.records} shown${range.removed > 0 ? `, ${range.removed} removed by retention` : ''}${range.lost > 0 ? `, ${range.lost} declared lost` : ''}`,
    );
  if (times.sealedMs !== null) lines.push(`sealed      ${iso(times.sealedMs)} by the gateway’s clock`);
  if (times.existedByMs !== null)
    lines.push(`existed by  ${iso(times.existedByMs)} by the authorities’ clocks`);
  lines.push(`trusting    ${from ?? 'nothing: give --policy FILE or --key KEY'}`);
  if (mayBeOfAnotherEpoch(report, options))
    lines.push(
      'note        policies and gateway keys change: with --state FILE of `tidemark audit` a proof is judged by what was in force at its checkpoint',
    );
  lines.push('', VERDICTS[report.status], '');
  return lines.join('\n');
}

function mayBeOfAnotherEpoch(
  { status, steps, block }: VerifyReport,
  { policy }: InForce['options'],
): boolean {
  if (status === 'invalid') return steps.find(({ ok }) => ok === false)?.name === 'gateway signature';
  if (status !== 'pending' || !block || policy === undefined) return false;
  return toHex(typeof policy === 'string' ? policyHash(policy) : policy.hash) !== block.policyHash;
}

const iso = (ms: number) => (Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : `${ms} ms`);

const VERDICTS: Record<VerifyReport['status'], string> = {
  final: 'valid, final: the policy’s quorum has cosigned',
  pending: 'valid, pending: signed by the gateway, not yet cosigned by the policy’s quorum',
  'signed-by-gateway-only':
    'valid: signed by this gateway. No authority is asked to cosign, and a gateway alone proves little',
  'integrity-only':
    'not decided: the parts fit together, but no key was given to check the signature with. Give --policy or --key',
  invalid: 'INVALID: see the step that failed',
  unusable: 'unusable',
};
