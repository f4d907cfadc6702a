// Owns speaking MQTT 3.1.1 and 5 as firmware does: QoS 1, PUBACK means on disk. A few kilobytes a connection, so that
// ten thousand devices fit into one process.
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Client, Outcome } from './client.ts';
import {
  connectPacket,
  type FromBroker,
  type MqttVersion,
  PacketReader,
  PINGREQ,
  pubackPacket,
  publishPacket,
  subscribePacket,
  type Will,
} from './mqtt-packets.ts';

const CONNECT_TIMEOUT_MS = 15_000;
const KEEP_ALIVE_SECONDS = 60;
const RETRY_MS = 1_000;
/** Reason codes of a version 5 PUBACK that mean "stored". */
const STORED = new Set([0x00, 0x10]);
/** "Not now": quota exceeded, server busy, receive maximum exceeded, message rate too high. */
const BUSY = new Set([0x97, 0x89, 0x93, 0x96]);

export interface MqttOptions {
  /** mqtt://host:port or mqtts://host:port */
  readonly url: string;
  readonly clientId: string;
  readonly version: MqttVersion;
  /** PEM of the authority that the gateway's certificate is from; the system's otherwise. */
  readonly ca?: string | undefined;
  readonly will?: () => Will;
  /** Messages to this device: topic filter, and what to do with them. */
  readonly subscribe?: {
    readonly filter: string;
    readonly onMessage: (topic: string, payload: Buffer) => void;
  };
}

export class MqttDevice implements Client {
  readonly #options: MqttOptions;
  #socket: Socket | null = null;
  #reader: PacketReader;
  #nextId = 1;
  #ping: NodeJS.Timeout | null = null;
  #heard = true;
  #connected: PromiseWithResolvers<void> | null = null;
  #owed = new Map<number, (outcome: Outcome) => void>();
  #outgoing: Buffer[] = [];
  maxInFlight = 65_535;
  onLost: ((detail: string) => void) | null = null;

  constructor(options: MqttOptions) {
    this.#options = options;
    this.#reader = new PacketReader(options.version);
  }

  async open(signal: AbortSignal): Promise<void> {
    await this.close();
    signal.throwIfAborted();
    const { url, clientId, version, ca, will } = this.#options;
    const { hostname: host, port, protocol } = new URL(url);
    const address = { host, port: Number(port || (protocol === 'mqtts:' ? 8883 : 1883)) };
    const socket =
      protocol === 'mqtts:' ? connectTls({ ...address, ...(ca !== undefined && { ca }) }) : connect(address);
    socket.setNoDelay(true);
    this.#socket = socket;
    this.#reader = new PacketReader(version);
    const opened = Promise.withResolvers<void>();
    this.#connected = opened;
    socket.on('data', (data) => this.#onData(socket, data));
    socket.on('error', (error) => opened.reject(error));
    socket.on('close', () => {
      opened.reject(new Error('the connection was closed'));
      this.#drop(socket, 'the connection was closed');
    });
    const onAbort = () => opened.reject(new Error('stopped while connecting'));
    signal.addEventListener('abort', onAbort, { once: true });
    const timeout = setTimeout(() => opened.reject(new Error('no CONNACK in time')), CONNECT_TIMEOUT_MS);
    socket.write(
      connectPacket({
        version,
        clientId,
        keepAliveSeconds: KEEP_ALIVE_SECONDS,
        ...(will && { will: will() }),
      }),
    );
    try {
      await opened.promise;
    } catch (error) {
      this.#drop(socket, 'not connected');
      throw error;
    } finally {
      clearTimeout(timeout);
      signal.removeEventListener('abort', onAbort);
      this.#connected = null;
    }
    const { subscribe } = this.#options;
    if (subscribe) socket.write(subscribePacket(version, this.#id(), subscribe.filter));
    this.#heard = true;
    this.#ping = setInterval(() => this.#onPing(socket), (KEEP_ALIVE_SECONDS * 1000) / 2);
  }

  send({
    topic,
    payload,
  }: {
    readonly topic: string;
    readonly payload: string | Uint8Array;
  }): Promise<Outcome> {
    if (!this.#socket || this.#connected) return Promise.resolve({ kind: 'lost', detail: 'not connected' });
    return new Promise((resolve) => {
      const id = this.#id();
      this.#owed.set(id, resolve);
      // One write for all that is sent in this turn.
      if (this.#outgoing.length === 0) queueMicrotask(() => this.#flush());
      this.#outgoing.push(publishPacket(this.#options.version, id, topic, payload));
    });
  }

  async close(): Promise<void> {
    if (this.#socket) this.#drop(this.#socket, 'the connection was closed');
  }

  #id(): number {
    do this.#nextId = this.#nextId === 65_535 ? 1 : this.#nextId + 1;
    while (this.#owed.has(this.#nextId));
    return this.#nextId;
  }

  #flush(): void {
    const packets = this.#outgoing;
    this.#outgoing = [];
    if (packets.length > 0) this.#socket?.write(packets.length === 1 ? packets[0]! : Buffer.concat(packets));
  }

  #onPing(socket: Socket): void {
    if (this.#heard) socket.write(PINGREQ);
    else this.#drop(socket, 'no answer to a ping');
    this.#heard = false;
  }

  #onData(socket: Socket, data: Buffer): void {
    if (socket !== this.#socket) return;
    this.#heard = true;
    try {
      for (const packet of this.#reader.read(data)) this.#onPacket(socket, packet);
    } catch (error) {
      this.#connected?.reject(error);
      this.#drop(socket, error instanceof Error ? error.message : String(error));
    }
  }

  #onPacket(socket: Socket, packet: FromBroker): void {
    switch (packet.type) {
      case 'connack':
        this.maxInFlight = packet.receiveMaximum;
        if (packet.code === 0) this.#connected?.resolve();
        else this.#connected?.reject(new Error(`CONNACK ${codeOf(packet.code)}`));
        return;
      case 'puback': {
        const resolve = this.#owed.get(packet.id);
        this.#owed.delete(packet.id);
        resolve?.(outcomeOf(packet.code));
        return;
      }
      case 'publish':
        if (packet.id !== null) socket.write(pubackPacket(packet.id));
        this.#options.subscribe?.onMessage(packet.topic, packet.payload);
        return;
      case 'disconnect':
        this.#drop(socket, `DISCONNECT ${codeOf(packet.code)}`);
        return;
      case 'other':
    }
  }

  #drop(socket: Socket, detail: string): void {
    socket.destroy();
    if (this.#socket !== socket) return;
    this.#socket = null;
    if (this.#ping) clearInterval(this.#ping);
    this.#ping = null;
    this.#outgoing = [];
    const owed = [...this.#owed.values()];
    this.#owed = new Map();
    for (const resolve of owed) resolve({ kind: 'lost', detail });
    this.onLost?.(detail);
  }
}

const codeOf = (code: number) => `0x${code.toString(16).padStart(2, '0')}`;

function outcomeOf(code: number): Outcome {
  if (STORED.has(code)) return { kind: 'acked', duplicate: false };
  if (BUSY.has(code)) return { kind: 'busy', code: codeOf(code), retryAfterMs: RETRY_MS };
  return { kind: 'refused', code: codeOf(code), detail: 'PUBACK' };
}
