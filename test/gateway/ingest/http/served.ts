// HTTP ingest on a plain server of its own, on a free port, over a real log and admission; with real access where a test
// wants names.
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Administration } from '../../../../gateway/access/administration.ts';
import { anonymousAccess } from '../../../../gateway/access/anonymous.ts';
import { accessConfigSchema } from '../../../../gateway/access/config.ts';
import { AccessControl } from '../../../../gateway/access/control.ts';
import { AccessStore } from '../../../../gateway/access/store.ts';
import { CallerGuard } from '../../../../gateway/ingest/caller.ts';
import { Door } from '../../../../gateway/ingest/door.ts';
import { type HttpIngestConfig, httpIngestConfigSchema } from '../../../../gateway/ingest/http/config.ts';
import { HttpIngest } from '../../../../gateway/ingest/http/ingest.ts';
import { Harness, type HarnessOptions } from '../../admission/harness.ts';

export interface ServedIngest {
  readonly harness: Harness;
  readonly ingest: HttpIngest;
  readonly server: Server;
  readonly door: Door;
  readonly base: string;
  /** Only with `names`. */
  readonly administration: Administration | null;
  /** What /health is told. */
  ready: boolean;
  close(): Promise<void>;
}

export interface ServedOptions {
  readonly harness?: HarnessOptions;
  readonly http?: Partial<HttpIngestConfig>;
  /** Names, passwords and tokens; those without one are let in from this machine only. */
  readonly names?: boolean;
  /** False: node:http serves everything. */
  readonly lane?: boolean;
  readonly keepAliveTimeoutMs?: number;
}

export async function serveIngest(options: ServedOptions = {}): Promise<ServedIngest> {
  const harness = await Harness.open(options.harness);
  const { admission, config, lines, dataDir } = harness;
  const store = options.names ? new AccessStore(dataDir) : null;
  const accessConfig = accessConfigSchema.parse({});
  const access = store === null ? null : new AccessControl({ config: accessConfig, store });
  const administration =
    store === null
      ? null
      : new Administration({ store, access: access!, record: async () => {}, config: () => accessConfig });
  const door = new Door(access ?? anonymousAccess, new CallerGuard({ host: '127.0.0.1', allowedHosts: [] }));
  const state = { ready: true };
  const ingest = new HttpIngest({
    admission,
    config,
    http: httpIngestConfigSchema.parse(options.http ?? {}),
    door,
    logger: lines,
    isReady: () => state.ready,
  });
  const server = createServer((request, response) => {
    if (!ingest.handle(request, response)) response.writeHead(404).end();
  });
  const { keepAliveTimeoutMs = 60_000 } = options;
  server.keepAliveTimeout = keepAliveTimeoutMs;
  if (options.lane !== false) ingest.takeConnections(server, { maxHeaderBytes: 16_384, keepAliveTimeoutMs });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return Object.assign(state, {
    harness,
    ingest,
    server,
    door,
    base,
    administration,
    async close() {
      harness.disk.full = false;
      harness.disk.release();
      await ingest.close();
      server.close();
      server.closeAllConnections();
      access?.close();
      store?.close();
      await harness.remove();
    },
  });
}
