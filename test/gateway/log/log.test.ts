// Holds the writer to its promises: acks only after fdatasync, one order, limits, segments that roll.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type FsError, realFs } from '../../../gateway/log/fs.ts';
import { openLog } from '../../../gateway/log/log.ts';
import type { LogError } from '../../../gateway/log/types.ts';
import type { Offset } from '../../../ledger/format/brand.ts';
import { open, plain, put, readAll, record, tempFolder } from './records.ts';

/** An fdatasync that is done only when told: `next()` waits for one to have begun and lets it go on. */
function heldSync() {
  const held: (() => void)[] = [];
  const arrivals: (() => void)[] = [];
  let count = 0;
  const fdatasync = (fd: number, done: (error: FsError) => void) => {
    count += 1;
    held.push(() => realFs.fdatasync(fd, done));
    arrivals.shift()?.();
  };
  const begun = () =>
    held.length > 0 ? Promise.resolve() : new Promise<void>((resolve) => arrivals.push(resolve));
  return {
    fs: { fdatasync },
    begun,
    next: async () => {
      await begun();
      held.shift()!();
    },
    get count() {
      return count;
    },
  };
}

const segments = (dataDir: string) =>
  readdirSync(join(dataDir, 'log')).filter((name) => name.endsWith('.log'));

describe('group commit', () => {
  test('nobody hears before fdatasync has returned; what arrives meanwhile shares the next one', async () => {
    const sync = heldSync();
    const log = await open({ fs: sync.fs, config: { preallocateBytes: 0, reserveBytes: 0 } });
    const heard: number[] = [];
    const hear = (error: LogError | null, offset: Offset) => heard.push(error ? -1 : offset);
    const reader = await log.openReader();

    log.append(record(0), hear);
    await sync.begun();
    for (let n = 1; n <= 50; n++) log.append(record(n), hear);
    expect(heard).toEqual([]);
    expect(await reader.end()).toBe(0);
    expect(await reader.fetch(0 as Offset)).toEqual([]);
    expect(log.figures()).toMatchObject({ pendingRecords: 51 });

    const first = new Promise<void>((resolve) => log.whenDurable(0 as Offset, () => resolve()));
    await sync.next();
    await first;
    expect(heard).toEqual([0]);
    expect(await reader.end()).toBe(1);

    const last = new Promise<void>((resolve) => log.whenDurable(50 as Offset, () => resolve()));
    await sync.next();
    await last;
    expect(heard).toEqual(Array.from({ length: 51 }, (_, n) => n));
    expect(sync.count).toBe(2);
    expect(log.figures()).toMatchObject({
      pendingRecords: 0,
      pendingBytes: 0,
      batches: 2,
      appendedRecords: 51,
    });
    const closing = log.close();
    await sync.next();
    for (let n = 0; n < 4; n++) void sync.next();
    await closing;
  });

  test('a producer that throws does not keep the others from hearing', async () => {
    const log = await open();
    const thrown = new Promise<unknown>((resolve) => process.once('uncaughtException', resolve));
    const listeners = process.listeners('uncaughtException').slice(0, -1);
    for (const listener of listeners) process.off('uncaughtException', listener);
    log.append(record(0), () => {
      throw new Error('mine');
    });
    expect(await put(log, record(1))).toBe(1);
    expect(await thrown).toMatchObject({ message: 'mine' });
    for (const listener of listeners) process.on('uncaughtException', listener);
  });

  test('appendAll is contiguous between single appends, and refuses all or none', async () => {
    const log = await open();
    const [a, run, b] = await Promise.all([
      put(log, record(0)),
      log.appendAll([record(1), record(2), record(3)]),
      put(log, record(4)),
    ]);
    expect([a, run, b]).toEqual([0, 1, 4]);
    await expect(log.appendAll([record(5), record(6, { topic: '' })])).rejects.toMatchObject({
      code: 'RECORD_INVALID',
    });
    expect(await put(log, record(7))).toBe(5);
    expect((await readAll(await log.openReader())).map(({ sequence }) => sequence)).toEqual([
      0, 1, 2, 3, 4, 7,
    ]);
  });
});

