// The fleet with real client libraries against a real server of the documented protocols: what counts as acked,
// what is sent again, and how it ends.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { checkAcked } from '../../firmware-sim/check.ts';
import { clientFor } from '../../firmware-sim/clients/connect.ts';
import { Truth } from '../../firmware-sim/fleet-report.ts';
import { startPlant } from '../../firmware-sim/plant.ts';
import { runSim } from '../../firmware-sim/sim.ts';
import { SmallGateway } from './small-gateway.ts';

/** What the small gateway speaks. */
const PROTOCOLS = ['mqtt', 'http', 'websocket'] as const;

let gateway: SmallGateway;
let stop: AbortController;
beforeEach(async () => {
  gateway = new SmallGateway();
  await gateway.start();
  stop = new AbortController();
});
afterEach(async () => {
  stop.abort();
  await gateway.kill();
});

const startMs = 1_763_600_000_000;
const run = (options: Partial<Parameters<typeof runSim>[0]> = {}) =>
  runSim({
    ...gateway.endpoints,
    seed: 3,
    devices: 9,
    ratePerDevice: 20,
    durationMs: 600,
    startMs,
    signal: stop.signal,
    ...options,
  });

describe.each(PROTOCOLS)('client: %s', (protocol) => {
  const message = (seq: number) => ({
    topic: 'plant/pump-1/vibration',
    payload: `{"ts":1,"seq":${seq},"rms":1.50}`,
  });

  test('acks what is stored, in order and letter for letter', async () => {
    const client = clientFor(protocol, gateway.endpoints, 'pump-1');
    await client.open(stop.signal);
    const sent = [];
    for (let seq = 0; seq < 5; seq += 1) {
      const answer = client.send(message(seq));
      sent.push(answer);
      if (protocol === 'http') await answer;
    }
    expect((await Promise.all(sent)).map((outcome) => outcome.kind)).toEqual(Array(5).fill('acked'));
    expect(gateway.records.map((record) => record.payload)).toEqual(
      [0, 1, 2, 3, 4].map((seq) => message(seq).payload),
    );
    await client.close();
  });

  test('an answer that never comes is lost, not acked', async () => {
    gateway.verdict = () => 'store-silently';
    const client = clientFor(protocol, gateway.endpoints, 'pump-1');
    await client.open(stop.signal);
    const sent = client.send(message(1));
    await gateway.stored(1);
    await gateway.kill();
    expect((await sent).kind).toBe('lost');
    expect((await client.send(message(2))).kind).toBe('lost');
    await client.close();
    await gateway.start();
  });

  test('close settles what is owed, and may be called again', async () => {
    gateway.verdict = () => 'store-silently';
    const client = clientFor(protocol, gateway.endpoints, 'pump-1');
    await client.open(stop.signal);
    const sent = client.send(message(1));
    await gateway.stored(1);
    await Promise.all([client.close(), client.close()]);
    expect((await sent).kind).toBe('lost');
  });
});

// MQTT 3.1.1 has no answer to a single publish but the end of the connection.
test.each(['http', 'websocket'] as const)('client: %s tells "not now" from "never"', async (protocol) => {
  const message = { topic: 'plant/pump-1/vibration', payload: '{"ts":1,"seq":1}' };
  const client = clientFor(protocol, gateway.endpoints, 'pump-1');
  await client.open(stop.signal);
  gateway.verdict = () => 'busy';
  expect(await client.send(message)).toEqual({ kind: 'busy', code: 'overloaded', retryAfterMs: 20 });
  gateway.verdict = () => 'refuse';
  expect(await client.send(message)).toEqual({ kind: 'refused', code: 'too-large', detail: 'no' });
  await client.close();
});

test('a gateway that is not there rejects open for connections', async () => {
  await gateway.kill();
  for (const protocol of ['mqtt', 'websocket'] as const) {
    await expect(clientFor(protocol, gateway.endpoints, 'pump-1').open(stop.signal)).rejects.toThrow();
  }
  await gateway.start();
});

