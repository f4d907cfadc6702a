// Wires the rooms of the house into one running gateway, in the order in which they depend on each other, and takes
// them down in reverse. Holds no behaviour of its own.
import { mkdirSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import { type Act, actRecord } from '../gateway/access/acts.ts';
import { Administration } from '../gateway/access/administration.ts';
import { AccessControl } from '../gateway/access/control.ts';
import { AccessStore } from '../gateway/access/store.ts';
import { TlsMaterial } from '../gateway/access/tls.ts';
import { Admission } from '../gateway/admission/admission.ts';
import type { AdmissionFigures } from '../gateway/admission/types.ts';
import { DerivedTail } from '../gateway/api/derived.ts';
import { startLocalAdmin } from '../gateway/api/local-admin.ts';
import { ProofWorker } from '../gateway/api/proofs.ts';
import type { Applied } from '../gateway/api/routes/admin.ts';
import { createHttpServer } from '../gateway/api/server.ts';
import { coldFs } from '../gateway/cold/cold-fs.ts';
import { CallerGuard } from '../gateway/ingest/caller.ts';
import { ConnectionCaps, capConnections } from '../gateway/ingest/connection-caps.ts';
import { Door } from '../gateway/ingest/door.ts';
import { HttpIngest } from '../gateway/ingest/http/ingest.ts';
import { type MqttServer, startMqtt } from '../gateway/ingest/mqtt/listener.ts';
import { attachWebSocket, type WebSocketIngest } from '../gateway/ingest/websocket/attach.ts';
import { realFs } from '../gateway/log/fs.ts';
import { KeyIndexer } from '../gateway/log/key-indexer.ts';
import { openLog } from '../gateway/log/log.ts';
import { openReader } from '../gateway/log/reader.ts';
import { DurableEnd } from '../gateway/log/signal.ts';
import type { Log, LogError } from '../gateway/log/types.ts';
import { DropOldest } from '../gateway/retention/space.ts';
import type { LossTotals } from '../gateway/stage/types.ts';
import { StateStore } from '../gateway/state/state.ts';
import { Chores } from '../gateway/threads/chores.ts';
import { gatewayVerifierKey, loadOrCreateGatewayKey } from '../ledger/seal/key.ts';
import { watchCertificates } from './certificates.ts';
import type { GatewayConfig } from './config/schema.ts';
import { listening } from './listening.ts';
import { Opened } from './opened.ts';
import { originOf } from './origin.ts';
import { pressureOf } from './pressure.ts';
import { Reloader } from './reload.ts';
import { reloadables } from './reloadables.ts';
import { Stages } from './stages.ts';
import { VERSION } from './version.ts';

export interface RunningGateway {
  readonly origin: string;
  /** Verifier key text: what an auditor needs to check this gateway's signatures. */
  readonly verifierKey: string;
  /** e.g. http://127.0.0.1:8080 */
  readonly httpUrl: string;
  /** e.g. mqtt://127.0.0.1:1883; null when MQTT is switched off. */
  readonly mqttUrl: string | null;
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
  const { dataDir } = config;
  mkdirSync(dataDir, { recursive: true });
  const log = opened.add(await openLog({ dataDir, config: config.log }), (part) => part.close());
  const failed = new Promise<LogError>((resolve) => log.onFatal(resolve));
  const chores = opened.add(new Chores(), (part) => part.close());
  opened.add(
    new KeyIndexer(chores, { dataDir, durableEnd: log.durableEnd }, (problem) =>
      logger.warn({ problem }, 'a segment has no key index for now'),
    ),
    (part) => part.close(),
  );
  const origin = originOf(config);
  const publicKey = gatewayVerifierKey(origin, loadOrCreateGatewayKey(dataDir));
  const state = opened.add(new StateStore(dataDir), (part) => part.close());
  log.useSpaceMaker(
    new DropOldest({
      segments: log.segments,
      state,
      logger,
      freeBytes: () => realFs.freeBytes(dataDir),
    }),
  );
  const derived = new DerivedTail(config.http.derivedKept);
  let publishCommand = (_topic: string, _payload: Uint8Array) => {};
  const stages = opened.add(
    new Stages(config, origin, log, {
      appender: derived.observe(log),
      logger,
      publish: (topic, payload) => publishCommand(topic, payload),
    }),
    (part) => part.stop(),
  );
  let queuedBytes = () => 0;
  const pressure = pressureOf(config, log, stages, () => queuedBytes());
  const admission = opened.add(
    await Admission.open({ config: config.ingest, log, state, dataDir, chores, logger, pressure }),
    (part) => part.close(),
  );
  queuedBytes = () => admission.queuedBytes;
  const { cold } = config;
  const reader = opened.add(
    await (cold
      ? openReader({ dataDir, durableEnd: log.durableEnd, fs: coldFs(dataDir, cold) })
      : log.openReader()),
    (part) => part.close(),
  );

  const proofs = opened.add(new ProofWorker({ dataDir, durableEnd: log.durableEnd, cold }), (part) =>
    part.close(),
  );
  const guard = new CallerGuard(config.http);
  const store = opened.add(
    new AccessStore(dataDir, (what) =>
      logger.error(
        { what },
        'access.db: a row is not what was written and counts for nothing; run `tidemark fsck`',
      ),
    ),
    (part) => part.close(),
  );
  const access = opened.add(new AccessControl({ config: config.access, store }), (part) => part.close());
  const record = async (acts: readonly Act[]) => {
    await log.appendAll(acts.map((act) => actRecord(act, Date.now())));
  };
  const administration = new Administration({ store, record, access, config: () => config.access });
  const httpLogger = logger.child({}, { level: logger.isLevelEnabled('warn') ? 'warn' : logger.level });
  const caps = new ConnectionCaps(config.connections);
  let mqtt: MqttServer | null = null;
  const tls = config.http.tls ? TlsMaterial.load(config.http.tls, 'http.tls') : null;
  const reloader = new Reloader({
    inForce: config,
    load,
    record,
    parts: reloadables({
      access,
      admission,
      pressure,
      caps,
      stages,
      loggers: [logger, httpLogger],
      tls: () => ({ mqtt: mqtt?.tls ?? null, http: tls }),
    }),
  });
  const local = new WeakSet<Socket>();
  const door = new Door(access, guard);

  let ready = false;
  let webSocket: WebSocketIngest | null = null;
  const ingest = new HttpIngest({
    admission,
    config: config.ingest,
    http: config.http.ingest,
    door,
    logger,
    isReady: () => ready,
  });
  const http = opened.add(
    await createHttpServer({
      config: config.http,
      tls,
      gateway: {
        version: VERSION,
        origin,
        // The key may be rotated while the gateway runs.
        get publicKey() {
          const { verifierKey: inForce } = stages.figures().sealer ?? {};
          return typeof inForce === 'string' ? inForce : publicKey;
        },
        startedMs: Date.now(),
      },
      log: { reader, figures: () => log.figures() },
      derived,
      proofs,
      guard,
      door,
      ingest,
      plugins: [],
      admin: { administration, apply: (by) => reloader.apply(by) },
      local,
      accessFigures: () => access.figures(),
      devices: () => admission.devices.export(),
      deviceCount: () => admission.devices.size,
      ingestFigures: () => ({
        admission: admission.figures(),
        mqtt: mqtt?.figures() ?? null,
        websocket: webSocket?.figures() ?? null,
        connections: caps.figures(),
      }),
      stages: () => stages.figures(),
      pressure: () => pressure.figures,
      ledgerDir: join(dataDir, 'ledger'),
      dashboardDir: dashboardDir(),
      isReady: () => ready,
      logger: httpLogger,
    }),
    (part) => part.close(),
  );
  opened.add(ingest, (part) => part.close());
  capConnections(http.server, caps);
  webSocket = opened.add(
    attachWebSocket(http.server, {
      path: '/ws',
      admission,
      config: config.websocket,
      door,
      logger,
      kept: { chores, dataDir, logEnd: new DurableEnd(log.durableEnd).get() },
    }),
    (part) => part.close(),
  );
  const listened = await listening('http', config.http, () =>
    http.listen({ host: config.http.host, port: config.http.port }),
  );
  const httpUrl = config.http.tls ? listened.replace(/^http:/, 'https:') : listened;
  const localAdmin = await startLocalAdmin(dataDir, local, (request, response) =>
    http.routing(request, response),
  );
  if (localAdmin) opened.add(localAdmin, (part) => part.close());
  else logger.warn({ dataDir }, 'no local admin socket: the path is too long; use --url and a token');
  let mqttUrl: string | null = null;
  if (config.mqtt.enabled) {
    mqtt = opened.add(
      await listening('mqtt', config.mqtt, () =>
        startMqtt({ config: config.mqtt, admission, access, guard, dataDir, logger, caps }),
      ),
      (part) => part.close(),
    );
    if (config.mqtt.webSocket.onHttpPort) mqtt.attach(http.server);
    const broker = mqtt;
    publishCommand = (topic, payload) => broker.publish(topic, payload, 0);
    mqttUrl = `mqtt://${config.mqtt.host.includes(':') ? `[${config.mqtt.host}]` : config.mqtt.host}:${mqtt.port}`;
  }

  opened.add(
    watchCertificates(() => ({ 'mqtt.tls': mqtt?.tls ?? null, 'http.tls': tls }), logger),
    (stop) => stop(),
  );
  stages.start();
  stages.watchLosses(() => lossesOf(admission.figures()));
  const stopped = new AbortController();
  const loaded = derived
    .load(reader, config.http.derivedLookBackRecords, stopped.signal)
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
    origin,
    verifierKey: publicKey,
    httpUrl,
    mqttUrl,
    recovery: log.recovery,
    firstToken: () => administration.firstToken(),
    reload: (by) => reloader.apply(by),
    failed,
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

/** dist/dashboard, which stands beside these files once built and one level up from the sources. */
function dashboardDir(): string {
  return fileURLToPath(
    new URL(import.meta.url.endsWith('.ts') ? '../dist/dashboard' : '../dashboard', import.meta.url),
  );
}
