// Verifies a proof file, one named step after another: what the CLI, the dashboard and `tidemark/verify` run.
// Holds no private key, uses no Node API, fetches nothing.
import { FormatError } from '../format/errors.ts';
import { parseVerifierKey, type VerifierKey } from '../format/note.ts';
import { type Policy, parsePolicy } from '../format/policy.ts';
import { parseProofJson, proofFromJson } from '../format/proof.ts';
import { RANGE_FORMAT, rangeFromJson } from '../format/proof-range.ts';
import { checkRange } from './range.ts';
import { STEP_NAMES, type VerifyReport } from './report.ts';
import { checkProof } from './steps.ts';

export type {
  BlockSummary,
  CheckpointSummary,
  RangeSummary,
  RecordSummary,
  StepName,
  VerifyReport,
  VerifyStatus,
  VerifyStep,
  VerifyTimes,
  VerifyTrust,
} from './report.ts';
export { STEP_NAMES };

export interface VerifyOptions {
  /** Policy text, or one already parsed. */
  readonly policy?: string | Policy | undefined;
  /** Verifier key text of the gateway, `origin+keyid+base64`, or parsed. Used where no policy is given. */
  readonly gatewayKey?: string | VerifierKey | undefined;
}

/** Verifies the text of a proof file. Never throws for bad input: that is `status` invalid or unusable. */
export function verifyProof(proofJsonText: string, options: VerifyOptions = {}): VerifyReport {
  try {
    const policy =
      typeof options.policy === 'string' ? parsePolicy(options.policy) : (options.policy ?? null);
    const gatewayKey =
      typeof options.gatewayKey === 'string'
        ? parseVerifierKey(options.gatewayKey)
        : (options.gatewayKey ?? null);
    const value = parseProofJson(proofJsonText) as { format?: unknown } | null;
    const trusted = { policy, gatewayKey };
    const checked =
      value?.format === RANGE_FORMAT
        ? checkRange(rangeFromJson(value, proofJsonText), trusted)
        : checkProof(proofFromJson(value, proofJsonText), trusted);
    return { ...checked, valid: checked.status !== 'invalid', problem: null };
  } catch (error) {
    if (error instanceof FormatError) return unusable(error);
    throw error;
  }
}

function unusable(error: FormatError): VerifyReport {
  return {
    valid: false,
    status: 'unusable',
    trust: 'none',
    steps: STEP_NAMES.map((name) => ({ name, ok: null, detail: 'not reached: the input could not be read' })),
    problem: { code: error.code, message: error.message },
    record: null,
    range: null,
    block: null,
    checkpoint: null,
    times: { sealedMs: null, existedByMs: null, cosigned: [] },
  };
}