describe('run', () => {
  test('sends everything by every protocol, all acked, and the check agrees', async () => {
    const { report, truth } = await run();
    expect(report).toMatchObject({ refused: 0, dropped: 0, pending: 0, resent: 0, duplicates: 0 });
    expect(report.sent).toBe(report.acked);
    expect(report.acked).toBeGreaterThan(50);
    expect(truth.size).toBe(report.acked);
    expect(report.latencyMs.count).toBe(report.acked);
    expect(new Set(gateway.records.map((record) => record.via))).toEqual(new Set(PROTOCOLS));
    const check = await checkAcked({ httpUrl: gateway.endpoints.httpUrl, truth });
    expect(check).toMatchObject({
      ok: true,
      acked: report.acked,
      read: report.acked,
      missing: 0,
      doubled: 0,
      changed: 0,
    });
  });

  test('the same seed and start send the same bytes in each device', async () => {
    await run();
    const first = new Map(
      gateway.records.map((record) => [`${record.device} ${record.sequence}`, record.payload]),
    );
    await gateway.kill();
    gateway = new SmallGateway();
    await gateway.start();
    await run();
    const both = gateway.records.filter((record) => first.has(`${record.device} ${record.sequence}`));
    expect(both.length).toBeGreaterThan(50);
    for (const record of both) expect(record.payload).toBe(first.get(`${record.device} ${record.sequence}`));
  });

  test('survives the gateway being killed twice: order kept in each device, nothing acked is missing', async () => {
    const running = run({ durationMs: 1_500, ratePerDevice: 40 });
    for (const count of [60, 150]) {
      await gateway.stored(count);
      gateway.verdict = () => 'store-silently'; // stored, but the answer dies with the process
      await gateway.stored(count + 20);
      await gateway.kill();
      gateway.verdict = () => 'store';
      await gateway.start();
    }
    const { report, truth } = await running;
    expect(report).toMatchObject({ refused: 0, dropped: 0, pending: 0 });
    expect(report.acked).toBe(report.sent);
    expect(report.resent).toBeGreaterThan(0);
    expect(await checkAcked({ httpUrl: gateway.endpoints.httpUrl, truth })).toMatchObject({
      ok: true,
      acked: report.acked,
    });
    for (const device of new Set(gateway.records.map((record) => record.device))) {
      const sequences = gateway.records
        .filter((record) => record.device === device)
        .map((record) => record.sequence);
      expect(sequences).toEqual(sequences.map((_, index) => startMs + index));
    }
  });

  test('waits when told "not now", and gives up what is refused', async () => {
    const turnedAway = new Set<string>();
    gateway.verdict = ({ device, sequence, via }) => {
      const key = `${device} ${sequence}`;
      if (via === 'mqtt') return 'store';
      if (sequence === startMs + 3) return 'refuse';
      if (sequence % 3 !== 0 || turnedAway.has(key)) return 'store';
      turnedAway.add(key);
      return 'busy';
    };
    const { report, truth } = await run({ durationMs: 400 });
    expect(report.refused).toBe(6);
    expect(report.resent).toBe(turnedAway.size);
    expect(turnedAway.size).toBeGreaterThan(0);
    expect(report.acked).toBe(report.sent - report.refused);
    expect((await checkAcked({ httpUrl: gateway.endpoints.httpUrl, truth })).ok).toBe(true);
  });

  test('without a gateway the buffer stays bounded and nothing counts as acked', async () => {
    await gateway.kill();
    const { report, truth } = await run({
      durationMs: 500,
      ratePerDevice: 200,
      maxBufferedPerDevice: 10,
      drainMs: 0,
    });
    expect(report.acked).toBe(0);
    expect(truth.size).toBe(0);
    expect(report.pending).toBe(90);
    expect(report.dropped).toBeGreaterThan(0);
    await gateway.start();
  });

  test('an abort ends it at once', async () => {
    gateway.verdict = () => 'store-silently';
    const running = run({ durationMs: 60_000 });
    await gateway.stored(5);
    const abortedAt = performance.now();
    stop.abort();
    const { report } = await running;
    expect(performance.now() - abortedAt).toBeLessThan(1_000);
    expect(report.acked).toBe(0);
    expect(report.pending).toBeGreaterThan(0);
  });
});

describe('check', () => {
  test('names what is missing, doubled and changed', async () => {
    const { truth } = await run({ durationMs: 300 });
    const { records } = gateway;
    const copy = [...records];
    records.splice(0, records.length, ...copy.slice(1), copy[2]!, { ...copy[3]!, payload: '{"seq":0}' });
    records[3] = { ...copy[4]!, payload: `${copy[4]!.payload} ` };
    const report = await checkAcked({ httpUrl: gateway.endpoints.httpUrl, truth });
    expect(report).toMatchObject({ ok: false, missing: 1, doubled: 2, changed: 1 });
    expect(report.offenders).toContainEqual(
      expect.objectContaining({ problem: 'missing', device: copy[0]!.device, sequence: copy[0]!.sequence }),
    );
    expect(report.offenders.map((offender) => offender.problem).toSorted()).toEqual([
      'changed',
      'doubled',
      'doubled',
      'missing',
    ]);
  });

  test('a server that is no gateway is an error, not a clean report', async () => {
    await expect(
      checkAcked({ httpUrl: `${gateway.endpoints.httpUrl}/elsewhere`, truth: new Truth() }),
    ).rejects.toThrow();
  });
});

test('the plant runs forty devices of four kinds over three protocols, and stops cleanly', async () => {
  const faults: unknown[] = [];
  // A day in three seconds, so that faults come within the test.
  const plant = startPlant({
    ...gateway.endpoints,
    seed: 1,
    ratePerDevice: 10,
    dayMs: 3_000,
    stopGraceMs: 30_000,
    signal: stop.signal,
    onEvent: (event) => void (event.type === 'fault' && faults.push(event.fault)),
  });
  await gateway.stored(600);
  await plant.stop();
  const figures = plant.figures();
  expect(figures).toMatchObject({ devices: 40, connected: 0, refused: 0, dropped: 0, pending: 0 });
  expect(figures.acked).toBe(figures.sent);
  expect(figures.faultsInjected).toBeGreaterThan(0);
  expect(faults).toEqual(figures.faults);
  const kindsBy = new Set(
    gateway.records.map((record) => `${record.device.replace(/-\d+$/, '')} ${record.via}`),
  );
  expect(new Set(gateway.records.map((record) => record.device)).size).toBe(40);
  expect(kindsBy.size).toBe(12);
});
