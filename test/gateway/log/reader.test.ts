// Holds readers to: in order, only what is durable, woken rather than polling, across rolls, threads and processes.
import { readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openReader } from '../../../gateway/log/reader.ts';
import type { LogReader } from '../../../gateway/log/types.ts';
import type { Offset } from '../../../ledger/format/brand.ts';
import { open, plain, put, readAll, record } from './records.ts';

const at = (value: number) => value as Offset;
const SMALL_SEGMENTS = { segmentBytes: 16 * 1024, indexIntervalBytes: 1024, preallocateBytes: 0 };

describe('fetch', () => {
  test('maxRecords, maxBytes, from anywhere, going on without a gap', async () => {
    const log = await open({ config: SMALL_SEGMENTS });
    for (let n = 0; n < 50; n++)
      await log.appendAll(Array.from({ length: 10 }, (_, k) => record(n * 10 + k)));
    for (const reader of [await log.openReader(), await openReader({ dataDir: log.dataDir })]) {
      expect((await reader.fetch(at(123), { maxRecords: 3 })).map(({ offset }) => offset)).toEqual([
        123, 124, 125,
      ]);
      expect((await reader.fetch(at(126), { maxRecords: 1 })).map(({ offset }) => offset)).toEqual([126]);
      expect((await reader.fetch(at(7), { maxBytes: 1 })).map(({ offset }) => offset)).toEqual([7]);
      const some = await reader.fetch(at(0), { maxBytes: 2000 });
      expect(some.length).toBeGreaterThan(5);
      expect(some.length).toBeLessThan(60);
      for (const from of [499, 0, 250, 251, 3, 498]) {
        const [first] = await reader.fetch(at(from), { maxRecords: 1 });
        expect(plain(first!)).toEqual(plain(record(from)));
      }
      expect(await reader.fetch(at(500))).toEqual([]);
      expect(await reader.fetch(at(9999))).toEqual([]);
      await expect(reader.fetch(-1 as Offset)).rejects.toThrow(RangeError);
      expect([await reader.start(), await reader.end()]).toEqual([0, 500]);
      await reader.close();
      await expect(reader.fetch(at(0))).rejects.toMatchObject({ code: 'CLOSED' });
    }
  });

  test('several consumers of one reader, at once, each in order', async () => {
    const log = await open({ config: SMALL_SEGMENTS });
    for (let n = 0; n < 40; n++)
      await log.appendAll(Array.from({ length: 10 }, (_, k) => record(n * 10 + k)));
    const reader = await log.openReader();
    const consume = async (from: number, step: number) => {
      for (let next = from; next < 400; ) {
        const batch = await reader.fetch(at(next), { maxRecords: step });
        expect(batch.map(({ offset }) => offset)).toEqual(batch.map((_, index) => next + index));
        next += batch.length;
      }
    };
    await Promise.all([
      consume(0, 7),
      consume(0, 100),
      consume(200, 1),
      consume(13, 13),
      consume(399, 5),
      consume(50, 31),
    ]);
  });

  test('what is left after the oldest segments were removed', async () => {
    const log = await open({ config: SMALL_SEGMENTS });
    for (let n = 0; n < 400; n++) await put(log, record(n));
    const reader = await log.openReader();
    await reader.fetch(at(0), { maxRecords: 1 });
    const folder = join(log.dataDir, 'log');
    const segments = readdirSync(folder).filter((name) => name.endsWith('.log'));
    expect(segments.length).toBeGreaterThan(3);
    for (const name of segments.slice(0, 2)) rmSync(join(folder, name));
    const start = Number(segments[2]!.slice(0, 20));
    expect(await reader.start()).toBe(start);
    const fresh = await openReader({ dataDir: log.dataDir, durableEnd: log.durableEnd });
    expect((await fresh.fetch(at(3), { maxRecords: 1 }))[0]!.offset).toBe(start);
    expect((await readAll(fresh, 5)).length).toBe(400 - start);
    await fresh.close();
  });
});

