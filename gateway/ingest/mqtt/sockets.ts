// The ports: TCP, TLS and WebSocket, each connection handed on as a stream of bytes. Refuses more connections than the
// limits allow, in all and from one address. Reads no packet.
import { createServer as createHttpServer, type Server as HttpServer, type IncomingMessage } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createServer as createTlsServer, type Server as TlsServer } from 'node:tls';
import { createWebSocketStream, type WebSocket, WebSocketServer } from 'ws';
import { clientCertificateOf, type TlsMaterial } from '../../access/tls.ts';
import type { ClientCertificate } from '../../access/types.ts';
import type { CallerGuard } from '../caller.ts';
import { type ConnectionCaps, capConnections } from '../connection-caps.ts';
import { piecesMax } from '../gather.ts';
import { refuseUpgrade, takeUpgrades } from '../upgrades.ts';
import type { MqttConfig } from './config.ts';
import { withSharedReads } from './shared-reads.ts';
import type { Peer } from './transport.ts';

export interface SocketsOptions {
  readonly config: MqttConfig;
  /** Null: no TLS port. */
  readonly tls: TlsMaterial | null;
  /** Counts connections together with the other listeners. */
  readonly caps?: ConnectionCaps | undefined;
  /** Judges WebSocket upgrades: pages before, anonymous callers once CONNECT has shown that they are. */
  readonly guard: CallerGuard;
  readonly onConnection: (stream: Duplex, peer: Peer) => void;
  readonly onRefused: (facts: object) => void;
  readonly onError: (error: Error) => void;
}

const NOT_MQTT_TEXT = 1003;
/** A frame may hold several packets, or a part of one. */
const FRAME_ROOM_BYTES = 64 * 1024;

export class Sockets {
  readonly #options: SocketsOptions;
  readonly #closers: (() => Promise<void>)[] = [];
  readonly #webSockets: WebSocketServer;
  #connections = 0;
  #tcp: Server | null = null;
  #tls: TlsServer | null = null;
  #http: HttpServer | null = null;
  #closing = false;

