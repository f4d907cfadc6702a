// Proofs from a data directory on this machine, also of a gateway that runs: finds the records, waits for their block.
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { coldFs } from '../gateway/cold/cold-fs.ts';
import { realFs } from '../gateway/log/fs.ts';
import { openReader } from '../gateway/log/reader.ts';
import { leafSource } from '../gateway/log/retention/leaf-files.ts';
import { LogError, type LogReader, type SearchableLogReader } from '../gateway/log/types.ts';
import { parseBlock } from '../ledger/format/block.ts';
import { offset } from '../ledger/format/brand.ts';
import { parseCheckpoint } from '../ledger/format/checkpoint.ts';
import { parseNote } from '../ledger/format/note.ts';
import type { Proof } from '../ledger/format/proof.ts';
import type { RangeProof } from '../ledger/format/proof-range.ts';
import { type ProveOptions, Prover, type RangeResult } from '../ledger/tiles/prove.ts';
import { directoryTiles } from '../ledger/tiles/source.ts';
import { directorySubtrees } from '../ledger/tiles/subtreefiles.ts';
import { readTimestamp, timestampSizes } from '../ledger/timestamp/store.ts';
import type { GatewayConfig } from './config/schema.ts';
import { expectDataDir } from './data-dir.ts';
import { CommandError, EXIT } from './errors.ts';
import { readCopy, withCopy } from './record-copy.ts';
import type { Wanted } from './wanted.ts';

/** A record is sealed within about a second of its ack; this long the command waits for it. */
export const SEAL_WAIT_MS = 10_000;
export const SEAL_POLL_MS = 100;

export type Proven =
  | { readonly kind: 'record'; readonly proof: Proof; readonly stamp: Uint8Array | null }
  | { readonly kind: 'range'; readonly proof: RangeProof; readonly stamp: null };

/** `copyFile`: records that the log may no longer hold. `stamped`: against the oldest timestamped checkpoint that has them. */
export async function proveFromDirectory(
  { dataDir, cold }: GatewayConfig,
  wanted: Wanted,
  options: { readonly copyFile?: string | undefined; readonly stamped?: boolean } = {},
): Promise<Proven> {
  const { copyFile } = options;
  expectDataDir(dataDir, 'give --data-dir, or --url of a running gateway');
  const fs = cold ? coldFs(dataDir, cold) : realFs;
  const reader = await openReader({ dataDir, fs });
  try {
    const read = (first: number, count: number) => held(reader, first, count);
    const sources = {
      tiles: directoryTiles(join(dataDir, 'ledger')),
      records: copyFile === undefined ? read : withCopy(read, readCopy(copyFile)),
      leaves: leafSource(dataDir, fs),
      subtrees: directorySubtrees(dataDir),
    };
    const prover = new Prover(sources);
    const { first, last, isRange } = await offsetsOf(wanted, reader);
    const deadline = Date.now() + SEAL_WAIT_MS;
    for (;;) {
      const result = isRange ? await prover.proveRange(first, last) : await prover.prove(first);
      if (result.kind === 'proof') {
        if (isRange) return { kind: 'range', proof: result.proof as RangeProof, stamp: null };
        const proof = result.proof as Proof;
        return options.stamped === true
          ? await stampedProof(dataDir, sources, proof)
          : { kind: 'record', proof, stamp: null };
      }
      const end = await reader.end();
      if (result.kind !== 'not-sealed-yet' || last >= end || Date.now() > deadline)
        throw new CommandError(EXIT.unable, reasonOf(result, last, end));
      await sleep(SEAL_POLL_MS);
    }
  } finally {
    await reader.close();
  }
}

/** The same proof against the oldest timestamped checkpoint that has the block: it says the earliest time. */
async function stampedProof(
  dataDir: string,
  sources: ProveOptions,
  { block, record }: Proof,
): Promise<Proven> {
  const { height } = parseBlock(new TextEncoder().encode(block));
  const size = timestampSizes(dataDir).find((one) => one > height);
  if (size === undefined)
    throw new CommandError(EXIT.unable, `no timestamp covers block ${height} yet`, {
      hint: 'timestamps are asked for where the configuration has `timestamp`, as often as it says',
    });
  const { note, token } = readTimestamp(dataDir, size);
  const head = { note, checkpoint: parseCheckpoint(parseNote(note).text) };
  const result = await new Prover({ ...sources, head }).prove(record.offset);
  if (result.kind !== 'proof')
    throw new CommandError(
      EXIT.unable,
      `the timestamped checkpoint of ${size} blocks does not lead to block ${height}`,
    );
  return { kind: 'record', proof: result.proof, stamp: token };
}

async function offsetsOf(
  wanted: Wanted,
  reader: SearchableLogReader,
): Promise<{ first: number; last: number; isRange: boolean }> {
  if (wanted.kind === 'offsets') return wanted;
  const { topic, device, atMs } = wanted;
  let from = await reader.start();
  for (;;) {
    const page = await reader.query({ topic, device, fromMs: atMs, fromOffset: from, limit: 1 });
    const [record] = page.records;
    if (record) return { first: record.offset, last: record.offset, isRange: false };
    if (page.complete)
      throw new CommandError(EXIT.unable, 'no record of that topic and device at or after that time is held');
    from = page.next;
  }
}

async function held(reader: LogReader, first: number, count: number) {
  try {
    return await reader.fetch(offset(first), { maxRecords: count, maxBytes: 16 * 1024 * 1024 });
  } catch (error) {
    // What can't be read can't be proven; `tidemark fsck` says where the damage is.
    if (error instanceof LogError && error.code === 'SEGMENT_DAMAGED') return [];
    throw error;
  }
}

function reasonOf(result: Exclude<RangeResult, { kind: 'proof' }>, at: number, end: number): string {
  switch (result.kind) {
    case 'not-sealed-yet':
      return at >= end
        ? `there is no record at offset ${at}: the log ends at ${end}`
        : `record ${at} is not sealed yet (sealed up to ${result.sealedEnd}): is the gateway running?`;
    case 'not-held':
      return `record ${at} is sealed in block ${result.height}, but the log no longer holds all records of that block: with an exported copy of them give --copy FILE`;
    case 'lost':
      return `offset ${at} was lost before it could be sealed; gap block ${result.height} says so`;
    case 'too-large':
      return `these records are too large for one file: prove those before ${result.end} first`;
    case 'does-not-match':
      return `the log’s records do not lead to the root sealed in block ${result.height}: run \`tidemark fsck --deep\``;
  }
}
