// Syncs that the ingest thread makes itself: only on a disk that has shown to be quick, and never for long.
import { expect, test } from 'vitest';
import { DirectSync } from '../../../gateway/log/direct-sync.ts';
import { type LogFs, realFs } from '../../../gateway/log/fs.ts';
import type { LogError } from '../../../gateway/log/types.ts';
import { failure, open, put, record } from './records.ts';

const limits = { quickMs: 0.5, worthTryingMs: 5, tryEvery: 4, slowMs: 2, poolMs: 100 };

/** With a clock that goes on only when told. */
function made() {
  let nowMs = 1_000;
  const direct = new DirectSync(limits, () => nowMs);
  const pass = (ms: number) => {
    nowMs += ms;
  };
  const sync = (directMs: number, pooledMs: number) => {
    let by = 'nobody';
    direct.run(
      () => {
        by = 'at once';
        pass(directMs);
      },
      (onDone) => {
        by = 'pool';
        pass(pooledMs);
        onDone();
      },
    );
    return by;
  };
  const syncs = (count: number, directMs: number, pooledMs: number) =>
    Array.from({ length: count }, () => sync(directMs, pooledMs));
  return { sync, syncs, pass };
}

test('a quick disk is found out after some syncs by the pool', () => {
  const { syncs } = made();
  expect(syncs(7, 0.2, 1)).toEqual(['pool', 'pool', 'pool', 'pool', 'at once', 'at once', 'at once']);
});

test('a disk that is slow through the pool is never tried', () => {
  const { syncs } = made();
  expect(new Set(syncs(200, 0.2, 6))).toEqual(new Set(['pool']));
});

test('a disk that is not quick is tried now and then only', () => {
  const { syncs } = made();
  expect(syncs(10, 1, 2)).toEqual([
    ...['pool', 'pool', 'pool', 'pool', 'at once'],
    ...['pool', 'pool', 'pool', 'pool', 'at once'],
  ]);
});

test('after a slow one the pool has the next ones for a while', () => {
  const { sync, syncs, pass } = made();
  syncs(5, 0.2, 1);
  expect(sync(2.5, 1)).toBe('at once');
  expect(syncs(20, 0.2, 1)).not.toContain('at once');
  pass(limits.poolMs);
  expect(sync(0.2, 1)).toBe('at once');
});

/** The log on a disk whose syncs are all made at once where they may be. */
function atOnce(verdict: () => Error | null = () => null) {
  const asked: boolean[] = [];
  const fs: Partial<LogFs> = {
    fdatasync: (fd, done, mayWait) => {
      asked.push(mayWait === true);
      if (mayWait) done(verdict());
      else realFs.fdatasync(fd, done);
    },
  };
  return { fs, asked };
}

const QUIET = { preallocateBytes: 0, reserveBytes: 0 };

test('a few records are synced at once, many are not', async () => {
  const disk = atOnce();
  const log = await open({ fs: disk.fs, config: QUIET });
  await Promise.all([put(log, record(0)), put(log, record(1))]);
  expect(disk.asked.splice(0)).toEqual([true]);
  await Promise.all(Array.from({ length: 100 }, (_, n) => put(log, record(2 + n))));
  expect(disk.asked).toEqual([false]);
  await log.close();
});

test('who appends from every answer does not keep the event loop from others', async () => {
  const disk = atOnce();
  const log = await open({ fs: disk.fs, config: QUIET });
  let appended = 0;
  let turns = 0;
  let isOver = false;
  const count = () => {
    turns += 1;
    if (!isOver) setImmediate(count);
  };
  setImmediate(count);
  await new Promise<void>((resolve) => {
    const more = () => {
      if (++appended > 50) resolve();
      else log.append(record(appended), more);
    };
    more();
  });
  isOver = true;
  expect(turns).toBeGreaterThan(10);
  await log.close();
});

test('one that fails ends the writer, as one by the pool does', async () => {
  let failing = false;
  const disk = atOnce(() => (failing ? failure('EIO') : null));
  const log = await open({ fs: disk.fs, config: QUIET });
  const fatal = new Promise<LogError>((resolve) => log.onFatal(resolve));
  await put(log, record(0));
  failing = true;
  await expect(put(log, record(1))).rejects.toMatchObject({ code: 'SYNC_FAILED' });
  expect(await fatal).toMatchObject({ code: 'SYNC_FAILED', facts: { end: 1 } });
  await log.close();
});
