// Devices and watchers that time a running gateway from outside: HTTP posts, the ledger's checkpoint on disk, the live
// tail. Adds a few records a second of its own; judges nothing.
import { Agent, get, request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RecordJson } from '../../ledger/format/record.ts';
import { BlockLog, readHead } from '../../ledger/tiles/blocks.ts';
import { directoryTiles } from '../../ledger/tiles/source.ts';
import type { Gateway } from '../support/processes.ts';
import { Latencies } from './latencies.ts';
import { randomFrom } from './telemetry.ts';

const agent = new Agent({ keepAlive: true, maxSockets: 16 });
const CHECKPOINT_POLL_MS = 4;
const GRACE_MS = 3_000;

interface Posted {
  readonly offset: number;
  /** When the answer was here, performance.now(). */
  readonly ackedAt: number;
}

const RETRIES = 100;
const RETRY_MS = 100;
const ANSWER_TIMEOUT_MS = 20_000;

/** Tries again while the gateway is too full: what is timed begins with the answer that took the record. */
async function post(
  gateway: Gateway,
  topic: string,
  body: string,
  headers: Record<string, string>,
): Promise<Posted> {
  for (let tried = 0; ; tried++) {
    const { status, text, ackedAt } = await send(`${gateway.url}/api/v1/ingest/${topic}`, body, headers);
    if (status === 202) return { offset: (JSON.parse(text) as { offset: number }).offset, ackedAt };
    if (status !== 429 || tried === RETRIES) throw new Error(`${status}: ${text.slice(0, 300)}`);
    await sleep(RETRY_MS);
  }
}

