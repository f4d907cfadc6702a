// A raw HTTP and WebSocket sender that can saturate a gateway from one core: requests made beforehand, answers scanned
// and not parsed. Run as a process of its own; prints a line of JSON when it begins to measure and one with the figures.
// Judges nothing.
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    port: { type: 'string' },
    mode: { type: 'string', default: 'single' },
    connections: { type: 'string', default: '64' },
    inflight: { type: 'string', default: '1' },
    lines: { type: 'string', default: '100' },
    seconds: { type: 'string', default: '5' },
    bytes: { type: 'string', default: '100' },
  },
});
const port = Number(values.port);
const connections = Number(values.connections);
const inflight = Number(values.inflight);
const lines = Number(values.lines);
const seconds = Number(values.seconds);

/** Until then the gateway's code is being compiled. */
const WARM_UP = { msMin: 1_000, msMax: 30_000, answers: 5_000 } as const;

let acked = 0;
let answersInAll = 0;
let measuring = false;
let stopped = false;
const latenciesMs: number[] = [];

const start = '{"value":0.4217,"text":"';
const payload = `${start}${'x'.repeat(Number(values.bytes) - start.length - 2)}"}`;

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}

function open(onData: (data: Buffer) => void): Socket {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  socket.on('data', onData);
  socket.on('error', (error) => stopped || fail(error.message));
  socket.on('close', () => stopped || fail('closed by the gateway'));
  return socket;
}

function count(records: number, sentAt: number): void {
  answersInAll += 1;
  if (!measuring) return;
  acked += records;
  if (latenciesMs.length < 2_000_000) latenciesMs.push(performance.now() - sentAt);
}

// ---- HTTP: a number of requests on their way per connection

const STATUS = Buffer.from('HTTP/1.1 ');
const ACCEPTED = Buffer.from('HTTP/1.1 202');

