// Owns load: MQTT publishers that fill one core's worth of a gateway, by prebuilt packets and PUBACKs counted by their
// bytes; either as fast as acknowledgements come back, or at a fixed rate that waits for nobody. Keeps no truth per record:
// each connection's records are numbered, so the log can be asked for them.
import { connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { connectPacket, PacketReader, publishPacket } from './clients/mqtt-packets.ts';
import { GatewayFigures } from './gateway-figures.ts';
import { LatencyHistogram, type LatencySummary } from './latency.ts';

export interface LoadOptions {
  readonly mqttUrl: string;
  readonly connections: number;
  /** Records unanswered on a connection at most. */
  readonly inFlight: number;
  /** Records per second over all connections; 0: as many as are acknowledged. */
  readonly rate: number;
  readonly seconds: number;
  readonly payloadBytes: number;
  /** Where the gateway is asked for its figures; without it there are none. */
  readonly httpUrl?: string;
  readonly signal: AbortSignal;
}

export interface LoadReport {
  readonly connections: number;
  readonly rate: number;
  readonly seconds: number;
  readonly sent: number;
  readonly acked: number;
  readonly ackedPerSecond: number;
  /** Not answered when the run ended. */
  readonly unanswered: number;
  /**
   * From when a record was due by the rate, sent or not, to its acknowledgement; without a rate from when it was sent.
   * At a rate that the gateway does not keep up with it grows without end: that is what devices would see.
   */
  readonly latencyMs: LatencySummary;
  /** Greatest delay of this process in sending what was due, ms: part of the figures above. */
  readonly lateMaxMs: number;
  /** Of this process over the run: processors used, and the share of the time its one sending thread was at work. */
  readonly generator: { readonly cores: number; readonly thread: number };
  /** The same of the gateway and its ingest thread; null when it did not say. */
  readonly gateway: { readonly cores: number; readonly thread: number } | null;
  readonly problems: readonly string[];
}

const IDS = 65_536;
const DIGITS = 12;
const FIRST_SEQUENCE = 100_000_000_000;
const TICK_MS = 1;
const PUBACK = 0x40;
const PUBACK_BYTES = 4;
const DRAIN_MS = 10_000;
/** A gateway at its limit answers late, and late is better than not. */
const WHILE_SATURATED = { mostDoubt: Number.POSITIVE_INFINITY, timeoutMs: 30_000 };
/** A share of a rate is no whole number of milliseconds: the last record of a run is due all the same. */
const ROUNDING = 1e-6;

class Publisher {
  readonly #socket: Socket;
  readonly #template: Buffer;
  readonly #idAt: number;
  readonly #sequenceAt: number;
  /** When the record under each packet id was due. */
  readonly #dueMs = new Float64Array(IDS);
  readonly #latency: LatencyHistogram;
  #id = 0;
  #sequence = FIRST_SEQUENCE;
  #rest: Buffer = Buffer.alloc(0);
  inFlight = 0;
  sent = 0;
  acked = 0;
  problem: string | null = null;
  onAcks: (() => void) | null = null;

  private constructor(socket: Socket, name: string, payloadBytes: number, latency: LatencyHistogram) {
    this.#socket = socket;
    this.#latency = latency;
    const head = '{"seq":';
    const filled = Math.max(1, payloadBytes - head.length - DIGITS - ',"value":'.length - 1);
    const payload = `${head}${FIRST_SEQUENCE},"value":${'1'.repeat(filled)}}`;
    const topic = `load/${name}/value`;
    this.#template = publishPacket(4, 1, topic, payload);
    this.#idAt = this.#template.length - payload.length - 2;
    this.#sequenceAt = this.#idAt + 2 + head.length;
    socket.on('data', (data) => this.#onData(data));
    socket.on('error', (error) => {
      this.problem ??= error.message;
    });
    socket.on('close', () => {
      this.problem ??= 'closed by the gateway';
    });
  }

  static async open(
    url: string,
    name: string,
    payloadBytes: number,
    latency: LatencyHistogram,
  ): Promise<Publisher> {
    const { hostname: host, port } = new URL(url);
    const socket = connect({ host, port: Number(port || 1883), noDelay: true });
    const reader = new PacketReader(4);
    socket.write(connectPacket({ version: 4, clientId: name, keepAliveSeconds: 600 }));
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.once('close', () => reject(new Error(`${name}: closed instead of a CONNACK`)));
      socket.once('data', (data) => {
        const [packet] = reader.read(data);
        if (packet?.type === 'connack' && packet.code === 0) resolve();
        else
          reject(
            new Error(`${name}: refused with ${packet?.type === 'connack' ? packet.code : packet?.type}`),
          );
      });
    });
    socket.removeAllListeners();
    return new Publisher(socket, name, payloadBytes, latency);
  }

  /** Sends the next records, due at these times, in one write. */
  send(dueMs: readonly number[] | number, count: number): void {
    const size = this.#template.length;
    const out = Buffer.allocUnsafe(size * count);
    for (let index = 0; index < count; index += 1) {
      const at = index * size;
      this.#template.copy(out, at);
      this.#id = this.#id === IDS - 1 ? 1 : this.#id + 1;
      out.writeUInt16BE(this.#id, at + this.#idAt);
      this.#writeSequence(out, at + this.#sequenceAt);
      this.#dueMs[this.#id] = typeof dueMs === 'number' ? dueMs : dueMs[index]!;
    }
    this.inFlight += count;
    this.sent += count;
    this.#socket.write(out);
  }

  close(): void {
    this.problem ??= '';
    this.#socket.destroy();
  }

  /** Twelve digits in place; the sequence never has more. */
  #writeSequence(out: Buffer, at: number): void {
    let left = this.#sequence;
    this.#sequence += 1;
    for (let digit = DIGITS - 1; digit >= 0; digit -= 1) {
      const next = Math.floor(left / 10);
      out[at + digit] = 0x30 + (left - next * 10);
      left = next;
    }
  }

  #onData(data: Buffer): void {
    const bytes = this.#rest.length > 0 ? Buffer.concat([this.#rest, data]) : data;
    const nowMs = performance.now();
    let at = 0;
    for (; at + PUBACK_BYTES <= bytes.length; at += PUBACK_BYTES) {
      if (bytes[at] !== PUBACK || bytes[at + 1] !== 2) {
        this.problem ??= `a packet of the type ${bytes[at]! >> 4} instead of a PUBACK`;
        this.#socket.destroy();
        return;
      }
      this.#latency.record(nowMs - this.#dueMs[(bytes[at + 2]! << 8) | bytes[at + 3]!]!);
      this.acked += 1;
      this.inFlight -= 1;
    }
    this.#rest = bytes.subarray(at);
    this.onAcks?.();
  }
}

