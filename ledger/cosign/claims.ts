// What it is worth when an authority says that it has cosigned more of this gateway than its disk knows. Believes only what
// this gateway's own key has signed, or so many authorities that they cannot all be lying. Sends one request, decides nothing else.
import { hash } from 'node:crypto';
import { type Checkpoint, parseCheckpoint } from '../format/checkpoint.ts';
import { FormatError } from '../format/errors.ts';
import { verifyConsistency } from '../format/merkle.ts';
import { openNote, parseNote, type VerifierKey } from '../format/note.ts';
import { meetsQuorum, type Policy } from '../format/policy.ts';
import type { TileReader } from '../format/tile.ts';
import { TileTree } from '../format/tile-tree.ts';
import { nodeEd25519 } from '../keys/ed25519.ts';
import { nodeSha256 } from '../tiles/hashing.ts';
import type { AuthorityClient } from './client.ts';

export type ClaimVerdict =
  /** It shows a checkpoint that this gateway signed and its disk does not know. */
  | { readonly kind: 'proven'; readonly size: number }
  /** It shows one of a history that this disk does not extend. */
  | { readonly kind: 'fork'; readonly size: number }
  | { readonly kind: 'unproven'; readonly why: string };

export interface ClaimPorts {
  readonly tiles: TileReader;
  /** Keys that may have signed a checkpoint of this size. */
  readonly keysAt: (size: number) => readonly VerifierKey[];
  /** The newest checkpoint signed here, asked for after the authority has answered: others may have shown it that one. */
  readonly newest: () => Checkpoint;
}

/** @throws FormatError where our own tiles cannot be read */
export async function judgeClaim(
  client: AuthorityClient,
  { tiles, keysAt, newest }: ClaimPorts,
  signal: AbortSignal,
): Promise<ClaimVerdict> {
  const { origin } = newest();
  const view = await client.view(`${hash('sha256', origin)}/checkpoint`, signal);
  if (view.note === null) return { kind: 'unproven', why: view.reason };
  let seen: Checkpoint;
  try {
    const note = parseNote(view.note);
    seen = parseCheckpoint(note.text);
    if (seen.origin !== origin)
      return { kind: 'unproven', why: 'the checkpoint it shows is of another origin' };
    openNote(note, keysAt(seen.size), nodeEd25519);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return { kind: 'unproven', why: `the checkpoint it shows does not count: ${error.message}` };
  }
  const { size, root } = newest();
  if (seen.size > size) return { kind: 'proven', size: seen.size };
  const unproven = {
    kind: 'unproven',
    why: `the newest checkpoint it shows has ${seen.size} blocks`,
  } as const;
  if (seen.size === 0) return unproven;
  const proof = await new TileTree({ read: tiles, size, hash: nodeSha256 }).consistencyProof(seen.size);
  const isOurs = verifyConsistency(seen.size, size, seen.root, root, proof, nodeSha256);
  return isOurs ? unproven : { kind: 'fork', size: seen.size };
}

/**
 * Whether claims without proof (of witnesses that show no checkpoints) are believed: made by more authorities than may lie,
 * and by so many that nothing can become final without them.
 */
export function isBelieved(policy: Policy, claimants: ReadonlySet<string>): boolean {
  const others = new Set(policy.authorities.map(({ name }) => name).filter((name) => !claimants.has(name)));
  return claimants.size > (policy.figures?.mayLie ?? 0) && !meetsQuorum(policy, others);
}
