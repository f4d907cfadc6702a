// Owns starting one forwarder inside its worker thread: builds the sink its config names. Holds no policy.
import { randomBytes } from 'node:crypto';
import { systemClock } from '../gateway/stage/clock.ts';
import { runStage } from '../gateway/stage/worker.ts';
import type { ForwarderConfig } from './config.ts';
import { loadCredentials } from './credentials.ts';
import { runForwarder, sinkWindow } from './forwarder.ts';
import { MqttSink } from './sinks/mqtt/sink.ts';

await runStage<ForwarderConfig>((context) => {
  const { config } = context;
  const sink = new MqttSink({
    ...config,
    maxInFlight: sinkWindow(config.maxInFlight),
    // Random, because two gateways with the same name would throw each other out for ever.
    clientId: config.clientId ?? `tidemark-${config.name}-${randomBytes(4).toString('hex')}`,
    credentials: () => loadCredentials(config, process.env),
  });
  return runForwarder({
    ...config,
    name: context.name,
    reader: context.reader,
    cursors: context.state,
    sink,
    clock: systemClock,
    random: Math.random,
    signal: context.signal,
    report: context.report,
    log: context.log,
  });
});
