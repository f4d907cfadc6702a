// `tidemark serve`: the gateway until it is told to stop. Never simulates anything.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import pino, { type Logger } from 'pino';
import { isLoopback } from '../../gateway/access/anonymous.ts';
import { collectStartGarbage } from '../../gateway/threads/start-garbage.ts';
import type { Invocation } from '../command.ts';
import { type LoadedConfig, loadConfig } from '../config/load.ts';
import type { GatewayConfig } from '../config/schema.ts';
import { withDataDir } from '../data-dir.ts';
import { DEMO_MARKER } from '../demo-marker.ts';
import { EXIT, type ExitCode } from '../errors.ts';
import { handOverFirstToken } from '../first-token.ts';
import { type RunningGateway, startGateway } from '../gateway/compose.ts';
import { Signals } from '../signals.ts';

export async function run(invocation: Invocation): Promise<ExitCode> {
  const signals = new Signals();
  const load = () => withDataDir(loadConfig(invocation.text('config'), process.env), invocation);
  const loaded = load();
  const logger = createLogger(loaded.config);
  if (existsSync(join(loaded.config.dataDir, DEMO_MARKER))) {
    logger.warn(
      { dataDir: loaded.config.dataDir },
      'this data directory holds records of the demo plant; use another one for real devices',
    );
  }
  const gateway = await startGateway(loaded.config, logger, () => load().config);
  collectStartGarbage();
  announce(gateway, loaded, logger);
  const { dataDir } = loaded.config;
  warnOfPlainText(loaded.config, logger);
  handOverFirstToken(gateway.firstToken(), { dataDir, environment: process.env, logger });
  signals.onReload(() => void reload(gateway, logger));
  return untilStopped(gateway, logger, signals);
}

/** Whoever listens on the way learns passwords and tokens. */
function warnOfPlainText({ mqtt, http }: GatewayConfig, logger: Logger): void {
  const isOpen = (host: string) => !(host === 'localhost' || isLoopback(host));
  const open = [
    ...(mqtt.enabled && isOpen(mqtt.host) ? [`mqtt.host ${mqtt.host}`] : []),
    ...(isOpen(http.host) && !http.tls ? [`http.host ${http.host}`] : []),
  ];
  if (open.length > 0)
    logger.warn(
      { open },
      'these ports are open to other machines, and passwords and tokens cross the network in the clear',
    );
}

/** A configuration that can't be used is told line by line; the one in force stays. */
async function reload(gateway: RunningGateway, logger: Logger): Promise<void> {
  try {
    const { applied, restart } = await gateway.reload('SIGHUP');
    logger.info({ applied, restart }, 'the configuration was read again');
    if (restart.length > 0) logger.warn({ restart }, 'these settings count only after a restart');
  } catch (error) {
    const { message } = error as Error;
    logger.error({ problems: message.split('\n') }, 'the configuration was not changed: it cannot be used');
  }
}

export const createLogger = (config: GatewayConfig): Logger =>
  pino(
    { level: config.logLevel, base: null, timestamp: pino.stdTimeFunctions.isoTime },
    pino.destination({ dest: 2, sync: true }),
  );

export function announce(
  gateway: RunningGateway,
  { config, file, overriddenBy }: LoadedConfig,
  logger: Logger,
): void {
  const { unclean, truncatedBytes, damage } = gateway.recovery;
  if (unclean)
    logger.warn({ truncatedBytes }, 'the last run did not end in order; what was acknowledged is there');
  for (const hole of damage) logger.error(hole, 'the log is damaged here; run `tidemark fsck`');
  logger.info(
    {
      origin: gateway.origin,
      verifierKey: gateway.verifierKey,
      http: gateway.httpUrl,
      mqtt: gateway.mqttUrl,
      dataDir: config.dataDir,
      configFile: file,
      overriddenBy,
    },
    'tidemark is ready',
  );
}

/** Resolves with the exit code after SIGTERM, SIGINT (a clean stop) or the death of the log's writer. */
export async function untilStopped(
  gateway: RunningGateway,
  logger: Logger,
  signals: Signals,
  beforeClose: () => Promise<void> = async () => {},
): Promise<ExitCode> {
  const stop = await Promise.race([signals.stop, gateway.failed]);
  if (stop instanceof Error) {
    // Nothing more can be made durable: end at once, so that no one takes this process for a working gateway.
    logger.fatal({ err: stop }, 'the log can no longer be written; the gateway ends');
    process.exit(EXIT.unable);
  }
  logger.info({ signal: stop }, 'stopping');
  // A second signal means that the person will not wait: what was acknowledged is on disk anyway.
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(EXIT.unable));
  await beforeClose();
  await gateway.close();
  logger.info('stopped');
  return EXIT.ok;
}
