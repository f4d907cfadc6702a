// `tidemark prove`: writes the proof file of one record or of consecutive ones, from a data directory or a running gateway.
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseBlock } from '../../ledger/format/block.ts';
import { parseCheckpoint } from '../../ledger/format/checkpoint.ts';
import { formatReceipt } from '../../ledger/format/cose.ts';
import { openNote, parseNote, verifierKey } from '../../ledger/format/note.ts';
import { formatProofFile, type Proof, parseProofFile } from '../../ledger/format/proof.ts';
import { formatRangeFile } from '../../ledger/format/proof-range.ts';
import { formatTlogProof } from '../../ledger/format/tlog-proof.ts';
import { loadGatewayKey } from '../../ledger/seal/key.ts';
import type { Invocation } from '../command.ts';
import { loadConfig } from '../config/load.ts';
import { withDataDir } from '../data-dir.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { fetchFrom, type Problem } from '../http.ts';
import { type Proven, proveFromDirectory, SEAL_POLL_MS, SEAL_WAIT_MS } from '../prove-local.ts';
import { stampedFromGateway } from '../prove-stamped.ts';
import { type Wanted, wantedOf } from '../wanted.ts';

const FORMATS = ['tidemark', 'tlog-proof', 'cose'] as const;
type Format = (typeof FORMATS)[number];

export async function run(invocation: Invocation): Promise<ExitCode> {
  const wanted = wantedOf(invocation);
  const url = invocation.text('url');
  const copy = invocation.text('copy');
  if (url !== undefined && invocation.text('data-dir') !== undefined)
    throw new CommandError(EXIT.usage, 'give --url or --data-dir, not both');
  if (url !== undefined && copy !== undefined)
    throw new CommandError(
      EXIT.usage,
      '--copy needs the ledger of a data directory: give --data-dir, not --url',
    );
  const format = formatOf(invocation);
  if (format !== 'tidemark' && wanted.kind === 'offsets' && wanted.isRange)
    throw new CommandError(EXIT.usage, `--format ${format} is of one record: give one --offset`);
  if (format === 'cose' && url !== undefined)
    throw new CommandError(
      EXIT.usage,
      '--format cose is signed with the gateway’s key: run it on the data directory',
    );
  const { config } = withDataDir(loadConfig(invocation.text('config'), process.env), invocation);
  const file = invocation.text('out');
  const stamped = invocation.flag('timestamped');
  if (stamped && (file === undefined || (wanted.kind === 'offsets' && wanted.isRange)))
    throw new CommandError(
      EXIT.usage,
      '--timestamped is of one record, and needs --out FILE: the timestamp goes into FILE.tsr',
    );
  let out: string | Uint8Array;
  if (url === undefined) {
    const proven = await proveFromDirectory(config, wanted, { copyFile: copy, stamped });
    out = written(proven, format, config.dataDir);
    if (proven.stamp) writeFileSync(`${file}.tsr`, proven.stamp);
  } else {
    let text = await fromGateway(url, wanted);
    if (stamped) {
      const { proof, stamp } = await stampedFromGateway(url, parseProofFile(text));
      text = formatProofFile(proof);
      writeFileSync(`${file}.tsr`, stamp);
    }
    out = fromText(text, format);
  }
  if (file === undefined) process.stdout.write(out);
  else writeFileSync(file, out);
  return EXIT.ok;
}

function formatOf(invocation: Invocation): Format {
  const named = invocation.text('format') ?? 'tidemark';
  const format = FORMATS.find((known) => known === named);
  if (!format) throw new CommandError(EXIT.usage, `--format takes ${FORMATS.join(', ')}, not ${named}`);
  return format;
}

function written(proven: Proven, format: Format, dataDir: string): string | Uint8Array {
  if (proven.kind === 'range') return formatRangeFile(proven.proof);
  if (format === 'cose') return receiptOf(proven.proof, dataDir);
  return format === 'tlog-proof' ? formatTlogProof(proven.proof) : formatProofFile(proven.proof);
}

const fromText = (text: string, format: Format): string =>
  format === 'tlog-proof' ? formatTlogProof(parseProofFile(text)) : text;

/** Signs only the root of a checkpoint that the same key has signed before. */
function receiptOf({ block, blockPath, checkpoint }: Proof, dataDir: string): Uint8Array {
  const key = loadGatewayKey(dataDir);
  if (!key) throw new CommandError(EXIT.unable, `${dataDir} holds no gateway.key to sign the receipt with`);
  const note = parseNote(checkpoint);
  const { origin, size, root } = parseCheckpoint(note.text);
  const verifier = verifierKey(origin, key.publicKey);
  openNote(note, [verifier]);
  const { height } = parseBlock(new TextEncoder().encode(block));
  const keyId = new Uint8Array(4);
  new DataView(keyId.buffer).setUint32(0, verifier.keyId);
  return formatReceipt({ size, root, keyId, index: height, path: blockPath }, (message) => key.sign(message));
}

async function fromGateway(url: string, wanted: Wanted): Promise<string> {
  const { first, last, isRange } = wanted.kind === 'offsets' ? wanted : await found(url, wanted);
  const path = `/api/v1/records/${first}/proof${isRange ? `?last=${last}` : ''}`;
  const deadline = Date.now() + SEAL_WAIT_MS;
  for (;;) {
    const response = await fetchFrom(url, path);
    const body = await response.text();
    if (response.ok) return body.endsWith('\n') ? body : `${body}\n`;
    const problem = parseProblem(body);
    if (problem.code !== 'not-sealed-yet' || Date.now() > deadline)
      throw new CommandError(
        EXIT.unable,
        `${url} has no proof for ${isRange ? `records ${first} to ${last}` : `record ${first}`}: ${problem.detail ?? response.statusText}`,
      );
    await sleep(SEAL_POLL_MS);
  }
}

async function found(url: string, { topic, device, atMs }: Extract<Wanted, { kind: 'search' }>) {
  const query = new URLSearchParams({ limit: '1' });
  if (topic !== undefined) query.set('topic', topic);
  if (device !== undefined) query.set('device', device);
  if (atMs !== undefined) query.set('from_ms', String(atMs));
  for (let before = -1; ; ) {
    const response = await fetchFrom(url, `/api/v1/records?${query}`);
    const body = await response.text();
    if (!response.ok)
      throw new CommandError(EXIT.unable, `${url}: ${parseProblem(body).detail ?? response.statusText}`);
    const { records, next } = JSON.parse(body) as { records: { offset: number }[]; next: number };
    const [record] = records;
    if (record) return { first: record.offset, last: record.offset, isRange: false };
    // A page may end at its limit of bytes read without having found anything yet.
    if (!(next > before))
      throw new CommandError(EXIT.unable, 'no record of that topic and device at or after that time is held');
    before = next;
    query.set('from', String(next));
  }
}

function parseProblem(body: string): Problem {
  try {
    return JSON.parse(body) as Problem;
  } catch {
    return {};
  }
}
