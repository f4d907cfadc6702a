// Owns opening one MQTT connection, with the fall back from MQTT 5 to 3.1.1. Never reconnects and never publishes.
import { Socket } from 'node:net';
import { connect as connectClient, type IConnackPacket, type MqttClient } from 'mqtt';
import type { Credentials } from '../../credentials.ts';
import { SinkError } from '../../sink.ts';

export interface MqttTarget {
  /** mqtt://, mqtts://, ws:// or wss://, without credentials. */
  readonly url: string;
  readonly clientId: string;
  readonly keepAliveSeconds: number;
  readonly connectTimeoutMs: number;
}

export interface MqttConnection {
  readonly client: MqttClient;
  readonly version: 4 | 5;
  /** How many QoS 1 publishes the broker takes unacknowledged [MQTT5 §3.2.2.3.3]. */
  readonly receiveMaximum: number;
}

/** CONNACK codes by which a broker says it does not speak MQTT 5: 3.1.1's 0x01, 5's 0x84. */
const WRONG_VERSION = new Set([0x01, 0x84]);

/** Why an attempt failed; `versionRefused` when another MQTT version may be accepted. */
class AttemptError extends SinkError {
  readonly versionRefused: 'yes' | 'maybe' | 'no';

  constructor(versionRefused: 'yes' | 'maybe' | 'no', ...rest: ConstructorParameters<typeof SinkError>) {
    super(...rest);
    this.versionRefused = versionRefused;
  }
}

/**
 * Connects with `version`, then with 3.1.1 where the broker refuses 5: either by its code, or by closing without
 * a word, as some 3.1.1 brokers do. Rejects with SinkError UNREACHABLE, REFUSED or CLOSED.
 */
export async function openConnection(
  target: MqttTarget,
  version: 4 | 5,
  credentials: Credentials,
  signal: AbortSignal,
): Promise<MqttConnection> {
  try {
    return await attempt(target, version, credentials, signal);
  } catch (error) {
    if (version === 4 || !(error instanceof AttemptError) || error.versionRefused === 'no' || signal.aborted)
      throw error;
    return attempt(target, 4, credentials, signal);
  }
}

function attempt(
  target: MqttTarget,
  version: 4 | 5,
  credentials: Credentials,
  signal: AbortSignal,
): Promise<MqttConnection> {
  const { url } = target;
  return new Promise((resolve, reject) => {
    if (signal.aborted) {
      reject(new SinkError('CLOSED', `stopped before connecting to ${url}`));
      return;
    }
    const client = connectClient(url, {
      clientId: target.clientId,
      protocolVersion: version,
      // A publisher's session holds nothing we need: what is unacknowledged is in the log, and is sent again
      // from there in order. A kept session would add the library's own re-sends, out of that order.
      clean: true,
      reconnectPeriod: 0,
      resubscribe: false,
      keepalive: target.keepAliveSeconds,
      connectTimeout: target.connectTimeoutMs,
      ...credentials,
    });
    const finish = () => {
      signal.removeEventListener('abort', onAbort);
      client.removeListener('connect', onConnect);
      client.removeListener('error', onError);
      client.removeListener('close', onClose);
    };
    const fail = (error: SinkError) => {
      finish();
      client.on('error', () => {}); // what a dying connection still has to say changes nothing
      client.end(true);
      reject(error);
    };
    const onAbort = () => fail(new SinkError('CLOSED', `stopped while connecting to ${url}`));
    const onError = (error: Error & { code?: unknown }) => fail(connectError(url, error));
    const onClose = () =>
      fail(
        new AttemptError('maybe', 'UNREACHABLE', `${url} closed the connection before accepting it`, {
          facts: { url },
        }),
      );
    const onConnect = (connack: IConnackPacket) => {
      finish();
      // Nagle's algorithm would hold a part-filled packet until the broker's delayed TCP acknowledgement, 40 ms.
      if (client.stream instanceof Socket) client.stream.setNoDelay(true);
      client.on('error', () => {}); // an 'error' is always followed by 'close', which the sink watches
      resolve({ client, version, receiveMaximum: connack.properties?.receiveMaximum ?? 65_535 });
    };
    signal.addEventListener('abort', onAbort, { once: true });
    client.once('connect', onConnect);
    client.once('error', onError);
    client.once('close', onClose);
  });
}

function connectError(url: string, error: Error & { code?: unknown }): SinkError {
  // The library puts the CONNACK code as a number, the system's errors (ECONNREFUSED) as text.
  if (typeof error.code === 'number') {
    return new AttemptError(
      WRONG_VERSION.has(error.code) ? 'yes' : 'no',
      'REFUSED',
      `${url} refuses the connection: ${error.message}`,
      {
        facts: { url, reasonCode: error.code },
        hint: 'check username, password and client id',
      },
    );
  }
  const cause = error instanceof AggregateError ? (error.errors[0] as Error) : error;
  const detail = cause.message || String(error.code ?? 'no connection');
  return new AttemptError('no', 'UNREACHABLE', `cannot reach ${url}: ${detail}`, {
    facts: { url },
    cause: error,
  });
}
