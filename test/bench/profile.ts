// `npm run bench -- profile`: where the gateway's ingest thread spends its time while MQTT publishes saturate it: self
// time by function, collection of garbage, and system calls per record (a run of its own, under strace). Judges nothing.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { startGateway } from '../support/processes.ts';
import { printProfile } from './cpu-profile.ts';
import { diskLine } from './disk-limit.ts';
import { preamble } from './machine.ts';
import { scratch } from './scratch.ts';

const run = promisify(execFile);
const LOAD_TIMEOUT_MS = 120_000;
const STRACE = existsSync('/usr/bin/strace') ? '/usr/bin/strace' : null;

interface LoadResult {
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly ackedInAll: number;
}

export async function main(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      connections: { type: 'string', default: '100' },
      inflight: { type: 'string', default: '1' },
      seconds: { type: 'string', default: '5' },
      top: { type: 'string', default: '20' },
      yaml: { type: 'string', default: 'windows: []\nmodels: []\n' },
      keep: { type: 'string' },
      in: { type: 'string' },
    },
  });
  const temporary = scratch(values.in);
  const load = [
    '--connections',
    values.connections,
    '--inflight',
    values.inflight,
    '--seconds',
    values.seconds,
  ];
  try {
    console.log(preamble(temporary.path));
    console.log(await diskLine(temporary.path));
    console.log(
      `${values.connections} connections, ${values.inflight} in flight each, 100 B, QoS 1, ${values.seconds} s; windows and models off\n`,
    );
    const profiles = values.keep ?? join(temporary.path, 'profiles');
    mkdirSync(profiles, { recursive: true });
    const options = [`--cpu-prof`, `--cpu-prof-dir=${profiles}`];
    const profiled = await loaded({
      folder: join(temporary.path, 'profiled'),
      yaml: values.yaml,
      nodeOptions: options,
      load,
    });
    for (const name of readdirSync(profiles).sort()) {
      if (!name.endsWith('.cpuprofile')) continue;
      // Node numbers the threads of a process from 0, the main one.
      const thread = /\.(\d+)\.\d+\.cpuprofile$/.exec(name)?.[1] ?? '?';
      printProfile(`thread ${thread}`, join(profiles, name), Number(values.top));
    }
    console.log(
      `\nwhile profiled: ${Math.round(profiled.perSecond)} acked/s, p50 ${profiled.p50Ms.toFixed(2)} ms, p99 ${profiled.p99Ms.toFixed(2)} ms\n`,
    );
    if (STRACE) await systemCalls(temporary.path, values.yaml, load);
  } finally {
    temporary.remove();
  }
}

interface Loaded {
  readonly folder: string;
  readonly yaml: string;
  readonly load: readonly string[];
  readonly nodeOptions?: string[];
  /** Called with the gateway's process id before the load; what it gives back, after it. */
  readonly watch?: (pid: number) => () => Promise<void>;
}

async function loaded({ folder, yaml, load, nodeOptions = [], watch }: Loaded): Promise<LoadResult> {
  mkdirSync(folder);
  const gateway = await startGateway({ dataDir: join(folder, 'data'), yaml, nodeOptions });
  const kill = () => gateway.child.kill('SIGKILL');
  process.once('exit', kill);
  try {
    const stopWatching = watch?.(gateway.child.pid!);
    const script = join(import.meta.dirname, 'mqtt-load.ts');
    const args = [script, '--port', String(gateway.mqttPort), ...load];
    const { stdout } = await run(process.execPath, args, { timeout: LOAD_TIMEOUT_MS });
    await stopWatching?.();
    return JSON.parse(stdout) as LoadResult;
  } finally {
    // In order, so that profiles are written.
    await gateway.kill('SIGTERM');
    process.off('exit', kill);
  }
}

/** Calls by name, per acknowledged record. strace slows the process several times over: the shares are what counts. */
async function systemCalls(folder: string, yaml: string, load: readonly string[]): Promise<void> {
  const file = join(folder, 'calls.txt');
  const watch = (pid: number) => {
    const strace = spawn(STRACE!, ['-f', '-c', '-o', file, '-p', String(pid)], { stdio: 'ignore' });
    return async () => {
      strace.kill('SIGINT');
      if (strace.exitCode === null && strace.signalCode === null) await once(strace, 'exit');
    };
  };
  const result = await loaded({ folder: join(folder, 'traced'), yaml, load, watch });
  const calls = readFileSync(file, 'utf8')
    .split('\n')
    .map((line) => /^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$/.exec(line))
    .filter((match) => match !== null)
    .map((match) => ({ name: match[2]!, count: Number(match[1]) }))
    .filter(({ name }) => name !== 'total')
    .sort((a, b) => b.count - a.count);
  console.log(`under strace: ${Math.round(result.perSecond)} acked/s\n`);
  console.log('| system call | per acked record |');
  console.log('|---|---|');
  for (const { name, count } of calls.slice(0, 12))
    console.log(`| ${name} | ${(count / result.ackedInAll).toFixed(3)} |`);
  console.log('');
}
