// `npm run bench -- ingest`: durable QoS 1 ingest beside mosquitto (persistence off) and, where asked for, other
// brokers (--peers nats,rabbitmq), same generator, same run, one after the other. Prints medians and spreads as Markdown; judges nothing.
import { execFile } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { startGateway } from '../support/processes.ts';
import { diskLine } from './disk-limit.ts';
import { preamble, spread, summarise } from './machine.ts';
import { findPeers, type Peer } from './peers.ts';
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

interface Subject {
  readonly name: string;
  /** Null: the gateway, with this configuration. */
  readonly peer: Peer | null;
  readonly yaml: string;
}

const GATEWAYS: readonly Subject[] = [
  { name: 'tidemark, log and ledger only', peer: null, yaml: SEALED_ONLY },
  { name: 'tidemark, as installed (windows, model, sealing)', peer: null, yaml: '' },
];

export async function main(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '4' },
      connections: { type: 'string', default: '1,10,100,1000' },
      payload: { type: 'string', default: 'opaque' },
      // Beside mosquitto, where they are installed: nats,rabbitmq.
      peers: { type: 'string', default: '' },
      in: { type: 'string' },
    },
  });
  const peers = findPeers(values.peers.split(','));
  const subjects: readonly Subject[] = [
    ...peers.map((peer) => ({ name: peer.name, peer, yaml: '' })),
    ...GATEWAYS,
  ];
  const temporary = scratch(values.in);
  console.log(preamble(temporary.path));
  console.log(await diskLine(temporary.path));
  console.log(
    `peers: ${peers.map(({ version }) => version).join('; ') || 'none'}; payload 100 B (${values.payload}), QoS 1, ${values.rounds} rounds of ${values.seconds} s\n`,
  );
  console.log(
    '| connections | in flight each | subject | acked/s: median (min–max) | ack p50 ms | ack p99 ms | × mosquitto |',
  );
  console.log('|---|---|---|---|---|---|---|');
  for (const connections of values.connections.split(',').map(Number)) {
    for (const inflight of [connections >= 1000 ? 20 : 200, 1]) {
      await compare(temporary, subjects, {
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
  subjects: readonly Subject[],
  options: { connections: number; inflight: number; rounds: number; seconds: number; payload: string },
): Promise<void> {
  const results = new Map<string, LoadResult[]>(subjects.map(({ name }) => [name, []]));
  for (let round = 0; round < options.rounds; round++) {
    for (const { name, peer, yaml } of subjects) {
      results
        .get(name)!
        .push(
          peer === null ? await onGateway(temporary, yaml, options) : await onPeer(temporary, peer, options),
        );
    }
  }
  // Without mosquitto there is nothing to compare with.
  const first = subjects[0]!.peer === null ? [] : results.get(subjects[0]!.name)!;
  for (const { name } of subjects) {
    const rounds = results.get(name)!;
    if (rounds.length === 0) continue;
    const rates = rounds.map((result) => result.perSecond);
    const ratio =
      first.length > 0
        ? (summarise(rates).median / summarise(first.map((result) => result.perSecond)).median).toFixed(2)
        : '–';
    const latency = (pick: (result: LoadResult) => number) => summarise(rounds.map(pick)).median.toFixed(2);
    console.log(
      `| ${options.connections} | ${options.inflight} | ${name} | ${spread(rates)} | ${latency((r) => r.p50Ms)} | ${latency((r) => r.p99Ms)} | ${ratio} |`,
    );
  }
}

async function onPeer(
  temporary: Scratch,
  peer: Peer,
  options: Parameters<typeof load>[1],
): Promise<LoadResult> {
  const folder = join(temporary.path, 'peer');
  mkdirSync(folder);
  const broker = await peer.start(folder);
  try {
    return await load(broker.port, options);
  } finally {
    await broker.stop();
    rmSync(folder, { recursive: true, force: true });
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
