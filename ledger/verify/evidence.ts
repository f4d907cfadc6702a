// The evidence file, tidemark-fork-evidence/v1: two signed checkpoints that cannot be of one history, for anyone to check
// with the gateway's key. Its form and the check; accuses nobody else.
import { fromBase64Sized, toBase64 } from '../format/base64.ts';
import { FormatError } from '../format/errors.ts';
import { HASH_BYTES } from '../format/hash.ts';
import { parseVerifierKey, type VerifierKey } from '../format/note.ts';
import { checkFork, type ForkEvidence, type ForkVerdict } from './fork.ts';

export const EVIDENCE_FORMAT = 'tidemark-fork-evidence/v1';
const MAX_EVIDENCE_CHARACTERS = 1024 * 1024;

export interface EvidenceFile extends ForkEvidence {
  /** Verifier key under which both checkpoints are signed: to find the gateway by, not to be trusted. */
  readonly gatewayKey: string;
  /** Who noticed, unix ms by its clock. */
  readonly foundBy: string;
  readonly foundMs: number;
}

export function formatEvidence(evidence: EvidenceFile): string {
  const { first, second, extended, gatewayKey, foundBy, foundMs } = evidence;
  const proof = extended && { root: toBase64(extended.root), proof: extended.proof.map(toBase64) };
  const file = {
    format: EVIDENCE_FORMAT,
    gatewayKey,
    foundBy,
    foundMs,
    first,
    second,
    extended: proof ?? null,
  };
  return `${JSON.stringify(file, null, 2)}\n`;
}

/** Whether a text claims to be an evidence file (and not, say, a proof file). */
export function isEvidence(text: string): boolean {
  return text.length <= MAX_EVIDENCE_CHARACTERS && text.includes(`"${EVIDENCE_FORMAT}"`);
}

/** Strict. Throws EVIDENCE_INVALID, BASE64_INVALID. */
export function parseEvidence(text: string): EvidenceFile {
  if (text.length > MAX_EVIDENCE_CHARACTERS) throw invalid('is too long');
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch (cause) {
    throw invalid('is not JSON', cause);
  }
  const { format, gatewayKey, foundBy, foundMs, first, second, extended, ...rest } = objectOf(file);
  if (format !== EVIDENCE_FORMAT) throw invalid(`is not of format ${EVIDENCE_FORMAT}`);
  if (Object.keys(rest).length > 0) throw invalid(`has an unknown member ${Object.keys(rest)[0]}`);
  if (typeof foundMs !== 'number' || !Number.isSafeInteger(foundMs)) throw invalid('has no time');
  const texts = [gatewayKey, foundBy, first, second];
  if (!texts.every((item) => typeof item === 'string')) throw invalid('lacks a member');
  const [key, by, one, two] = texts as string[];
  const base = { gatewayKey: key!, foundBy: by!, foundMs, first: one!, second: two! };
  return extended === null ? base : { ...base, extended: extendedOf(extended) };
}

/**
 * Whether the evidence shows a fork of the gateway whose key is trusted (null: of whoever holds the key the file names).
 * Throws a FormatError where a note is not signed by it.
 */
export function checkEvidence(evidence: EvidenceFile, trusted: VerifierKey | null): ForkVerdict {
  return checkFork(evidence, trusted ?? parseVerifierKey(evidence.gatewayKey));
}

function extendedOf(value: unknown): NonNullable<ForkEvidence['extended']> {
  const { root, proof } = objectOf(value);
  if (!Array.isArray(proof) || proof.length > 63) throw invalid('has no consistency proof');
  return { root: hashOf(root), proof: proof.map(hashOf) };
}

function hashOf(value: unknown): Uint8Array {
  if (typeof value !== 'string') throw invalid('has a hash that is no text');
  return fromBase64Sized(value, HASH_BYTES, 'hash', 'EVIDENCE_INVALID');
}

function objectOf(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid('is not an object');
  return value as Record<string, unknown>;
}

function invalid(what: string, cause?: unknown): FormatError {
  return new FormatError('EVIDENCE_INVALID', `the evidence file ${what}`, { cause });
}
