// `npm run bench -- gateway`: the whole process as installed, from outside: memory at rest and with idle connections,
// ack latency of a fleet on schedule, and how long until a record is sealed or has given a result. Judges nothing.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type Gateway, MOSQUITTO, startGateway, startMosquitto } from '../support/processes.ts';
import { startChild } from './children.ts';
import { diskLine } from './disk-limit.ts';
import { type Latencies, ms } from './latencies.ts';
import { preamble, versionOf } from './machine.ts';
import { anomalyLatency, type Found, sealedLatency, WINDOW, WINDOW_YAML, windowLatency } from './probes.ts';
import { scratch } from './scratch.ts';

/** Until start-up work and its garbage are over. */
const SETTLE_MS = 4_000;
const PROBES_PER_SECOND = 50;
const FAULTS = 100;
const CRITICAL_PER_SECOND = 5;
const CRITICAL_TOPIC = 'bench/trip/now';
const CRITICAL_YAML = "ledger: { critical: [{ name: trip, topics: ['bench/trip/#'] }] }\n";

const isBuilt = existsSync(join(import.meta.dirname, '../../dist/bin/tidemark.js'));

interface Settings {
  readonly folder: string;
  readonly seconds: number;
  readonly connections: number;
  readonly rate: number;
}

interface FleetFigures {
  readonly measured: number;
  readonly unanswered: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
  readonly sendLagP50Ms: number;
  readonly sendLagP99Ms: number;
}

export async function main(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      seconds: { type: 'string', default: '15' },
      connections: { type: 'string', default: '1000' },
      rate: { type: 'string', default: '10' },
      only: { type: 'string', default: 'memory,fleet,latency,critical' },
      in: { type: 'string' },
    },
  });
  const temporary = scratch(values.in);
  const settings: Settings = {
    folder: temporary.path,
    seconds: Number(values.seconds),
    connections: Number(values.connections),
    rate: Number(values.rate),
  };
  const only = new Set(values.only.split(','));
  try {
    console.log(preamble(temporary.path));
    console.log(await diskLine(temporary.path));
    console.log(isBuilt ? 'tidemark as built (dist/)' : 'tidemark from its sources: `npm run build` first');
    if (MOSQUITTO) console.log(`peer: ${versionOf(MOSQUITTO, ['-h'])}, persistence off\n`);
    if (only.has('memory')) await memory(settings);
    if (only.has('fleet')) await fleet(settings);
    if (only.has('latency')) await latency(settings);
    if (only.has('critical')) await critical(settings);
  } finally {
    temporary.remove();
  }
}

async function withGateway(
  settings: Settings,
  name: string,
  yaml: string,
  use: (gateway: Gateway) => Promise<void>,
) {
  // What an installation runs: sources take some 80 MB more, for stripping their types in every thread.
  const gateway = await startGateway({
    dataDir: join(settings.folder, name),
    yaml,
    built: isBuilt,
  });
  const kill = () => gateway.child.kill('SIGKILL');
  process.once('exit', kill);
  try {
    await use(gateway);
  } finally {
    process.off('exit', kill);
    await gateway.kill('SIGKILL');
  }
}

function startFleet(port: number, settings: Settings, rate: number, seconds: number) {
  const args = ['--port', port, '--connections', settings.connections, '--rate', rate, '--seconds', seconds];
  return startChild('mqtt-fleet.ts', args.map(String), { timeoutMs: (seconds + 60) * 1_000 });
}

// ---- memory

