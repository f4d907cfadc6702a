// Evidence that a gateway signed two histories, checkable by anyone from two notes and its key. Accuses nobody else.
import { type Checkpoint, parseCheckpoint } from '../format/checkpoint.ts';
import { equalBytes } from '../format/hash.ts';
import { verifyConsistency } from '../format/merkle.ts';
import { openNote, parseNote, type VerifierKey } from '../format/note.ts';

export interface ForkEvidence {
  /** Two signed checkpoints; the smaller (or either, at one size) first. */
  readonly first: string;
  readonly second: string;
  /** At different sizes: a root that the second tree extends, other than the first's, and the proof of that. */
  readonly extended?: { readonly root: Uint8Array; readonly proof: readonly Uint8Array[] };
}

export type ForkVerdict =
  | { readonly kind: 'fork'; readonly first: Checkpoint; readonly second: Checkpoint }
  | { readonly kind: 'no-fork'; readonly why: string };

/**
 * Whether the evidence shows a fork under this gateway key: one size with two roots, or a smaller checkpoint
 * whose root is not the one the larger tree extends. Throws a FormatError when a note is not signed by the key.
 */
export function checkFork(evidence: ForkEvidence, gatewayKey: VerifierKey): ForkVerdict {
  const [first, second] = [evidence.first, evidence.second].map((text) => {
    const note = parseNote(text);
    openNote(note, [gatewayKey]);
    return parseCheckpoint(note.text);
  }) as [Checkpoint, Checkpoint];
  if (first.origin !== second.origin) return { kind: 'no-fork', why: 'the checkpoints are of two origins' };
  if (equalBytes(first.root, second.root) && first.size === second.size)
    return { kind: 'no-fork', why: 'one checkpoint twice' };
  if (first.size === second.size) return { kind: 'fork', first, second };
  const { extended } = evidence;
  if (!extended) return { kind: 'no-fork', why: 'two sizes, and no proof of what the larger extends' };
  if (equalBytes(extended.root, first.root))
    return { kind: 'no-fork', why: 'the larger tree extends the smaller' };
  return verifyConsistency(first.size, second.size, extended.root, second.root, extended.proof)
    ? { kind: 'fork', first, second }
    : { kind: 'no-fork', why: 'the proof does not show what the larger tree extends' };
}
