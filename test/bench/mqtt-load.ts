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

class Publisher {
  readonly #index: number;
  readonly #socket: Socket;
  readonly #template: Buffer;
  readonly #idAt: number;
  readonly #sequenceAt: number;
  readonly #sentAt = new Float64Array(65_536);
  #nextId = 1;
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
    this.#idAt = front.length + topic.length;
    this.#template = Buffer.concat([front, topic, Buffer.alloc(2), payload]);
    this.#sequenceAt = this.#idAt + 2 + '{"seq":'.length;
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

  publish(count: number): void {
    const size = this.#template.length;
    const out = Buffer.allocUnsafe(size * count);
    const now = performance.now();
    for (let i = 0; i < count; i++) {
      this.#template.copy(out, i * size);
      out.writeUInt16BE(this.#nextId, i * size + this.#idAt);
      if (withSequence)
        out.write(String(1_000_000_000 + this.#sequence++), i * size + this.#sequenceAt, 'latin1');
      this.#sentAt[this.#nextId] = now;
      this.#nextId = this.#nextId === 65_535 ? 1 : this.#nextId + 1;
    }
    this.#socket.write(out);
  }

  #onData(chunk: Buffer): void {
    const data = this.#pending.length > 0 ? Buffer.concat([this.#pending, chunk]) : chunk;
    const now = performance.now();
    let at = 0;
    let acks = 0;
    // CONNACK and PUBACK are both four bytes: type, 2, two more.
    for (; at + 4 <= data.length; at += 4) {
      if (data[at] === 0x20) {
        if (data[at + 3] !== 0) throw new Error(`connection refused with code ${data[at + 3]}`);
        this.#onConnected?.();
      } else if (data[at] === 0x40) {
        acks++;
        if (measuring && (acked + acks) % 16 === 0)
          latenciesMs.push(now - this.#sentAt[data.readUInt16BE(at + 2)]!);
      } else throw new Error(`unexpected packet type ${data[at]}`);
    }
    this.#pending = data.subarray(at);
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
