// The MQTT 3.1.1 port: aedes on TCP sockets, anonymous and from this machine only, with a limit on all that a client
// may use up. What becomes of a publish is decided behind publishes.ts.
import { createServer, type Server, type Socket } from 'node:net';
import { Aedes, type AuthenticateError, type Client, type Subscription } from 'aedes';
import { isLoopback } from '../../access/anonymous.ts';
import type { Admission } from '../../admission/admission.ts';
import { deviceProblem } from '../../admission/topics.ts';
import type { IngestLogger } from '../../admission/types.ts';
import { type ConnectionCaps, capConnections } from '../connection-caps.ts';
import { RefusalLog } from '../refusal-log.ts';
import type { MqttConfig } from './config.ts';
import { FrameGuard } from './frame-guard.ts';
import { gatherWrites } from './gathered-writes.ts';
import { Publishes } from './publishes.ts';
import { BoundedSessions, type Persistence } from './sessions.ts';
import { MqttRefusal } from './submission.ts';

export interface MqttOptions {
  readonly config: MqttConfig;
  readonly admission: Admission;
  readonly logger: IngestLogger;
  /** Counts connections together with the other listeners. */
  readonly caps?: ConnectionCaps;
}

export interface MqttFigures {
  readonly connections: number;
  /** Connections closed because a publish was refused, and wills refused. */
  readonly refused: number;
  /** Connections refused: not from this machine, a bad client id, too many. */
  readonly connectionsRefused: number;
  /** Connections closed for bytes that are not MQTT 3.1.1. */
  readonly malformed: number;
  /** Connections closed for keeping still: no CONNECT, no keep alive, a subscriber that takes nothing. */
  readonly timeouts: number;
  /** QoS 0 messages not forwarded to a subscriber that lags. */
  readonly forwardDropped: number;
  readonly retained: number;
  readonly retainedRefused: number;
  readonly queued: number;
  readonly queueRefused: number;
  readonly sessions: number;
}

export interface MqttServer {
  readonly port: number;
  figures(): MqttFigures;
  /** Takes no more, answers what is in flight, publishes wills, closes every connection. Close admission after it. */
  close(): Promise<void>;
}

/** What aedes has on its objects beyond its type declarations. */
type BrokerInside = Aedes & { persistence: Persistence };
type SocketInside = Socket & { client?: Client & { pause(): void } };

const CONNACK_IDENTIFIER_REJECTED = 2;
const CONNACK_NOT_AUTHORIZED = 5;
const MAX_CLIENT_ID_BYTES = 256;
const TIMEOUTS: ReadonlySet<string> = new Set([
  'keep alive timeout',
  'connect did not arrive in time',
  'drain timeout',
]);
/** How long close() waits for answers in flight. */
const CLOSE_GRACE_MS = 5_000;

/** Listens when it resolves. Rejects with the system's error (EADDRINUSE …) when it cannot. */
export async function startMqtt(options: MqttOptions): Promise<MqttServer> {
  const listener = new MqttListener(options);
  await listener.start();
  return listener;
}

class MqttListener implements MqttServer {
  readonly #options: MqttOptions;
  readonly #refusals: RefusalLog;
  readonly #server: Server;
  readonly #publishes: Publishes;
  readonly #sockets = new Set<SocketInside>();
  readonly #granted = new WeakMap<Client, Set<string>>();
  readonly #counts = { refused: 0, connectionsRefused: 0, malformed: 0, timeouts: 0, forwardDropped: 0 };
  #broker!: BrokerInside;
  #sessions!: BoundedSessions;

