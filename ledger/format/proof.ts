// The proof file, tidemark-proof/v1: its form, strictly. Whether it proves anything is ledger/verify's work.
import { fromBase64Sized, toBase64 } from './base64.ts';
import { FormatError } from './errors.ts';
import { HASH_BYTES } from './hash.ts';
import { RECORD_JSON_KEYS, type RecordJson, recordFromJson, recordToJson } from './record-json.ts';
import type { TelemetryRecord } from './record-types.ts';

export const PROOF_FORMAT = 'tidemark-proof/v1';

/** What a proof file says; see formatProofFile for its JSON. */
export interface Proof {
  readonly record: TelemetryRecord;
  /** From the record's leaf hash to the block's batch root. */
  readonly batchPath: readonly Uint8Array[];
  /** Text of the block, exactly. */
  readonly block: string;
  /** From the block's leaf hash to the checkpoint's root. */
  readonly blockPath: readonly Uint8Array[];
  /** Signed note: checkpoint text with the gateway's signature and the cosignatures it has. */
  readonly checkpoint: string;
}

/** The JSON of a proof file. All hashes are standard base64. */
export interface ProofFile {
  readonly format: typeof PROOF_FORMAT;
  readonly record: RecordJson;
  readonly batch: { readonly path: readonly string[] };
  readonly block: string;
  readonly blockPath: readonly string[];
  readonly checkpoint: string;
}

const KEYS = [
  'format',
  'record',
  'batch',
  'block',
  'blockPath',
  'checkpoint',
] as const satisfies readonly (keyof ProofFile)[];
const BATCH_KEYS = ['path'] as const;
const KEY_COUNT = KEYS.length + BATCH_KEYS.length + RECORD_JSON_KEYS.length;

/** Longer texts are refused unread. */
export const MAX_PROOF_CHARACTERS = 64 * 1024 * 1024;
/** No tree of 2^53 leaves has a longer path. */
const MAX_PATH_HASHES = 53;

export function invalidProof(message: string, cause?: unknown): FormatError {
  return new FormatError('PROOF_INVALID', message, { cause });
}

export function proofToJson(proof: Proof): ProofFile {
  return {
    format: PROOF_FORMAT,
    record: recordToJson(proof.record),
    batch: { path: proof.batchPath.map(toBase64) },
    block: proof.block,
    blockPath: proof.blockPath.map(toBase64),
    checkpoint: proof.checkpoint,
  };
}

/** Text of a proof file, indented for people, with a final LF. */
export function formatProofFile(proof: Proof): string {
  return `${JSON.stringify(proofToJson(proof), null, 2)}\n`;
}

/**
 * Reads a proof file strictly: every member, no other, none twice, whole numbers without fraction or exponent,
 * canonical base64. Block and checkpoint stay text: reading them is a step of the proof. Throws PROOF_INVALID,
 * RECORD_INVALID or BASE64_INVALID.
 */
export function parseProofFile(text: string): Proof {
  return proofFromJson(parseProofJson(text), text);
}

/** The JSON of a proof file of any format; what it must be is still to be checked. */
export function parseProofJson(text: string): unknown {
  if (text.length > MAX_PROOF_CHARACTERS)
    throw invalidProof(`a proof file has more than ${MAX_PROOF_CHARACTERS} characters`);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw invalidProof('the proof file is not JSON', cause);
  }
}

/** `text` is what `value` was read from. */
export function proofFromJson(value: unknown, text: string): Proof {
  const file = membersOf(value, KEYS, 'the proof file');
  if (file.format !== PROOF_FORMAT) throw invalidProof(`the format is not ${PROOF_FORMAT}`);
  const batch = membersOf(file.batch, BATCH_KEYS, 'batch');
  const proof: Proof = {
    record: recordFromJson(file.record),
    batchPath: pathOf(batch.path, 'batch path'),
    block: textOf(file.block, 'block'),
    blockPath: pathOf(file.blockPath, 'block path'),
    checkpoint: textOf(file.checkpoint, 'checkpoint'),
  };
  checkSpelling(text, KEY_COUNT);
  return proof;
}

/** JSON.parse takes the last of two equal keys and rounds 1.0000000000000001; a reader's eye may not. */
export function checkSpelling(text: string, keyCount: number): void {
  let keys = 0;
  for (let at = 0; at < text.length; at++) {
    if (text[at] !== '"') {
      // The text is known to be JSON, so outside strings these pairs stand in numbers only.
      const pair = text.slice(at, at + 2);
      if (/^([0-9][.eE]|-0)$/.test(pair))
        throw invalidProof('a number in the proof file is not written as a whole number');
      continue;
    }
    at = endOfString(text, at);
    let after = at + 1;
    while (' \t\r\n'.includes(text[after] ?? 'end')) after++;
    if (text[after] === ':') keys++;
  }
  // All keys are known and present by now, so one more can only be a repetition.
  if (keys !== keyCount) throw invalidProof('a member of the proof file is there twice');
}

/** Position of the closing quote. Payloads are long: search, do not step. */
function endOfString(text: string, begin: number): number {
  let end = begin;
  let escapes: number;
  do {
    end = text.indexOf('"', end + 1);
    escapes = 0;
    while (text[end - 1 - escapes] === '\\') escapes++;
  } while (escapes % 2 === 1);
  return end;
}

export function membersOf<K extends string>(
  value: unknown,
  keys: readonly K[],
  what: string,
): Record<K, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalidProof(`${what} is not an object`);
  for (const key of Object.keys(value)) {
    if (!(keys as readonly string[]).includes(key))
      throw invalidProof(`${what} has an unknown member ${JSON.stringify(key.slice(0, 60))}`);
  }
  for (const key of keys) if (!Object.hasOwn(value, key)) throw invalidProof(`${what} has no ${key}`);
  return value as Record<K, unknown>;
}

export function pathOf(value: unknown, what: string, sides = 1): Uint8Array[] {
  const max = sides * MAX_PATH_HASHES;
  if (!Array.isArray(value) || value.length > max)
    throw invalidProof(`${what} is not an array of at most ${max} hashes`);
  return value.map((hash: unknown) => fromBase64Sized(textOf(hash, what), HASH_BYTES, what));
}

export function textOf(value: unknown, what: string): string {
  if (typeof value !== 'string') throw invalidProof(`${what} is not a string`);
  return value;
}
