// A fleet of raw MQTT 3.1.1 connections in a process of its own: keeps still (--rate 0), or each connection publishes
// QoS 1 on a schedule that no slow answer can delay. An ack's latency runs from when its publish was due, so waiting
// for a stalled gateway counts (no coordinated omission). Prints {"connected"} and then the figures, as JSON lines.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { parseArgs } from 'node:util';
import { Latencies } from './latencies.ts';

const { values } = parseArgs({
  options: {
    port: { type: 'string' },
    connections: { type: 'string', default: '1000' },
    /** Records per second of each connection. */
    rate: { type: 'string', default: '0' },
    seconds: { type: 'string', default: '10' },
    'warm-up-seconds': { type: 'string', default: '3' },
    bytes: { type: 'string', default: '100' },
  },
});
const port = Number(values.port);
const connections = Number(values.connections);
const rate = Number(values.rate);
const seconds = Number(values.seconds);
const warmUpMs = Number(values['warm-up-seconds']) * 1_000;
const payloadBytes = Number(values.bytes);

const CONNECTING_AT_ONCE = 50;
const DRAIN_MS = 5_000;
const MAX_IDS = 65_535;

const latencies = new Latencies();
const sendLag = new Latencies();
let measured = 0;
let outstanding = 0;

function fail(what: string): never {
  console.error(`fleet: ${what}`);
  process.exit(1);
}

class Member {
  readonly #index: number;
  readonly #socket: Socket;
  readonly #head: Buffer;
  /** When the publish of an identifier was due; 0: nothing awaited, negative: due while warming up. */
  readonly #due = new Map<number, number>();
  #nextId = 1;
  #sequence = 0;
  #rest: Buffer = Buffer.alloc(0);
  #connected: (() => void) | null = null;

  constructor(index: number) {
    this.#index = index;
    const topic = Buffer.from(`fleet/member-${index}/state`);
    const remaining = 2 + topic.length + 2 + payloadBytes;
    const length = remaining < 128 ? [remaining] : [(remaining % 128) | 0x80, remaining >> 7];
    this.#head = Buffer.concat([
      Buffer.from([0x32, ...length, topic.length >> 8, topic.length & 255]),
      topic,
    ]);
    this.#socket = connect({ port, host: '127.0.0.1', noDelay: true });
    this.#socket.on('data', (data) => this.#onData(data));
    this.#socket.on('error', (error) => fail(`member ${index}: ${error.message}`));
    this.#socket.on('close', () => fail(`member ${index}: closed by the broker`));
  }

  connected(): Promise<void> {
    const id = Buffer.from(`member-${this.#index}`);
    this.#socket.write(
      Buffer.concat([
        Buffer.from([0x10, 12 + id.length, 0, 4]),
        Buffer.from('MQTT'),
        Buffer.from([4, 2, 0x0e, 0x10, id.length >> 8, id.length & 255]),
        id,
      ]),
    );
    return new Promise((resolve) => {
      this.#connected = resolve;
    });
  }

  publish(dueMs: number, counts: boolean): void {
    const messageId = this.#nextId;
    this.#nextId = messageId === MAX_IDS ? 1 : messageId + 1;
    if (this.#due.has(messageId)) fail('65,535 publishes of one connection are unanswered');
    this.#due.set(messageId, counts ? dueMs : -dueMs);
    outstanding += 1;
    const packet = Buffer.alloc(this.#head.length + 2 + payloadBytes, ' ');
    this.#head.copy(packet);
    packet.writeUInt16BE(messageId, this.#head.length);
    const sequence = this.#sequence++;
    const value = 50 + 10 * Math.sin(sequence / 25 + this.#index) + (((sequence * 7919) % 100) - 50) / 100;
    packet.write(`{"seq":${sequence},"value":${value.toFixed(3)}}`, this.#head.length + 2, 'latin1');
    this.#socket.write(packet);
  }

  #onData(chunk: Buffer): void {
    const data = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    const now = performance.now();
    let at = 0;
    // CONNACK and PUBACK are both four bytes: type, 2, two more.
    for (; at + 4 <= data.length; at += 4) {
      if (data[at] === 0x20) {
        if (data[at + 3] !== 0) fail(`connection refused with code ${data[at + 3]}`);
        this.#connected?.();
      } else if (data[at] === 0x40) this.#onAck(data.readUInt16BE(at + 2), now);
      else fail(`unexpected packet type ${data[at]}`);
    }
    this.#rest = data.subarray(at);
  }

  #onAck(messageId: number, now: number): void {
    const due = this.#due.get(messageId);
    if (due === undefined) fail(`an ack for ${messageId}, which nobody awaits`);
    this.#due.delete(messageId);
    outstanding -= 1;
    if (due > 0) latencies.add(now - due);
  }

  end(): void {
    this.#socket.removeAllListeners('close');
    this.#socket.destroy();
  }
}

async function publishOnSchedule(members: readonly Member[]): Promise<void> {
  const total = connections * rate;
  const began = performance.now();
  const measureFrom = began + warmUpMs;
  const until = measureFrom + seconds * 1_000;
  let sent = 0;
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const now = performance.now();
      // The connections take turns, evenly over the time.
      for (;;) {
        const due = began + (sent * 1_000) / total;
        if (due >= until) {
          clearInterval(timer);
          resolve();
          return;
        }
        if (due > now) return;
        const counts = due >= measureFrom;
        members[sent % connections]!.publish(due, counts);
        if (counts) {
          measured += 1;
          sendLag.add(now - due);
        }
        sent += 1;
      }
    }, 1);
  });
  const deadline = performance.now() + DRAIN_MS;
  while (outstanding > 0 && performance.now() < deadline) await new Promise((next) => setTimeout(next, 10));
}

const members: Member[] = [];
while (members.length < connections) {
  const some = Array.from(
    { length: Math.min(CONNECTING_AT_ONCE, connections - members.length) },
    (_, index) => new Member(members.length + index),
  );
  members.push(...some);
  await Promise.all(some.map((member) => member.connected()));
}
console.log(JSON.stringify({ connected: members.length }));
if (rate > 0) await publishOnSchedule(members);
else
  await Promise.race([
    once(process, 'SIGTERM'),
    new Promise((resolve) => setTimeout(resolve, seconds * 1_000)),
  ]);
for (const member of members) member.end();
const [p50Ms, p99Ms, p999Ms] = latencies.quantiles(0.5, 0.99, 0.999);
const [sendLagP50Ms, sendLagP99Ms] = sendLag.quantiles(0.5, 0.99);
console.log(
  JSON.stringify({
    measured,
    unanswered: outstanding,
    p50Ms,
    p99Ms,
    p999Ms,
    maxMs: latencies.max,
    sendLagP50Ms,
    sendLagP99Ms,
  }),
);
process.exit(0);
