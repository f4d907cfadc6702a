// WebSocket ingest on an HTTP server: takes upgrades of its own path and leaves every other one to others. Who may
// connect is the door's decision, the same as for the server's routes.
import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Principal } from '../../access/types.ts';
import type { Admission } from '../../admission/admission.ts';
import type { IngestLogger } from '../../admission/types.ts';
import type { Chores } from '../../threads/chores.ts';
import type { Door, Entry } from '../door.ts';
import { piecesMax } from '../gather.ts';
import type { Problem } from '../problem.ts';
import { RefusalLog } from '../refusal-log.ts';
import { refuseUpgrade, takeUpgrades } from '../upgrades.ts';
import type { WebSocketConfig } from './config.ts';
import { WebSocketConnection } from './connection.ts';
import { Sessions } from './session.ts';
import { SessionStore } from './session-store.ts';

export interface WebSocketOptions {
  /** e.g. `/ws` */
  readonly path: string;
  readonly admission: Admission;
  readonly config: WebSocketConfig;
  /** Shared with the server's routes: it counts who is refused. */
  readonly door: Door;
  readonly logger: IngestLogger;
  /** Where sessions are kept across restarts, and where the log ends now; without it they are in memory alone. */
  readonly kept?: { readonly chores: Chores; readonly dataDir: string; readonly logEnd: number };
}

export interface WebSocketFigures {
  readonly connections: number;
  /** Upgrades refused: not allowed, or too many connections. */
  readonly connectionsRefused: number;
}

export interface WebSocketIngest {
  figures(): WebSocketFigures;
  /** Takes no more, answers what is in flight, closes every connection (1001). Close admission after it. */
  close(): Promise<void>;
}

const GOING_AWAY = 1001;
const CLOSE_GRACE_MS = 5_000;

export function attachWebSocket(server: Server, options: WebSocketOptions): WebSocketIngest {
  return new Attached(server, options);
}

class Attached implements WebSocketIngest {
  readonly #options: WebSocketOptions;
  readonly #refusals: RefusalLog;
  readonly #webSockets: WebSocketServer;
  readonly #connections = new Map<WebSocket, WebSocketConnection>();
  readonly #pings: NodeJS.Timeout;
  readonly #detach: () => void;
  readonly #sessions: Sessions;
  readonly #store: SessionStore | null;
  readonly #stopListening: () => void;
  #connectionsRefused = 0;
  #closing = false;
  #settled: (() => void) | null = null;

