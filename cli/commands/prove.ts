// `tidemark prove`: writes the proof file of one record, from a data directory or a running gateway.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { coldFs } from '../../gateway/cold/cold-fs.ts';
import { realFs } from '../../gateway/log/fs.ts';
import { openReader } from '../../gateway/log/reader.ts';
import { leafSource } from '../../gateway/log/retention/leaf-files.ts';
import { LogError, type LogReader } from '../../gateway/log/types.ts';
import { offset } from '../../ledger/format/brand.ts';
import { formatProofFile } from '../../ledger/format/proof.ts';
import { type ProveResult, Prover } from '../../ledger/tiles/prove.ts';
import { directoryTiles } from '../../ledger/tiles/source.ts';
import type { Invocation } from '../command.ts';
import { loadConfig } from '../config/load.ts';
import type { GatewayConfig } from '../config/schema.ts';
import { withDataDir } from '../data-dir.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { fetchFrom, type Problem } from '../http.ts';

/** A record is sealed within about a second of its ack; this long the command waits for it. */
const SEAL_WAIT_MS = 10_000;
const SEAL_POLL_MS = 100;

export async function run(invocation: Invocation): Promise<ExitCode> {
  const at = invocation.whole('offset', { min: 0, max: Number.MAX_SAFE_INTEGER });
  if (at === undefined)
    throw new CommandError(EXIT.usage, 'give the record’s --offset', {
      hint: 'the offset is in the answer to HTTP and WebSocket clients, and in the dashboard',
    });
  const url = invocation.text('url');
  if (url !== undefined && invocation.text('data-dir') !== undefined)
    throw new CommandError(EXIT.usage, 'give --url or --data-dir, not both');
  const proof =
    url === undefined
      ? await fromDirectory(
          withDataDir(loadConfig(invocation.text('config'), process.env), invocation).config,
          at,
        )
      : await fromGateway(url, at);
  const out = invocation.text('out');
  if (out === undefined) process.stdout.write(proof);
  else writeFileSync(out, proof);
  return EXIT.ok;
}

async function fromDirectory({ dataDir, cold }: GatewayConfig, at: number): Promise<string> {
  if (!existsSync(join(dataDir, 'log')))
    throw new CommandError(EXIT.usage, `${dataDir} is not a data directory of a gateway`, {
      hint: 'give --data-dir, or --url of a running gateway',
    });
  const fs = cold ? coldFs(dataDir, cold) : realFs;
  const reader = await openReader({ dataDir, fs });
  try {
    const prover = new Prover({
      tiles: directoryTiles(join(dataDir, 'ledger')),
      records: (first, count) => held(reader, first, count),
      leaves: leafSource(dataDir, fs),
    });
    const deadline = Date.now() + SEAL_WAIT_MS;
    for (;;) {
      const result = await prover.prove(at);
      if (result.kind === 'proof') return formatProofFile(result.proof);
      const end = await reader.end();
      if (result.kind !== 'not-sealed-yet' || at >= end || Date.now() > deadline)
        throw new CommandError(EXIT.unable, reasonOf(result, at, end));
      await sleep(SEAL_POLL_MS);
    }
  } finally {
    await reader.close();
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

function reasonOf(result: Exclude<ProveResult, { kind: 'proof' }>, at: number, end: number): string {
  switch (result.kind) {
    case 'not-sealed-yet':
      return at >= end
        ? `there is no record at offset ${at}: the log ends at ${end}`
        : `record ${at} is not sealed yet (sealed up to ${result.sealedEnd}): is the gateway running?`;
    case 'not-held':
      return `record ${at} is sealed in block ${result.height}, but the log no longer holds all records of that block`;
    case 'lost':
      return `offset ${at} was lost before it could be sealed; gap block ${result.height} says so`;
    case 'does-not-match':
      return `the log’s records do not lead to the root sealed in block ${result.height}: run \`tidemark fsck --deep\``;
  }
}

async function fromGateway(url: string, at: number): Promise<string> {
  const deadline = Date.now() + SEAL_WAIT_MS;
  for (;;) {
    const response = await fetchFrom(url, `/api/v1/records/${at}/proof`);
    const body = await response.text();
    if (response.ok) return body.endsWith('\n') ? body : `${body}\n`;
    const problem = parseProblem(body);
    if (problem.code !== 'not-sealed-yet' || Date.now() > deadline)
      throw new CommandError(
        EXIT.unable,
        `${url} has no proof for record ${at}: ${problem.detail ?? response.statusText}`,
      );
    await sleep(SEAL_POLL_MS);
  }
}

function parseProblem(body: string): Problem {
  try {
    return JSON.parse(body) as Problem;
  } catch {
    return {};
  }
}
