// The external timestamps of a gateway, stored or shown over HTTP, each verified against its checkpoint, for `tidemark audit`.
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { FormatError } from '../ledger/format/errors.ts';
import { parseNote } from '../ledger/format/note.ts';
import { isHttpUrl } from '../ledger/fsck/httpsource.ts';
import { httpStampPage, type ShownStamp } from '../ledger/fsck/httpstamps.ts';
import type { StampedCheckpoint, TokenVerdict } from '../ledger/fsck/timestamps.ts';
import { readTimestamp, timestampSizes, timestampsDir } from '../ledger/timestamp/store.ts';
import { imprintOf, TimestampError, verifyTimestamp } from '../ledger/timestamp/token.ts';
import type { Invocation } from './command.ts';
import { CommandError, EXIT } from './errors.ts';
import { readText } from './trust.ts';

/** The newest of them: one every hour of a year, and more. */
const STAMPS_MAX = 10_000;

/**
 * Of `--timestamps DIR`, else of the data directory or gateway that is audited; null where there is none to look into.
 * `since`: blocks that an audit before had checked, so that a gateway is asked only for what may be new.
 * @throws CommandError for a folder or certificates that cannot be read, SourceError for a gateway that does not answer
 */
export async function stampedCheckpoints(
  invocation: Invocation,
  source: string,
  since: number,
): Promise<readonly StampedCheckpoint[] | null> {
  const folder = invocation.text('timestamps');
  const ca = invocation.text('tsa-ca');
  const trusted = ca === undefined ? undefined : readText(ca, 'certificate file');
  if (folder !== undefined && !existsSync(folder))
    throw new CommandError(EXIT.usage, `there is no folder ${folder}`);
  if (folder === undefined && isHttpUrl(source)) {
    const shown = await shownBy(source, since, trusted);
    if (shown !== null || ca === undefined) return shown;
    throw new CommandError(EXIT.usage, '--tsa-ca needs timestamps, and there are none to be asked for here', {
      hint: 'copy `timestamps` from the data directory and give it as --timestamps DIR',
    });
  }
  const root = folder === undefined ? source : holderOf(folder);
  return timestampSizes(root)
    .slice(-STAMPS_MAX)
    .map((size) => read(root, size, trusted));
}

/** All, or those from just below what was checked before: one that was asked for then may have come since. */
async function shownBy(
  source: string,
  since: number,
  trusted: string | undefined,
): Promise<StampedCheckpoint[] | null> {
  const stamps: StampedCheckpoint[] = [];
  let before: number | null = null;
  while (stamps.length < STAMPS_MAX) {
    const page: readonly ShownStamp[] | null = await httpStampPage(source, before);
    if (page === null) return null;
    for (const { size, note, token } of page)
      stamps.push({ file: fileOf(size), note, verdict: verdictOf(note, token, trusted) });
    const last = page.at(-1)?.size ?? 0;
    // A page that does not lead down would be asked for again and again.
    if (last <= since || (before !== null && last >= before)) break;
    before = last;
  }
  return stamps.reverse();
}

/** The store goes by data directories; a copied folder keeps its name. */
function holderOf(folder: string): string {
  const path = resolve(folder);
  if (timestampsDir(dirname(path)) === path) return dirname(path);
  if (existsSync(timestampsDir(path))) return path;
  throw new CommandError(EXIT.usage, `${folder} is not a folder named timestamps, and has none in it`);
}

const fileOf = (size: number) => join('timestamps', `${size}.tsr`);

function read(root: string, size: number, trusted: string | undefined): StampedCheckpoint {
  const file = fileOf(size);
  try {
    const { note, token } = readTimestamp(root, size);
    return { file, note, verdict: verdictOf(note, token, trusted) };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return { file, note: null, verdict: verdictOf(null, new Uint8Array(0), trusted) };
  }
}

function verdictOf(note: string | null, token: Uint8Array, trusted: string | undefined): TokenVerdict {
  if (note === null) return { problem: 'the checkpoint it stamps is not beside it' };
  try {
    return verifyTimestamp(token, { imprint: imprintOf(parseNote(note).text), trusted });
  } catch (error) {
    if (error instanceof TimestampError || error instanceof FormatError) return { problem: error.message };
    throw error;
  }
}