  constructor(server: Server, options: WebSocketOptions) {
    const { config } = options;
    this.#options = options;
    this.#refusals = new RefusalLog(options.logger);
    const { kept } = options;
    const before = kept ? SessionStore.read(kept.dataDir) : [];
    this.#store = kept
      ? new SessionStore(kept.chores, kept.dataDir, (detail) =>
          options.logger.warn({ detail }, 'websocket: sessions could not be saved'),
        )
      : null;
    this.#sessions = new Sessions(config.maxSessions, this.#store);
    if (kept) this.#sessions.restore(before, kept.logEnd);
    this.#stopListening = options.door.onChange((name) => {
      for (const connection of this.#connections.values())
        if (connection.principal.name === name) connection.end('the rights of this name have changed');
    });
    this.#webSockets = new WebSocketServer({
      noServer: true,
      maxPayload: config.maxFrameBytes,
      maxBufferedChunks: piecesMax(config.maxFrameBytes),
      perMessageDeflate: false,
      clientTracking: false,
    });
    this.#pings = setInterval(() => {
      for (const connection of this.#connections.values()) connection.ping();
    }, config.pingIntervalMs);
    this.#pings.unref();
    this.#detach = takeUpgrades(server, options.path, (request, socket, head) =>
      this.#upgrade(request, socket, head),
    );
  }

  figures(): WebSocketFigures {
    return { connections: this.#connections.size, connectionsRefused: this.#connectionsRefused };
  }

  async close(): Promise<void> {
    this.#closing = true;
    clearInterval(this.#pings);
    this.#stopListening();
    for (const webSocket of this.#connections.keys()) webSocket.pause();
    await this.#untilSettled();
    const gone = [...this.#connections.keys()].map((webSocket) => {
      const closed = new Promise<void>((resolve) => webSocket.once('close', () => resolve()));
      webSocket.resume();
      webSocket.close(GOING_AWAY);
      return closed;
    });
    const timer = setTimeout(() => {
      for (const webSocket of this.#connections.keys()) webSocket.terminate();
    }, CLOSE_GRACE_MS);
    await Promise.all(gone);
    clearTimeout(timer);
    this.#detach();
    this.#webSockets.close();
    await this.#store?.close(CLOSE_GRACE_MS);
  }

  #inFlight(): number {
    let sum = 0;
    for (const connection of this.#connections.values()) sum += connection.inFlight;
    return sum;
  }

  async #untilSettled(): Promise<void> {
    if (this.#inFlight() === 0) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#settled = resolve;
      timer = setTimeout(resolve, CLOSE_GRACE_MS);
    });
    clearTimeout(timer);
    // The last answers leave with the turn of the loop that made them.
    await new Promise((resolve) => setImmediate(resolve));
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const { door } = this.#options;
    // A page can give a WebSocket no header of its own: it may name the token as RFC 6750 §2.3 has it.
    const token = new URL(request.url ?? '/', 'http://gateway').searchParams.get('access_token');
    const entry = door.judge(request, token === null ? {} : { token });
    if (entry instanceof Promise) {
      socket.on('error', ignore);
      void entry.then((known) => {
        socket.off('error', ignore);
        if (!socket.destroyed) this.#judged(known, request, socket, head);
      });
    } else this.#judged(entry, request, socket, head);
  }

  #judged({ principal, problem }: Entry, request: IncomingMessage, socket: Socket, head: Buffer): void {
    const { config } = this.#options;
    if (problem !== null) {
      this.#connectionsRefused += 1;
      const facts = { address: socket.remoteAddress, origin: request.headers.origin, code: problem.code };
      this.#refusals.warn(facts, 'websocket: connection refused');
      refuseUpgrade(socket, problem);
    } else if (this.#closing || !config.enabled || this.#connections.size >= config.maxConnections) {
      this.#connectionsRefused += 1;
      refuseUpgrade(socket, FULL);
    } else {
      this.#webSockets.handleUpgrade(request, socket, head, (webSocket) =>
        this.#open(webSocket, socket, principal),
      );
    }
  }

  #open(webSocket: WebSocket, socket: Socket, principal: Principal): void {
    const { admission, config, logger } = this.#options;
    socket.setNoDelay(true);
    const onSettled = () => {
      if (this.#settled && this.#inFlight() === 0) this.#settled();
    };
    this.#connections.set(
      webSocket,
      new WebSocketConnection(webSocket, socket, {
        admission,
        config,
        principal,
        sessions: this.#sessions,
        onSettled,
      }),
    );
    webSocket.on('close', () => {
      this.#connections.delete(webSocket);
      onSettled();
    });
    webSocket.on('error', (error: Error & { code?: string }) => {
      const facts = { address: socket.remoteAddress, detail: error.message };
      if (!error.code?.startsWith('WS_ERR')) {
        logger.debug(facts, 'websocket: connection lost');
        return;
      }
      admission.countRefusal(
        'websocket',
        error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH' ? 'too-large' : 'malformed',
      );
      this.#refusals.warn({ ...facts, code: error.code }, 'websocket: connection closed, bad frame');
    });
  }
}

const ignore = () => {};

const FULL: Problem = {
  status: 503,
  code: 'overloaded',
  detail: 'No further WebSocket connection is taken now.',
  retryAfterMs: 5_000,
};
