// A raw MQTT 3.1.1 publisher that can saturate a broker from one core: QoS 1, a fixed number in flight per
// connection, PUBACKs counted. Run as a process of its own; prints one line of JSON. Measures, judges nothing.
import { connect, type Socket } from 'node:net';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    port: { type: 'string' },
    connections: { type: 'string', default: '10' },
    inflight: { type: 'string', default: '100' },
    seconds: { type: 'string', default: '5' },
    bytes: { type: 'string', default: '100' },
    payload: { type: 'string', default: 'opaque' },
  },
});
const port = Number(values.port);
const connections = Number(values.connections);
const inflight = Number(values.inflight);
const seconds = Number(values.seconds);
const payloadBytes = Number(values.bytes);
const withSequence = values.payload === 'json';

let acked = 0;
let ackedInAll = 0;
let measuring = false;
let stopped = false;
const latenciesMs: number[] = [];

/**
 * As many publishes as may be in flight stand ready in one buffer, with the identifiers 1…n: sending is a slice of it.
 * Brokers acknowledge in order [MQTT-4.6.0-2], so identifiers come free in the order in which they are used again; each
 * sixteenth acknowledgement is held against the one expected. Numbered payloads are written anew each time.
 */
class Publisher {
  readonly #index: number;
  readonly #socket: Socket;
  readonly #ring: Buffer;
  readonly #size: number;
  readonly #sequenceAt: number;
  readonly #sentAt: Float64Array;
  #next = 0;
  #awaited = 0;
  #sequence = 0;
  #pending: Buffer = Buffer.alloc(0);
  #onConnected: (() => void) | null = null;

  constructor(index: number) {
    this.#index = index;
    const topic = Buffer.from(`plant/bench-${index}/load`);
    const head = withSequence ? '{"seq":1000000000,"value":' : '{"value":';
    const payload = Buffer.from(`${head}${'1'.repeat(payloadBytes - head.length - 1)}}`);
    const remaining = 2 + topic.length + 2 + payload.length;
    const length = remaining < 128 ? [remaining] : [(remaining % 128) | 0x80, remaining >> 7];
    const front = Buffer.from([0x32, ...length, topic.length >> 8, topic.length & 255]);
    const idAt = front.length + topic.length;
    const packet = Buffer.concat([front, topic, Buffer.alloc(2), payload]);
    this.#size = packet.length;
    this.#sequenceAt = idAt + 2 + '{"seq":'.length;
    this.#ring = Buffer.allocUnsafeSlow(packet.length * inflight);
    for (let at = 0; at < inflight; at += 1) {
      packet.copy(this.#ring, at * packet.length);
      this.#ring.writeUInt16BE(at + 1, at * packet.length + idAt);
    }
    this.#sentAt = new Float64Array(inflight);
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.#socket.on('data', (data) => this.#onData(data));
    this.#socket.on('error', (error) => {
      if (stopped) return;
      console.error(`bench-${index}: ${error.message}`);
      process.exit(1);
    });
    this.#socket.on('close', () => {
      if (stopped) return;
      console.error(`bench-${index}: closed by the broker`);
      process.exit(1);
    });
  }

  connected(): Promise<void> {
    const id = Buffer.from(`bench-${this.#index}`);
    this.#socket.write(
      Buffer.concat([
        Buffer.from([0x10, 12 + id.length, 0, 4]),
        Buffer.from('MQTT'),
        Buffer.from([4, 2, 0, 120, id.length >> 8, id.length & 255]),
        id,
      ]),
    );
    return new Promise((resolve) => {
      this.#onConnected = resolve;
    });
  }

  /** At most as many as have been acknowledged, or all to begin with. */
  publish(count: number): void {
    const now = performance.now();
    for (let left = count; left > 0; ) {
      const some = Math.min(left, inflight - this.#next);
      this.#sentAt.fill(now, this.#next, this.#next + some);
      const bytes = this.#ring.subarray(this.#next * this.#size, (this.#next + some) * this.#size);
      this.#socket.write(withSequence ? this.#numbered(bytes, some) : bytes);
      this.#next = (this.#next + some) % inflight;
      left -= some;
    }
  }

  /** A copy, for what has been written may still be on its way out. */
  #numbered(bytes: Buffer, count: number): Buffer {
    const copy = Buffer.from(bytes);
    for (let at = 0; at < count; at += 1)
      copy.write(String(1_000_000_000 + this.#sequence++), at * this.#size + this.#sequenceAt, 'latin1');
    return copy;
  }

  #onData(chunk: Buffer): void {
    let data = this.#pending.length > 0 ? Buffer.concat([this.#pending, chunk]) : chunk;
    if (this.#onConnected !== null && data.length >= 4) {
      if (data[0] !== 0x20 || data[3] !== 0) throw new Error(`not connected: ${data.toString('hex', 0, 4)}`);
      this.#onConnected();
      this.#onConnected = null;
      data = data.subarray(4);
    }
    const now = performance.now();
    // PUBACK is four bytes: type, 2, identifier.
    const acks = data.length >> 2;
    this.#pending = data.subarray(acks * 4);
    for (let at = 15 - (this.#awaited % 16); at < acks; at += 16) {
      const slot = (this.#awaited + at) % inflight;
      if (data[at * 4] !== 0x40 || data.readUInt16BE(at * 4 + 2) !== slot + 1)
        throw new Error(`unexpected packet ${data.toString('hex', at * 4, at * 4 + 4)}`);
      if (measuring) latenciesMs.push(now - this.#sentAt[slot]!);
    }
    this.#awaited += acks;
    if (measuring) acked += acks;
    ackedInAll += acks;
    if (acks > 0 && !stopped) this.publish(acks);
  }

  end(): void {
    this.#socket.destroy();
  }
}

const publishers = Array.from({ length: connections }, (_, index) => new Publisher(index));
await Promise.all(publishers.map((publisher) => publisher.connected()));
for (const publisher of publishers) publisher.publish(inflight);
await new Promise((resolve) => setTimeout(resolve, 1_000));
measuring = true;
const from = performance.now();
await new Promise((resolve) => setTimeout(resolve, seconds * 1_000));
measuring = false;
const elapsed = (performance.now() - from) / 1_000;
stopped = true;
for (const publisher of publishers) publisher.end();
latenciesMs.sort((a, b) => a - b);
const at = (q: number) =>
  latenciesMs[Math.min(latenciesMs.length - 1, Math.floor(q * latenciesMs.length))] ?? 0;
console.log(JSON.stringify({ perSecond: acked / elapsed, p50Ms: at(0.5), p99Ms: at(0.99), ackedInAll }));
