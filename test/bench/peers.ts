// Brokers of other makers beside which ingest is measured, where the machine has them: started on free ports with folders of
// their own, ended by their process. Each has a durable subscriber that is away, so that it keeps what it acknowledges.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import mqtt from 'mqtt';
import { ended, freePort, MOSQUITTO, startMosquitto, untilListening } from '../support/processes.ts';
import { versionOf } from './machine.ts';

export interface RunningPeer {
  readonly port: number;
  stop(): Promise<void>;
}

export interface Peer {
  readonly name: string;
  readonly version: string;
  /** `folder` is new and its own. */
  start(folder: string): Promise<RunningPeer>;
}

const firstOf = (...paths: (string | undefined)[]) =>
  paths.find((path) => path !== undefined && existsSync(path)) ?? null;
/** Debian's packages of these names; or a copy of them elsewhere. */
const NATS = firstOf(process.env.TIDEMARK_BENCH_NATS, '/usr/sbin/nats-server', '/usr/local/bin/nats-server');
const RABBITMQ = firstOf(process.env.TIDEMARK_BENCH_RABBITMQ, '/usr/lib/rabbitmq/bin/rabbitmq-server');
const START_MS = 120_000;

/** Those named of the ones that are installed, mosquitto first: the others are measured against it. */
export function findPeers(named: readonly string[]): Peer[] {
  const found: Peer[] = [];
  if (MOSQUITTO !== null)
    found.push({
      name: 'mosquitto, persistence off',
      version: versionOf(MOSQUITTO, ['-h']),
      start: () => startMosquitto(),
    });
  if (NATS !== null && named.includes('nats'))
    found.push({
      name: 'nats-server, MQTT and JetStream (syncs every 2 minutes)',
      version: versionOf(NATS, ['--version']),
      start: startNats,
    });
  if (RABBITMQ !== null && named.includes('rabbitmq'))
    found.push({
      name: 'RabbitMQ, MQTT plugin',
      version: 'RabbitMQ',
      start: startRabbitMq,
    });
  return found;
}

async function startNats(folder: string): Promise<RunningPeer> {
  const port = await freePort();
  const file = join(folder, 'nats.conf');
  writeFileSync(
    file,
    `server_name: bench\nlisten: "127.0.0.1:-1"\njetstream { store_dir: "${folder}/store" }\nmqtt { listen: "127.0.0.1:${port}" }\n`,
  );
  return running(spawn(NATS!, ['-c', file], { stdio: 'ignore' }), port);
}

async function startRabbitMq(folder: string): Promise<RunningPeer> {
  const [port, nodePort, mapperPort] = [await freePort(), await freePort(), await freePort()];
  const store = join(folder, 'store');
  mkdirSync(store);
  writeFileSync(join(folder, 'plugins'), '[rabbitmq_mqtt].\n');
  writeFileSync(
    join(folder, 'rabbitmq.conf'),
    `listeners.tcp.local = 127.0.0.1:${nodePort}\nmqtt.listeners.tcp.local = 127.0.0.1:${port}\nmqtt.allow_anonymous = true\nlog.console = false\ndisk_free_limit.absolute = 50MB\n`,
  );
  // Erlang would start it as a daemon, and leave it.
  const mapper = spawn('epmd', ['-port', String(mapperPort), '-address', '127.0.0.1'], { stdio: 'ignore' });
  await untilListening(mapperPort, mapper, START_MS);
  const child = spawn(RABBITMQ!, [], {
    stdio: 'ignore',
    env: {
      ...process.env,
      HOME: folder,
      ERL_EPMD_PORT: String(mapperPort),
      ERL_EPMD_ADDRESS: '127.0.0.1',
      RABBITMQ_NODENAME: `bench-${nodePort}@localhost`,
      RABBITMQ_MNESIA_BASE: store,
      RABBITMQ_LOG_BASE: folder,
      RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq'),
      RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'plugins'),
      RABBITMQ_PID_FILE: join(folder, 'pid'),
    },
  });
  return running(child, port, mapper);
}

/** Listening, with a durable subscriber that has gone again. */
async function running(child: ChildProcess, port: number, helper?: ChildProcess): Promise<RunningPeer> {
  const stop = async () => {
    child.kill('SIGTERM');
    await ended(child);
    helper?.kill('SIGKILL');
  };
  try {
    await untilListening(port, child, START_MS);
    await subscribeDurably(port);
    return { port, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function subscribeDurably(port: number): Promise<void> {
  const client = await mqtt.connectAsync({
    host: '127.0.0.1',
    port,
    clientId: 'absent',
    clean: false,
    protocolVersion: 4,
  });
  await client.subscribeAsync('plant/#', { qos: 1 });
  await client.endAsync();
}
