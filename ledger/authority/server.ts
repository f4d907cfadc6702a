// The authority over HTTP: add-checkpoint, its own view of each gateway, evidence, mirrors, metrics, health. Owns sockets and
// who may submit; what is cosigned is witness.ts's decision.
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import { type AddressInfo, isIPv6 } from 'node:net';
import { Counter, Gauge, Registry } from 'prom-client';
import { TLOG_SIZE_TYPE } from '../format/add-checkpoint.ts';
import { formatVerifierKey } from '../format/note.ts';
import type { AuthorityConfig } from './config.ts';
import { EvidenceFiles } from './evidence-files.ts';
import { Served } from './served.ts';
import { openAuthority } from './store.ts';
import { Witness, type WitnessAnswer } from './witness.ts';

export interface AuthorityLogger {
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

/** Certificate and key, read and checked; whoever holds it may put others in place while the authority runs. */
export interface AuthorityTls {
  readonly serverOptions: ServerOptions;
  /** Makes the server take the certificates that come later. */
  follow(server: { setSecureContext(options: ServerOptions): void }): void;
}

export interface AuthorityPorts {
  readonly nowMs?: () => number;
  /** Made of `config.tls`; it must be here where that is. */
  readonly tls?: AuthorityTls | null;
}

export interface RunningAuthority {
  /** Verifier key text, for policies. */
  readonly verifierKey: string;
  readonly url: string;
  /** Takes gateways and access list of another configuration; gives back the settings that wait for a new start. */
  reload(config: AuthorityConfig): readonly string[];
  close(): Promise<void>;
}

/** @throws KeyError, or the system's error where it cannot listen */
export async function startAuthority(
  config: AuthorityConfig,
  logger: AuthorityLogger,
  { nowMs = Date.now, tls = null }: AuthorityPorts = {},
): Promise<RunningAuthority> {
  if (config.tls && !tls) throw new TypeError('tls is configured, and no certificate given');
  const { key, heads } = openAuthority(config.dataDir);
  const evidence = new EvidenceFiles(config.dataDir, config.evidenceMax);
  const served = new Served(config, logger);
  const counts = new AuthorityMetrics();
  const witness = new Witness({
    name: config.name,
    key,
    heads,
    gatewayOf: (origin) => served.gateways.get(origin),
    historyKept: config.historyKept,
    nowMs,
    onEvidence: (origin, found) => {
      const name = evidence.write(origin, found);
      if (name === null) return;
      logger.error({ origin, file: name }, 'a gateway signed two histories; the evidence is kept');
    },
  });
  const use = (next: AuthorityConfig) => {
    const waiting = served.use(next, (origin) => witness.newest(origin));
    counts.size.reset();
    for (const origin of served.gateways.keys())
      counts.size.set({ origin }, witness.newest(origin)?.size ?? 0);
    return waiting;
  };

  async function submit(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!served.mayCall(request.socket.remoteAddress ?? '')) {
      counts.refusedCallers.inc();
      send(response, 403, 'this address may not submit checkpoints\n');
      return;
    }
    const body = await readBody(request, config.maxBodyBytes);
    if (body === null) {
      send(response, 413, `a submission has at most ${config.maxBodyBytes} bytes\n`);
      return;
    }
    const decided = decide(body);
    counts.answers.inc({ status: String(decided.status) });
    if (decided.status === 200) {
      send(response, 200, decided.lines);
      counts.size.set({ origin: decided.origin }, decided.size);
      served.mirrorOf(decided.origin)?.follow(witness.newest(decided.origin)!);
    } else if (decided.status === 409) send(response, 409, `${decided.size}\n`, TLOG_SIZE_TYPE);
    else send(response, decided.status, `${decided.reason}\n`);
  }

  function decide(body: Buffer): WitnessAnswer | { readonly status: 500; readonly reason: string } {
    try {
      return witness.addCheckpoint(body);
    } catch (error) {
      // A full or failing disk: nothing was stored, so nothing is said, and the gateway asks again.
      logger.error({ err: error }, 'a submission could not be decided');
      return { status: 500, reason: 'the submission could not be stored' };
    }
  }

