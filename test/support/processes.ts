// Starts real processes for tests and benchmarks (mosquitto, the gateway itself), waits until they answer,
// and ends exactly those it started.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

export const ROOT = resolve(import.meta.dirname, '..', '..');

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

export async function untilListening(port: number, child: ChildProcess, timeoutMs = 60_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (Date.now() < deadline) {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error(
        `the process ended with ${child.exitCode ?? child.signalCode} before it listened on ${port}`,
      );
    const answered = await new Promise<boolean>((done) => {
      const socket = connect(port, '127.0.0.1');
      socket
        .once('connect', () => done(true))
        .once('error', () => done(false))
        .once('close', () => socket.destroy());
      socket.once('connect', () => socket.end());
    });
    if (answered) return;
    await new Promise((next) => setTimeout(next, 25));
  }
  throw new Error(`nothing listened on port ${port} within ${timeoutMs} ms`);
}

export async function ended(
  child: ChildProcess,
): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  return { code: child.exitCode, signal: child.signalCode };
}

export const MOSQUITTO =
  ['/usr/sbin/mosquitto', '/usr/local/sbin/mosquitto', '/usr/bin/mosquitto'].find(existsSync) ?? null;

export interface Broker {
  readonly port: number;
  readonly child: ChildProcess;
  stop(signal?: NodeJS.Signals): Promise<void>;
}

/** mosquitto on a free port, nothing persisted. */
export async function startMosquitto(port?: number): Promise<Broker> {
  if (MOSQUITTO === null) throw new Error('mosquitto is not installed: apt-get install mosquitto');
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-mosquitto-'));
  const chosen = port ?? (await freePort());
  const file = join(folder, 'mosquitto.conf');
  writeFileSync(
    file,
    `listener ${chosen} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\nmax_queued_messages 0\nlog_type error\n`,
  );
  const child = spawn(MOSQUITTO, ['-c', file], { stdio: 'ignore' });
  await untilListening(chosen, child);
  return {
    port: chosen,
    child,
    stop: async (signal = 'SIGTERM') => {
      child.kill(signal);
      await ended(child);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export interface Gateway {
  readonly child: ChildProcess;
  readonly dataDir: string;
  readonly mqttPort: number;
  readonly httpPort: number;
  readonly url: string;
  /** Everything it wrote to standard output and error so far. */
  output(): string;
  kill(signal?: NodeJS.Signals): Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
}

export interface GatewayOptions {
  dataDir: string;
  mqttPort?: number;
  httpPort?: number;
  /** Of a data directory that is there already. */
  origin?: string;
  /** Extra YAML for the configuration file. */
  yaml?: string;
  nodeOptions?: string[];
  /** Run what `npm run build` made, as an installation does, instead of the sources. */
  built?: boolean;
  /** Put in front of the command, e.g. strace and its options. */
  wrapper?: string[];
}

/** The real gateway process, from this checkout, on free ports. */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const mqttPort = options.mqttPort ?? (await freePort());
  const httpPort = options.httpPort ?? (await freePort());
  const file = `${options.dataDir}.yaml`;
  writeFileSync(
    file,
    `dataDir: ${options.dataDir}\norigin: ${options.origin ?? 'test.example.com/gateway'}\n${options.yaml ?? ''}\n`,
  );
  const command = [
    ...(options.wrapper ?? []),
    process.execPath,
    ...(options.nodeOptions ?? []),
    options.built ? join(ROOT, 'dist', 'bin', 'tidemark.js') : join(ROOT, 'bin', 'tidemark.ts'),
    'serve',
    '--config',
    file,
  ];
  const child = spawn(command[0]!, command.slice(1), {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TIDEMARK_MQTT_PORT: String(mqttPort), TIDEMARK_HTTP_PORT: String(httpPort) },
  });
  let output = '';
  const keep = (data: Buffer) => {
    output = (output + data.toString()).slice(-200_000);
  };
  child.stdout?.on('data', keep);
  child.stderr?.on('data', keep);
  try {
    await untilListening(httpPort, child);
    await untilListening(mqttPort, child);
  } catch (error) {
    child.kill('SIGKILL');
    throw new Error(`${(error as Error).message}\n${output}`);
  }
  return {
    child,
    dataDir: options.dataDir,
    mqttPort,
    httpPort,
    url: `http://127.0.0.1:${httpPort}`,
    output: () => output,
    kill: (signal = 'SIGTERM') => {
      child.kill(signal);
      return ended(child);
    },
  };
}

/** Runs the CLI of this checkout to its end. */
export async function tidemark(
  args: readonly string[],
  input?: string,
  cwd: string = ROOT,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [join(ROOT, 'bin', 'tidemark.ts'), ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    cwd,
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (data) => {
    stdout += data;
  });
  child.stderr.on('data', (data) => {
    stderr += data;
  });
  child.stdin.end(input ?? '');
  await once(child, 'close');
  return { code: child.exitCode, stdout, stderr };
}