describe('limits', () => {
  test('a full buffer refuses with BUFFER_FULL and takes records again afterwards', async () => {
    const log = await open({ config: { maxPendingBytes: 64 * 1024, maxRecordBytes: 4096 } });
    const outcomes = await Promise.allSettled(
      Array.from({ length: 40 }, (_, n) => put(log, record(n, { payload: Buffer.alloc(3000) }))),
    );
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected');
    expect(refused.length).toBeGreaterThan(10);
    expect(new Set(refused.map(({ reason }) => (reason as LogError).code))).toEqual(new Set(['BUFFER_FULL']));
    expect(log.figures().refused.BUFFER_FULL).toBe(refused.length);
    expect(await put(log, record(99))).toBe(40 - refused.length);
  });

  test('a record past the limit, an invalid one, a closed log', async () => {
    const log = await open({ config: { maxRecordBytes: 2048 } });
    await expect(put(log, record(0, { payload: Buffer.alloc(2048) }))).rejects.toMatchObject({
      code: 'RECORD_TOO_LARGE',
      facts: { maxBytes: 2048 },
    });
    await expect(put(log, record(0, { eventMs: 0.5 }))).rejects.toMatchObject({ code: 'RECORD_INVALID' });
    await log.close();
    await expect(put(log, record(0))).rejects.toMatchObject({ code: 'CLOSED' });
    await expect(log.appendAll([record(0)])).rejects.toMatchObject({ code: 'CLOSED' });
  });
});

