// Holds `log.sync` to what it says: `always` answers after exactly one sync and never waits for a timer; an interval
// answers at once, syncs as seldom as told, and shows readers only what is synced.
import { copyFileSync, cpSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { type FsError, type LogFs, realFs } from '../../../gateway/log/fs.ts';
import type { LogError } from '../../../gateway/log/types.ts';
import type { Offset } from '../../../ledger/format/brand.ts';
import { failure, open, plain, put, readAll, record, tempFolder } from './records.ts';

const QUIET = { preallocateBytes: 0, reserveBytes: 0 };
const many = (from: number, count: number) => Array.from({ length: count }, (_, n) => record(from + n));

/** Counts what goes to the disk, in order; a sync of a segment can be held back. */
function watched() {
  const calls: string[] = [];
  let gate: Promise<void> = Promise.resolve();
  let open = () => {};
  const fs: Partial<LogFs> = {
    pwrite: (fd, bytes, start, length, position, done) => {
      calls.push('write');
      realFs.pwrite(fd, bytes, start, length, position, done);
    },
    fdatasync: (fd, done: (error: FsError) => void) => {
      calls.push('sync');
      void gate.then(() => realFs.fdatasync(fd, done));
    },
  };
  return {
    fs,
    calls,
    hold: () => {
      gate = new Promise((resolve) => (open = resolve));
    },
    release: () => open(),
  };
}

describe('sync: always', () => {
  test('a lone record is acknowledged after exactly one write and one sync, each time', async () => {
    const disk = watched();
    const log = await open({ fs: disk.fs, config: QUIET });
    for (let n = 0; n < 20; n++) {
      disk.calls.length = 0;
      await put(log, record(n));
      expect(disk.calls).toEqual(['write', 'sync']);
    }
    expect(log.figures()).toMatchObject({ syncs: 20, batches: 20, unsyncedBytes: 0 });
  });

  test('under load each sync carries all that came during the one before', async () => {
    const disk = watched();
    const log = await open({ fs: disk.fs, config: QUIET });
    let sent = 0;
    // 64 producers, each with one record on its way: at most two syncs for every 64 records.
    const producer = async () => {
      for (let n = 0; n < 25; n++) await put(log, record(sent++));
    };
    await Promise.all(Array.from({ length: 64 }, producer));
    const { syncs, appendedRecords } = log.figures();
    expect(appendedRecords).toBe(1600);
    expect(syncs).toBeLessThanOrEqual(50);
    expect(disk.calls).toEqual(Array.from({ length: syncs }, () => ['write', 'sync']).flat());
  });
});

describe('sync: {intervalMs}', () => {
  const config = { ...QUIET, sync: { intervalMs: 50 } };

  test('answers once written; readers, whenDurable and appendAll wait for the sync', async () => {
    const disk = watched();
    const log = await open({ fs: disk.fs, config });
    const reader = await log.openReader();
    disk.hold();
    const order: string[] = [];
    log.whenDurable(1 as Offset, () => order.push('durable'));
    expect(await put(log, record(0))).toBe(0);
    expect(await put(log, record(1))).toBe(1);
    const derived = log.appendAll(many(2, 3)).then((offset) => {
      order.push('derived');
      return offset;
    });
    expect(await put(log, record(5))).toBe(5);
    expect(await reader.end()).toBe(0);
    expect(order).toEqual([]);
    const { unsyncedBytes, appendedBytes, pendingBytes } = log.figures();
    expect(unsyncedBytes).toBe(appendedBytes);
    expect(unsyncedBytes).toBeGreaterThan(0);
    expect(pendingBytes).toBe(0);
    disk.release();
    expect(await derived).toBe(2);
    expect(order).toEqual(['durable', 'derived']);
    expect((await reader.fetch(0 as Offset, { maxWaitMs: 5000 })).length).toBeGreaterThan(0);
    await new Promise<void>((resolve) => log.whenDurable(5 as Offset, () => resolve()));
    expect((await readAll(reader)).map(plain)).toEqual(many(0, 6).map(plain));
    expect(log.figures().unsyncedBytes).toBe(0);
  });

  test('syncs at most once an interval, and not at all when there is nothing new', async () => {
    const disk = watched();
    const log = await open({ fs: disk.fs, config: { ...config, sync: { intervalMs: 200 } } });
    const began = performance.now();
    for (let n = 0; n < 200; n++) await put(log, record(n));
    await new Promise<void>((resolve) => log.whenDurable(199 as Offset, () => resolve()));
    const took = performance.now() - began;
    const { syncs, batches } = log.figures();
    expect(batches).toBe(200);
    expect(syncs).toBeLessThanOrEqual(2 + Math.ceil(took / 200));
  });

  test('close syncs what is left, and a roll what is before it', async () => {
    const log = await open({
      config: { ...config, segmentBytes: 16 * 1024, sync: { intervalMs: 60_000 } },
    });
    await put(log, record(0));
    await new Promise<void>((resolve) => log.whenDurable(0 as Offset, () => resolve()));
    for (let n = 1; n < 400; n++) await put(log, record(n));
    const segments = log.segments.list();
    expect(segments.length).toBeGreaterThan(1);
    expect(log.figures().end).toBeGreaterThanOrEqual(segments.at(-1)!.endOffset);
    expect(log.figures().end).toBeLessThan(400);
    await log.close();
    const again = await open({ dataDir: log.dataDir });
    expect(again.recovery).toMatchObject({ unclean: false, damage: [], at: 400, rebuiltIndexes: [] });
    expect((await readAll(await again.openReader())).map(plain)).toEqual(many(0, 400).map(plain));
  });

  test('what waits for a sync is bounded: beyond it the writer waits', async () => {
    const disk = watched();
    const log = await open({
      fs: disk.fs,
      config: {
        ...config,
        maxPendingBytes: 64 * 1024,
        maxRecordBytes: 16 * 1024,
        sync: { intervalMs: 60_000 },
      },
    });
    await put(log, record(0));
    await new Promise<void>((resolve) => log.whenDurable(0 as Offset, () => resolve()));
    disk.hold();
    let sent = 0;
    let answered = 0;
    const refused: string[] = [];
    const send = async () => {
      log.append(record(sent++, { payload: Buffer.alloc(4000) }), (error) => {
        if (error) refused.push(error.code);
        else answered += 1;
      });
      await new Promise((resolve) => setTimeout(resolve, 1));
    };
    while (log.figures().unsyncedBytes < 64 * 1024) await send();
    const written = answered;
    for (let n = 0; n < 40; n++) await send();
    expect(log.figures().unsyncedBytes).toBeLessThan(140 * 1024);
    expect(answered - written).toBeLessThan(20);
    expect(new Set(refused)).toEqual(new Set(['BUFFER_FULL']));
    disk.release();
    await expect.poll(() => answered + refused.length).toBe(sent);
  });

  test('a power cut loses what came after the last sync and nothing before it', async () => {
    const disk = watched();
    const log = await open({ fs: disk.fs, config: { ...config, sync: { intervalMs: 60_000 } } });
    await put(log, record(0));
    await new Promise<void>((resolve) => log.whenDurable(0 as Offset, () => resolve()));
    // The disk as the last sync left it.
    const dataDir = tempFolder();
    mkdirSync(join(dataDir, 'log'));
    for (const name of readdirSync(join(log.dataDir, 'log')))
      copyFileSync(join(log.dataDir, 'log', name), join(dataDir, 'log', name));
    expect(await put(log, record(1))).toBe(1);
    expect(log.figures().end).toBe(1);
    const after = await open({ dataDir });
    expect(after.recovery).toMatchObject({ unclean: true, at: 1, damage: [] });
    // A crash of the process alone loses nothing: what was written is in the system's hands.
    const killed = join(tempFolder(), 'data');
    cpSync(log.dataDir, killed, { recursive: true });
    expect((await open({ dataDir: killed })).recovery).toMatchObject({ unclean: true, at: 2 });
  });

  test('a failed sync ends the writer and everyone waiting hears', async () => {
    let failing = false;
    const log = await open({
      config,
      fs: {
        fdatasync: (fd, done) =>
          failing ? queueMicrotask(() => done(failure('EIO'))) : realFs.fdatasync(fd, done),
      },
    });
    const fatal = new Promise<LogError>((resolve) => log.onFatal(resolve));
    failing = true;
    const derived = expect(log.appendAll([record(0)])).rejects.toMatchObject({ code: 'SYNC_FAILED' });
    expect(await fatal).toMatchObject({ code: 'SYNC_FAILED', facts: { end: 0 } });
    await derived;
    await expect(put(log, record(1))).rejects.toMatchObject({ code: 'SYNC_FAILED' });
    await log.close();
    expect(log.figures()).toMatchObject({ failed: true, end: 0 });
  });
});
