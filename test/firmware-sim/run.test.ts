// A whole run of a scenario file: the truth ledger it leaves, and the judge that reads it.
import { appendFileSync, copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { expectationsOf } from '../../firmware-sim/expectations.ts';
import { type HeldRecord, heldOverHttp } from '../../firmware-sim/held.ts';
import { judge } from '../../firmware-sim/judge.ts';
import { type RunOptions, runScenario } from '../../firmware-sim/run.ts';
import { reportHtml, reportText } from '../../firmware-sim/run-report.ts';
import { parseScenario } from '../../firmware-sim/scenario-file.ts';
import { Timeline, type TimelineRecord } from '../../firmware-sim/timeline.ts';
import { readTruth } from '../../firmware-sim/truth.ts';
import { SmallGateway } from './small-gateway.ts';

const SCENARIO = `
name: small
seed: 9
seconds: 1.5
drainSeconds: 20
faultsPerHour: 36000
dayMinutes: 1
fleets:
  - { name: meter, kind: energy-meter, count: 4, protocol: [mqtt, http, websocket], ratePerDevice: 20, quirks: { duplicates: 0.1, reordered: 0.1 } }
  - { name: lorry, kind: gps-tracker, count: 3, ratePerDevice: 20, churnPerMinute: 1, quirks: { offlinePerHour: 3600, offlineSeconds: [0.1, 0.4] } }
`;

const START_MS = 1_763_600_000_000;

let gateway: SmallGateway;
let folder: string;
let stop: AbortController;
beforeEach(async () => {
  gateway = new SmallGateway();
  await gateway.start();
  folder = mkdtempSync(join(tmpdir(), 'tidemark-sim-'));
  stop = new AbortController();
});
afterEach(async () => {
  stop.abort();
  await gateway.kill();
  rmSync(folder, { recursive: true });
});

const truthPath = () => join(folder, 'truth');
const run = (options: Partial<RunOptions> = {}) =>
  runScenario({
    file: parseScenario(SCENARIO),
    startMs: START_MS,
    endpoints: gateway.endpoints,
    truthPath: truthPath(),
    fromOffset: 0,
    signal: stop.signal,
    ...options,
  });
const judged = (path = truthPath()) =>
  judge({ truthPath: path, held: (from) => heldOverHttp(gateway.endpoints.httpUrl, from) });

test('everything made is acknowledged, and the judge agrees', async () => {
  const report = await run();
  expect(report).toMatchObject({ refused: 0, dropped: 0, pending: 0, cut: false });
  expect(report.acked).toBe(report.made);
  expect(report.duplicates).toBeGreaterThan(0);
  expect(report.faults).toBeGreaterThan(5);
  const entries = [...readTruth(truthPath())];
  expect(entries.filter(({ type }) => type === 'made').length).toBe(report.made);
  const verdict = await judged();
  expect(verdict).toMatchObject({
    ok: true,
    made: report.made,
    acked: report.made,
    lost: 0,
    doubled: 0,
    reordered: 0,
    madeHash: report.madeHash,
  });
  expect(verdict.anomalies.injected + verdict.anomalies.unseen).toBe(report.faults);
  expect(verdict.anomalies.injected).toBeGreaterThan(5);
  const result = { report, records: verdict, ledger: 'clean', expectations: [], ok: true };
  expect(reportText(result)).toContain('ok: everything acknowledged is there');
  expect(reportHtml(result)).toContain('Ack latency');
});

test('a latency is held against the gateway only when the simulator itself was in time', async () => {
  const report = await run();
  const verdict = await judged();
  const file = { ...parseScenario(SCENARIO), expect: { pendingMax: 0, ackP99MsMax: 100 } };
  const summary = (p99: number) => ({ ...report.latencyMs, p99 });
  const met = (latency: number, late: number) =>
    expectationsOf(file, { ...report, latencyMs: summary(latency), lateMs: summary(late) }, verdict)
      .filter(({ what }) => what.includes('latency'))
      .map((expectation) => expectation.met);
  expect([met(99, 5), met(101, 5), met(101, 26), met(99, 26)]).toEqual([[true], [false], [null], [true]]);
});

test('the same seed leaves the same truth, whatever the gateway does meanwhile', async () => {
  const first = await run();
  await gateway.kill();
  gateway = new SmallGateway();
  await gateway.start();
  const running = run();
  await gateway.stored(40);
  gateway.verdict = () => 'store-silently';
  await gateway.stored(60);
  await gateway.kill();
  gateway.verdict = () => 'store';
  await gateway.start();
  const second = await running;
  expect(second.resent).toBeGreaterThan(0);
  expect(second.madeHash).toBe(first.madeHash);
  expect(await judged()).toMatchObject({ ok: true, acked: second.made });
  const third = await run({ file: { ...parseScenario(SCENARIO), seed: 10 } });
  expect(third.madeHash).not.toBe(first.madeHash);
});

test('an anomaly is judged by the record it names, whatever the clock of its device says', async () => {
  const file = parseScenario(
    SCENARIO.replace('quirks: { duplicates: 0.1,', 'quirks: { clockOffsetSeconds: -86400, duplicates: 0.1,'),
  );
  await run({ file });
  const timeline = new Timeline(file, START_MS);
  const made: TimelineRecord[] = [];
  while (Number.isFinite(timeline.nextAtMs)) {
    const step = timeline.next();
    if (step.type === 'record' && !step.record.copy) made.push(step.record);
  }
  const struck = timeline.labels.filter(({ records }) => records !== null);
  const sound = made.find(
    ({ number, device }) => !struck.some((label) => label.device === device && number >= label.records![0]),
  )!;
  async function* withAnomalies(from: number) {
    const held: HeldRecord[] = [];
    for await (const records of heldOverHttp(gateway.endpoints.httpUrl, from)) held.push(...records);
    yield held;
    const numbers = [...struck.map(({ records }) => records![1]), sound.number];
    for (const number of numbers) {
      const { device, sequence } = made[number]!;
      const { offset } = held.find((record) => record.device === device && record.sequence === sequence)!;
      const payload = Buffer.from(JSON.stringify({ offset, score: 20 }));
      yield [{ ...held[0]!, offset: held.length, topic: '$tidemark/anomalies/any', source: 5, payload }];
    }
  }
  const { anomalies } = await judge({ truthPath: truthPath(), held: withAnomalies });
  expect(struck.length).toBeGreaterThan(5);
  expect(anomalies).toMatchObject({ injected: struck.length, anomalies: struck.length + 1, falseAlarms: 1 });
  expect(anomalies.found).toBe(struck.length);
  expect(anomalies.deviceDays).toBeCloseTo((7 * 1.5) / 60, 9);
});

describe('the judge names', () => {
  beforeEach(async () => {
    await run();
  });
  const spoil = async (change: (records: SmallGateway['records']) => void) => {
    change(gateway.records);
    for (const [offset, record] of gateway.records.entries()) Object.assign(record, { offset });
    return judged();
  };

  test('a lost record', async () => {
    let gone: { device: string; sequence: number } | undefined;
    const verdict = await spoil((records) => {
      [gone] = records.splice(20, 1);
    });
    expect(verdict).toMatchObject({ ok: false, lost: 1, doubled: 0, reordered: 0, changed: 0, invented: 0 });
    expect(verdict.offenders).toEqual([{ problem: 'lost', device: gone!.device, sequence: gone!.sequence }]);
  });

  test('a doubled record', async () => {
    const verdict = await spoil((records) => records.push({ ...records[7]! }));
    expect(verdict).toMatchObject({ ok: false, lost: 0, doubled: 1, changed: 0 });
    expect(verdict.offenders[0]).toMatchObject({ problem: 'doubled', offset: gateway.records.length - 1 });
  });

  test('a changed record', async () => {
    const verdict = await spoil((records) => {
      records[11] = { ...records[11]!, payload: records[11]!.payload.replace('}', ' }') };
    });
    expect(verdict).toMatchObject({ ok: false, lost: 0, changed: 1, invented: 0 });
    expect(verdict.offenders[0]).toMatchObject({ problem: 'changed', offset: 11 });
  });

  test('two records of a device in the wrong order', async () => {
    const verdict = await spoil((records) => {
      const own = records
        .filter(({ device }) => device === 'meter-1')
        .map((record) => records.indexOf(record));
      const [a, b] = [own[3]!, own[4]!];
      [records[a], records[b]] = [records[b]!, records[a]!];
    });
    expect(verdict).toMatchObject({ ok: false, lost: 0, reordered: 1, changed: 0 });
  });

  test('a record nobody made', async () => {
    const verdict = await spoil((records) =>
      records.push({ ...records[3]!, sequence: 1, payload: '{"ts":1,"seq":1,"lie":2}' }),
    );
    expect(verdict).toMatchObject({ ok: false, lost: 0, invented: 1 });
  });

  test('a record without a proof, or with a proof that is none', async () => {
    const held = (from: number) => heldOverHttp(gateway.endpoints.httpUrl, from);
    const none = await judge({ truthPath: truthPath(), held, proofOf: async () => null, proofs: 3 });
    expect(none).toMatchObject({ ok: false, proofs: 3, unproven: 3 });
    const nonsense = await judge({ truthPath: truthPath(), held, proofOf: async () => '{}', proofs: 3 });
    expect(nonsense).toMatchObject({ ok: false, proofs: 3, unproven: 3 });
  });

  test('a truth ledger that is none, and reads one that was cut off', async () => {
    await expect(judged(import.meta.filename)).rejects.toThrow('is not a truth file');
    const cut = join(folder, 'cut');
    copyFileSync(truthPath(), cut);
    appendFileSync(cut, Buffer.alloc(17, 1));
    expect(await judged(cut)).toMatchObject({ ok: true });
  });
});

test('an abort ends the run at once and leaves a readable truth ledger', async () => {
  gateway.verdict = () => 'store-silently';
  const running = run({ file: { ...parseScenario(SCENARIO), seconds: 3_600 } });
  await gateway.stored(10);
  stop.abort();
  const report = await running;
  expect(report).toMatchObject({ cut: true, acked: 0 });
  expect(await judged()).toMatchObject({ acked: 0, lost: 0, ok: true });
});