function send(
  url: string,
  body: string,
  headers: Record<string, string>,
): Promise<{ status: number; text: string; ackedAt: number }> {
  return new Promise((resolve, reject) => {
    const outgoing = request(
      url,
      { method: 'POST', agent, headers, timeout: ANSWER_TIMEOUT_MS },
      (response) => {
        let text = '';
        response.setEncoding('utf8');
        response.on('data', (data) => {
          text += data;
        });
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, text, ackedAt: performance.now() }),
        );
      },
    );
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer in ${ANSWER_TIMEOUT_MS} ms`)));
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

/** From a record's ack to the signed checkpoint that covers it lying on disk, where it is served from. */
export async function sealedLatency(
  gateway: Gateway,
  seconds: number,
  perSecond: number,
  topic = 'bench/probe/value',
): Promise<Latencies> {
  const tiles = directoryTiles(join(gateway.dataDir, 'ledger'));
  const latencies = new Latencies();
  const waiting: Posted[] = [];
  let watching = true;
  const watch = async () => {
    let seen = '';
    while (watching) {
      const head = await readHead(tiles);
      if (head && head.note !== seen) {
        const now = performance.now();
        seen = head.note;
        const { size } = head.checkpoint;
        const { block } = await new BlockLog(tiles, size).at(size - 1);
        const end = block.first + block.count;
        while (waiting.length > 0 && waiting[0]!.offset < end) latencies.add(now - waiting.shift()!.ackedAt);
      }
      await sleep(CHECKPOINT_POLL_MS);
    }
  };
  const watched = watch();
  try {
    const random = randomFrom(3);
    const until = performance.now() + seconds * 1_000;
    while (performance.now() < until) {
      waiting.push(await post(gateway, topic, `{"value":${random()}}`, JSON_TYPE));
      await sleep(1_000 / perSecond);
    }
    const deadline = performance.now() + GRACE_MS;
    while (waiting.length > 0 && performance.now() < deadline) await sleep(CHECKPOINT_POLL_MS);
  } finally {
    watching = false;
    await watched;
  }
  if (waiting.length > 0) throw new Error(`${waiting.length} records were not sealed within ${GRACE_MS} ms`);
  return latencies;
}

const JSON_TYPE = { 'content-type': 'application/json' };

/** Follows /api/v1/tail; `onRecord` hears of every derived record with the time of its arrival. */
function followTail(
  gateway: Gateway,
  onRecord: (record: RecordJson, at: number) => void,
): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const incoming = get(`${gateway.url}/api/v1/tail`, (response) => {
      let rest = '';
      response.setEncoding('utf8');
      response.on('data', (data: string) => {
        const at = performance.now();
        const events = (rest + data).split('\n\n');
        rest = events.pop()!;
        for (const event of events) {
          if (!event.startsWith('event: record\n')) continue;
          const json = /^data: (.*)$/m.exec(event)?.[1];
          if (json) onRecord(JSON.parse(json) as RecordJson, at);
        }
      });
      resolve(() => incoming.destroy());
    });
    incoming.on('error', reject);
  });
}

const payloadOf = <T>(record: RecordJson) =>
  JSON.parse(Buffer.from(record.payload, 'base64').toString('utf8')) as T;

export interface Found {
  readonly latencies: Latencies;
  readonly sent: number;
}

/** Calm samples a series has had before its fault: enough for the model's window and its calibration. */
const CALM_SAMPLES = 200;
const SAMPLE_MS = 1_000;
const FAULT_PAUSE_MS = 40;
/** An overloaded gateway is given this long to take the calm samples; fewer devices then. */
const PREPARE_MS = 20_000;

/** From the ack of a record with a fault in it to the anomaly it makes on the live tail. One fault a device. */
export async function anomalyLatency(gateway: Gateway, faults: number, name: string): Promise<Found> {
  const random = randomFrom(11);
  const nowMs = Date.now();
  const lastMs = nowMs - 1_000;
  const lines = () =>
    Array.from({ length: CALM_SAMPLES }, (_, index) => {
      const value = 50 + 8 * Math.sin(index / 9) + random();
      return `{"ts":${lastMs - (CALM_SAMPLES - index) * SAMPLE_MS},"value":${value.toFixed(3)}}`;
    }).join('\n');
  const until = performance.now() + PREPARE_MS;
  let devices = 0;
  for (; devices < faults && performance.now() < until; devices++) {
    const device = devices;
    const headers = { 'content-type': 'application/x-ndjson' };
    await post(gateway, `bench/${name}-${device}/level`, lines(), headers);
  }
  // By then the model has seen the calm samples: what is timed is one fault, not a backlog.
  await sleep(2_000);
  const seenAt = new Map<number, number>();
  const stop = await followTail(gateway, (record, at) => {
    if (!record.topic.startsWith('$tidemark/anomalies/')) return;
    seenAt.set(payloadOf<{ offset: number }>(record).offset, at);
  });
  const posted: Posted[] = [];
  for (let device = 0; device < devices; device++) {
    posted.push(
      await post(gateway, `bench/${name}-${device}/level`, `{"ts":${lastMs},"value":500}`, JSON_TYPE),
    );
    await sleep(FAULT_PAUSE_MS);
  }
  await sleep(GRACE_MS);
  stop();
  const latencies = new Latencies();
  for (const { offset, ackedAt } of posted) {
    const at = seenAt.get(offset);
    if (at !== undefined) latencies.add(at - ackedAt);
  }
  return { latencies, sent: devices };
}

/** The window of this benchmark: short, so that many end while it runs. */
export const WINDOW = { name: 'bench', sizeMs: 100, topic: 'bench/clock/window' };
export const WINDOW_YAML = `windows:
  - name: minute
  - name: ${WINDOW.name}
    sizeMs: ${WINDOW.sizeMs}
    allowedLatenessMs: 0
    topics: [${WINDOW.topic}]
`;

/** From the ack of the record whose time ends a window to the window on the live tail. */
export async function windowLatency(gateway: Gateway, seconds: number): Promise<Found> {
  const seenAt = new Map<number, number>();
  const stop = await followTail(gateway, (record, at) => {
    if (record.topic === `$tidemark/windows/${WINDOW.name}`)
      seenAt.set(payloadOf<{ endMs: number }>(record).endMs, at);
  });
  /** Window end → the first record at or after it. */
  const enders = new Map<number, Posted>();
  const until = performance.now() + seconds * 1_000;
  let window = Number.NaN;
  while (performance.now() < until) {
    const eventMs = Date.now();
    const posted = await post(gateway, WINDOW.topic, `{"ts":${eventMs},"value":${eventMs % 97}}`, JSON_TYPE);
    const startMs = eventMs - (eventMs % WINDOW.sizeMs);
    if (startMs === window + WINDOW.sizeMs) enders.set(startMs, posted);
    window = startMs;
    await sleep(8);
  }
  await sleep(GRACE_MS);
  stop();
  const latencies = new Latencies();
  for (const [endMs, { ackedAt }] of enders) {
    const at = seenAt.get(endMs);
    if (at !== undefined) latencies.add(at - ackedAt);
  }
  return { latencies, sent: enders.size };
}
