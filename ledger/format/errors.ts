// The one shape of errors, for this house and its portable part: a stable code, facts, a hint. Decides nothing.

export type FormatErrorCode =
  | 'BASE64_INVALID' // not canonical base64 (alphabet, padding, spare bits)
  | 'NUMBER_INVALID' // not a plain decimal from 0 to 2^53-1
  | 'RANGE_INVALID' // an index or size that no tree has
  | 'JSON_INVALID' // not canonical JSON
  | 'RECORD_INVALID'
  | 'BLOCK_INVALID'
  | 'NOTE_INVALID' // not the form of a signed note
  | 'NOTE_SIGNATURE_INVALID' // a known key, a wrong signature
  | 'NOTE_NOT_SIGNED' // no signature by any known key
  | 'KEY_INVALID'
  | 'CHECKPOINT_INVALID'
  | 'COSIGNATURE_INVALID'
  | 'SUBMISSION_INVALID' // not the body of an add-checkpoint request
  | 'EVIDENCE_INVALID' // not the form of an evidence file
  | 'STATEMENT_INVALID' // not the form of a policy or key statement
  | 'TILE_PATH_INVALID'
  | 'TILE_INVALID' // wrong length, or its hashes do not lead to the tree head
  | 'TILE_MISSING'
  | 'BUNDLE_INVALID'
  | 'LEAVES_INVALID' // not a file of leaf hashes of removed records
  | 'POLICY_INVALID'
  | 'POLICY_NOT_INTERSECTING' // two quorums need not share a member
  | 'STATE_INVALID' // not the state file of an auditor
  | 'PROOF_INVALID'; // not the form of a proof file

export type Facts = Readonly<Record<string, string | number>>;

/** Match on `code`, never on the message: that is for people, as the hint is, which says what to do next. */
export abstract class CodedError<Code extends string> extends Error {
  readonly code: Code;
  readonly facts: Facts;
  readonly hint: string | undefined;

  constructor(
    code: Code,
    message: string,
    options: { facts?: Facts; hint?: string | undefined; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.facts = options.facts ?? {};
    this.hint = options.hint;
  }
}

/** Input that is not in the form the specification asks for. */
export class FormatError extends CodedError<FormatErrorCode> {
  override name = 'FormatError';
}
