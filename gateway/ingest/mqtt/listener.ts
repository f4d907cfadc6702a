// The MQTT adapter's door: broker and ports together, started and closed as one. What is told about a record is
// admission's decision; who may come in, access'.
import type { Server as HttpServer } from 'node:http';
import { TlsMaterial } from '../../access/tls.ts';
import type { CallerGuard } from '../caller.ts';
import type { ConnectionCaps } from '../connection-caps.ts';
import { Broker, type BrokerOptions } from './broker.ts';
import { tlsFilesOf } from './config.ts';
import { Connection } from './connection.ts';
import type { MqttFigures } from './figures.ts';
import { Sockets } from './sockets.ts';

export type { MqttFigures } from './figures.ts';

export interface MqttOptions extends BrokerOptions {
  /** Judges WebSocket upgrades: those of its own port, and of servers attached to. */
  readonly guard: CallerGuard;
  /** Counts connections together with the other listeners. */
  readonly caps?: ConnectionCaps;
}

export interface MqttServer {
  readonly port: number;
  /** Null: not switched on. */
  readonly tlsPort: number | null;
  readonly webSocketPort: number | null;
  figures(): MqttFigures;
  /** A message of the gateway's own to those who have subscribed; no record. */
  publish(topic: string, payload: Uint8Array, qos: 0 | 1): void;
  /** Takes MQTT over WebSocket on this server too, at `mqtt.webSocket.path`. */
  attach(server: HttpServer): void;
  /** For reloads; null: not switched on. */
  readonly tls: TlsMaterial | null;
  /** Takes no more, answers what is in flight, publishes wills, closes every connection. Close admission after it. */
  close(): Promise<void>;
}

/** How long close() waits for answers in flight. */
const CLOSE_GRACE_MS = 5_000;

/** Listens when it resolves. Rejects with the system's error (EADDRINUSE …) or a TlsError when it cannot. */
export async function startMqtt(options: MqttOptions): Promise<MqttServer> {
  const { config, logger, guard, caps } = options;
  const files = tlsFilesOf(config);
  const tls = files && TlsMaterial.load(files, 'mqtt.tls');
  const broker = new Broker(options);
  const sockets = new Sockets({
    config,
    tls,
    caps,
    guard,
    onConnection: (stream, peer) => broker.add(new Connection(stream, peer, broker)),
    onRefused: (facts) => broker.trouble.tooMany(facts),
    onError: (error) => logger.error({ err: error }, 'mqtt listener error'),
  });
  const close = async () => {
    sockets.close();
    await broker.close(CLOSE_GRACE_MS);
  };
  try {
    await sockets.listen();
  } catch (error) {
    await close();
    throw error;
  }
  return {
    port: sockets.port,
    tlsPort: sockets.tlsPort,
    webSocketPort: sockets.webSocketPort,
    figures: () => broker.figures(),
    publish: (topic, payload, qos) => broker.router.publish(topic, payload, qos),
    attach: (server) => sockets.attach(server),
    tls,
    close,
  };
}