/** Rejects when the gateway cannot be reached; a connection that ends on the way is a problem in the report. */
export async function runLoad(options: LoadOptions): Promise<LoadReport> {
  const { mqttUrl, connections, payloadBytes, inFlight, rate, seconds, signal } = options;
  const latency = new LatencyHistogram();
  // Each run under names of its own, so that no record repeats an earlier run's.
  const run = Date.now().toString(36);
  const publishers = await Promise.all(
    Array.from({ length: connections }, (_, index) =>
      Publisher.open(mqttUrl, `load-${run}-${index}`, payloadBytes, latency),
    ),
  );
  const most = Math.min(inFlight, IDS - 2);
  const figures = options.httpUrl === undefined ? null : new GatewayFigures(options.httpUrl, WHILE_SATURATED);
  await figures?.ask();
  const cpuBefore = process.cpuUsage();
  const loopBefore = performance.eventLoopUtilization();
  const beganAt = performance.now();
  const endAt = beganAt + seconds * 1000;
  const lateMaxMs =
    rate > 0
      ? await openLoop(publishers, most, rate, beganAt, endAt, signal)
      : await closedLoop(publishers, most, endAt, signal);
  const tookSeconds = (performance.now() - beganAt) / 1000;
  const acked = sum(publishers, ({ acked }) => acked);
  const cpu = process.cpuUsage(cpuBefore);
  const thread = performance.eventLoopUtilization(loopBefore).utilization;
  await figures?.ask();
  const gateway = figures?.latest.up === true ? figures.latest : null;
  const deadline = performance.now() + DRAIN_MS;
  const waiting = () => publishers.some((publisher) => publisher.problem === null && publisher.inFlight > 0);
  while (waiting() && performance.now() < deadline && !signal.aborted) await pause(10);
  const problems = publishers.flatMap(({ problem }) => (problem === null ? [] : [problem]));
  for (const publisher of publishers) publisher.close();
  return {
    connections,
    rate,
    seconds: tookSeconds,
    sent: sum(publishers, ({ sent }) => sent),
    acked: sum(publishers, (publisher) => publisher.acked),
    ackedPerSecond: Math.round(acked / tookSeconds),
    unanswered: sum(publishers, (publisher) => publisher.inFlight),
    latencyMs: latency.summary(),
    lateMaxMs,
    generator: { cores: (cpu.user + cpu.system) / 1e6 / tookSeconds, thread },
    gateway: gateway && { cores: gateway.cores, thread: gateway.ingestThread },
    problems: [...new Set(problems)],
  };
}

