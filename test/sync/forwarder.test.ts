// A forwarder from a real log to a real mosquitto: order, at least once over kills and cuts on both sides, a cursor
// that outlives it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { logConfigSchema } from '../../gateway/log/config.ts';
import { type Log, openLog } from '../../gateway/log/log.ts';
import { systemClock } from '../../gateway/stage/clock.ts';
import { StageHost } from '../../gateway/stage/host.ts';
import type { StageFigures } from '../../gateway/stage/types.ts';
import { StateStore } from '../../gateway/state/state.ts';
import { type RecordInput, SOURCE } from '../../ledger/format/record.ts';
import { type ForwarderConfig, mqttForwarderSchema } from '../../sync/config.ts';
import { type ForwarderOptions, runForwarder, sinkWindow } from '../../sync/forwarder.ts';
import { MqttSink } from '../../sync/sinks/mqtt/sink.ts';
import { type Arrival, Collector } from './collector.ts';
import { Gate } from './gate.ts';
import { Mosquitto } from './mosquitto.ts';

const NAME = 'forwarder:central';
let dataDir: string;
let log: Log;
let state: StateStore;
let broker: Mosquitto;
let gate: Gate;
let collector: Collector;
let written = 0;

beforeEach(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'tidemark-sync-'));
  log = await openLog({ dataDir, config: logConfigSchema.parse({}) });
  state = new StateStore(dataDir);
  broker = await Mosquitto.start();
  gate = new Gate(broker.port);
  await gate.open();
  collector = new Collector(broker.url);
  await collector.ready();
  written = 0;
});

afterEach(async () => {
  await collector.stop();
  await gate.cut();
  await broker.stop();
  state.close();
  await log.close();
  rmSync(dataDir, { recursive: true, force: true });
});

function input(topic = 'plant/pump-1/vibration'): RecordInput {
  const sequence = written++;
  return {
    eventMs: 1_763_600_000_000 + sequence,
    receivedMs: 1_763_600_000_000 + sequence,
    topic,
    device: 'pump-1',
    sequence,
    source: topic.startsWith('$') ? SOURCE.window : SOURCE.mqtt,
    contentType: '',
    headers: [],
    payload: new TextEncoder().encode(`{"value":${sequence}}`),
    salt: new Uint8Array(),
  };
}

const append = (count: number, topic?: string) =>
  log.appendAll(Array.from({ length: count }, () => input(topic)));
const numberOf = (arrival: Arrival) => (JSON.parse(String(arrival.payload)) as { value: number }).value;
/** In the order in which each was first seen. */
const firstSeen = () => [...new Set(collector.arrivals.map(numberOf))];
const upTo = (count: number) => Array.from({ length: count }, (_, index) => index);
const seen = (value: number) =>
  collector.until((arrivals) => arrivals.some((arrival) => numberOf(arrival) === value));

interface Running {
  readonly figures: StageFigures;
  /** Resolves once a report satisfies `enough`. */
  until(enough: (figures: StageFigures) => boolean): Promise<void>;
  stop(): Promise<void>;
}

function start(options: Partial<ForwarderOptions> = {}, config: Partial<ForwarderConfig> = {}): Running {
  const settings = mqttForwarderSchema.parse({
    name: 'central',
    type: 'mqtt',
    url: gate.url,
    maxInFlight: 40,
    retryFirstMs: 20,
    retryMaxMs: 100,
    ...config,
  });
  const stop = new AbortController();
  const reader = log.openReader();
  let figures: StageFigures = {};
  let changed = Promise.withResolvers<void>();
  const running = Promise.resolve(reader).then((opened) =>
    runForwarder({
      ...settings,
      name: NAME,
      reader: opened,
      cursors: state,
      sink: new MqttSink({
        ...settings,
        maxInFlight: sinkWindow(settings.maxInFlight),
        clientId: 'gateway',
        credentials: async () => ({}),
      }),
      clock: systemClock,
      random: Math.random,
      signal: stop.signal,
      report(latest) {
        figures = latest;
        const previous = changed;
        changed = Promise.withResolvers<void>();
        previous.resolve();
      },
      log() {},
      ...options,
    }).finally(() => opened.close()),
  );
  return {
    get figures() {
      return figures;
    },
    async until(enough) {
      while (!enough(figures)) await changed.promise;
    },
    async stop() {
      stop.abort();
      await running;
    },
  };
}

test('forwards what is there and what comes, in order, and moves the cursor over it', async () => {
  await append(300);
  const forwarder = start();
  await seen(299);
  await append(50);
  await seen(349);
  await forwarder.stop();
  expect(collector.arrivals.map(numberOf)).toEqual(upTo(350));
  expect(state.loadCursor(NAME)!.next).toBe(350);
  expect(forwarder.figures).toMatchObject({
    forwarded: 350,
    next: 350,
    retries: 0,
    notHeld: 0,
    inFlight: 0,
    lastError: null,
  });
  expect(forwarder.figures.lastAckMs).toBeTypeOf('number');
});

test('continues at its cursor after a restart, repeating nothing that was acknowledged', async () => {
  await append(100);
  const first = start();
  await seen(99);
  await first.stop();
  await append(100);
  const second = start();
  await seen(199);
  await second.stop();
  expect(collector.arrivals.map(numberOf)).toEqual(upTo(200));
});

