// The stored timestamps of a gateway, each verified against the checkpoint beside it, for `tidemark audit`.
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { FormatError } from '../ledger/format/errors.ts';
import { parseNote } from '../ledger/format/note.ts';
import type { StampedCheckpoint, TokenVerdict } from '../ledger/fsck/timestamps.ts';
import { readTimestamp, timestampSizes, timestampsDir } from '../ledger/timestamp/store.ts';
import { imprintOf, TimestampError, verifyTimestamp } from '../ledger/timestamp/token.ts';
import type { Invocation } from './command.ts';
import { CommandError, EXIT } from './errors.ts';
import { readText } from './trust.ts';

/** The newest of them: one every hour of a year, and more. */
const STAMPS_MAX = 10_000;

/**
 * Of `--timestamps DIR`, else of the data directory that is audited; null where there is none to look into.
 * @throws CommandError for a folder or certificates that cannot be read
 */
export function stampedCheckpoints(
  invocation: Invocation,
  dataDir: string | null,
): readonly StampedCheckpoint[] | null {
  const folder = invocation.text('timestamps');
  const ca = invocation.text('tsa-ca');
  const trusted = ca === undefined ? undefined : readText(ca, 'certificate file');
  if (folder !== undefined && !existsSync(folder))
    throw new CommandError(EXIT.usage, `there is no folder ${folder}`);
  const root = folder === undefined ? dataDir : holderOf(folder);
  if (root === null) {
    if (ca === undefined) return null;
    throw new CommandError(EXIT.usage, '--tsa-ca needs timestamps: over HTTP there are none', {
      hint: 'copy `timestamps` from the data directory and give it as --timestamps DIR',
    });
  }
  return timestampSizes(root)
    .slice(-STAMPS_MAX)
    .map((size) => read(root, size, trusted));
}

/** The store goes by data directories; a copied folder keeps its name. */
function holderOf(folder: string): string {
  const path = resolve(folder);
  if (timestampsDir(dirname(path)) === path) return dirname(path);
  if (existsSync(timestampsDir(path))) return path;
  throw new CommandError(EXIT.usage, `${folder} is not a folder named timestamps, and has none in it`);
}

function read(root: string, size: number, trusted: string | undefined): StampedCheckpoint {
  const file = join('timestamps', `${size}.tsr`);
  try {
    const { note, token } = readTimestamp(root, size);
    return { file, note, verdict: verified(note, token, trusted) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return { file, note: null, verdict: { problem: 'the checkpoint it stamps is not beside it' } };
  }
}

function verified(note: string, token: Buffer, trusted: string | undefined): TokenVerdict {
  try {
    return verifyTimestamp(token, { imprint: imprintOf(parseNote(note).text), trusted });
  } catch (error) {
    if (error instanceof TimestampError || error instanceof FormatError) return { problem: error.message };
    throw error;
  }
}