  constructor(options: SocketsOptions) {
    this.#options = options;
    this.#webSockets = new WebSocketServer({
      noServer: true,
      maxPayload: options.config.maxPacketBytes + FRAME_ROOM_BYTES,
      maxBufferedChunks: piecesMax(options.config.maxPacketBytes + FRAME_ROOM_BYTES),
      perMessageDeflate: false,
      clientTracking: false,
      // [MQTT-6.0.0-3] MQTT 3.1 has a name of its own.
      handleProtocols: (offered) =>
        offered.has('mqtt') ? 'mqtt' : offered.has('mqttv3.1') ? 'mqttv3.1' : false,
    });
  }

  get port(): number {
    return portOf(this.#tcp);
  }
  get tlsPort(): number | null {
    return this.#tls && portOf(this.#tls);
  }
  get webSocketPort(): number | null {
    return this.#http && portOf(this.#http);
  }

  /** Listens where the configuration says; rejects with the system's error where it cannot. */
  async listen(): Promise<void> {
    const { config, tls } = this.#options;
    const { host, webSocket } = config;
    const sockets = {
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
      highWaterMark: config.socketBufferBytes,
    };
    this.#tcp = createServer(sockets, (socket) => this.#take(socket, 'tcp'));
    await this.#open(this.#tcp, host, config.port);
    if (tls !== null) {
      this.#tls = createTlsServer(
        {
          ...sockets,
          ...tls.serverOptions,
          handshakeTimeout: config.connectTimeoutMs,
        },
        (socket) => this.#take(socket, 'tls', clientCertificateOf(socket)),
      );
      // A handshake that fails is its client's trouble.
      this.#tls.on('tlsClientError', () => {});
      tls.follow(this.#tls);
      await this.#open(this.#tls, host, config.tls.port);
    }
    if (webSocket.enabled) {
      this.#http = createHttpServer((_request, response) => response.writeHead(426).end());
      this.#http.headersTimeout = config.connectTimeoutMs;
      this.attach(this.#http);
      await this.#open(this.#http, host, webSocket.port);
    }
  }

  /** Takes MQTT over WebSocket on another server as well. */
  attach(server: HttpServer): void {
    const detach = takeUpgrades(server, this.#options.config.webSocket.path, (request, socket, head) =>
      this.#upgrade(request, socket, head),
    );
    this.#closers.push(async () => detach());
  }

  /** Takes no more. Connections are their owner's to end. */
  close(): void {
    this.#closing = true;
    for (const close of this.#closers.splice(0)) void close();
    this.#webSockets.close();
  }

  #open(server: Server, host: string, port: number): Promise<void> {
    const { caps } = this.#options;
    if (caps) capConnections(server, caps);
    this.#closers.push(
      () =>
        new Promise((resolve) => {
          server.close(() => resolve());
          if ('closeIdleConnections' in server) (server as unknown as HttpServer).closeAllConnections();
        }),
    );
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port }, () => {
        server.off('error', reject);
        server.on('error', this.#options.onError);
        resolve();
      });
    });
  }

  #take(socket: Socket, transport: 'tcp' | 'tls', certificate?: ClientCertificate): void {
    const address = socket.remoteAddress;
    if (socket.destroyed) return;
    if (!this.#count(socket)) {
      socket.on('error', () => {});
      socket.destroy();
      return;
    }
    const stream =
      transport === 'tcp' ? withSharedReads(socket, this.#options.config.socketBufferBytes) : socket;
    this.#options.onConnection(stream, { address, transport, ...(certificate ? { certificate } : {}) });
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const { guard } = this.#options;
    const address = socket.remoteAddress;
    const problem = guard.judgePage(request);
    if (problem !== null) {
      refuseUpgrade(socket, problem);
      return;
    }
    const offered = request.headers['sec-websocket-protocol'] ?? '';
    if (!/(^|,)\s*mqtt(v3\.1)?\s*(,|$)/.test(offered)) {
      refuseUpgrade(socket, {
        status: 400,
        code: 'malformed',
        detail: 'The WebSocket must offer the subprotocol mqtt.',
      });
      return;
    }
    if (this.#closing || !this.#count(socket)) {
      refuseUpgrade(socket, {
        status: 503,
        code: 'overloaded',
        detail: 'No further connection is taken now.',
        retryAfterMs: 5_000,
      });
      return;
    }
    this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      socket.setNoDelay(true);
      const anonymousProblem = () => guard.judge(request)?.detail ?? null;
      const peer: Peer = { address, transport: 'websocket', anonymousProblem };
      this.#options.onConnection(this.#streamOf(webSocket), peer);
    });
  }

  #streamOf(webSocket: WebSocket): Duplex {
    // [MQTT-6.0.0-1]: before the stream sees it.
    webSocket.on('message', (_data, isBinary) => {
      if (!isBinary) webSocket.close(NOT_MQTT_TEXT, 'MQTT is binary');
    });
    const { socketBufferBytes } = this.#options.config;
    return createWebSocketStream(webSocket, {
      readableHighWaterMark: socketBufferBytes,
      writableHighWaterMark: socketBufferBytes,
    });
  }

  /** False: one too many. Counted until the socket is closed. */
  #count(socket: Socket): boolean {
    const { maxConnections } = this.#options.config;
    if (this.#closing || this.#connections >= maxConnections) {
      this.#options.onRefused({ address: socket.remoteAddress, maxConnections });
      return false;
    }
    this.#connections += 1;
    socket.once('close', () => {
      this.#connections -= 1;
    });
    return true;
  }
}

function portOf(server: Server | null): number {
  const address = server?.address();
  return typeof address === 'object' && address ? (address as AddressInfo).port : 0;
}
