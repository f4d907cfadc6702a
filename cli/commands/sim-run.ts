// `tidemark sim run`: a scenario file against a running gateway, then the judgement and the report.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expectationsOf } from '../../firmware-sim/expectations.ts';
import { SinkCollector } from '../../firmware-sim/judge-sink.ts';
import { runScenario } from '../../firmware-sim/run.ts';
import { reportHtml, reportText } from '../../firmware-sim/run-report.ts';
import { parseScenario, ScenarioError, type ScenarioFile, scaled } from '../../firmware-sim/scenario-file.ts';
import type { Sample } from '../../firmware-sim/tally.ts';
import type { Invocation } from '../command.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { logEndOf } from '../http.ts';
import { judgeGateway, loopback } from '../sim-judge.ts';

const LIBRARY = new URL('../../firmware-sim/scenarios/', import.meta.url);

export async function run(invocation: Invocation): Promise<ExitCode> {
  const httpUrl = loopback(invocation.text('url') ?? 'http://127.0.0.1:8080', 'url');
  const mqttUrl = loopback(invocation.text('mqtt') ?? 'mqtt://127.0.0.1:1883', 'mqtt');
  const mqttsUrl = invocation.text('mqtts');
  const ca = invocation.text('ca');
  const file = readScenario(invocation);
  const overTls = file.fleets.find(({ tls }) => tls);
  if (overTls && mqttsUrl === undefined)
    throw new CommandError(EXIT.usage, `the fleet ${overTls.name} uses TLS, and no address for it is given`, {
      hint: 'give --mqtts mqtts://127.0.0.1:8883, and --ca FILE where its certificate is no public one',
    });
  const json = invocation.flag('json');
  const folder = invocation.text('out') ?? `sim-${file.name}`;
  const startMs = invocation.whole('start-ms', { min: 0, max: 8.64e15 }) ?? Date.now();
  const fromOffset = await logEndOf(httpUrl);
  mkdirSync(folder, { recursive: true });
  const sinkUrl = invocation.text('sink');
  const prefix = invocation.text('sink-prefix') ?? '';
  const sink = sinkUrl === undefined ? null : await SinkCollector.open(loopback(sinkUrl, 'sink'), prefix);
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());
  const truthPath = join(folder, 'truth');
  const report = await runScenario({
    file,
    startMs,
    endpoints: {
      httpUrl,
      mqttUrl,
      wsUrl: `${httpUrl.replace(/^http/, 'ws')}/ws`,
      ...(mqttsUrl !== undefined && { mqttsUrl: loopback(mqttsUrl, 'mqtts') }),
      ...(ca !== undefined && { ca: readFileSync(ca, 'utf8') }),
    },
    truthPath,
    fromOffset,
    signal: stop.signal,
    onSample: (sample) => progress(sample, file, json),
  });
  if (!json && process.stderr.isTTY) process.stderr.write('\n');
  const verdict = await judgeGateway(invocation, { httpUrl, truthPath }, sink).finally(() => sink?.close());
  const expectations = expectationsOf(file, report, verdict.records);
  const result = {
    report,
    ...verdict,
    expectations,
    ok: verdict.ok && expectations.every(({ met }) => met !== false),
  };
  writeFileSync(join(folder, 'report.json'), `${JSON.stringify(result, null, 1)}\n`);
  writeFileSync(join(folder, 'report.html'), reportHtml(result));
  process.stdout.write(
    json
      ? `${JSON.stringify(result)}\n`
      : `${reportText(result)}report        ${join(folder, 'report.html')}\n`,
  );
  return result.ok ? EXIT.ok : EXIT.negative;
}

/** A file, or the name of one of those that come with the program. */
function readScenario(invocation: Invocation): ScenarioFile {
  const name = invocation.positionals[0]!;
  const own = new URL(`${name}.yaml`, LIBRARY);
  const path = !existsSync(name) && /^[a-z0-9-]+$/.test(name) && existsSync(own) ? own : name;
  if (!existsSync(path)) {
    const library = existsSync(LIBRARY)
      ? readdirSync(LIBRARY).filter((entry) => entry.endsWith('.yaml'))
      : [];
    throw new CommandError(EXIT.usage, `there is no scenario ${name}`, {
      hint: `give a file, or one of ${library.map((entry) => entry.slice(0, -5)).join(', ')}`,
    });
  }
  try {
    const file = parseScenario(readFileSync(path, 'utf8'));
    const scale = invocation.decimal('scale', { min: 0.0001, max: 100 }) ?? 1;
    const seconds = invocation.decimal('seconds', { min: 0.1, max: 604_800 }) ?? file.seconds;
    const seed = invocation.whole('seed', { min: 0, max: 2 ** 32 - 1 }) ?? file.seed;
    return { ...scaled(file, scale, seconds), seed };
  } catch (error) {
    if (error instanceof ScenarioError)
      throw new CommandError(EXIT.usage, `${name}: ${error.message}`, { cause: error });
    throw error;
  }
}

function progress(sample: Sample, file: ScenarioFile, json: boolean): void {
  if (json || !process.stderr.isTTY) return;
  const { atSeconds, connected, acked, pending, refused, latencyMs, gateway } = sample;
  const memory = gateway.up
    ? `${Math.round(gateway.rssBytes / 2 ** 20)} MiB, ${gateway.cores.toFixed(2)} cores`
    : 'gateway away';
  process.stderr.write(
    `\r\x1b[2K${Math.round(atSeconds)}/${file.seconds} s · ${connected} connected · ${acked} acknowledged · ${pending} outstanding · ${refused} refused · p99 ${latencyMs.p99.toFixed(1)} ms · ${memory}`,
  );
}
