// `tidemark sim load`: as much MQTT as one core can send, or a fixed rate, against a running gateway.
import { runLoad } from '../../firmware-sim/load.ts';
import type { Invocation } from '../command.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { loopback } from '../sim-judge.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());
  const mqttUrl = loopback(invocation.text('mqtt') ?? 'mqtt://127.0.0.1:1883', 'mqtt');
  const report = await runLoad({
    mqttUrl,
    connections: invocation.whole('connections', { min: 1, max: 20_000 }) ?? 10,
    inFlight: invocation.whole('inflight', { min: 1, max: 65_000 }) ?? 100,
    rate: invocation.decimal('rate', { min: 0, max: 10_000_000 }) ?? 0,
    seconds: invocation.decimal('seconds', { min: 0.1, max: 86_400 }) ?? 10,
    payloadBytes: invocation.whole('bytes', { min: 40, max: 400_000 }) ?? 100,
    httpUrl: loopback(invocation.text('url') ?? 'http://127.0.0.1:8080', 'url'),
    signal: stop.signal,
  }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ECONNREFUSED') throw error;
    throw new CommandError(EXIT.unable, `${mqttUrl} does not answer: ${error.message}`, {
      hint: 'is the gateway running there?',
      cause: error,
    });
  });
  if (invocation.flag('json')) process.stdout.write(`${JSON.stringify(report)}\n`);
  else {
    const { latencyMs } = report;
    const busy = ({ cores, thread }: { cores: number; thread: number }, what: string) =>
      `${cores.toFixed(2)} processors, ${what} thread ${Math.round(thread * 100)} % busy`;
    const ms = (value: number) => `${value.toFixed(2)} ms`;
    process.stdout.write(`connections   ${report.connections}, ${report.rate > 0 ? `${report.rate} records/s due` : 'as many as are acknowledged'}
acknowledged  ${report.acked} of ${report.sent} (${report.ackedPerSecond}/s over ${report.seconds.toFixed(1)} s), ${report.unanswered} unanswered
ack latency   p50 ${ms(latencyMs.p50)}, p90 ${ms(latencyMs.p90)}, p99 ${ms(latencyMs.p99)}, p99.9 ${ms(latencyMs.p999)}, longest ${ms(latencyMs.max)}
sent late     at most ${ms(report.lateMaxMs)}
generator     ${busy(report.generator, 'sending')}
gateway       ${report.gateway ? busy(report.gateway, 'ingest') : 'did not give its figures: is its HTTP address another than --url?'}
${report.problems.map((problem) => `problem       ${problem}\n`).join('')}`);
  }
  return report.problems.length === 0 && report.unanswered === 0 ? EXIT.ok : EXIT.negative;
}