describe('segments', () => {
  test('roll by size, are cut to their records, and are read across', async () => {
    const log = await open({ config: { segmentBytes: 16 * 1024, indexIntervalBytes: 1024 } });
    for (let n = 0; n < 40; n++) {
      await log.appendAll(Array.from({ length: 20 }, (_, k) => record(n * 20 + k)));
    }
    const reader = await log.openReader();
    expect((await readAll(reader)).map(plain)).toEqual(
      Array.from({ length: 800 }, (_, n) => plain(record(n))),
    );
    await log.close();
    const names = segments(log.dataDir);
    expect(names.length).toBeGreaterThan(4);
    for (const name of names) {
      const { size } = statSync(join(log.dataDir, 'log', name));
      expect(size).toBeLessThanOrEqual(16 * 1024);
      const bytes = readFileSync(join(log.dataDir, 'log', name));
      expect(bytes.readBigInt64BE(0)).toBe(BigInt(name.slice(0, 20)));
      expect(readdirSync(join(log.dataDir, 'log'))).toContain(name.replace('.log', '.timeindex'));
    }
    const again = await open({ dataDir: log.dataDir });
    expect(again.recovery).toMatchObject({
      unclean: false,
      truncatedBytes: 0,
      at: 800,
      damage: [],
      rebuiltIndexes: [],
    });
    expect(again.figures()).toMatchObject({ start: 0, end: 800, segments: names.length });
    expect((await readAll(await again.openReader())).length).toBe(800);
  });

  test('roll by age at the next append', async () => {
    let now = 1_000_000;
    const log = await open({ clock: () => now, config: { segmentAgeMs: 60_000 } });
    await put(log, record(0));
    now += 59_999;
    await put(log, record(1));
    expect(segments(log.dataDir)).toHaveLength(1);
    now += 1;
    await put(log, record(2));
    expect(segments(log.dataDir)).toEqual([`${'0'.repeat(20)}.log`, `${'0'.repeat(19)}2.log`]);
  });

  test('roll by age when nothing more arrives, once, and the next segment is as old as its first record', async () => {
    let now = 1_000_000;
    const log = await open({ clock: () => now, config: { segmentAgeMs: 1_000 } });
    await put(log, record(0));
    now += 1_000;
    await expect.poll(() => log.segments.list().length, { timeout: 30_000 }).toBe(1);
    now += 10_000;
    await put(log, record(1));
    now += 999;
    await put(log, record(2));
    expect(log.segments.list()).toHaveLength(1);
    expect(segments(log.dataDir)).toHaveLength(2);
  });

  test('the age of a segment begun under a clock that was ahead counts from when it was set back', async () => {
    const DAYS_40 = 40 * 86_400_000;
    let now = 1_000_000 + DAYS_40;
    const log = await open({ clock: () => now, config: { segmentAgeMs: 60_000 } });
    await put(log, record(0));
    now -= DAYS_40;
    await put(log, record(1));
    expect(segments(log.dataDir)).toHaveLength(1);
    now += 60_000;
    await put(log, record(2));
    expect(segments(log.dataDir)).toHaveLength(2);
  });

  test('a batch larger than a segment gets one of its own', async () => {
    const log = await open({ config: { segmentBytes: 16 * 1024 } });
    await put(log, record(0));
    await put(log, record(1, { payload: Buffer.alloc(100_000, 'x') }));
    await put(log, record(2));
    expect(segments(log.dataDir)).toHaveLength(3);
    expect((await readAll(await log.openReader())).map(({ payload }) => payload.length)).toEqual([
      11, 100_000, 11,
    ]);
  });

  test('the indexes are in Kafka form: relative offset and position; timestamp and relative offset', async () => {
    const log = await open({ config: { indexIntervalBytes: 1024 } });
    for (let n = 0; n < 20; n++)
      await log.appendAll([record(2 * n, { payload: Buffer.alloc(600) }), record(2 * n + 1)]);
    await log.close();
    const file = (kind: string) => readFileSync(join(log.dataDir, 'log', `${'0'.repeat(20)}.${kind}`));
    const [index, times, data] = [file('index'), file('timeindex'), file('log')];
    expect(index.length).toBeGreaterThan(32);
    expect(index.length % 8).toBe(0);
    for (let at = 0; at < index.length; at += 8) {
      const [lastOffset, position] = [index.readInt32BE(at), index.readInt32BE(at + 4)];
      const base = Number(data.readBigInt64BE(position));
      expect(base + data.readInt32BE(position + 23)).toBe(lastOffset);
      if (at < times.length) expect(times.readInt32BE((at / 8) * 12 + 8)).toBe(lastOffset);
    }
    expect(times.readBigInt64BE(times.length - 12)).toBe(BigInt(record(39).eventMs));
  });

  test('zeros are written ahead of the end and are no records', async () => {
    const log = await open({ config: { preallocateBytes: 512 * 1024 } });
    await put(log, record(0));
    const path = join(log.dataDir, 'log', segments(log.dataDir)[0]!);
    await expect.poll(() => statSync(path).size).toBeGreaterThanOrEqual(512 * 1024);
    for (let n = 1; n < 300; n++) await put(log, record(n, { payload: Buffer.alloc(4000, 'y') }));
    expect((await readAll(await log.openReader())).length).toBe(300);
    const { bytes } = log.figures();
    await log.close();
    expect(statSync(path).size).toBe(bytes);
  });
});

test('the data directory is refused while it is open, also inside one process', async () => {
  const log = await open();
  await expect(open({ dataDir: log.dataDir })).rejects.toMatchObject({
    code: 'LOCKED',
    facts: { pid: process.pid },
  });
  await log.close();
  await (await open({ dataDir: log.dataDir })).close();
});

test('whenDurable answers at once for what is durable, and CLOSED for what never comes', async () => {
  const log = await open();
  await put(log, record(0));
  await new Promise<void>((resolve) => log.whenDurable(0 as Offset, () => resolve()));
  const never = new Promise<LogError | null>((resolve) => log.whenDurable(5 as Offset, resolve));
  await log.close();
  expect(await never).toMatchObject({ code: 'CLOSED' });
});

test('defaults open in a folder that does not exist yet', async () => {
  const { logConfigSchema } = await import('../../../gateway/log/config.ts');
  const log = await openLog({ dataDir: join(tempFolder(), 'a', 'b'), config: logConfigSchema.parse({}) });
  expect(await put(log, record(0, { eventMs: -5 }))).toBe(0);
  expect((await readAll(await log.openReader()))[0]).toMatchObject({ eventMs: -5, offset: 0 });
  await log.close();
});
