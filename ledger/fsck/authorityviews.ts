// Asks the authorities of a policy for the newest checkpoint they cosigned, and holds the history shown here against it.
// Believes an authority only what the gateway's own key has signed.
import { hash } from 'node:crypto';
import { type Checkpoint, parseCheckpoint } from '../format/checkpoint.ts';
import { FormatError } from '../format/errors.ts';
import { equalBytes } from '../format/hash.ts';
import { verifyConsistency } from '../format/merkle.ts';
import { openNote, parseNote, type SignedNote, type VerifierKey } from '../format/note.ts';
import type { Policy } from '../format/policy.ts';
import type { TileReader } from '../format/tile.ts';
import { TileTree } from '../format/tile-tree.ts';
import type { Findings } from './findings.ts';
import { nodeSha256 } from './hashing.ts';
import { baseUrl, httpGet, SourceError } from './httpsource.ts';

export interface AuthorityView {
  readonly name: string;
  /** Blocks of the newest checkpoint it knows; null where it has none, or did not answer. */
  readonly size: number | null;
  readonly verdict: 'agrees' | 'behind' | 'ahead' | 'fork' | 'silent' | 'knows-nothing';
}

interface Asked {
  readonly name: string;
  readonly seen: { readonly note: SignedNote; readonly checkpoint: Checkpoint } | null;
  readonly problem: string | null;
}

/** An authority whose newest checkpoint is older by more than this many blocks is worth a word. */
const BEHIND_BLOCKS = 1_000;
const CHECKPOINT_MAX_BYTES = 256 * 1024;

/** Call before the history's own head is read: then a head older than an answer has gone back. */
export function askAuthorities(policy: Policy, origin: string): Promise<Asked[]> {
  const asked = policy.authorities.filter(({ url }) => url !== null && url !== undefined);
  return Promise.all(
    asked.map(async ({ name, url }): Promise<Asked> => {
      try {
        const path = `${hash('sha256', origin)}/checkpoint`;
        const bytes = await httpGet(new URL(path, baseUrl(String(url))), CHECKPOINT_MAX_BYTES);
        if (!bytes) return { name, seen: null, problem: null };
        const note = parseNote(bytes);
        const checkpoint = parseCheckpoint(note.text);
        if (checkpoint.origin !== origin)
          throw new FormatError('CHECKPOINT_INVALID', 'it is of another origin');
        return { name, seen: { note, checkpoint }, problem: null };
      } catch (error) {
        if (!(error instanceof FormatError || error instanceof SourceError)) throw error;
        return { name, seen: null, problem: error.message };
      }
    }),
  );
}

export interface Views {
  readonly asked: readonly Asked[];
  readonly head: Checkpoint;
  /** Keys that may have signed a checkpoint of this gateway. */
  readonly keysOf: (seen: Checkpoint) => readonly VerifierKey[];
  readonly read: TileReader;
  readonly findings: Findings;
}

/** Holds each answer against the history of `head`, by consistency proofs from its tiles. */
export async function judgeViews({ asked, head, keysOf, read, findings }: Views): Promise<AuthorityView[]> {
  const views: AuthorityView[] = [];
  for (const answer of asked) {
    const { name } = answer;
    const problem = answer.seen ? unsigned(answer.seen, keysOf) : answer.problem;
    const checkpoint = problem === null ? (answer.seen?.checkpoint ?? null) : null;
    const say = (severity: 'error' | 'warning', code: Parameters<Findings['add']>[1], message: string) =>
      findings.add(severity, code, { file: 'ledger/checkpoint' }, message, {
        authority: name,
        size: head.size,
      });
    if (!checkpoint) {
      if (problem !== null)
        say('warning', 'AUTHORITY_SILENT', `${name} gives no usable checkpoint: ${problem}`);
      views.push({ name, size: null, verdict: problem === null ? 'knows-nothing' : 'silent' });
      continue;
    }
    const verdict = await verdictOf(checkpoint, head, read);
    if (verdict === 'ahead')
      say(
        'error',
        'ROLLED_BACK',
        `${name} has cosigned ${checkpoint.size} blocks, here are only ${head.size}: the data directory went back, or an old state is shown`,
      );
    if (verdict === 'fork')
      say(
        'error',
        'FORKED',
        `the checkpoint of ${checkpoint.size} blocks that ${name} has cosigned is not of the history shown here: the gateway signed two`,
      );
    if (verdict === 'behind')
      say('warning', 'AUTHORITY_BEHIND', `${name} has cosigned ${checkpoint.size} of ${head.size} blocks`);
    views.push({ name, size: checkpoint.size, verdict });
  }
  return views;
}

/** Why the gateway cannot have signed what an authority shows; null when it did. */
function unsigned({ note, checkpoint }: NonNullable<Asked['seen']>, keysOf: Views['keysOf']): string | null {
  try {
    openNote(note, keysOf(checkpoint));
    return null;
  } catch (error) {
    if (error instanceof FormatError) return error.message;
    throw error;
  }
}

/** How a checkpoint of this gateway stands to the history of `head`. */
export async function verdictOf(
  seen: Checkpoint,
  head: Checkpoint,
  read: TileReader,
): Promise<AuthorityView['verdict']> {
  if (seen.size > head.size) return 'ahead';
  if (seen.size === head.size) return equalBytes(seen.root, head.root) ? 'agrees' : 'fork';
  if (seen.size > 0) {
    const tree = new TileTree({ read, size: head.size, hash: nodeSha256 });
    try {
      const proof = await tree.consistencyProof(seen.size);
      if (!verifyConsistency(seen.size, head.size, seen.root, head.root, proof, nodeSha256)) return 'fork';
    } catch (error) {
      // Tiles that cannot be read are the walk's finding; without them nothing is said against anyone.
      if (!(error instanceof FormatError)) throw error;
      return 'silent';
    }
  }
  return head.size - seen.size > BEHIND_BLOCKS ? 'behind' : 'agrees';
}
