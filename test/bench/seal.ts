// `npm run bench -- seal`: how fast the sealer's own stage seals an existing log, what a proof and its verification
// take, and what the tiles weigh. Prints Markdown; judges nothing.
import { randomBytes } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { localProofs } from '../../gateway/api/proofs.ts';
import { openReader } from '../../gateway/log/reader.ts';
import type { SearchableLogReader } from '../../gateway/log/types.ts';
import { StateStore } from '../../gateway/state/state.ts';
import { offset } from '../../ledger/format/brand.ts';
import { formatVerifierKey, verifierKey } from '../../ledger/format/note.ts';
import { ledgerSchema, newBootId } from '../../ledger/seal/config.ts';
import { loadOrCreateGatewayKey } from '../../ledger/seal/key.ts';
import { sealStage } from '../../ledger/seal/stage.ts';
import { verifyProof } from '../../ledger/verify/index.ts';
import { Latencies, ms, timed } from './latencies.ts';
import { describedLog, fillLog } from './log-fill.ts';
import { preamble, spread, summarise } from './machine.ts';
import { Progress } from './progress.ts';
import { scratch } from './scratch.ts';
import { randomFrom } from './telemetry.ts';

export const ORIGIN = 'bench.example.com/gateway';
const WARM_UP_PROOFS = 20;

interface Sealed {
  readonly perSecond: number;
  /** Of processor time of the whole process, whatever its threads. */
  readonly perCpuSecond: number;
}

export async function main(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      records: { type: 'string', default: '1000000' },
      rounds: { type: 'string', default: '3' },
      proofs: { type: 'string', default: '300' },
      bytes: { type: 'string', default: '100' },
      dir: { type: 'string' },
      in: { type: 'string' },
    },
  });
  const temporary = scratch(values.in);
  try {
    const logDir = values.dir ?? join(temporary.path, 'data');
    const filled = describedLog(logDir) ?? (await fill(logDir, Number(values.records), Number(values.bytes)));
    console.log(preamble(logDir));
    console.log(
      `log: ${filled.records} records of ${filled.payloadBytes} B payload in batches of ${filled.batchBytes / 1024} KiB, in the page cache; ` +
        `blocks of ${ledgerSchema.parse({}).blockRecordsMax}\n`,
    );
    const reader = await openReader({ dataDir: logDir });
    const rounds: Sealed[] = [];
    let sealedDir = '';
    for (let round = 0; round < Number(values.rounds); round++) {
      sealedDir = join(temporary.path, `sealed-${round}`);
      rounds.push(await seal(reader, sealedDir));
    }
    console.log('| sealing, log read included | median (min–max) |');
    console.log('|---|---|');
    console.log(`| records/s | ${spread(rounds.map((round) => round.perSecond))} |`);
    console.log(
      `| records per second of processor time | ${spread(rounds.map((round) => round.perCpuSecond))} |`,
    );
    const cores = summarise(rounds.map((round) => round.perSecond / round.perCpuSecond)).median;
    console.log(`| cores busy | ${cores.toFixed(2)} |`);
    const { files, bytes } = weigh(join(sealedDir, 'ledger'));
    const perMillion = (bytes / filled.records) * 1e6;
    console.log(`| ledger per million records | ${(perMillion / 1024).toFixed(0)} KiB in ${files} files |\n`);
    await proofs(reader, sealedDir, filled.records, Number(values.proofs));
    await reader.close();
  } finally {
    temporary.remove();
  }
}

export const fill = (dataDir: string, records: number, payloadBytes: number) =>
  fillLog({
    dataDir,
    bytes: Number.POSITIVE_INFINITY,
    records,
    payloadBytes,
    devices: 1_000,
    recordsPerSecond: 1,
    batchBytes: 16_384,
  });

