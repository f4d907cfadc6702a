// `npm run bench -- fairness`: what one flooding device does to the ack latency of the others. A fleet on a schedule (see
// mqtt-fleet.ts) alone, beside one connection that keeps thousands of publishes in flight, and beside the same with the
// fair queue made so wide that it never queues. Prints medians and spreads as Markdown; judges nothing.
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startGateway } from '../support/processes.ts';
import { startChild } from './children.ts';
import { diskLine } from './disk-limit.ts';
import { preamble, spread, summarise } from './machine.ts';
import { type Scratch, scratch } from './scratch.ts';

interface FleetResult {
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly measured: number;
  readonly unanswered: number;
}

interface Options {
  readonly connections: string;
  readonly rate: string;
  readonly seconds: string;
  readonly inflight: string;
  readonly bytes: string;
}

const QUIET = 'windows: []\nmodels: []\nlogLevel: error\n';
const UNFAIR = `${QUIET}ingest: { fairness: { windowBytes: 268435456 } }\n`;

const SUBJECTS = [
  { name: 'alone', yaml: QUIET, flood: false },
  { name: 'beside a flood', yaml: QUIET, flood: true },
  { name: 'beside a flood, without the fair queue', yaml: UNFAIR, flood: true },
] as const;

export async function main(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '8' },
      connections: { type: 'string', default: '100' },
      rate: { type: 'string', default: '10' },
      inflight: { type: 'string', default: '20000' },
      bytes: { type: 'string', default: '1000' },
      in: { type: 'string' },
    },
  });
  const temporary = scratch(values.in);
  console.log(preamble(temporary.path));
  console.log(await diskLine(temporary.path));
  console.log(
    `fleet: ${values.connections} connections × ${values.rate} records/s, QoS 1, 100 B; flood: one connection, ${values.inflight} publishes of ${values.bytes} B in flight; ${values.rounds} rounds of ${values.seconds} s\n`,
  );
  console.log(
    '| fleet | ack p50 ms: median (min–max) | ack p99 ms: median (min–max) | p99 × alone | flood acked/s |',
  );
  console.log('|---|---|---|---|---|');
  const results = SUBJECTS.map(() => [] as { fleet: FleetResult; flood: number | null }[]);
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const [at, subject] of SUBJECTS.entries()) results[at]!.push(await run(temporary, subject, values));
  }
  const alone = summarise(results[0]!.map(({ fleet }) => fleet.p99Ms)).median;
  for (const [at, { name }] of SUBJECTS.entries()) {
    const p99 = results[at]!.map(({ fleet }) => fleet.p99Ms);
    const floods = results[at]!.flatMap(({ flood }) => (flood === null ? [] : [flood]));
    const p50 = results[at]!.map(({ fleet }) => fleet.p50Ms);
    const ratio = (summarise(p99).median / alone).toFixed(1);
    console.log(
      `| ${name} | ${milliseconds(p50)} | ${milliseconds(p99)} | ${ratio} | ${floods.length > 0 ? spread(floods) : '–'} |`,
    );
  }
  temporary.remove();
}

function milliseconds(values: readonly number[]): string {
  const { median, min, max } = summarise(values);
  return `${median.toFixed(1)} (${min.toFixed(1)}–${max.toFixed(1)})`;
}

async function run(
  temporary: Scratch,
  subject: (typeof SUBJECTS)[number],
  options: Options,
): Promise<{ fleet: FleetResult; flood: number | null }> {
  const folder = join(temporary.path, 'gateway');
  mkdirSync(folder);
  const gateway = await startGateway({ dataDir: join(folder, 'data'), yaml: subject.yaml });
  const port = ['--port', String(gateway.mqttPort)];
  const seconds = Number(options.seconds);
  const timeoutMs = (seconds + 90) * 1_000;
  const flood = subject.flood
    ? startChild(
        'mqtt-load.ts',
        [
          ...[...port, '--connections', '1', '--inflight', options.inflight, '--bytes', options.bytes],
          ...['--seconds', String(seconds + 4)],
        ],
        { timeoutMs },
      )
    : null;
  const fleet = startChild(
    'mqtt-fleet.ts',
    [...port, '--connections', options.connections, '--rate', options.rate, '--seconds', options.seconds],
    { timeoutMs },
  );
  try {
    await fleet.next();
    const result = await fleet.next<FleetResult>();
    const load = flood === null ? null : await flood.next<{ perSecond: number }>();
    return { fleet: result, flood: load?.perSecond ?? null };
  } finally {
    await Promise.all([fleet.end(), flood?.end()]);
    await gateway.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}
