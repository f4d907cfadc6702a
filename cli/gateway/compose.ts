// Puts one running gateway together, in the order in which its parts depend on each other, and takes it down in reverse:
// the spine (spine.ts), who may do what (callers.ts), the doors (doors.ts). Holds no behaviour of its own.
import { mkdirSync } from 'node:fs';
import type { Logger } from 'pino';
import type { TlsMaterial } from '../../gateway/access/tls.ts';
import type { AdmissionFigures } from '../../gateway/admission/types.ts';
import type { Applied } from '../../gateway/api/routes/admin.ts';
import { ConnectionCaps } from '../../gateway/ingest/connection-caps.ts';
import type { Log, LogError } from '../../gateway/log/types.ts';
import type { LossTotals } from '../../gateway/stage/types.ts';
import type { GatewayConfig } from '../config/schema.ts';
import { openCallers } from './callers.ts';
import { watchCertificates } from './certificates.ts';
import { type Doors, openDoors } from './doors.ts';
import { Opened } from './opened.ts';
import { Reloader } from './reload.ts';
import { reloadables } from './reloadables.ts';
import { openSpine } from './spine.ts';

export interface RunningGateway extends Doors {
  readonly origin: string;
  /** Verifier key text: what an auditor needs to check this gateway's signatures. */
  readonly verifierKey: string;
  readonly recovery: Log['recovery'];
  /** The admin token, at the very first start only: show it once, keep it nowhere. */
  firstToken(): string | null;
  /** Reads the configuration again; rejects with an error for people, having changed nothing. */
  reload(by: string): Promise<Applied>;
  /** Resolves if the log's writer dies; the process must then end without waiting for anything. */
  readonly failed: Promise<LogError>;
  /** Stops taking records, lets every room finish its step, seals what is durable, closes the log. */
  close(): Promise<void>;
}

/**
 * `load` reads the configuration again, for reloads.
 * @throws CommandError, LogError (LOCKED, …), KeyError; nothing stays open then.
 */
export async function startGateway(
  config: GatewayConfig,
  logger: Logger,
  load: () => GatewayConfig = () => config,
): Promise<RunningGateway> {
  const opened = new Opened();
  try {
    return await start(config, logger, opened, load);
  } catch (error) {
    await opened.close();
    throw error;
  }
}

async function start(
  config: GatewayConfig,
  logger: Logger,
  opened: Opened,
  load: () => GatewayConfig,
): Promise<RunningGateway> {
  mkdirSync(config.dataDir, { recursive: true });
  const spine = await openSpine(config, logger, opened);
  const { log, admission, stages, derived } = spine;
  const callers = openCallers(config, log, logger, opened);
  const caps = new ConnectionCaps(config.connections);
  const httpLogger = logger.child({}, { level: logger.isLevelEnabled('warn') ? 'warn' : logger.level });
  const tls: Record<'mqtt' | 'http', TlsMaterial | null> = { mqtt: null, http: null };
  const reloader = new Reloader({
    inForce: config,
    load,
    record: callers.record,
    parts: reloadables({
      access: callers.access,
      admission,
      pressure: spine.pressure,
      caps,
      stages,
      loggers: [logger, httpLogger],
      tls,
    }),
  });
  let ready = false;
  const doors = await openDoors(
    {
      config,
      spine,
      callers,
      caps,
      logger,
      httpLogger,
      apply: (by) => reloader.apply(by),
      isReady: () => ready,
      tls,
    },
    opened,
  );
  opened.add(
    watchCertificates(() => ({ 'mqtt.tls': tls.mqtt, 'http.tls': tls.http }), logger),
    (stop) => stop(),
  );
  stages.start();
  stages.watchLosses(() => lossesOf(admission.figures()));
  const stopped = new AbortController();
  const loaded = derived
    .load(spine.reader, config.http.derivedLookBackRecords, stopped.signal)
    .catch((error: unknown) => {
      logger.warn({ err: error }, 'derived records of earlier runs could not be read');
    });
  ready = true;
  opened.add(null, () => {
    ready = false;
    stopped.abort();
    return loaded;
  });
  return {
    ...doors,
    origin: spine.origin,
    verifierKey: spine.publicKey,
    recovery: log.recovery,
    firstToken: () => callers.administration.firstToken(),
    reload: (by) => reloader.apply(by),
    failed: spine.failed,
    close: () => opened.close(),
  };
}

/** What did not get in, as the ledger says it: told to the sender, or not. */
function lossesOf({ rejected, shed, dropped }: AdmissionFigures): LossTotals {
  const told = Object.entries(shed).map(([cause, count]) => [
    cause,
    count - dropped[cause as keyof typeof dropped],
  ]);
  return { refused: { ...rejected, ...Object.fromEntries(told) }, dropped };
}
