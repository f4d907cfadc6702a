// The ways to administer a gateway: by its HTTP API with a token, by the socket in its data directory, or, when none runs
// there, on the data directory itself. Which one is taken does not show in the answers.
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { actRecord } from '../gateway/access/acts.ts';
import { AdminError, Administration, type Issued, type Listed } from '../gateway/access/administration.ts';
import { AccessStore } from '../gateway/access/store.ts';
import { adminSocketPath } from '../gateway/api/local-admin.ts';
import { openLog } from '../gateway/log/log.ts';
import { LogError } from '../gateway/log/types.ts';
import type { Invocation } from './command.ts';
import { loadConfig } from './config/load.ts';
import type { GatewayConfig } from './config/schema.ts';
import { withDataDir } from './data-dir.ts';
import { CommandError, EXIT } from './errors.ts';
import { fetchFrom, type Problem } from './http.ts';

export interface Administrator {
  list(): Promise<readonly Listed[]>;
  add(request: object): Promise<Issued>;
  import(request: object): Promise<readonly Issued[]>;
  revoke(name: string): Promise<void>;
  rotate(request: object): Promise<Issued>;
  resetAdmin(): Promise<Issued>;
}

const LOCAL = 'local';
const TIMEOUT_MS = 600_000;

/** @throws CommandError */
export async function administer<T>(
  invocation: Invocation,
  act: (by: Administrator) => Promise<T>,
): Promise<T> {
  const send = await senderFor(invocation);
  if (send !== null) return act(overHttp(send));
  return onDirectory(configOf(invocation), act);
}

/** What a running gateway answers; null where none runs in the data directory. */
export async function sendToGateway(invocation: Invocation, path: string): Promise<object | null> {
  const send = await senderFor(invocation);
  return send === null ? null : send('POST', path, {});
}

const configOf = (invocation: Invocation) =>
  withDataDir(loadConfig(invocation.text('config'), process.env), invocation).config;

type Send = (method: 'GET' | 'POST', path: string, body?: object) => Promise<object>;

async function senderFor(invocation: Invocation): Promise<Send | null> {
  const url = invocation.text('url');
  const token = invocation.text('token') ?? process.env.TIDEMARK_TOKEN;
  if (url !== undefined) {
    if (token === undefined)
      throw new CommandError(EXIT.usage, 'a token is needed to administer over the network', {
        hint: 'set TIDEMARK_TOKEN, or give --token',
      });
    return async (method, path, body) => {
      const json = body === undefined ? {} : { body: JSON.stringify(body) };
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
      const response = await fetchFrom(url, `/api/v1/admin/${path}`, { method, headers, ...json });
      return answerOf(response.status, await response.text());
    };
  }
  const socket = adminSocketPath(configOf(invocation).dataDir);
  if (!existsSync(socket) || !(await answers(socket))) return null;
  return async (method, path, body) => {
    const { status, body: answer } = await ask(socket, method, `/api/v1/admin/${path}`, body);
    return answerOf(status, answer);
  };
}

/** False where a gateway that was killed has left the socket behind. */
async function answers(socket: string): Promise<boolean> {
  try {
    await ask(socket, 'GET', '/healthz');
    return true;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ECONNREFUSED' || code === 'ENOENT') return false;
    throw new CommandError(EXIT.unable, `the gateway’s socket ${socket} can't be used: ${message}`, {
      hint: code === 'EACCES' ? 'run this as the user the gateway runs as, or use --url and a token' : '',
      cause: error,
    });
  }
}

async function ask(socketPath: string, method: string, path: string, body?: object) {
  const headers = body === undefined ? {} : { 'content-type': 'application/json' };
  const request = httpRequest({ socketPath, method, path, headers, timeout: TIMEOUT_MS });
  request.end(body === undefined ? undefined : JSON.stringify(body));
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return { status: response.statusCode ?? 0, body: await text(response) };
}

function answerOf(status: number, body: string): object {
  const parsed = parsedOrEmpty(body);
  if (status >= 200 && status < 300) return parsed;
  const { detail } = parsed as Problem;
  const usage = status === 400 || status === 404 || status === 409;
  throw new CommandError(
    usage ? EXIT.usage : EXIT.unable,
    detail ?? `the gateway answered ${status}`,
    status === 401
      ? { hint: 'is it the token of this gateway? A lost one: `tidemark token admin --reset` there' }
      : {},
  );
}

function parsedOrEmpty(body: string): object {
  try {
    return JSON.parse(body) as object;
  } catch {
    return {};
  }
}

function overHttp(send: Send): Administrator {
  return {
    list: async () => ((await send('GET', 'principals')) as { principals: Listed[] }).principals,
    add: async (request) => (await send('POST', 'add', request)) as Issued,
    import: async (request) => ((await send('POST', 'import', request)) as { issued: Issued[] }).issued,
    revoke: async (name) => {
      await send('POST', 'revoke', { name });
    },
    rotate: async (request) => (await send('POST', 'rotate', request)) as Issued,
    resetAdmin: async () => (await send('POST', 'reset-admin', {})) as Issued,
  };
}

/** The log is opened as a gateway would, so that the acts are in it before they count; sealed at the next start. */
async function onDirectory<T>(config: GatewayConfig, act: (by: Administrator) => Promise<T>): Promise<T> {
  const log = await openLog({ dataDir: config.dataDir, config: config.log }).catch((error: unknown) => {
    if (error instanceof LogError && error.code === 'LOCKED')
      throw new CommandError(EXIT.unable, error.message, {
        hint: 'its gateway has no local socket: use --url and a token',
        cause: error,
      });
    throw error;
  });
  const store = new AccessStore(config.dataDir, (what) =>
    process.stderr.write(
      `access.db: ${what} is not what was written and counts for nothing; run tidemark fsck\n`,
    ),
  );
  try {
    const administration = new Administration({
      store,
      record: async (acts) => {
        await log.appendAll(acts.map((each) => actRecord(each, Date.now())));
      },
      config: () => config.access,
    });
    return await act({
      list: async () => administration.list(),
      add: (request) => administration.add(request, LOCAL),
      import: (request) => administration.import(request, LOCAL),
      revoke: (name) => administration.revoke({ name }, LOCAL),
      rotate: (request) => administration.rotate(request, LOCAL),
      resetAdmin: () => administration.resetAdmin(LOCAL),
    });
  } catch (error) {
    if (!(error instanceof AdminError)) throw error;
    const hint = error.hint === undefined ? {} : { hint: error.hint };
    throw new CommandError(EXIT.usage, error.message, { ...hint, cause: error });
  } finally {
    store.close();
    await log.close();
  }
}
