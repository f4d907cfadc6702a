// `npm run bench -- proofs`: at many records, what a proof and its verification take, of one record and of ranges; how fast an
// auditor goes through blocks and records; what the block log weighs. With --dir it goes on from what is there. Prints Markdown;
// judges nothing.
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { localProofs, type RangeAnswer } from '../../gateway/api/proofs.ts';
import { openReader } from '../../gateway/log/reader.ts';
import { offset } from '../../ledger/format/brand.ts';
import { formatVerifierKey, verifierKey } from '../../ledger/format/note.ts';
import { audit } from '../../ledger/fsck/audit.ts';
import { loadOrCreateGatewayKey } from '../../ledger/seal/key.ts';
import { verifyProof } from '../../ledger/verify/index.ts';
import { verifyInBrowser } from './browser-verify.ts';
import { Latencies, ms, timed } from './latencies.ts';
import { describedLog, type FilledLog } from './log-fill.ts';
import { preamble } from './machine.ts';
import { scratch } from './scratch.ts';
import { fill, ORIGIN, seal } from './seal.ts';
import { randomFrom } from './telemetry.ts';

const WARM_UP = 20;
/** Proofs kept to be verified once more in a browser. */
const TEXTS_MAX = 500;
/** Of one run on disk: the log, and some for ledger and state. A record weighs its payload and about 85 bytes. */
const DISK_MAX_BYTES = 3e9;
const RECORD_EXTRA_BYTES = 110;
/** There while the log is being filled: one that was interrupted is begun anew. */
const FILLING = 'bench-filling';

export async function main(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      records: { type: 'string', default: '10000000' },
      proofs: { type: 'string', default: '500' },
      range: { type: 'string', default: '1000' },
      bytes: { type: 'string', default: '100' },
      dir: { type: 'string' },
      in: { type: 'string' },
    },
  });
  const temporary = scratch(values.in);
  try {
    const dataDir = values.dir ?? join(temporary.path, 'data');
    const filled = await filledLog(dataDir, Number(values.records), Number(values.bytes));
    console.log(preamble(dataDir));
    const reader = await openReader({ dataDir });
    await seal(reader, dataDir);
    console.log(
      `log: ${filled.records} records of ${filled.payloadBytes} B payload, sealed into ${dataDir}\n`,
    );
    const gatewayKey = formatVerifierKey(verifierKey(ORIGIN, loadOrCreateGatewayKey(dataDir).publicKey));
    const source = localProofs(reader, dataDir);
    const sealed = (await audit(dataDir, { gatewayKey, records: 'sample', sampleBlocks: 0 })).sealedEnd;
    const random = randomFrom(7);
    const count = Number(values.proofs);
    const width = Number(values.range);
    const one = await measure(count, () => source.prove(offset(Math.floor(random() * sealed))), gatewayKey);
    const many = await measure(
      Math.ceil(count / 10),
      () => {
        const first = Math.floor(random() * (sealed - width));
        return source.proveRange(offset(first), offset(first + width - 1));
      },
      gatewayKey,
    );
    await reader.close();
    const browser = await verifyInBrowser(one.texts, gatewayKey);
    console.log('| what | p50 | p99 | max | processor time of one | n | file, bytes |');
    console.log('|---|---|---|---|---|---|---|');
    row('proof of any record', one.made, one.bytes, one.cpuMs);
    row('its verification, portable code', one.verified, one.bytes);
    if (typeof browser === 'string') console.error(`not measured in a browser: ${browser}`);
    else row('the same in Chromium, in a page', browser, one.bytes);
    row(`proof of ${width} records`, many.made, many.bytes, many.cpuMs);
    row('their verification, portable code', many.verified, many.bytes);
    console.log('');
    await audits(dataDir, gatewayKey, filled.records);
  } finally {
    temporary.remove();
  }
}

