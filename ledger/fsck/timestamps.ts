// External timestamps beside a history: is each of a checkpoint of this gateway, and of the history shown here? Reads no
// token: whoever holds the trusted certificates has verified those before.
import { type Checkpoint, parseCheckpoint } from '../format/checkpoint.ts';
import { FormatError } from '../format/errors.ts';
import { openNote, parseNote, type VerifierKey } from '../format/note.ts';
import type { TileReader } from '../format/tile.ts';
import { verdictOf } from './authorityviews.ts';
import type { Findings } from './findings.ts';

/** What a token was found to say of the checkpoint beside it. */
export type TokenVerdict =
  | { readonly timeMs: number; readonly authority: string; readonly trusted: boolean }
  | { readonly problem: string };

export interface StampedCheckpoint {
  /** Relative to the data directory, for findings. */
  readonly file: string;
  /** The stamped note; null where it is not there. */
  readonly note: string | null;
  readonly verdict: TokenVerdict;
}

export interface TimestampReport {
  readonly checked: number;
  readonly sound: number;
  /** The sound one of the most blocks. */
  readonly newest: {
    readonly size: number;
    readonly timeMs: number;
    readonly authority: string;
    /** False: its certificate was not held against any that is trusted. */
    readonly trusted: boolean;
  } | null;
}

export interface StampedHistory {
  readonly stamps: readonly StampedCheckpoint[];
  readonly head: Checkpoint;
  /** Keys that may have signed a checkpoint of this gateway. */
  readonly keysOf: (seen: Checkpoint) => readonly VerifierKey[];
  readonly read: TileReader;
  readonly findings: Findings;
}

export async function judgeTimestamps(history: StampedHistory): Promise<TimestampReport> {
  const { stamps, head, findings } = history;
  let sound = 0;
  let newest: TimestampReport['newest'] = null;
  for (const stamp of stamps) {
    const { file, verdict } = stamp;
    const found = readStamped(stamp, history);
    if ('problem' in found || 'problem' in verdict) {
      const why = 'problem' in verdict ? verdict.problem : (found as { problem: string }).problem;
      findings.add('error', 'TIMESTAMP_WRONG', { file }, `the timestamp proves nothing: ${why}`);
      continue;
    }
    const { size } = found;
    const facts = { size, stampedMs: verdict.timeMs };
    const when = `a checkpoint of ${size} blocks was stamped at ${new Date(verdict.timeMs).toISOString()} by ${verdict.authority}`;
    const relation = await verdictOf(found, head, history.read);
    if (relation === 'ahead') {
      const message = `${when}, here are only ${head.size}: the data directory went back, or an old state is shown`;
      findings.add('error', 'ROLLED_BACK', { file }, message, facts);
    } else if (relation === 'fork') {
      const message = `${when} that is not of the history shown here: the gateway signed two`;
      findings.add('error', 'FORKED', { file }, message, facts);
    } else if (relation !== 'silent') {
      // 'silent': tiles that cannot be read are the walk's finding.
      sound += 1;
      if (!newest || size >= newest.size) newest = { size, ...verdict };
    }
  }
  return { checked: stamps.length, sound, newest };
}

function readStamped(
  { note }: StampedCheckpoint,
  { head, keysOf }: StampedHistory,
): Checkpoint | { readonly problem: string } {
  if (note === null) return { problem: 'the checkpoint it stamps is not beside it' };
  try {
    const signed = parseNote(note);
    const checkpoint = parseCheckpoint(signed.text);
    if (checkpoint.origin !== head.origin)
      return { problem: `it stamps a checkpoint of ${checkpoint.origin}` };
    openNote(signed, keysOf(checkpoint));
    return checkpoint;
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return { problem: `the checkpoint it stamps does not count: ${error.message}` };
  }
}
