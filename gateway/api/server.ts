// Makes the gateway's HTTP server: guard, headers, problem bodies, the reading routes, the live tail; the plugins it
// is given. Ingest takes its own paths first. It listens to nothing by itself and owns no state but what it shows.
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import fastify, { type FastifyInstance, LogController } from 'fastify';
import { directoryTiles } from '../../ledger/tiles/source.ts';
import type { TlsMaterial } from '../access/tls.ts';
import type { ApiDeps } from './deps.ts';
import { useDoor } from './doorkeeper.ts';
import { Gate } from './gate.ts';
import { useSecurityHeaders } from './headers.ts';
import { openApiRoute } from './openapi/document.ts';
import { useProblems } from './problem.ts';
import { RateKeeper } from './rate.ts';
import { adminRoutes } from './routes/admin.ts';
import { blockRoutes } from './routes/blocks.ts';
import { dashboardRoutes } from './routes/dashboard.ts';
import { derivedRoutes } from './routes/derived.ts';
import { deviceRoutes } from './routes/devices.ts';
import { healthRoutes } from './routes/health.ts';
import { ledgerFileRoutes } from './routes/ledger-files.ts';
import { metricsRoutes } from './routes/metrics.ts';
import { proofRoutes } from './routes/proof.ts';
import { provenanceRoutes } from './routes/provenance.ts';
import { recordRoutes } from './routes/records.ts';
import { statusRoutes } from './routes/status.ts';
import { tailRoutes } from './routes/tail.ts';
import { timestampRoutes } from './routes/timestamps.ts';
import { SealedBlocks } from './sealed.ts';
import { readStatus } from './status.ts';
import { Tail, tailEvent } from './tail.ts';

const TICK_MS = 1000;

/** Everything but listening: call `listen({ host, port })` on what comes back, and `close()` to end it. */
export async function createHttpServer(deps: ApiDeps): Promise<FastifyInstance> {
  const { config, door } = deps;
  const app = createApp(deps);
  useSecurityHeaders(app);
  useDoor(app, deps);
  useProblems(app);

  const tiles = directoryTiles(deps.ledgerDir);
  const sealed = new SealedBlocks(tiles, () => {
    const { finalSize } = deps.stages().sealer ?? {};
    return typeof finalSize === 'number' ? finalSize : 0;
  });
  const rate = new RateKeeper(TICK_MS);
  const tail = new Tail(config);
  const gate = new Gate(config.maxConcurrentReads);
  const status = () => readStatus({ deps, sealed, tail }, Date.now());

  openApiRoute(app, deps.gateway.version, deps.ingest);
  statusRoutes(app, status);
  recordRoutes(app, deps.log.reader, gate, config.maxReadBytes);
  proofRoutes(app, deps.log.reader, deps.proofs, gate);
  provenanceRoutes(app, deps.log.reader, deps.proofs, gate, deps.stages);
  timestampRoutes(app, deps.timestamps, gate);
  deviceRoutes(app, deps);
  derivedRoutes(app, deps.derived, config.derivedKept);
  blockRoutes(app, sealed);
  tailRoutes(app, { tail, rate, status });
  ledgerFileRoutes(app, tiles);
  healthRoutes(app, deps.isReady);
  metricsRoutes(app, async () => ({
    status: await status(),
    log: deps.log.figures(),
    ingest: deps.ingestFigures(),
    readsRefused: gate.refused,
    callersRefused: door.refused,
    access: deps.accessFigures?.() ?? null,
  }));
  if (deps.admin) adminRoutes(app, deps.admin);
  for (const plugin of deps.plugins) await plugin(app);
  await dashboardRoutes(app, deps.dashboardDir);

  const stopPulse = startPulse(deps, { rate, tail, status });
  const stopRecords = deps.derived.subscribe((record) => tail.record(record));
  app.addHook('preClose', async () => {
    stopRecords();
    stopPulse();
    tail.close();
  });
  return app;
}

function createApp({ config, logger, ingest, tls }: ApiDeps): FastifyInstance {
  const app = fastify({
    loggerInstance: logger,
    // One logger for all: a child for each request would cost more than most requests need it for.
    childLoggerFactory: (shared) => shared,
    logController: new LogController({ disableRequestLogging: true }),
    forceCloseConnections: true,
    bodyLimit: config.maxBodyBytes,
    requestTimeout: config.requestTimeoutMs,
    keepAliveTimeout: config.keepAliveTimeoutMs,
    serverFactory: (handler) => {
      const server = createListener(config.maxHeaderBytes, tls ?? null, (request, response) => {
        if (!ingest.handle(request, response)) handler(request, response);
      });
      if (!tls) ingest.takeConnections(server, config);
      server.requestTimeout = config.requestTimeoutMs;
      server.headersTimeout = Math.min(config.requestTimeoutMs, 15_000);
      server.keepAliveTimeout = config.keepAliveTimeoutMs;
      return server;
    },
  });
  app.server.maxConnections = config.maxConnections;
  return app;
}

function createListener(maxHeaderSize: number, tls: TlsMaterial | null, listener: RequestListener): Server {
  if (tls === null) return createServer({ maxHeaderSize }, listener);
  const server = createTlsServer({ ...tls.serverOptions, maxHeaderSize }, listener);
  tls.follow(server);
  return server as Server;
}

interface Pulsed {
  readonly rate: RateKeeper;
  readonly tail: Tail;
  readonly status: () => Promise<object>;
}

/** Once a second: takes a sample of the log's growth and sends the figures to the tail's clients. */
function startPulse(deps: ApiDeps, { rate, tail, status }: Pulsed): () => void {
  const pulse = async () => {
    rate.push(Date.now(), deps.log.figures().recordsPerSecond);
    if (tail.figures.clients > 0) tail.tick(tailEvent('figures', JSON.stringify(await status())));
  };
  const timer = setInterval(() => {
    pulse().catch((error: unknown) => deps.logger.warn({ err: error }, 'the live figures could not be read'));
  }, TICK_MS);
  timer.unref();
  return () => clearInterval(timer);
}
