// Retention on a real log and a real ledger: what goes and what stays, what holds it back, and that the ledger always says so.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { localProofs } from '../../../gateway/api/proofs.ts';
import { leafSource } from '../../../gateway/log/retention/leaf-files.ts';
import { StateStore } from '../../../gateway/state/state.ts';
import { offset } from '../../../ledger/format/brand.ts';
import { audit } from '../../../ledger/fsck/audit.ts';
import { fsck } from '../../../ledger/fsck/fsck.ts';
import { gatewayVerifierKey, loadOrCreateGatewayKey } from '../../../ledger/seal/key.ts';
import { verifyProof } from '../../../ledger/verify/index.ts';
import { ORIGIN } from '../../ledger/fsck/gateway.ts';
import { readAll, tempFolder } from '../log/records.ts';
import { CONFIG, fill, HOUR_MS, openKeeperLog, reading, START_MS, settleRetention } from './keeper.ts';

const RECORDS = 600;
const END_MS = START_MS + RECORDS * 60_000;

async function filled() {
  const dataDir = tempFolder();
  const log = await openKeeperLog(dataDir);
  await fill(log, dataDir, RECORDS);
  const reader = await log.openReader();
  return { dataDir, log, reader };
}
const offsetsOf = (records: readonly { offset: number }[]) =>
  records.map((record) => record.offset as number);

test('by default nothing is removed, however old', async () => {
  const { dataDir, log, reader } = await filled();
  await settleRetention(dataDir, log, { retention: {}, nowMs: END_MS + 1e12 });
  expect(offsetsOf(await readAll(reader))).toHaveLength(RECORDS);
  await log.close();
});

test('whole segments go by age, are declared, and the rest reads and proves as before', async () => {
  const { dataDir, log, reader } = await filled();
  const before = log.segments.list();
  const nowMs = START_MS + 300 * 60_000 + HOUR_MS;
  const engine = await settleRetention(dataDir, log, { retention: { maxAgeMs: HOUR_MS }, nowMs });
  expect(engine.figures.segmentsDropped).toBeGreaterThan(1);
  const start = await reader.start();
  // Every segment whose newest record is older than an hour, and no other.
  const spent = before.filter(({ endOffset }) => reading(endOffset - 1).receivedMs + HOUR_MS <= nowMs);
  expect(start).toBe(spent.at(-1)!.endOffset);
  expect(offsetsOf(await readAll(reader))).toEqual(
    Array.from({ length: RECORDS - start }, (_, i) => start + i),
  );
  expect(log.figures().start).toBe(start);
  const report = await audit(dataDir);
  expect(report.findings).toEqual([]);
  expect(report.blocks.prune).toBe(1);
  expect(report.records).toMatchObject({ recordsPruned: start, recordsMissing: 0, recordsUnproven: 0 });
  expect(report.records.recordsMatching).toBe(RECORDS - start);
  expect((await fsck(dataDir, { deep: true })).findings).toEqual([]);
  await log.close();
  // … and after a restart.
  const again = await openKeeperLog(dataDir);
  expect(again.recovery.damage).toEqual([]);
  expect(await (await again.openReader()).start()).toBe(start);
  await again.close();
});

test('the oldest segments go while all are larger than the limit', async () => {
  const { dataDir, log } = await filled();
  const retention = { maxBytes: 1024 * 1024 };
  await settleRetention(dataDir, log, { retention, nowMs: END_MS });
  expect(await (await log.openReader()).start()).toBe(0);
  const sizes = log.segments.list().map(({ sizeBytes }) => sizeBytes);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  // The smallest limit of the schema is far above this log: the engine itself is given less.
  const limit = Math.floor(total / 2);
  const { nextStep } = await import('../../../gateway/retention/plan.ts');
  const { RetentionClasses } = await import('../../../gateway/retention/classes.ts');
  const config = { maxAgeMs: null, maxBytes: limit, rules: [], checkIntervalMs: 1000 };
  const judged = log.segments.list().map((segment) => ({ segment, profile: null }));
  const step = nextStep(config, new RetentionClasses(config), judged, total, END_MS);
  expect(step).toMatchObject({ kind: 'drop', rule: `more than ${limit} bytes` });
  const dropped = (step as { segments: readonly { sizeBytes: number }[] }).segments;
  const left = total - dropped.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  expect(left).toBeLessThanOrEqual(limit);
  expect(left + dropped.at(-1)!.sizeBytes).toBeGreaterThan(limit);
  await log.close();
});