test('a clock set forth and back again holds up neither the cursor nor the figures', async () => {
  let aheadMs = 40 * 86_400_000;
  await append(10);
  const forwarder = start({ clock: { ...systemClock, nowMs: () => Date.now() + aheadMs } });
  await seen(9);
  await expect.poll(() => state.loadCursor(NAME)?.next, { timeout: 30_000 }).toBe(10);
  aheadMs = 0;
  await append(10);
  await expect.poll(() => state.loadCursor(NAME)?.next, { timeout: 30_000 }).toBe(20);
  await expect.poll(() => forwarder.figures.next, { timeout: 30_000 }).toBe(20);
  await forwarder.stop();
});

test('a crash before the cursor is saved repeats, and loses nothing', async () => {
  await append(200);
  // A cursor that cannot be written is what a crash leaves: acknowledged upstream, not remembered here.
  const forgetful = {
    loadCursor: () => null,
    saveCursor: () => {
      throw new Error('disk full');
    },
  };
  const first = start({ cursors: forgetful });
  await seen(199);
  await first.stop();
  const second = start();
  await collector.until((arrivals) => arrivals.length === 400);
  await second.stop();
  expect(collector.arrivals.map(numberOf)).toEqual([...upTo(200), ...upTo(200)]);
});

test('cut links: sends again from the first record not acknowledged, in order, at most the window twice', async () => {
  await append(400);
  const forwarder = start();
  for (const value of [60, 170, 280]) {
    await seen(value);
    gate.hold(); // what is sent from here on arrives, and its acknowledgement does not
    await append(100);
    await forwarder.until((figures) => figures.inFlight === 40);
    await gate.cut();
    await forwarder.until((figures) => figures.connected === false);
    await gate.open();
  }
  await seen(written - 1);
  await forwarder.until((figures) => figures.next === written);
  await forwarder.stop();
  expect(firstSeen()).toEqual(upTo(700));
  const repeats = collector.arrivals.length - 700;
  expect(repeats).toBeLessThanOrEqual(3 * 40);
  expect(forwarder.figures.retries).toBeGreaterThanOrEqual(3);
  expect(forwarder.figures.forwarded).toBe(700);
  // After a step back the run goes on without a gap: no record is passed by.
  const jumps = collector.arrivals
    .map(numberOf)
    .filter((value, index, all) => index > 0 && value > all[index - 1]! + 1);
  expect(jumps).toEqual([]);
});

test('mosquitto killed and started again: everything arrives, in order, at least once', async () => {
  await append(100);
  const forwarder = start();
  await seen(99);
  for (const total of [250, 400]) {
    await broker.kill();
    await gate.cut();
    await append(total - written);
    await forwarder.until((figures) => figures.connected === false && Number(figures.retries) > 0);
    await broker.restart();
    await collector.ready();
    await gate.open();
    await seen(total - 1);
  }
  await forwarder.stop();
  expect(firstSeen()).toEqual(upTo(400));
  expect(state.loadCursor(NAME)!.next).toBe(400);
});

test('an outage from the start: counts retries, says why, blocks nobody, then catches up', async () => {
  await gate.cut();
  const forwarder = start();
  await append(500);
  await forwarder.until((figures) => Number(figures.retries) >= 3);
  expect(forwarder.figures).toMatchObject({ connected: false, forwarded: 0, next: 0 });
  expect(forwarder.figures.lastError).toContain('UNREACHABLE');
  await gate.open();
  await seen(499);
  await forwarder.stop();
  expect(collector.arrivals.map(numberOf)).toEqual(upTo(500));
});

test('topics that are not wanted are passed over, and the cursor with them', async () => {
  const forwarder = start({}, { topics: ['plant/+/power'] });
  await append(500);
  await append(1, 'plant/inverter-1/power');
  await append(500);
  await seen(500);
  await forwarder.until((figures) => figures.next === 1001);
  await forwarder.stop();
  expect(collector.arrivals.map(numberOf)).toEqual([500]);
  expect(forwarder.figures).toMatchObject({ forwarded: 1, filtered: 1000 });
  expect(state.loadCursor(NAME)!.next).toBe(1001);
});

test('one record at a time is possible, and derived records go along', async () => {
  const forwarder = start({}, { maxInFlight: 1 });
  await append(20);
  await append(1, '$tidemark/windows/minute');
  await seen(20);
  await forwarder.stop();
  expect(collector.arrivals.map(numberOf)).toEqual(upTo(21));
  expect(collector.arrivals.at(-1)!.topic).toBe('tidemark/windows/minute');
});

test('stopping during an outage is quick', async () => {
  await gate.cut();
  await append(1);
  const forwarder = start({}, { retryFirstMs: 60_000, retryMaxMs: 60_000 });
  await forwarder.until((figures) => figures.retries === 1);
  const stoppedAt = performance.now();
  await forwarder.stop();
  expect(performance.now() - stoppedAt).toBeLessThan(1_000);
  expect(collector.arrivals).toEqual([]);
});

describe('as a stage', () => {
  test('runs in its worker, reports figures, keeps the cursor over a restart of the gateway', async () => {
    const config = mqttForwarderSchema.parse({ name: 'central', type: 'mqtt', url: gate.url });
    const silent = { debug() {}, info() {}, warn() {}, error() {} };
    for (const total of [100, 200]) {
      const host = new StageHost({
        init: { name: NAME, config, dataDir, durableEnd: log.durableEnd },
        entry: new URL('../../sync/worker.ts', import.meta.url),
        appender: log,
        logger: silent,
      });
      host.start();
      await append(100);
      await seen(total - 1);
      await host.stop();
      expect(host.figures).toMatchObject({ next: total, forwarded: 100, connected: false, failures: 0 });
    }
    expect(collector.arrivals.map(numberOf)).toEqual(upTo(200));
  });
});