const sum = (publishers: readonly Publisher[], of: (publisher: Publisher) => number) =>
  publishers.reduce((total, publisher) => total + of(publisher), 0);

async function closedLoop(
  publishers: readonly Publisher[],
  most: number,
  endAt: number,
  signal: AbortSignal,
): Promise<number> {
  const fill = (publisher: Publisher) => {
    const count = most - publisher.inFlight;
    if (count > 0 && publisher.problem === null && performance.now() < endAt)
      publisher.send(performance.now(), count);
  };
  for (const publisher of publishers) {
    publisher.onAcks = () => fill(publisher);
    fill(publisher);
  }
  await pause(endAt - performance.now(), undefined, { signal }).catch(() => undefined);
  for (const publisher of publishers) publisher.onAcks = null;
  return 0;
}

/**
 * What is due goes out when it is due, on the connections in turn; what finds no room waits, and its time runs. Ends when
 * everything due by then is sent.
 */
async function openLoop(
  publishers: readonly Publisher[],
  most: number,
  rate: number,
  beganAt: number,
  endAt: number,
  signal: AbortSignal,
): Promise<number> {
  const perMs = rate / 1000;
  const share = perMs / publishers.length;
  const due = new Float64Array(publishers.length);
  let lateMaxMs = 0;
  let waiting = true;
  for (
    let nowMs = beganAt;
    waiting && nowMs < endAt + DRAIN_MS && !signal.aborted;
    nowMs = performance.now()
  ) {
    waiting = nowMs < endAt;
    for (const [index, publisher] of publishers.entries()) {
      const shareDue = (Math.min(nowMs, endAt) - beganAt) * share + index / publishers.length;
      const wanted = Math.floor(shareDue + ROUNDING);
      if (publisher.problem !== null) continue;
      const count = Math.min(wanted - due[index]!, most - publisher.inFlight);
      waiting ||= wanted > due[index]! + Math.max(0, count);
      if (count <= 0) continue;
      const first = due[index]!;
      const times = Array.from(
        { length: count },
        (_, place) => beganAt + (first + place + 1 - index / publishers.length) / share,
      );
      // With room on the connection, delay is ours alone.
      if (publisher.inFlight + count < most) lateMaxMs = Math.max(lateMaxMs, nowMs - times[0]!);
      publisher.send(times, count);
      due[index] = first + count;
    }
    await pause(TICK_MS);
  }
  return lateMaxMs;
}
