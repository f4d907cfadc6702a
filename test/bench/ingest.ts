// `npm run bench -- ingest`: durable QoS 1 ingest beside mosquitto (persistence off), same generator, same run,
// the two in turn. Prints medians and spreads as Markdown; judges nothing.
import { execFile } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { MOSQUITTO, startGateway, startMosquitto } from '../support/processes.ts';
import { diskLine } from './disk-limit.ts';
import { preamble, spread, summarise, versionOf } from './machine.ts';
import { type Scratch, scratch } from './scratch.ts';

interface LoadResult {
  perSecond: number;
  p50Ms: number;
  p99Ms: number;
}

const run = promisify(execFile);

async function load(
  port: number,
  options: { connections: number; inflight: number; seconds: number; payload: string },
): Promise<LoadResult> {
  const args = [
    '--port',
    String(port),
    '--connections',
    String(options.connections),
    '--inflight',
    String(options.inflight),
    '--seconds',
    String(options.seconds),
    '--payload',
    options.payload,
  ];
  const script = join(import.meta.dirname, 'mqtt-load.ts');
  const timeout = (options.seconds + 60) * 1_000;
  const { stdout } = await run(process.execPath, [script, ...args], { timeout });
  return JSON.parse(stdout) as LoadResult;
}

const SEALED_ONLY = 'windows: []\nmodels: []\n';

const SUBJECTS = [
  { name: 'mosquitto, persistence off', yaml: null },
  { name: 'tidemark, log and ledger only', yaml: SEALED_ONLY },
  { name: 'tidemark, as installed (windows, model, sealing)', yaml: '' },
] as const;

export async function main(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '4' },
      connections: { type: 'string', default: '1,10,100,1000' },
      payload: { type: 'string', default: 'opaque' },
      in: { type: 'string' },
    },
  });
  const temporary = scratch(values.in);
  console.log(preamble(temporary.path));
  console.log(await diskLine(temporary.path));
  console.log(
    `peer: ${MOSQUITTO ? versionOf(MOSQUITTO, ['-h']) : 'none'}; payload 100 B (${values.payload}), QoS 1, ${values.rounds} rounds of ${values.seconds} s\n`,
  );
  console.log(
    '| connections | in flight each | subject | acked/s: median (min–max) | ack p50 ms | ack p99 ms | × mosquitto |',
  );
  console.log('|---|---|---|---|---|---|---|');
  for (const connections of values.connections.split(',').map(Number)) {
    for (const inflight of [connections >= 1000 ? 20 : 200, 1]) {
      await compare(temporary, {
        connections,
        inflight,
        rounds: Number(values.rounds),
        seconds: Number(values.seconds),
        payload: values.payload,
      });
    }
  }
  temporary.remove();
}

async function compare(
  temporary: Scratch,
  options: { connections: number; inflight: number; rounds: number; seconds: number; payload: string },
): Promise<void> {
  const results = new Map<string, LoadResult[]>(SUBJECTS.map(({ name }) => [name, []]));
  for (let round = 0; round < options.rounds; round++) {
    for (const subject of SUBJECTS) {
      if (subject.yaml === null && MOSQUITTO === null) continue;
      results
        .get(subject.name)!
        .push(
          subject.yaml === null
            ? await onMosquitto(options)
            : await onGateway(temporary, subject.yaml, options),
        );
    }
  }
  const peer = results.get(SUBJECTS[0].name)!;
  for (const { name } of SUBJECTS) {
    const rounds = results.get(name)!;
    if (rounds.length === 0) continue;
    const rates = rounds.map((result) => result.perSecond);
    const ratio =
      peer.length > 0
        ? (summarise(rates).median / summarise(peer.map((result) => result.perSecond)).median).toFixed(2)
        : '–';
    const latency = (pick: (result: LoadResult) => number) => summarise(rounds.map(pick)).median.toFixed(2);
    console.log(
      `| ${options.connections} | ${options.inflight} | ${name} | ${spread(rates)} | ${latency((r) => r.p50Ms)} | ${latency((r) => r.p99Ms)} | ${ratio} |`,
    );
  }
}

async function onMosquitto(options: Parameters<typeof load>[1]): Promise<LoadResult> {
  const broker = await startMosquitto();
  try {
    return await load(broker.port, options);
  } finally {
    await broker.stop();
  }
}

async function onGateway(
  temporary: Scratch,
  yaml: string,
  options: Parameters<typeof load>[1],
): Promise<LoadResult> {
  const folder = join(temporary.path, 'gateway');
  mkdirSync(folder);
  const gateway = await startGateway({ dataDir: join(folder, 'data'), yaml });
  try {
    return await load(gateway.mqttPort, options);
  } finally {
    await gateway.kill('SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  }
}