  constructor(options: MqttOptions) {
    const { socketBufferBytes, maxConnections, overloadHoldMs } = options.config;
    this.#options = options;
    this.#refusals = new RefusalLog(options.logger);
    this.#publishes = new Publishes({
      admission: options.admission,
      overloadHoldMs,
      refusals: this.#refusals,
      hasIncoming: (clientId, messageId) => this.#sessions.hasIncoming(clientId, messageId),
      forward: (packet) => this.#broker.publish(packet, () => {}),
    });
    this.#server = createServer(
      { noDelay: true, keepAlive: true, keepAliveInitialDelay: 30_000, highWaterMark: socketBufferBytes },
      (socket) => !socket.destroyed && this.#onSocket(socket),
    );
    if (options.caps) capConnections(this.#server, options.caps);
    this.#server.maxConnections = maxConnections;
    this.#server.on('drop', () => {
      this.#counts.connectionsRefused += 1;
      this.#refusals.warn({ maxConnections }, 'mqtt: too many connections');
    });
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address ? address.port : 0;
  }

  figures(): MqttFigures {
    const refused = this.#counts.refused + this.#publishes.willsRefused;
    return { connections: this.#sockets.size, ...this.#counts, refused, ...this.#sessions.figures };
  }

  async start(): Promise<void> {
    const { config, logger } = this.#options;
    this.#broker = (await this.#createBroker()) as BrokerInside;
    const { persistence, sessions } = BoundedSessions.around(this.#broker.persistence, config);
    this.#broker.persistence = persistence;
    this.#sessions = sessions;
    this.#broker.on('clientError', (client, error) => this.#onConnectionError(client, error));
    this.#broker.on('connectionError', (client, error) => this.#onConnectionError(client, error));
    this.#broker.on('unsubscribe', (topics, client) => {
      for (const topic of topics) this.#granted.get(client)?.delete(topic);
    });
    (this.#broker as NodeJS.EventEmitter).on('error', (error) =>
      logger.error({ err: error }, 'mqtt broker error'),
    );
    try {
      await this.#listen();
    } catch (error) {
      this.#broker.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    this.#server.close();
    for (const socket of this.#sockets) socket.client?.pause();
    await this.#publishes.idle(CLOSE_GRACE_MS);
    await new Promise<void>((resolve) => this.#broker.close(() => resolve()));
    await this.#publishes.idle(CLOSE_GRACE_MS);
    for (const socket of this.#sockets) socket.destroy();
  }

  #createBroker(): Promise<Aedes> {
    const { config } = this.#options;
    return Aedes.createBroker({
      // No common queue: how much is under way is bounded by what each socket may have read ahead.
      concurrency: 0,
      connectTimeout: config.connectTimeoutMs,
      drainTimeout: config.subscriberDrainMs,
      maxInflightInbound: config.maxQos2InFlight,
      maxClientsIdLength: MAX_CLIENT_ID_BYTES,
      authenticate: (client, _username, _password, done) => this.#authenticate(client, done),
      authorizePublish: (client, packet, done) => this.#publishes.authorize(client, packet, done),
      authorizeSubscribe: (client, subscription, done) =>
        done(null, this.#subscription(client, subscription)),
      authorizeForward: (client, packet) => {
        if (packet.qos !== 0 || !client.conn.writableNeedDrain) return packet;
        this.#counts.forwardDropped += 1;
        return null;
      },
    });
  }

  #listen(): Promise<void> {
    const { config, logger } = this.#options;
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host: config.host, port: config.port }, () => {
        this.#server.off('error', reject);
        this.#server.on('error', (error) => logger.error({ err: error }, 'mqtt listener error'));
        resolve();
      });
    });
  }

  #onSocket(socket: SocketInside): void {
    const { maxPacketBytes } = this.#options.config;
    this.#sockets.add(socket);
    socket.on('close', () => this.#sockets.delete(socket));
    gatherWrites(socket);
    const guard = new FrameGuard(maxPacketBytes);
    const read = socket.read.bind(socket);
    // aedes takes chunks by read(): the one place to see the stream before its parser gathers it.
    socket.read = (size?: number) => {
      const chunk: Buffer | null = read(size);
      const problem = chunk === null ? null : guard.feed(chunk);
      if (problem === null) return chunk;
      this.#options.admission.countRefusal('mqtt', problem);
      const detail =
        problem === 'malformed' ? 'a packet length of five bytes' : `a packet beyond ${maxPacketBytes} bytes`;
      socket.destroy(new MqttRefusal(problem, detail));
      return null;
    };
    this.#granted.set(this.#broker.handle(socket), new Set());
  }

  #authenticate(
    client: Client,
    done: (error: AuthenticateError | null, success: boolean | null) => void,
  ): void {
    const refuse = (returnCode: number, message: string) => {
      this.#counts.connectionsRefused += 1;
      const reason = returnCode === CONNACK_NOT_AUTHORIZED ? 'not-allowed' : 'malformed';
      this.#options.admission.countRefusal('mqtt', reason);
      done(Object.assign(new Error(message), { returnCode }) as AuthenticateError, false);
    };
    const problem = deviceProblem(client.id, MAX_CLIENT_ID_BYTES);
    if (!isLoopback((client.conn as Socket).remoteAddress)) {
      refuse(CONNACK_NOT_AUTHORIZED, 'anonymous access is accepted from this machine only');
    } else if (problem !== null) refuse(CONNACK_IDENTIFIER_REJECTED, problem);
    else done(null, true);
  }

  /** Null is answered with SUBACK 0x80 (failure). */
  #subscription(client: Client, subscription: Subscription): Subscription | null {
    const granted = this.#granted.get(client);
    if (granted === undefined) return null;
    if (granted.size >= this.#options.config.maxSubscriptions && !granted.has(subscription.topic))
      return null;
    granted.add(subscription.topic);
    return subscription;
  }

  #onConnectionError(client: Client, error: Error): void {
    const facts = {
      client: client.id,
      address: (client.conn as Socket).remoteAddress,
      detail: error.message,
    };
    if (error instanceof MqttRefusal) {
      this.#counts.refused += 1;
      this.#refusals.warn({ ...facts, reason: error.reason }, 'mqtt: connection closed, publish refused');
    } else if ('code' in error || error.message === 'connection closed') {
      this.#options.logger.debug(facts, 'mqtt: connection lost');
    } else if (TIMEOUTS.has(error.message)) {
      this.#counts.timeouts += 1;
      this.#refusals.warn(facts, 'mqtt: connection closed, nothing came or was taken in time');
    } else if ('errorCode' in error) {
      this.#refusals.warn({ ...facts, returnCode: error.errorCode }, 'mqtt: connection refused');
    } else {
      this.#counts.malformed += 1;
      this.#options.admission.countRefusal('mqtt', 'malformed');
      this.#refusals.warn(facts, 'mqtt: connection closed, not valid MQTT 3.1.1');
    }
  }
}