async function filledLog(dataDir: string, records: number, payloadBytes: number): Promise<FilledLog> {
  const filling = join(dataDir, FILLING);
  if (existsSync(filling)) rmSync(dataDir, { recursive: true });
  const known = describedLog(dataDir);
  if (known) return known;
  if (existsSync(join(dataDir, 'log'))) throw new Error(`${dataDir} has a log that no benchmark made`);
  const bytes = records * (payloadBytes + RECORD_EXTRA_BYTES);
  if (bytes > DISK_MAX_BYTES)
    throw new Error(`${records} records would take about ${(bytes / 1e9).toFixed(1)} GB, more than 3`);
  mkdirSync(dataDir, { recursive: true });
  writeFileSync(filling, '');
  const filled = await fill(dataDir, records, payloadBytes);
  rmSync(filling);
  return filled;
}

interface Measured {
  /** The proofs, for another verifier. */
  readonly texts: readonly string[];
  readonly made: Latencies;
  readonly verified: Latencies;
  readonly bytes: number;
  /** Of the whole process, for one proof: also on a busy machine it says what a change of the code does. */
  readonly cpuMs: number;
}

async function measure(
  count: number,
  prove: () => Promise<RangeAnswer>,
  gatewayKey: string,
): Promise<Measured> {
  const made = new Latencies();
  const verified = new Latencies();
  const texts: string[] = [];
  let bytes = 0;
  let cpuMs = 0;
  for (let i = -WARM_UP; i < count; i++) {
    const cpu = process.cpuUsage();
    const { value, tookMs } = await timed(prove);
    const used = process.cpuUsage(cpu);
    if (value.kind !== 'proof') throw new Error(`no proof: ${value.kind}`);
    const began = performance.now();
    const report = verifyProof(value.text, { gatewayKey });
    const verifyMs = performance.now() - began;
    if (!report.valid) throw new Error(`a proof does not verify: ${JSON.stringify(report)}`);
    if (i < 0) continue;
    made.add(tookMs);
    verified.add(verifyMs);
    bytes += value.text.length;
    cpuMs += (used.user + used.system) / 1_000;
    if (texts.length < TEXTS_MAX) texts.push(value.text);
  }
  return { texts, made, verified, bytes: Math.round(bytes / count), cpuMs: cpuMs / count };
}

async function audits(dataDir: string, gatewayKey: string, records: number): Promise<void> {
  const chain = await timed(() => audit(dataDir, { gatewayKey, records: 'sample', sampleBlocks: 0 }));
  const full = await timed(() => audit(dataDir, { gatewayKey }));
  for (const { value } of [chain, full])
    if (value.verdict !== 'clean') throw new Error(`the audit finds ${JSON.stringify(value.findings[0])}`);
  const blocks = chain.value.checkpoint?.size ?? 0;
  const bytes = weigh(join(dataDir, 'ledger/tile'));
  const perSecond = (n: number, tookMs: number) => Math.round(n / (tookMs / 1_000)).toLocaleString('en-US');
  console.log('| audit | |');
  console.log('|---|---|');
  console.log(`| blocks checked per second, rules, tree and tiles | ${perSecond(blocks, chain.tookMs)} |`);
  console.log(
    `| records re-hashed per second, blocks included | ${perSecond(full.value.records.recordsMatching, full.tookMs)} |`,
  );
  console.log(`| blocks | ${blocks} |`);
  console.log(`| block log per million records | ${(((bytes / records) * 1e6) / 1024).toFixed(0)} KiB |`);
}

function weigh(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, file) => sum + statSync(join(file.parentPath, file.name)).size, 0);
}

function row(what: string, latencies: Latencies, bytes: number, cpuMs = Number.NaN): void {
  const [p50 = NaN, p99 = NaN] = latencies.quantiles(0.5, 0.99);
  const times = [p50, p99, latencies.max, cpuMs].map((value) =>
    Number.isNaN(value) ? '' : `${ms(value)} ms`,
  );
  const cells = [what, ...times, latencies.count, bytes];
  console.log(`| ${cells.join(' | ')} |`);
}