function residentMib(gateway: Gateway): number {
  const status = readFileSync(`/proc/${gateway.child.pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) / 1_024;
}

async function memory(settings: Settings): Promise<void> {
  console.log(
    '| resident memory, whole process as installed (window, model, sealing) | MiB | budget, for orientation |',
  );
  console.log('|---|---|---|');
  await withGateway(settings, 'memory', '', async (gateway) => {
    await sleep(SETTLE_MS);
    console.log(
      `| idle, ${SETTLE_MS / 1_000} s after the start | ${residentMib(gateway).toFixed(0)} | < 150 MB |`,
    );
    const idle = startFleet(gateway.mqttPort, settings, 0, 120);
    await idle.next();
    await sleep(SETTLE_MS);
    const what = `${settings.connections} idle MQTT connections, ${SETTLE_MS / 1_000} s after they came`;
    console.log(`| ${what} | ${residentMib(gateway).toFixed(0)} | < 250 MB |`);
    await idle.end();
    const busy = startFleet(gateway.mqttPort, settings, settings.rate, settings.seconds);
    await busy.next();
    let peak = 0;
    const timer = setInterval(() => {
      peak = Math.max(peak, residentMib(gateway));
    }, 250);
    await busy.next();
    clearInterval(timer);
    const load = `${settings.connections} connections × ${settings.rate} records/s for ${settings.seconds} s, greatest`;
    console.log(`| ${load} | ${peak.toFixed(0)} | |\n`);
  });
}

// ---- a fleet on schedule

async function fleet(settings: Settings): Promise<void> {
  const { connections, rate, seconds } = settings;
  console.log(
    `${connections} connections × ${rate} records/s for ${seconds} s, 100 B, QoS 1, sent on schedule;`,
  );
  console.log(
    'latency from the time each publish was due (the generator’s own delay, beside it, is included)\n',
  );
  console.log(
    '| subject | acked | unanswered | p50 | p99 | p99.9 | max | generator late p50 / p99 | longest write / sync / turn | budget, for orientation |',
  );
  console.log('|---|---|---|---|---|---|---|---|---|---|');
  const run = async (subject: string, port: number, budget: string, url?: string) => {
    const child = startFleet(port, settings, rate, seconds);
    await child.next();
    // The longest turn is that since the metrics were last asked for.
    if (url) await longest(url);
    const figures = await child.next<FleetFigures>();
    const held = url ? await longest(url) : '';
    const { p50Ms, p99Ms, p999Ms, maxMs, sendLagP50Ms, sendLagP99Ms } = figures;
    const latencies = [p50Ms, p99Ms, p999Ms, maxMs].map((value) => `${ms(value)} ms`).join(' | ');
    const late = `${ms(sendLagP50Ms)} / ${ms(sendLagP99Ms)} ms`;
    const { measured, unanswered } = figures;
    console.log(
      `| ${subject} | ${measured - unanswered} | ${unanswered} | ${latencies} | ${late} | ${held} | ${budget} |`,
    );
  };
  if (MOSQUITTO) {
    const broker = await startMosquitto();
    try {
      await run('mosquitto, persistence off', broker.port, '');
    } finally {
      await broker.stop();
    }
  }
  await withGateway(settings, 'fleet-sealed', 'windows: []\nmodels: []\n', (gateway) =>
    run('tidemark, log and ledger only', gateway.mqttPort, '', gateway.url),
  );
  await withGateway(settings, 'fleet', '', (gateway) =>
    run('tidemark, as installed (window, model, sealing)', gateway.mqttPort, 'ack p99 < 10 ms', gateway.url),
  );
  console.log('');
}

/** What can hold up an ack, so that a stall tells where it was: the disk (since the start), or the event loop. */
async function longest(url: string): Promise<string> {
  const metrics = await (await fetch(`${url}/metrics`)).text();
  const read = (name: string) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(metrics)?.[1]) * 1_000;
  const names = ['log_write_max_seconds', 'log_sync_max_seconds', 'nodejs_eventloop_lag_max_seconds'];
  return `${names.map((name) => ms(read(`tidemark_${name}`))).join(' / ')} ms`;
}

// ---- from accepted to what follows

async function latency(settings: Settings): Promise<void> {
  console.log(
    `from the ack of a record (HTTP) to what follows from it, as installed and a window of ${WINDOW.sizeMs} ms\n`,
  );
  await withAndWithoutLoad(settings, 'latency', WINDOW_YAML, async (gateway, load, name) => {
    await line('sealed: signed checkpoint on disk', load, '≤ 1.5 s p99', async () => {
      const latencies = await sealedLatency(gateway, settings.seconds, PROBES_PER_SECOND);
      return { latencies, sent: latencies.count };
    });
    await line('window on the live tail', load, '< 100 ms p99', () =>
      windowLatency(gateway, settings.seconds),
    );
    await line('anomaly on the live tail', load, '< 100 ms p99', () => anomalyLatency(gateway, FAULTS, name));
  });
}

async function critical(settings: Settings): Promise<void> {
  console.log(
    `from the ack of a record (HTTP), ${CRITICAL_PER_SECOND} a second, that a rule calls critical; its block is cut at once\n`,
  );
  await withAndWithoutLoad(settings, 'critical', CRITICAL_YAML, (gateway, load) =>
    line('critical record sealed: signed checkpoint on disk', load, '≤ 100 ms', async () => {
      const latencies = await sealedLatency(gateway, settings.seconds, CRITICAL_PER_SECOND, CRITICAL_TOPIC);
      return { latencies, sent: latencies.count };
    }),
  );
}

async function withAndWithoutLoad(
  settings: Settings,
  folder: string,
  yaml: string,
  follow: (gateway: Gateway, load: string, name: string) => Promise<void>,
): Promise<void> {
  console.log('| what | load beside it | p50 | p99 | max | n | budget, for orientation |');
  console.log('|---|---|---|---|---|---|---|');
  await withGateway(settings, folder, yaml, async (gateway) => {
    await sleep(SETTLE_MS / 2);
    await follow(gateway, 'none', 'rest');
    // Long enough for all probes; ended when they are done.
    const load = startFleet(gateway.mqttPort, settings, settings.rate, 10 * settings.seconds + 120);
    await load.next();
    await sleep(SETTLE_MS / 2);
    await follow(gateway, `${settings.connections} × ${settings.rate} records/s`, 'load');
    await load.end();
  });
  console.log('');
}

async function line(
  what: string,
  load: string,
  budget: string,
  measure: () => Promise<Found>,
): Promise<void> {
  // What an overloaded gateway does not answer is a figure too; the other lines are still of use.
  try {
    const { latencies, sent } = await measure();
    row(what, load, latencies, sent, budget);
  } catch (error) {
    console.log(`| ${what} | ${load} | none: ${(error as Error).message} | | | | ${budget} |`);
  }
}

function row(what: string, load: string, latencies: Latencies, sent: number, budget: string): void {
  const [p50 = NaN, p99 = NaN] = latencies.quantiles(0.5, 0.99);
  const count = latencies.count === sent ? sent : `${latencies.count} of ${sent}`;
  console.log(
    `| ${what} | ${load} | ${ms(p50)} ms | ${ms(p99)} ms | ${ms(latencies.count > 0 ? latencies.max : Number.NaN)} ms | ${count} | ${budget} |`,
  );
}
