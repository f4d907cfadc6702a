// `npm run bench -- http`: durable ingest over HTTP (single POSTs, NDJSON batches) and WebSocket (a session per
// connection), the generator on the same machine. Prints medians and spreads as Markdown; judges nothing.
import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { startGateway } from '../support/processes.ts';
import { diskLine } from './disk-limit.ts';
import { preamble, spread, summarise } from './machine.ts';
import { scratch } from './scratch.ts';

const run = promisify(execFile);

interface LoadResult {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly ackedInAll: number;
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
      profile: { type: 'string' },
    },
  });
  const temporary = scratch(values.in);
  const only = new Set(values.only.split(','));
  console.log(preamble(temporary.path));
  console.log(await diskLine(temporary.path));
  console.log(`payload 100 B JSON, log and ledger only, ${values.rounds} rounds of ${values.seconds} s\n`);
  console.log(
    '| what | connections | in flight each | records/s: median (min–max) | p50 ms | p99 ms | main thread µs/record | budget |',
  );
  console.log('|---|---|---|---|---|---|---|---|');
  for (const { mode, connections, inflight, budget } of CASES) {
    if (!only.has(mode)) continue;
    const rounds: LoadResult[] = [];
    for (let round = 0; round < Number(values.rounds); round += 1) {
      const folder = join(temporary.path, 'gateway');
      mkdirSync(folder);
      const gateway = await startGateway({
        dataDir: join(folder, 'data'),
        yaml: 'windows: []\nmodels: []\n',
        nodeOptions: values.profile === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', values.profile],
      });
      try {
        const options = { port: gateway.httpPort, mode, connections, inflight, seconds: values.seconds };
        const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
        const script = join(import.meta.dirname, 'http-load.ts');
        const timeout = (Number(values.seconds) + 60) * 1_000;
        const before = mainThreadMs(gateway.child.pid!);
        const { stdout } = await run(process.execPath, [script, ...args], { timeout });
        const result = JSON.parse(stdout) as LoadResult;
        const ranMs = mainThreadMs(gateway.child.pid!) - before;
        rounds.push({ ...result, cpuMicroseconds: (ranMs * 1_000) / result.ackedInAll });
      } finally {
        // A profile is written by a process that ends by itself.
        await gateway.kill(values.profile === undefined ? 'SIGKILL' : 'SIGTERM');
        rmSync(folder, { recursive: true, force: true });
      }
    }
    const median = (pick: (result: LoadResult) => number) => summarise(rounds.map(pick)).median.toFixed(2);
    const rates = spread(rounds.map(({ perSecond }) => perSecond));
    console.log(
      `| ${NAMES[mode]} | ${connections} | ${inflight} | ${rates} | ${median((r) => r.p50Ms)} | ${median((r) => r.p99Ms)} | ${median((r) => r.cpuMicroseconds)} | ${budget} |`,
    );
  }
  temporary.remove();
}
