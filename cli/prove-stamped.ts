// A proof against a timestamped checkpoint of a running gateway, made here from what it serves: its tiles, its records, its
// timestamps. Believes none of them: whoever gets the proof verifies it.
import { parseBlock } from '../ledger/format/block.ts';
import { parseCheckpoint } from '../ledger/format/checkpoint.ts';
import { FormatError } from '../ledger/format/errors.ts';
import { parseNote } from '../ledger/format/note.ts';
import type { Proof } from '../ledger/format/proof.ts';
import type { TelemetryRecord } from '../ledger/format/record.ts';
import { baseUrl, HttpRecords, httpTiles, SourceError, showToken } from '../ledger/fsck/httpsource.ts';
import { httpStampPage, type ShownStamp } from '../ledger/fsck/httpstamps.ts';
import { Prover } from '../ledger/tiles/prove.ts';
import { CommandError, EXIT } from './errors.ts';

/** @param proof of the record, against whatever checkpoint */
export async function stampedFromGateway(
  url: string,
  { block, record }: Proof,
): Promise<{ readonly proof: Proof; readonly stamp: Uint8Array }> {
  const token = process.env.TIDEMARK_TOKEN;
  if (token !== undefined) showToken(url, token);
  const { height } = parseBlock(new TextEncoder().encode(block));
  try {
    const found = await oldestOver(url, height);
    if (found?.note == null)
      throw new CommandError(EXIT.unable, `${url} shows no timestamp that covers block ${height} yet`, {
        hint: 'timestamps are asked for where its configuration has `timestamp`, as often as it says',
      });
    const base = baseUrl(url);
    const records = new HttpRecords(base);
    const prover = new Prover({
      tiles: httpTiles(base),
      records: (first, count) => allOf(records.read(first, first + count)),
      leaves: (first, end) => records.leaves(first, end),
      head: { note: found.note, checkpoint: parseCheckpoint(parseNote(found.note).text) },
    });
    const result = await prover.prove(record.offset);
    if (result.kind === 'proof') return { proof: result.proof, stamp: found.token };
    throw new CommandError(
      EXIT.unable,
      `what ${url} shows does not lead from its timestamped checkpoint of ${found.size} blocks to block ${height}: ${result.kind}`,
    );
  } catch (error) {
    if (!(error instanceof SourceError || error instanceof FormatError)) throw error;
    throw new CommandError(EXIT.unable, `${url}: ${error.message}`, { cause: error });
  }
}

/** The timestamp of the fewest blocks that has this one: it says the earliest time. */
async function oldestOver(url: string, height: number): Promise<ShownStamp | null> {
  const newestBelow = async (before: number | null) => (await httpStampPage(url, before, 1))?.[0] ?? null;
  let best = await newestBelow(null);
  if (!best || best.size <= height) return null;
  // Nothing over the block is below `low`.
  for (let low = height + 1; low < best.size; ) {
    const middle = Math.floor((low + best.size) / 2);
    const found = await newestBelow(middle + 1);
    if (found && found.size > height && found.size <= middle) best = found;
    else low = middle + 1;
  }
  return best;
}

async function allOf(pages: AsyncGenerator<readonly TelemetryRecord[]>): Promise<TelemetryRecord[]> {
  const all: TelemetryRecord[] = [];
  for await (const page of pages) all.push(...page);
  return all;
}
