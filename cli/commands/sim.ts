// `tidemark sim`: a simulated fleet against a running gateway, and the judgement of what the gateway kept.

import { type CheckReport, checkAcked } from '../../firmware-sim/check.ts';
import { runSim, type SimReport } from '../../firmware-sim/sim.ts';
import type { Invocation } from '../command.ts';
import { EXIT, type ExitCode } from '../errors.ts';
import { logEndOf } from '../http.ts';
import { loopback } from '../sim-judge.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const httpUrl = loopback(invocation.text('url') ?? 'http://127.0.0.1:8080', 'url');
  const mqttUrl = loopback(invocation.text('mqtt') ?? 'mqtt://127.0.0.1:1883', 'mqtt');
  const json = invocation.flag('json');
  const startMs = invocation.whole('start-ms', { min: 0, max: 8.64e15 });
  const fleet = {
    devices: invocation.whole('devices', { min: 1, max: 10_000 }) ?? 40,
    ratePerDevice: invocation.decimal('rate', { min: 0.001, max: 1_000 }) ?? 2,
    durationMs: (invocation.decimal('seconds', { min: 1, max: 86_400 }) ?? 30) * 1_000,
    seed: invocation.whole('seed', { min: 0, max: 2 ** 32 - 1 }) ?? 1,
    ...(startMs !== undefined && { startMs }),
  };
  const fromOffset = await logEndOf(httpUrl);
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());
  const { report, truth } = await runSim({
    httpUrl,
    mqttUrl,
    wsUrl: `${httpUrl.replace(/^http/, 'ws')}/ws`,
    ...fleet,
    signal: stop.signal,
    onProgress: (figures) => {
      if (!json && process.stderr.isTTY)
        process.stderr.write(
          `\r${figures.connected} connected, ${figures.sent} sent, ${figures.acked} acknowledged, ${figures.pending} outstanding   `,
        );
    },
  });
  if (!json && process.stderr.isTTY) process.stderr.write('\n');
  const check = await checkAcked({ httpUrl, truth, fromOffset });
  process.stdout.write(json ? `${JSON.stringify({ report, check })}\n` : format(report, check));
  return check.ok ? EXIT.ok : EXIT.negative;
}

function format(report: SimReport, check: CheckReport): string {
  const { latencyMs } = report;
  const ms = (value: number) => `${value.toFixed(1)} ms`;
  return `devices       ${report.devices}, ${report.ratePerDevice} records/s each, seed ${report.seed}
sent          ${report.sent}${report.resent > 0 ? ` (${report.resent} sent again)` : ''} in ${(report.tookMs / 1000).toFixed(1)} s
acknowledged  ${report.acked} (${report.ackedPerSecond}/s), ${report.duplicates} of them as already stored
refused       ${report.refused}, given up ${report.dropped}, unanswered ${report.pending}
ack latency   p50 ${ms(latencyMs.p50)}, p99 ${ms(latencyMs.p99)}, longest ${ms(latencyMs.max)}
check         ${check.acked} acknowledged: ${check.missing} missing, ${check.doubled} doubled, ${check.changed} changed
${check.offenders.map((offender) => `  ${offender.problem}: ${offender.device} #${offender.sequence}`).join('\n')}${check.offenders.length > 0 ? '\n' : ''}${check.ok ? 'ok: everything acknowledged is there, once, unchanged' : 'FAILED'}
`;
}