test('topics with other ages: a segment is rewritten, offsets stay, and what is left can still be proven', async () => {
  const { dataDir, log, reader } = await filled();
  const whole = log.segments.list().at(-1)!.endOffset;
  const rules = [
    { topics: ['plant/alarm'], maxAgeMs: null },
    { topics: ['plant/debug'], maxAgeMs: HOUR_MS },
  ];
  const retention = { maxAgeMs: 1000 * HOUR_MS, rules };
  const engine = await settleRetention(dataDir, log, { retention, nowMs: END_MS + 2 * HOUR_MS });
  expect(engine.figures.segmentsRewritten).toBe(log.segments.list().length);
  const left = await readAll(reader);
  const expected = Array.from({ length: RECORDS }, (_, i) => i).filter((i) => i >= whole || i % 3 !== 0);
  expect(offsetsOf(left)).toEqual(expected);
  for (const record of left) expect(record.topic).toBe(reading(record.offset).topic);
  const report = await audit(dataDir);
  expect(report.findings).toEqual([]);
  expect(report.records).toMatchObject({
    recordsMatching: expected.length,
    recordsPruned: RECORDS - expected.length,
    recordsUnproven: 0,
  });
  expect((await fsck(dataDir, { deep: true })).findings).toEqual([]);
  const gatewayKey = gatewayVerifierKey(ORIGIN, loadOrCreateGatewayKey(dataDir));
  const proofs = localProofs(reader, dataDir, leafSource(dataDir));
  for (const at of [1, 5, 100, 200, 301]) {
    const answer = await proofs.prove(offset(at));
    if (answer.kind !== 'proof') throw new Error(`${at}: ${answer.kind}`);
    expect(verifyProof(answer.text, { gatewayKey })).toMatchObject({ valid: true });
  }
  expect(await proofs.prove(offset(3))).toMatchObject({ kind: 'not-held' });

  // A changed hash of a removed record is found as well.
  const leaves = readdirSync(join(dataDir, 'log')).filter((name) => name.endsWith('.leaves'))[1]!;
  const good = readFileSync(join(dataDir, 'log', leaves));
  for (const [at, code] of [
    [3, 'LEAVES_UNREADABLE'],
    [60, 'RECORDS_CHANGED'],
  ] as const) {
    const bad = Buffer.from(good);
    bad[at]! ^= 1;
    writeFileSync(join(dataDir, 'log', leaves), bad);
    const found = (await fsck(dataDir, { deep: true })).findings.map((finding) => finding.code);
    expect(found).toContain(code);
  }
  writeFileSync(join(dataDir, 'log', leaves), good);

  // Much later the others go too; alarms stay for ever, thinned further where they are.
  await settleRetention(dataDir, log, { retention, nowMs: END_MS + 2000 * HOUR_MS });
  expect(offsetsOf(await readAll(reader))).toEqual(
    Array.from({ length: RECORDS }, (_, i) => i).filter((i) => i >= whole || i % 3 === 2),
  );
  expect((await audit(dataDir)).findings).toEqual([]);
  await log.close();
  const again = await openKeeperLog(dataDir);
  expect(again.recovery).toMatchObject({ damage: [], rebuiltIndexes: [] });
  expect(offsetsOf(await readAll(await again.openReader(), 0)).length).toBeGreaterThan(RECORDS / 3 - 1);
  await again.close();
});

