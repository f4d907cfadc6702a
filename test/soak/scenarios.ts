// The scenario library against the real gateway, each on a fresh one that has room for it, with what each expects. `keep`
// takes the reports and their plots, e.g. to docs/benchmarks.
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { plotSvg } from '../../firmware-sim/plots.ts';
import { plotsOf, type RunResult } from '../../firmware-sim/run-report.ts';
import { authority, certificate } from '../gateway/access/certificates.ts';
import { freePort, ROOT, startGateway, tidemark } from '../support/processes.ts';

export interface ScenariosOptions {
  /** Names; all by default. */
  readonly only?: readonly string[];
  readonly scale?: number;
  readonly seconds?: number;
  readonly keep?: string;
}

/** Ten thousand devices from one address, with a few fields each: more than a gateway is set up for by default. */
const room = (tls: { port: number; cert: string; key: string }) => `
mqtt: { maxConnections: 12000, maxSessions: 12000, tls: { enabled: true, port: ${tls.port}, cert: ${tls.cert}, key: ${tls.key} } }
connections: { total: 14000, perAddress: 14000 }
windows: [{ name: ten, sizeMs: 10000, allowedLatenessMs: 2000, maxSeries: 500000 }]
`;
/** The plots that tell most at a glance. */
const KEPT_PLOTS = [
  'Throughput',
  'Ack latency from when a record was due',
  'Memory of the gateway',
  'Connections',
];

export function scenarioNames(): string[] {
  return readdirSync(join(ROOT, 'firmware-sim', 'scenarios'))
    .map((name) => basename(name, '.yaml'))
    .toSorted();
}

/** False when one of them ended otherwise than it should. */
export async function soakScenarios({ only, scale, seconds, keep }: ScenariosOptions): Promise<boolean> {
  let all = true;
  for (const name of only ?? scenarioNames()) {
    const folder = mkdtempSync(join(tmpdir(), `tidemark-${name}-`));
    const ca = authority(folder, 'ca');
    const tls = { ...certificate(folder, 'gateway', ca), port: await freePort() };
    const gateway = await startGateway({ dataDir: join(folder, 'data'), yaml: room(tls) });
    console.log(`soak: scenario ${name}`);
    const words = [
      'sim',
      'run',
      name,
      '--url',
      gateway.url,
      '--mqtt',
      `mqtt://127.0.0.1:${gateway.mqttPort}`,
      ...['--mqtts', `mqtts://127.0.0.1:${tls.port}`, '--ca', ca.cert],
    ];
    const { code, stdout, stderr } = await tidemark([
      ...words,
      ...['--out', join(folder, 'result'), '--config', join(folder, 'data.yaml')],
      ...(scale === undefined ? [] : ['--scale', String(scale)]),
      ...(seconds === undefined ? [] : ['--seconds', String(seconds)]),
    ]);
    console.log(`${stdout}${stderr}`.replace(/^/gm, '  ').trimEnd());
    const stopped = await gateway.kill('SIGTERM');
    const good = code === 0 && stopped.code === 0;
    if (stopped.code !== 0)
      console.error(`soak: the gateway ended with ${stopped.code}: ${gateway.output().slice(-2_000)}`);
    if (keep !== undefined && existsSync(join(folder, 'result', 'report.json')))
      keepReport(name, join(folder, 'result'), keep);
    if (good) rmSync(folder, { recursive: true, force: true });
    else console.error(`soak: scenario ${name} failed; report and data directory are kept in ${folder}`);
    all &&= good;
  }
  return all;
}

function keepReport(name: string, from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  copyFileSync(join(from, 'report.html'), join(to, `${name}.html`));
  const { report } = JSON.parse(readFileSync(join(from, 'report.json'), 'utf8')) as RunResult;
  for (const plot of plotsOf(report)) {
    const place = KEPT_PLOTS.indexOf(plot.title);
    if (place >= 0)
      writeFileSync(
        join(to, `${name}-${['rate', 'latency', 'memory', 'connections'][place]}.svg`),
        `${plotSvg(plot)}\n`,
      );
  }
}
