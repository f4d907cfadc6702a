// The clients of the overload soak, in a process of their own: MQTT 5, MQTT 3.1.1 and HTTP connections that send more
// than the gateway takes, on a schedule that no slow answer can delay, or as fast as TCP lets them. Prints counts each
// second, as JSON lines; at the end writes which records were acknowledged to --acked: u32 LE client, count, sequences.
import { writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    mqtt: { type: 'string' },
    http: { type: 'string' },
    connections: { type: 'string', default: '1000' },
    /** Records per second of all together; 0: as fast as they are taken. */
    rate: { type: 'string' },
    seconds: { type: 'string' },
    acked: { type: 'string' },
  },
});
const connections = Number(values.connections);
const rate = Number(values.rate);
const seconds = Number(values.seconds);

const IN_FLIGHT_MAX = 50;
const UNSENT_BYTES_MAX = 64 * 1024;
const RECONNECT_MS = 500;
const SEQUENCE_DIGITS = 10;

const counts = {
  connected: 0,
  sent: 0,
  acked: 0,
  /** Due, and not sent because the client may not, or cannot, send more now. */
  heldBack: 0,
  /** By MQTT 5 reason code or HTTP status. */
  refused: {} as Record<string, number>,
  /** Connections the gateway closed. */
  closed: 0,
};
let ended = false;

const refuse = (code: string) => {
  counts.refused[code] = (counts.refused[code] ?? 0) + 1;
};
const payloadOf = (sequence: number) =>
  `{"seq":${String(sequence).padStart(SEQUENCE_DIGITS)},"value":20.125}`;

interface Client {
  readonly acked: number[];
  connect(): Promise<void>;
  /** False: not now. */
  send(): boolean;
  end(): void;
}

const text = (value: string) => {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
};

class MqttClient implements Client {
  readonly acked: number[] = [];
  readonly #name: string;
  readonly #version: 4 | 5;
  readonly #head: Buffer;
  readonly #tail: Buffer;
  readonly #inFlight = new Map<number, number>();
  #socket: Socket | null = null;
  #rest: Buffer = Buffer.alloc(0);
  #receiveMaximum = IN_FLIGHT_MAX;
  #ready = false;
  #nextId = 1;
  #sequence = 0;
  #onConnected: (() => void) | null = null;

  constructor(index: number, version: 4 | 5) {
    this.#name = `c-${index}`;
    this.#version = version;
    const topic = text(`overload/${this.#name}/load`);
    this.#tail = version === 5 ? Buffer.from([0]) : Buffer.alloc(0);
    const length = topic.length + 2 + this.#tail.length + payloadOf(0).length;
    this.#head = Buffer.concat([Buffer.from([0x32, length]), topic]);
  }

  connect(): Promise<void> {
    const connected = new Promise<void>((resolve) => (this.#onConnected = resolve));
    this.#open();
    return connected;
  }

  #open(): void {
    const socket = connect({ port: Number(values.mqtt), host: '127.0.0.1', noDelay: true });
    this.#socket = socket;
    this.#rest = Buffer.alloc(0);
    const properties = this.#version === 5 ? Buffer.from([0]) : Buffer.alloc(0);
    const rest = Buffer.concat([
      text('MQTT'),
      Buffer.from([this.#version, 2, 0, 120]),
      properties,
      text(this.#name),
    ]);
    socket.write(Buffer.concat([Buffer.from([0x10, rest.length]), rest]));
    socket.on('data', (data) => this.#onData(data));
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#ready = false;
      this.#inFlight.clear();
      if (ended) return;
      counts.closed += 1;
      setTimeout(() => !ended && this.#open(), RECONNECT_MS);
    });
  }

  send(): boolean {
    const socket = this.#socket!;
    if (
      !this.#ready ||
      this.#inFlight.size >= this.#receiveMaximum ||
      socket.writableLength > UNSENT_BYTES_MAX
    )
      return false;
    while (this.#inFlight.has(this.#nextId)) this.#nextId = (this.#nextId % 65_535) + 1;
    const id = this.#nextId;
    this.#nextId = (id % 65_535) + 1;
    const sequence = this.#sequence++;
    this.#inFlight.set(id, sequence);
    socket.write(
      Buffer.concat([
        this.#head,
        Buffer.from([id >> 8, id & 255]),
        this.#tail,
        Buffer.from(payloadOf(sequence), 'latin1'),
      ]),
    );
    return true;
  }

  #onData(chunk: Buffer): void {
    const data = this.#rest.length > 0 ? Buffer.concat([this.#rest, chunk]) : chunk;
    let at = 0;
    // Everything the gateway sends here is shorter than 16 KiB: two bytes of length at most.
    while (data.length - at >= 2) {
      const long = data[at + 1]! >= 0x80;
      if (long && data.length - at < 3) break;
      const length = long ? (data[at + 1]! & 0x7f) + data[at + 2]! * 128 : data[at + 1]!;
      const start = at + (long ? 3 : 2);
      if (start + length > data.length) break;
      this.#onPacket(data[at]! >> 4, data.subarray(start, start + length));
      at = start + length;
    }
    this.#rest = Buffer.from(data.subarray(at));
  }

  #onPacket(type: number, body: Buffer): void {
    if (type === 2 && body[1] === 0) {
      this.#ready = true;
      this.#receiveMaximum = Math.min(IN_FLIGHT_MAX, receiveMaximum(body.subarray(2)));
      this.#onConnected?.();
    } else if (type === 2) refuse(`CONNACK ${body[1]}`);
    else if (type === 4) this.#onAck(body.readUInt16BE(0), body[2] ?? 0);
    else if (type === 14) refuse(`DISCONNECT 0x${(body[0] ?? 0).toString(16)}`);
  }

  #onAck(id: number, reason: number): void {
    const sequence = this.#inFlight.get(id);
    this.#inFlight.delete(id);
    if (sequence === undefined) return;
    // 0x10: no subscriber.
    if (reason === 0 || reason === 0x10) {
      this.acked.push(sequence);
      counts.acked += 1;
    } else refuse(`PUBACK 0x${reason.toString(16)}`);
  }

  end(): void {
    this.#socket?.destroy();
  }
}

/** Of a CONNACK's properties, where the gateway's are such that 0x21 can be looked for among the short ones. */
function receiveMaximum(properties: Buffer): number {
  const widths: Record<number, number> = {
    17: 4,
    19: 2,
    33: 2,
    34: 2,
    36: 1,
    37: 1,
    39: 4,
    40: 1,
    41: 1,
    42: 1,
  };
  for (let at = 1; at < properties.length; ) {
    const id = properties[at]!;
    if (id === 0x21) return properties.readUInt16BE(at + 1);
    const width = widths[id] ?? 2 + properties.readUInt16BE(at + 1);
    at += 1 + width;
  }
  return 65_535;
}

const agent = new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY });

class HttpClient implements Client {
  readonly acked: number[] = [];
  readonly #path: string;
  #busy = false;
  #sequence = 0;

  constructor(index: number) {
    this.#path = `/api/v1/ingest/overload/c-${index}/load`;
  }

  connect(): Promise<void> {
    return Promise.resolve();
  }

  send(): boolean {
    if (this.#busy) return false;
    this.#busy = true;
    const sequence = this.#sequence++;
    const body = payloadOf(sequence);
    const headers = { 'content-type': 'application/json', 'content-length': body.length };
    const options = {
      port: Number(values.http),
      host: '127.0.0.1',
      path: this.#path,
      method: 'POST',
      agent,
      headers,
    };
    const posted = request(options, (response) => {
      response.resume();
      response.on('end', () => {
        this.#busy = false;
        if (response.statusCode === 202) {
          this.acked.push(sequence);
          counts.acked += 1;
        } else {
          const hint = response.headers['retry-after'] === undefined ? ' without Retry-After' : '';
          refuse(`HTTP ${response.statusCode}${hint}`);
        }
      });
    });
    posted.on('error', () => {
      this.#busy = false;
      if (!ended) counts.closed += 1;
    });
    posted.end(body);
    return true;
  }

  end(): void {}
}

/** Six tenths MQTT 5, three MQTT 3.1.1, one HTTP. */
function clientOf(index: number): Client {
  const kind = index % 10;
  return kind === 9 ? new HttpClient(index) : new MqttClient(index, kind < 6 ? 5 : 4);
}

const clients: Client[] = [];
for (let index = 0; index < connections; index += 50) {
  const some = Array.from({ length: Math.min(50, connections - index) }, (_, at) => clientOf(index + at));
  clients.push(...some);
  await Promise.all(some.map((client) => client.connect()));
}
counts.connected = clients.length;
console.log(JSON.stringify(counts));

const report = setInterval(() => console.log(JSON.stringify(counts)), 1_000);
const began = performance.now();
let due = 0;
await new Promise<void>((resolve) => {
  const timer = setInterval(() => {
    const nowMs = performance.now() - began;
    if (nowMs >= seconds * 1_000) {
      clearInterval(timer);
      resolve();
    } else if (rate === 0) {
      for (const client of clients) while (client.send()) counts.sent += 1;
    } else {
      for (const until = (nowMs * rate) / 1_000; due < until; due += 1) {
        if (clients[due % clients.length]!.send()) counts.sent += 1;
        else counts.heldBack += 1;
      }
    }
  }, 2);
});
clearInterval(report);
ended = true;
for (const client of clients) client.end();
agent.destroy();
writeFileSync(
  values.acked!,
  Buffer.concat(
    clients.map(({ acked }, index) => Buffer.from(new Uint32Array([index, acked.length, ...acked]).buffer)),
  ),
);
console.log(JSON.stringify({ ...counts, ended: true }));
process.exit(0);
