// `npm run bench -- http`: durable ingest over HTTP (single POSTs, NDJSON batches) and WebSocket (a session per
// connection), the generator on the same machine. Prints medians and spreads as Markdown; judges nothing.
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { startGateway } from '../support/processes.ts';
import { startChild } from './children.ts';
import { printProfile } from './cpu-profile.ts';
import { diskLine } from './disk-limit.ts';
import { preamble, spread, summarise } from './machine.ts';
import { type Scratch, scratch } from './scratch.ts';

interface LoadResult {
  readonly acked: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Processor time of the generator for each record. */
  readonly generatorMicroseconds: number;
}

interface Measured extends LoadResult {
  /** Of the gateway's main thread, for each record: what a busy machine does not change much. */
  readonly cpuMicroseconds: number;
}

/** Time the main thread has run so far, by the kernel's account (ticks of 10 ms). */
function mainThreadMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/task/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

const CASES = [
  { mode: 'single', connections: 64, inflight: 1, budget: '≥ 30k' },
  { mode: 'single', connections: 64, inflight: 8, budget: '≥ 30k' },
  { mode: 'ndjson', connections: 8, inflight: 2, budget: '≥ 500k' },
  { mode: 'ndjson', connections: 32, inflight: 2, budget: '≥ 500k' },
  { mode: 'websocket', connections: 10, inflight: 500, budget: '≥ 80k' },
  { mode: 'websocket', connections: 100, inflight: 1, budget: '' },
] as const;
const NAMES = {
  single: 'POST, one record',
  ndjson: 'NDJSON, 100 lines',
  websocket: 'WebSocket session',
} as const;

export async function main(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '4' },
      only: { type: 'string', default: 'single,ndjson,websocket' },
      in: { type: 'string' },
      profile: { type: 'boolean', default: false },
    },
  });
  const temporary = scratch(values.in);
  const { profile } = values;
  const only = new Set(values.only.split(','));
  console.log(preamble(temporary.path));
  console.log(await diskLine(temporary.path));
  console.log(`payload 100 B JSON, log and ledger only, ${values.rounds} rounds of ${values.seconds} s\n`);
  console.log(
    '| what | connections | in flight each | records/s: median (min–max) | p50 ms | p99 ms | main thread µs/record: median, least | generator µs/record | budget |',
  );
  console.log('|---|---|---|---|---|---|---|---|---|');
  for (const { mode, connections, inflight, budget } of CASES) {
    if (!only.has(mode)) continue;
    const rounds: Measured[] = [];
    for (let round = 0; round < Number(values.rounds); round += 1)
      rounds.push(
        await measure({ mode, connections, inflight, seconds: values.seconds, temporary, profile }),
      );
    const median = (pick: (result: Measured) => number) => summarise(rounds.map(pick)).median.toFixed(2);
    const least = Math.min(...rounds.map((r) => r.cpuMicroseconds)).toFixed(2);
    const rates = spread(rounds.map(({ perSecond }) => perSecond));
    console.log(
      `| ${NAMES[mode]} | ${connections} | ${inflight} | ${rates} | ${median((r) => r.p50Ms)} | ${median((r) => r.p99Ms)} | ${median((r) => r.cpuMicroseconds)}, ${least} | ${median((r) => r.generatorMicroseconds)} | ${budget} |`,
    );
  }
  temporary.remove();
}

interface Load {
  readonly mode: (typeof CASES)[number]['mode'];
  readonly connections: number;
  readonly inflight: number;
  readonly seconds: string;
  readonly temporary: Scratch;
  /** Also print where the main thread's time went. */
  readonly profile: boolean;
}

/** A gateway of its own, warmed up, under one load. */
async function measure({ temporary, profile, ...load }: Load): Promise<Measured> {
  const folder = join(temporary.path, 'gateway');
  mkdirSync(folder);
  const file = join(folder, 'main.cpuprofile');
  if (profile) process.env.BENCH_PROFILE = file;
  const gateway = await startGateway({
    dataDir: join(folder, 'data'),
    yaml: 'windows: []\nmodels: []\n',
    nodeOptions: profile ? ['--import', join(import.meta.dirname, 'sampler.ts')] : [],
  });
  const pid = gateway.child.pid!;
  const args = Object.entries({ port: gateway.httpPort, ...load }).flatMap(([name, value]) => [
    `--${name}`,
    String(value),
  ]);
  const generator = startChild('http-load.ts', args, { timeoutMs: (Number(load.seconds) + 60) * 1_000 });
  try {
    await generator.next();
    const before = mainThreadMs(pid);
    if (profile) process.kill(pid, 'SIGUSR2');
    const result = await generator.next<LoadResult>();
    const ranMs = mainThreadMs(pid) - before;
    if (profile) {
      process.kill(pid, 'SIGUSR2');
      while (!existsSync(file)) await sleep(50);
      printProfile(`${NAMES[load.mode]}, ${load.connections} × ${load.inflight}`, file, 45);
    }
    return { ...result, cpuMicroseconds: (ranMs * 1_000) / result.acked };
  } finally {
    await generator.end();
    await gateway.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}