describe('waiting', () => {
  test('a long poll is woken by the append', async () => {
    const log = await open();
    const reader = await log.openReader();
    const waiting = reader.fetch(at(0), { maxWaitMs: 20_000 });
    await put(log, record(0));
    expect((await waiting).map(({ offset }) => offset)).toEqual([0]);
  });

  test('it ends at the time limit, on abort and on close', async () => {
    const log = await open();
    for (const reader of [await log.openReader(), await openReader({ dataDir: log.dataDir })]) {
      expect(await reader.fetch(at(0), { maxWaitMs: 20 })).toEqual([]);
      const abort = new AbortController();
      const aborted = reader.fetch(at(0), { maxWaitMs: 20_000, signal: abort.signal });
      abort.abort();
      expect(await aborted).toEqual([]);
      expect(await reader.fetch(at(0), { maxWaitMs: 20_000, signal: abort.signal })).toEqual([]);
      const closed = reader.fetch(at(0), { maxWaitMs: 20_000 });
      await new Promise((resolve) => setImmediate(resolve));
      await reader.close();
      await expect(closed).rejects.toMatchObject({ code: 'CLOSED' });
    }
  });

  test('another process is not needed to be told: a reader without the shared number finds new records', async () => {
    const log = await open();
    const reader = await openReader({ dataDir: log.dataDir });
    onTestFinished(() => reader.close());
    await put(log, record(0));
    expect((await reader.fetch(at(0))).length).toBe(1);
    const waiting = reader.fetch(at(1), { maxWaitMs: 20_000 });
    await put(log, record(1));
    expect((await waiting).map(({ sequence }) => sequence)).toEqual([1]);
  });

  test('many waits come and go with one outstanding waiter per thread', async () => {
    const log = await open();
    const reader = await log.openReader();
    for (let round = 0; round < 200; round++) await reader.fetch(at(0), { maxWaitMs: 0.1 });
    const waits = Array.from({ length: 50 }, () => reader.fetch(at(0), { maxWaitMs: 20_000, maxRecords: 1 }));
    await put(log, record(0));
    for (const batch of await Promise.all(waits)) expect(batch.map(({ offset }) => offset)).toEqual([0]);
  });
});

test('a reader in a worker thread tails while the writer appends across rolls', async () => {
  const log = await open({ config: SMALL_SEGMENTS });
  const total = 3000;
  const worker = new Worker(new URL('./tail-worker.ts', import.meta.url), {
    workerData: { dataDir: log.dataDir, durableEnd: log.durableEnd, total },
  });
  const tailed = new Promise<{ count: number; wrong: string | null; early: number }>((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  for (let n = 0; n < total; ) {
    const run = Math.min(1 + (n % 17), total - n);
    const first = n;
    await log.appendAll(Array.from({ length: run }, (_, k) => record(first + k)));
    n += run;
  }
  expect(await tailed).toEqual({ count: total, wrong: null, early: 0 });
  expect(log.figures().segments).toBeGreaterThan(10);
  await worker.terminate();
});

describe('by time', () => {
  test('the first record at or after a time, though times are out of order', async () => {
    const log = await open({ config: SMALL_SEGMENTS });
    const times = Array.from(
      { length: 600 },
      (_, n) => 1_000_000 + n * 10 + (n % 5 === 0 ? -200 : 0) + (n === 77 ? 3000 : 0),
    );
    for (const [n, eventMs] of times.entries()) await put(log, record(n, { eventMs }));
    const reader = (await openReader({
      dataDir: log.dataDir,
      durableEnd: log.durableEnd,
    })) satisfies LogReader;
    onTestFinished(() => reader.close());
    for (const eventMs of [
      -1, 0, 1_000_000, 1_000_500, 1_001_234, 1_003_700, 1_003_770, 1_003_771, 1_005_980, 1_005_990,
      1_005_991,
    ]) {
      const expected = times.findIndex((time) => time >= eventMs);
      expect(await reader.offsetForTime(eventMs)).toBe(expected < 0 ? null : expected);
    }
  });
});
