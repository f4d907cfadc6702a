// The body of C2SP tlog-witness add-checkpoint: form only, both ways. Verifies no proof and no signature.
import { fromBase64Sized, toBase64 } from './base64.ts';
import { parseDecimal } from './decimal.ts';
import { FormatError } from './errors.ts';
import { HASH_BYTES } from './hash.ts';
import { fromUtf8 } from './text.ts';

export interface AddCheckpoint {
  /** Size of the checkpoint the authority is believed to have cosigned last; 0 for none. */
  readonly oldSize: number;
  /** Consistency proof from there; empty where oldSize is 0 or the size of the checkpoint. */
  readonly proof: readonly Uint8Array[];
  /** The signed note, as it is. */
  readonly note: string;
}

/*
 * body = "old " decimal LF  ( base64 hash LF )*  LF  note       at most 63 hashes
 */
export const MAX_CONSISTENCY_HASHES = 63;
/** Content type of a 409 that names the size the authority holds. */
export const TLOG_SIZE_TYPE = 'text/x.tlog.size';

export function formatAddCheckpoint({ oldSize, proof, note }: AddCheckpoint): string {
  return `old ${oldSize}\n${proof.map((hash) => `${toBase64(hash)}\n`).join('')}\n${note}`;
}

/** Strict. Throws SUBMISSION_INVALID. */
export function parseAddCheckpoint(body: Uint8Array): AddCheckpoint {
  const text = fromUtf8(body, 'submission', 'SUBMISSION_INVALID');
  // The note has empty lines of its own: the first one ends the proof.
  const divide = text.indexOf('\n\n');
  if (divide < 0) throw invalid('there is no empty line before the checkpoint');
  const [first, ...hashes] = text.slice(0, divide).split('\n');
  if (!first!.startsWith('old ')) throw invalid('the first line is not "old <size>"');
  if (hashes.length > MAX_CONSISTENCY_HASHES)
    throw invalid(`${hashes.length} hashes are more than ${MAX_CONSISTENCY_HASHES}`);
  return {
    oldSize: parseDecimal(first!.slice(4), 'old size', 'SUBMISSION_INVALID'),
    proof: hashes.map((hash) => fromBase64Sized(hash, HASH_BYTES, 'proof hash', 'SUBMISSION_INVALID')),
    note: text.slice(divide + 2),
  };
}

/** The size in the body of a 409, or null where a peer left it empty or wrote something else. */
export function parseTlogSize(body: string): number | null {
  try {
    return parseDecimal(body.endsWith('\n') ? body.slice(0, -1) : body, 'size', 'SUBMISSION_INVALID');
  } catch (error) {
    if (error instanceof FormatError) return null;
    throw error;
  }
}

function invalid(message: string): FormatError {
  return new FormatError('SUBMISSION_INVALID', message);
}
