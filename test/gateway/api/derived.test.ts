// What is kept of derived records, and that a restart finds the newest of them in the log.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type DerivedRecord, DerivedTail } from '../../../gateway/api/derived.ts';
import { logConfigSchema } from '../../../gateway/log/config.ts';
import { openLog } from '../../../gateway/log/log.ts';
import type { Log, LogReader } from '../../../gateway/log/types.ts';
import { SOURCE } from '../../../ledger/format/record.ts';
import { anomaly, reading, windowResult } from './gateway.ts';

let dataDir: string;
let log: Log;
let reader: LogReader;

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'tidemark-derived-'));
  log = await openLog({ dataDir, config: logConfigSchema.parse({}) });
  reader = await log.openReader();
});

afterEach(async () => {
  await reader.close();
  await log.close();
  await rm(dataDir, { recursive: true, force: true });
});

const offsets = (records: readonly DerivedRecord[]) => records.map((record) => record.offset as number);

test('the newest are kept, newest first, and the rest let go', async () => {
  const tail = new DerivedTail(3);
  const appender = tail.observe(log);
  for (let i = 0; i < 5; i++) await appender.appendAll([anomaly('a', i, 0), windowResult('a')]);
  expect(offsets(tail.newest('anomalies', 10))).toEqual([8, 6, 4]);
  expect(offsets(tail.newest('windows', 2))).toEqual([9, 7]);
  expect(tail.counts).toEqual({ anomalies: 5, windows: 5 });
});

test('only the gateway’s own results count as derived, whatever a device calls its topic', async () => {
  const tail = new DerivedTail(3);
  await tail
    .observe(log)
    .appendAll([
      reading('a', {}, { topic: '$tidemark/anomalies/x', source: SOURCE.mqtt }),
      reading('a', {}, { topic: 'plant/a', source: SOURCE.model }),
    ]);
  expect(tail.newest('anomalies', 10)).toEqual([]);
});

test('a refused append is not shown', async () => {
  const tail = new DerivedTail(3);
  const broken = tail.observe({ appendAll: () => Promise.reject(new Error('disk')) });
  await expect(broken.appendAll([anomaly('a', 1, 0)])).rejects.toThrow('disk');
  expect(tail.newest('anomalies', 10)).toEqual([]);
});

test('a restart finds what is within its look-back, in order with what is appended meanwhile', async () => {
  const noise = Array.from({ length: 3000 }, (_, i) => reading('a', { i }));
  await log.appendAll([
    anomaly('old', 1, 0),
    ...noise,
    anomaly('new', 2, 0),
    ...noise,
    anomaly('newest', 3, 0),
  ]);
  const tail = new DerivedTail(10);
  const appender = tail.observe(log);
  const before = await appender.appendAll([anomaly('before', 4, 0)]);
  const loading = tail.load(reader, 4000);
  const [during] = await Promise.all([appender.appendAll([anomaly('during', 5, 0)]), loading]);
  expect(offsets(tail.newest('anomalies', 10))).toEqual([during, before, 6002, 3001]);
});

test('a restart after a close reads the same JSON as before', async () => {
  const tail = new DerivedTail(10);
  await tail.observe(log).appendAll([anomaly('a', 1, 0), windowResult('b')]);
  const again = new DerivedTail(10);
  await again.load(reader, 100);
  expect(again.newest('anomalies', 1)[0]!.json).toBe(tail.newest('anomalies', 1)[0]!.json);
  expect(again.newest('windows', 1)[0]!.json).toBe(tail.newest('windows', 1)[0]!.json);
});