function httpRequest(index: number): Buffer {
  const batch = values.mode === 'ndjson';
  const body = batch ? `${payload}\n`.repeat(lines) : payload;
  const type = batch ? 'application/x-ndjson' : 'application/json';
  return Buffer.from(
    `POST /api/v1/ingest/plant/bench-${index}/v HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: ${type}\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
}

function startHttp(index: number): Socket {
  const request = httpRequest(index);
  const records = values.mode === 'ndjson' ? lines : 1;
  const sentAt: number[] = [];
  let pending: Buffer = Buffer.alloc(0);
  const send = (requests: number) => {
    const now = performance.now();
    for (let left = requests; left > 0; left -= 1) sentAt.push(now);
    socket.write(requests === 1 ? request : Buffer.concat(Array<Buffer>(requests).fill(request)));
  };
  const socket = open((chunk) => {
    const data = pending.length > 0 ? Buffer.concat([pending, chunk]) : chunk;
    let answers = 0;
    let at = data.indexOf(STATUS);
    let next = 0;
    for (; at !== -1 && at + ACCEPTED.length <= data.length; at = data.indexOf(STATUS, next)) {
      if (data.compare(ACCEPTED, 0, ACCEPTED.length, at, at + ACCEPTED.length) !== 0)
        fail(`answered ${data.toString('latin1', at, at + 400)}`);
      next = at + ACCEPTED.length;
      answers += 1;
      count(records, sentAt.shift()!);
    }
    pending = data.subarray(Math.max(next, data.length - ACCEPTED.length));
    if (answers > 0 && !stopped) send(answers);
  });
  socket.on('connect', () => send(inflight));
  return socket;
}

// ---- WebSocket: a session, one record a frame, cumulative acks

const ID_DIGITS = 10;

/** A masked text frame (RFC 6455 §5.2) under the key 0, which leaves the text as it is. */
function frame(text: string): Buffer {
  const bytes = Buffer.from(text);
  const head =
    bytes.length < 126
      ? Buffer.from([0x81, 0x80 | bytes.length, 0, 0, 0, 0])
      : Buffer.from([0x81, 0xfe, bytes.length >> 8, bytes.length & 255, 0, 0, 0, 0]);
  return Buffer.concat([head, bytes]);
}

function startWebSocket(index: number): Socket {
  // The first id digit stays 1, so that all ids have one length.
  const first = 10 ** (ID_DIGITS - 1);
  const template = frame(`{"id":${first},"topic":"plant/bench-${index}/v","payload":${payload}}`);
  const idAt = template.indexOf('"id":') + 5;
  const sentAt = new Map<number, number>();
  let id = first;
  let done = first - 1;
  let pending: Buffer = Buffer.alloc(0);
  let upgraded = false;
  const send = (frames: number) => {
    const out = Buffer.allocUnsafe(frames * template.length);
    sentAt.set(id + frames - 1, performance.now());
    for (let place = 0; place < frames; place += 1) {
      template.copy(out, place * template.length);
      out.write(String(id), place * template.length + idAt, 'latin1');
      id += 1;
    }
    socket.write(out);
  };
  const onText = (text: string) => {
    const answer = JSON.parse(text) as { welcome?: object; acked?: number };
    if (answer.welcome !== undefined) send(inflight);
    else if (answer.acked !== undefined) {
      const records = answer.acked - done;
      done = answer.acked;
      const at = sentAt.get(done);
      for (const known of sentAt.keys()) if (known <= done) sentAt.delete(known);
      if (measuring) acked += records;
      if (at !== undefined) count(0, at);
      if (!stopped) send(records);
    } else fail(text);
  };
  const socket = open((chunk) => {
    let data = pending.length > 0 ? Buffer.concat([pending, chunk]) : chunk;
    if (!upgraded) {
      const end = data.indexOf('\r\n\r\n');
      if (end === -1) {
        pending = data;
        return;
      }
      if (!data.toString('latin1', 0, 12).endsWith('101')) fail(data.toString('latin1'));
      upgraded = true;
      data = data.subarray(end + 4);
      socket.write(frame(`{"hello":{"session":"bench-${index}","acked":${first - 1}}}`));
    }
    while (data.length >= 2) {
      const short = data[1]! & 127;
      const head = short === 126 ? 4 : 2;
      if (data.length < head) break;
      const length = short === 126 ? data.readUInt16BE(2) : short;
      if (data.length < head + length) break;
      if ((data[0]! & 15) === 1) onText(data.toString('utf8', head, head + length));
      data = data.subarray(head + length);
    }
    pending = data;
  });
  socket.on('connect', () =>
    socket.write(
      'GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    ),
  );
  return socket;
}

const sockets = Array.from({ length: connections }, (_, index) =>
  values.mode === 'websocket' ? startWebSocket(index) : startHttp(index),
);
await sleep(WARM_UP.msMin);
const latest = performance.now() + WARM_UP.msMax;
while (answersInAll < WARM_UP.answers && performance.now() < latest) await sleep(50);
measuring = true;
console.log(JSON.stringify({ measuring }));
const from = performance.now();
const cpu = process.cpuUsage();
await sleep(seconds * 1_000);
measuring = false;
const elapsed = (performance.now() - from) / 1_000;
const { user, system } = process.cpuUsage(cpu);
// First this, then the end of the connections: what the gateway does then is not measured.
console.log(
  JSON.stringify({
    acked,
    perSecond: acked / elapsed,
    ...quantiles(),
    generatorMicroseconds: (user + system) / Math.max(1, acked),
  }),
);
stopped = true;
for (const socket of sockets) socket.destroy();

function quantiles() {
  latenciesMs.sort((a, b) => a - b);
  const at = (q: number) =>
    latenciesMs[Math.min(latenciesMs.length - 1, Math.floor(q * latenciesMs.length))] ?? 0;
  return { p50Ms: at(0.5), p99Ms: at(0.99) };
}