  /** What stands at a path, or null. */
  async function view(path: string): Promise<Page | null> {
    const [head, ...rest] = path.slice(1).split('/');
    const origin = served.originOf(head ?? '');
    if (path === '/healthz') return { body: 'ok\n' };
    if (path === '/metrics')
      return { body: await counts.registry.metrics(), type: counts.registry.contentType };
    if (path === '/evidence') return { body: `${JSON.stringify(evidence.list())}\n`, type: JSON_TYPE };
    if (head === 'evidence') {
      const file = evidence.read(rest.join('/'));
      return file === null ? null : { body: file, type: JSON_TYPE };
    }
    if (head === 'mirror') {
      const mirror = served.mirrorOf(served.originOf(rest[0] ?? '') ?? '');
      const file = mirror?.read(rest.slice(1).join('/')) ?? null;
      return file === null ? null : { body: file, type: 'application/octet-stream' };
    }
    const newest = origin !== null && rest.join('/') === 'checkpoint' ? witness.newest(origin) : null;
    return newest && { body: newest.note };
  }

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = (request.url ?? '/').split('?', 1)[0]!;
    if (path === '/add-checkpoint' && request.method === 'POST') {
      await submit(request, response);
    } else if (request.method === 'GET' || request.method === 'HEAD') {
      const page = await view(path);
      if (page) send(response, 200, page.body, page.type);
      else send(response, 404, 'there is nothing here\n');
    } else {
      send(response, 405, 'POST /add-checkpoint, or GET\n');
    }
  }

  const listener: RequestListener = (request, response) => {
    answer(request, response).catch((error: unknown) => {
      logger.warn({ err: error }, 'a request could not be answered');
      if (!response.headersSent) send(response, 500, 'internal error\n');
    });
  };
  const server = listenerOf(tls, listener);
  server.maxConnections = config.maxConnections;
  server.requestTimeout = config.requestTimeoutMs;
  server.headersTimeout = config.requestTimeoutMs;
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(config.port, config.host, () => resolve());
    });
  } catch (error) {
    heads.close();
    throw error;
  }
  use(config);
  counts.watch(evidence, served);
  const { port } = server.address() as AddressInfo;
  const host = isIPv6(config.host) ? `[${config.host}]` : config.host;
  return {
    verifierKey: formatVerifierKey(witness.verifierKey),
    url: `${tls ? 'https' : 'http'}://${host}:${port}`,
    reload: use,
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
      await served.close();
      heads.close();
    },
  };
}

function listenerOf(tls: AuthorityTls | null, listener: RequestListener): Server {
  if (!tls) return createServer(listener);
  const server = createTlsServer(tls.serverOptions, listener);
  tls.follow(server);
  return server;
}

class AuthorityMetrics {
  readonly registry = new Registry();
  readonly answers = new Counter({
    name: 'tidemark_authority_submissions_total',
    help: 'Submissions by the HTTP status of their answer.',
    labelNames: ['status'],
    registers: [this.registry],
  });
  readonly refusedCallers = new Counter({
    name: 'tidemark_authority_callers_refused_total',
    help: 'Submissions refused because of the address they came from.',
    registers: [this.registry],
  });
  readonly size = new Gauge({
    name: 'tidemark_authority_cosigned_size_blocks',
    help: 'Size of the newest tree cosigned, by origin.',
    labelNames: ['origin'],
    registers: [this.registry],
  });

  watch(evidence: EvidenceFiles, served: Served): void {
    const { registry } = this;
    new Gauge({
      name: 'tidemark_authority_evidence_files',
      help: 'Evidence files kept. Anything but 0 needs a person.',
      registers: [registry],
      collect() {
        this.set(evidence.list().length);
      },
    });
    new Gauge({
      name: 'tidemark_authority_mirrored_blocks',
      help: 'Blocks mirrored, by origin.',
      labelNames: ['origin'],
      registers: [registry],
      collect() {
        for (const [origin, { mirror }] of served.mirrors) this.set({ origin }, mirror.size);
      },
    });
  }
}

interface Page {
  readonly body: string | Uint8Array;
  readonly type?: string;
}

const JSON_TYPE = 'application/json';

function send(
  response: ServerResponse,
  status: number,
  body: string | Uint8Array,
  type = 'text/plain; charset=utf-8',
): void {
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body) }).end(body);
}

/** The whole body, or null (and the rest unread) where it is too long. */
async function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer | null> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > maxBytes) return null;
    parts.push(part);
  }
  return Buffer.concat(parts);
}
