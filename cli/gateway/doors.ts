// Opens the listeners in front of the spine: HTTP with its API, WebSocket, the local admin socket, MQTT. Decides nothing about
// records or callers.
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { Logger } from 'pino';
import { TlsMaterial } from '../../gateway/access/tls.ts';
import { startLocalAdmin } from '../../gateway/api/local-admin.ts';
import type { Applied } from '../../gateway/api/routes/admin.ts';
import { createHttpServer } from '../../gateway/api/server.ts';
import { type ConnectionCaps, capConnections } from '../../gateway/ingest/connection-caps.ts';
import { HttpIngest } from '../../gateway/ingest/http/ingest.ts';
import { type MqttServer, startMqtt } from '../../gateway/ingest/mqtt/listener.ts';
import { attachWebSocket, type WebSocketIngest } from '../../gateway/ingest/websocket/attach.ts';
import { DurableEnd } from '../../gateway/log/signal.ts';
import { timestampPage } from '../../ledger/timestamp/store.ts';
import type { GatewayConfig } from '../config/schema.ts';
import { VERSION } from '../version.ts';
import type { Callers } from './callers.ts';
import { listening } from './listening.ts';
import type { Opened } from './opened.ts';
import type { Spine } from './spine.ts';

export interface Doors {
  /** e.g. http://127.0.0.1:8080 */
  readonly httpUrl: string;
  /** e.g. mqtt://127.0.0.1:1883; null when MQTT is switched off. */
  readonly mqttUrl: string | null;
}

export interface DoorsOptions {
  readonly config: GatewayConfig;
  readonly spine: Spine;
  readonly callers: Callers;
  readonly caps: ConnectionCaps;
  readonly logger: Logger;
  readonly httpLogger: Logger;
  /** Reads the configuration again. */
  readonly apply: (by: string) => Promise<Applied>;
  readonly isReady: () => boolean;
  /** Filled as listeners open. */
  readonly tls: Record<'mqtt' | 'http', TlsMaterial | null>;
}

/** @throws CommandError where a port is taken; what was opened by then is in `opened`. */
export async function openDoors(options: DoorsOptions, opened: Opened): Promise<Doors> {
  const { config, spine, callers, caps, logger, isReady, tls } = options;
  const { dataDir } = config;
  const { log, admission, stages, chores } = spine;
  const { access, guard, door, administration } = callers;
  tls.http = config.http.tls ? TlsMaterial.load(config.http.tls, 'http.tls') : null;
  const local = new WeakSet<Socket>();
  let mqtt: MqttServer | null = null;
  let webSocket: WebSocketIngest | null = null;
  const ingest = new HttpIngest({
    admission,
    config: config.ingest,
    http: config.http.ingest,
    door,
    logger,
    isReady,
  });
  const http = opened.add(
    await createHttpServer({
      config: config.http,
      tls: tls.http,
      gateway: {
        version: VERSION,
        origin: spine.origin,
        // The key may be rotated while the gateway runs.
        get publicKey() {
          const { verifierKey: inForce } = stages.figures().sealer ?? {};
          return typeof inForce === 'string' ? inForce : spine.publicKey;
        },
        startedMs: Date.now(),
      },
      log: { reader: spine.reader, figures: () => log.figures() },
      derived: spine.derived,
      proofs: spine.proofs,
      timestamps: (before, limit) => timestampPage(dataDir, before, limit),
      guard,
      door,
      ingest,
      plugins: [],
      admin: { administration, apply: options.apply },
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
      pressure: () => spine.pressure.figures,
      ledgerDir: spine.ledgerDir,
      dashboardDir: dashboardDir(),
      isReady,
      logger: options.httpLogger,
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
  if (!config.mqtt.enabled) return { httpUrl, mqttUrl: null };

  const broker = opened.add(
    await listening('mqtt', config.mqtt, () =>
      startMqtt({ config: config.mqtt, admission, access, guard, dataDir, logger, caps }),
    ),
    (part) => part.close(),
  );
  mqtt = broker;
  tls.mqtt = broker.tls;
  if (config.mqtt.webSocket.onHttpPort) broker.attach(http.server);
  spine.usePublish((topic, payload) => broker.publish(topic, payload, 0));
  const { host } = config.mqtt;
  return { httpUrl, mqttUrl: `mqtt://${host.includes(':') ? `[${host}]` : host}:${broker.port}` };
}

/** dist/dashboard: these files are in dist/cli/gateway once built, in cli/gateway as sources. */
function dashboardDir(): string {
  return fileURLToPath(
    new URL(import.meta.url.endsWith('.ts') ? '../../dist/dashboard' : '../../dashboard', import.meta.url),
  );
}
