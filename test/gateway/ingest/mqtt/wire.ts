// MQTT 3.1.1 packets by hand and a bare socket, for what client libraries would not send.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';

export function packet(firstByte: number, ...parts: (Uint8Array | number[])[]): Buffer {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part)));
  const length: number[] = [];
  let left = body.length;
  do {
    length.push((left % 128) | (left >= 128 ? 0x80 : 0));
    left = Math.floor(left / 128);
  } while (left > 0);
  return Buffer.concat([Buffer.from([firstByte, ...length]), body]);
}

export function text(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
}

const u16 = (value: number) => [value >> 8, value & 0xff];

export interface ConnectOptions {
  readonly clean?: boolean;
  readonly keepAliveSeconds?: number;
  readonly will?: { topic: string; payload: string; qos: number };
}

export function connectPacket(
  clientId: string,
  { clean = true, keepAliveSeconds = 60, will }: ConnectOptions = {},
): Buffer {
  const flags = (clean ? 2 : 0) | (will ? 4 | (will.qos << 3) : 0);
  const willParts = will ? [text(will.topic), text(will.payload)] : [];
  return packet(0x10, text('MQTT'), [4, flags, ...u16(keepAliveSeconds)], text(clientId), ...willParts);
}

export interface PublishOptions {
  readonly qos?: 0 | 1 | 2;
  readonly id?: number;
  readonly dup?: boolean;
  readonly retain?: boolean;
}

export function publishPacket(
  topic: string,
  payload: string | Uint8Array,
  options: PublishOptions = {},
): Buffer {
  const { qos = 1, id = 1, dup = false, retain = false } = options;
  const first = 0x30 | (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0);
  return packet(first, text(topic), qos > 0 ? u16(id) : [], Buffer.from(payload as Uint8Array));
}

export const pubrelPacket = (id: number) => packet(0x62, u16(id));
export const DISCONNECT = Buffer.from([0xe0, 0]);
export const pubacks = (...ids: number[]) => Buffer.concat(ids.map((id) => packet(0x40, u16(id))));
export const pubrecs = (...ids: number[]) => Buffer.concat(ids.map((id) => packet(0x50, u16(id))));

/** A connected socket that keeps what it receives. */
export class Wire {
  readonly socket: Socket;
  received = Buffer.alloc(0);
  #closed = false;
  #changed: (() => void)[] = [];

  private constructor(socket: Socket) {
    this.socket = socket;
    const change = () => {
      for (const go of this.#changed.splice(0)) go();
    };
    socket.on('data', (chunk) => {
      this.received = Buffer.concat([this.received, chunk]);
      change();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#closed = true;
      change();
    });
  }

  static async open(port: number): Promise<Wire> {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    return new Wire(socket);
  }

  /** Connected in the sense of MQTT: CONNACK has come and is taken off. */
  static async connected(port: number, clientId: string, options: ConnectOptions = {}): Promise<Wire> {
    const wire = await Wire.open(port);
    wire.socket.write(connectPacket(clientId, options));
    const connack = await wire.take(4);
    if (connack[0] !== 0x20 || connack[3] !== 0) throw new Error(`not connected: ${connack.toString('hex')}`);
    return wire;
  }

  /** The next `length` bytes, once they have come. */
  async take(length: number): Promise<Buffer> {
    while (this.received.length < length) {
      if (this.#closed) throw new Error(`closed after ${this.received.length} of ${length} bytes`);
      await new Promise<void>((resolve) => this.#changed.push(resolve));
    }
    const taken = this.received.subarray(0, length);
    this.received = this.received.subarray(length);
    return taken;
  }

  /** The next whole packet, or null when the connection ends first. */
  async packet(): Promise<Buffer | null> {
    for (;;) {
      const length = this.#packetLength();
      if (length > 0) return this.take(length);
      if (this.#closed) return null;
      await new Promise<void>((resolve) => this.#changed.push(resolve));
    }
  }

  /** Of the packet that begins here; 0 while it is not complete. */
  #packetLength(): number {
    let length = 0;
    for (let at = 1; at < this.received.length && at < 5; at += 1) {
      length += (this.received[at]! & 0x7f) * 128 ** (at - 1);
      if (this.received[at]! < 0x80) return at + 1 + length <= this.received.length ? at + 1 + length : 0;
    }
    return 0;
  }

  async closed(): Promise<void> {
    while (!this.#closed) await new Promise<void>((resolve) => this.#changed.push(resolve));
  }
}