test('a segment in the middle of which nothing is left keeps its place until those before it go', async () => {
  const dataDir = tempFolder();
  const log = await openKeeperLog(dataDir);
  // An alarm first, then hours of debug output.
  await log.appendAll([{ ...reading(0), topic: 'plant/alarm' }]);
  for (let i = 1; i < 400; i++) await log.appendAll([{ ...reading(i), topic: 'plant/debug' }]);
  await fill(log, dataDir, 30, 400);
  const rules = [{ topics: ['plant/debug'], maxAgeMs: HOUR_MS }];
  const bases = log.segments.list().length;
  await settleRetention(dataDir, log, { retention: { rules }, nowMs: END_MS + 2 * HOUR_MS });
  expect(log.segments.list()).toHaveLength(bases);
  expect(
    log.segments
      .list()
      .slice(1, -1)
      .every(({ sizeBytes }) => sizeBytes === 61),
  ).toBe(true);
  const reader = await log.openReader();
  expect(offsetsOf((await readAll(reader)).slice(0, 2))[0]).toBe(0);
  expect(await reader.fetch(offset(50), { maxRecords: 1 })).toMatchObject([{ offset: expect.any(Number) }]);
  expect((await audit(dataDir)).findings).toEqual([]);
  expect((await fsck(dataDir, { deep: true })).findings).toEqual([]);
  // When the alarm goes at last, so do the empty ones behind it.
  const all = { maxAgeMs: HOUR_MS, rules };
  await settleRetention(dataDir, log, { retention: all, nowMs: END_MS + 2 * HOUR_MS });
  expect(log.segments.list()).toHaveLength(0);
  expect((await audit(dataDir)).findings).toEqual([]);
  await log.close();
});

test('a consumer that has not read, and what is not sealed, hold data back; the cursor of a stranger does not', async () => {
  const { dataDir, log } = await filled();
  const state = new StateStore(dataDir);
  const retention = { maxAgeMs: HOUR_MS };
  const nowMs = END_MS + 100 * HOUR_MS;
  const segments = log.segments.list();
  const third = segments[2]!.baseOffset;
  state.saveCursor('forwarder:central', offset(third + 1));
  state.saveCursor('forwarder:gone', offset(0));
  const logged: string[] = [];
  const consumers = ['sealer', 'forwarder:central'];
  const engine = await settleRetention(dataDir, log, { retention, nowMs, consumers, logged });
  expect(log.segments.list()[0]!.baseOffset).toBe(third);
  expect(engine.figures).toMatchObject({ heldBy: 'forwarder:central', heldAt: third + 1 });
  expect(logged).toContain('the cursor of forwarder:gone, which is not configured, holds nothing back');
  // One that is configured and has no cursor yet may begin at the oldest record.
  await settleRetention(dataDir, log, { retention, nowMs, consumers: ['sealer', 'forwarder:new'] });
  expect(log.segments.list()[0]!.baseOffset).toBe(third);
  // What is not sealed stays.
  for (let i = 0; i < 300; i++) await log.appendAll([reading(RECORDS + i)]);
  await settleRetention(dataDir, log, { retention, nowMs: nowMs + 1000 * HOUR_MS, consumers: ['sealer'] });
  state.close();
  await log.close();
});

test('a damaged segment is not rewritten, and is dropped only as a whole', async () => {
  const { dataDir, log } = await filled();
  const { openSync, writeSync, closeSync } = await import('node:fs');
  const name = readdirSync(join(dataDir, 'log')).filter((each) => each.endsWith('.log'))[1]!;
  const fd = openSync(join(dataDir, 'log', name), 'r+');
  writeSync(fd, Buffer.from([0xff]), 0, 1, 3000);
  closeSync(fd);
  const retention = { rules: [{ topics: ['plant/debug'], maxAgeMs: HOUR_MS }] };
  const before = log.segments.list()[1]!;
  await settleRetention(dataDir, log, { retention, nowMs: END_MS + 2 * HOUR_MS });
  expect(log.segments.list()[1]).toEqual(before);
  expect(CONFIG.segmentBytes).toBeGreaterThan(0);
  await log.close();
});
