// `tidemark demo`: the gateway with a simulated plant and a central broker to forward to, and a live summary line.
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startCentralBroker } from '../../firmware-sim/central-broker.ts';
import { type Plant, startPlant } from '../../firmware-sim/plant.ts';
import type { Invocation } from '../command.ts';
import { type LoadedConfig, loadConfig } from '../config/load.ts';
import { type GatewayConfig, gatewayConfig } from '../config/schema.ts';
import { withDataDir } from '../data-dir.ts';
import { DEMO_MARKER } from '../demo-marker.ts';
import { DemoSummary } from '../demo-summary.ts';
import { CommandError, EXIT, type ExitCode } from '../errors.ts';
import { startGateway } from '../gateway/compose.ts';
import { Signals } from '../signals.ts';
import { createLogger, untilStopped } from './serve.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const signals = new Signals();
  const seed = invocation.whole('seed', { min: 0, max: 2 ** 32 - 1 }) ?? 1;
  const devices = invocation.whole('devices', { min: 1, max: 1_000 }) ?? 40;
  const loaded = withDataDir(loadConfig(invocation.text('config'), process.env), invocation);
  markDirectory(loaded.config.dataDir);
  const central = await startCentralBroker();
  const config = demoConfig(loaded, central.url);
  const logger = createLogger({ ...config, logLevel: config.logLevel === 'info' ? 'warn' : config.logLevel });
  const gateway = await startGateway(config, logger).catch(async (error: unknown) => {
    await central.close();
    throw error;
  });
  const mqttUrl = gateway.mqttUrl;
  if (mqttUrl === null)
    throw new CommandError(EXIT.usage, 'mqtt.enabled is false, and the demo plant needs MQTT');
  welcome(gateway.httpUrl, mqttUrl, config.dataDir, devices);

  const stop = new AbortController();
  const plant = startPlant({
    seed,
    devices,
    mqttUrl,
    httpUrl: gateway.httpUrl,
    wsUrl: `${gateway.httpUrl.replace(/^http/, 'ws')}/ws`,
    signal: stop.signal,
  });
  const summary = new DemoSummary(gateway.httpUrl, plant);
  summary.start();
  const code = await untilStopped(gateway, logger, signals, () => stopPlant(plant, summary, stop));
  await central.close();
  process.stdout.write(
    '\nstopped: everything acknowledged is on disk and sealed. `tidemark audit` checks it.\n',
  );
  return code;
}

async function stopPlant(plant: Plant, summary: DemoSummary, stop: AbortController): Promise<void> {
  summary.stop();
  await plant.stop();
  stop.abort();
}

/** Shows windows and forwarding within seconds, unless the configuration file says otherwise. */
function demoConfig({ config }: LoadedConfig, centralUrl: string): GatewayConfig {
  const { windows, forwarders } = gatewayConfig.parse({
    windows: [{ name: 'ten-seconds', sizeMs: 10_000, allowedLatenessMs: 2_000 }],
    forwarders: [{ name: 'central', type: 'mqtt', url: centralUrl, topicPrefix: 'demo/' }],
  });
  const isDefault = JSON.stringify(config.windows) === JSON.stringify(gatewayConfig.parse({}).windows);
  return {
    ...config,
    windows: isDefault ? windows : config.windows,
    forwarders: config.forwarders.length > 0 ? config.forwarders : forwarders,
  };
}

/** A ledger of real telemetry must never take simulated records, so the demo only uses a directory of its own. */
function markDirectory(dataDir: string): void {
  const marker = join(dataDir, DEMO_MARKER);
  if (
    existsSync(join(dataDir, 'log')) &&
    readdirSync(join(dataDir, 'log')).length > 0 &&
    !existsSync(marker)
  ) {
    throw new CommandError(
      EXIT.usage,
      `${dataDir} holds records of real devices; the demo does not mix in simulated ones`,
      { hint: 'choose another one with --data-dir' },
    );
  }
  mkdirSync(dataDir, { recursive: true });
  writeFileSync(
    marker,
    'The records in this data directory come from the demo plant (`tidemark demo`), not from real devices.\n',
  );
}

function welcome(httpUrl: string, mqttUrl: string, dataDir: string, devices: number): void {
  process.stdout.write(`
tidemark demo: ${devices} simulated devices over MQTT, HTTP and WebSocket

  dashboard   ${httpUrl}/
  MQTT        ${mqttUrl}          mosquitto_pub -q 1 -t plant/my-1/level -m '{"value":0.42}'
  HTTP        ${httpUrl}          curl --json '{"value":0.42}' ${httpUrl}/api/v1/ingest/plant/my-1/level
  data        ${dataDir}

  prove any record:  npm run --silent tidemark -- prove --offset 17 > p.json
                     npm run --silent tidemark -- verify p.json
  stop with Ctrl-C

`);
}