/** The stage as the gateway runs it, in this thread, until nothing but a part of a block is left; then its orderly end. */
export async function seal(reader: SearchableLogReader, dataDir: string): Promise<Sealed> {
  const ledger = ledgerSchema.parse({});
  const state = new StateStore(dataDir);
  const stop = new AbortController();
  const records = (await reader.end()) - (await reader.start());
  const progress = new Progress();
  const cpu = process.cpuUsage();
  const began = performance.now();
  try {
    await sealStage({
      name: 'sealer',
      config: {
        origin: ORIGIN,
        software: 'tidemark bench',
        ledger,
        bootId: newBootId(randomBytes(8)),
      },
      dataDir,
      reader,
      appender: { appendAll: () => Promise.reject(new Error('the sealer appends nothing')) },
      state,
      signal: stop.signal,
      report: ({ lag }) => {
        if (typeof lag === 'number')
          progress.show(`sealing: ${Math.round((1 - lag / records) * 100)} % of ${records} records`);
        if (typeof lag === 'number' && lag < ledger.blockRecordsMax) stop.abort();
      },
      log: (level, message, facts) => {
        if (level === 'warn' || level === 'error') console.error(message, facts);
      },
    });
  } finally {
    state.close();
  }
  const seconds = (performance.now() - began) / 1_000;
  const used = process.cpuUsage(cpu);
  return { perSecond: records / seconds, perCpuSecond: records / ((used.user + used.system) / 1e6) };
}

function weigh(folder: string): { files: number; bytes: number } {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  );
  const bytes = files.reduce((sum, file) => sum + statSync(join(file.parentPath, file.name)).size, 0);
  return { files: files.length, bytes };
}

async function proofs(
  reader: SearchableLogReader,
  dataDir: string,
  records: number,
  count: number,
): Promise<void> {
  const random = randomFrom(7);
  const source = localProofs(reader, dataDir);
  const gatewayKey = formatVerifierKey(verifierKey(ORIGIN, loadOrCreateGatewayKey(dataDir).publicKey));
  const texts: string[] = [];
  const prove = async (latencies: Latencies, at: number) => {
    const { value, tookMs } = await timed(() => source.prove(offset(at)));
    if (value.kind !== 'proof') throw new Error(`offset ${at}: ${value.kind}`);
    latencies.add(tookMs);
    texts.push(value.text);
  };
  for (let i = 0; i < WARM_UP_PROOFS; i++) await prove(new Latencies(), Math.floor(random() * records));
  texts.length = 0;
  const anywhere = new Latencies();
  for (let i = 0; i < count; i++) await prove(anywhere, Math.floor(random() * records));
  const same = new Latencies();
  const newest = Math.max(0, records - 1_000);
  for (let i = 0; i < count; i++) await prove(same, newest + Math.floor(random() * (records - newest)));
  const verified = new Latencies();
  for (const text of texts.slice(0, WARM_UP_PROOFS)) verifyProof(text, { gatewayKey });
  for (const text of texts) {
    const began = performance.now();
    const report = verifyProof(text, { gatewayKey });
    verified.add(performance.now() - began);
    if (!report.valid) throw new Error(`a proof does not verify: ${JSON.stringify(report)}`);
  }
  console.log('| what | p50 | p99 | max | n | budget, for orientation |');
  console.log('|---|---|---|---|---|---|');
  row('proof of any record', anywhere, '< 20 ms p99');
  row('proof of one of the newest 1,000 records', same, '');
  row('verification in Node', verified, '< 10 ms');
  const bytes = summarise(texts.map((text) => text.length));
  console.log(`\nproof file: ${bytes.median} bytes (${bytes.min}–${bytes.max})\n`);
}

function row(what: string, latencies: Latencies, budget: string): void {
  const [p50 = NaN, p99 = NaN] = latencies.quantiles(0.5, 0.99);
  const cells = [what, `${ms(p50)} ms`, `${ms(p99)} ms`, `${ms(latencies.max)} ms`, latencies.count, budget];
  console.log(`| ${cells.join(' | ')} |`);
}
