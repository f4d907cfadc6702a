// Holds the log to its promises on a disk that really is full: nothing acknowledged is lost, the last bytes are left to
// others, and it goes on by itself, or by dropping its oldest segments where it is told to.
import { existsSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { type LogFs, realFs } from '../../../gateway/log/fs.ts';
import type { Log } from '../../../gateway/log/types.ts';
import { failure, open, put, readAll, record } from './records.ts';
import { mountSmallDisk } from './small-disk.ts';

const MIB = 1024 * 1024;
const RESERVE = MIB;
const CONFIG = { segmentBytes: MIB, preallocateBytes: 0, reserveBytes: RESERVE };
const big = (n: number) => record(n, { payload: Buffer.alloc(100_000, n & 255) });

/** Puts records until one is refused; resolves with how many were acknowledged and the refusal. */
async function putUntilRefused(log: Log, from: number, limit = 1000) {
  for (let n = from; n < from + limit; n++) {
    try {
      await put(log, big(n));
    } catch (error) {
      return { end: n, error };
    }
  }
  return { end: from + limit, error: null };
}

const disk = mountSmallDisk(12 * MIB);
afterAll(() => disk?.unmount());

describe.skipIf(!disk)('on a small disk (needs to mount a tmpfs)', () => {
  const reserve = (log: { dataDir: string }) => join(log.dataDir, 'log', 'reserve');

  test('the reserve goes to others when the disk is full, and is back before the log goes on', async () => {
    const log = await open({ dataDir: join(disk!.path, 'a'), config: CONFIG });
    expect(statSync(reserve(log)).size).toBe(RESERVE);
    expect(log.figures().reserve).toBe('held');
    const { end, error } = await putUntilRefused(log, 0);
    expect(error).toMatchObject({ code: 'DISK_FULL' });
    expect(end).toBeGreaterThan(80);
    expect(log.figures()).toMatchObject({ reserve: 'given-up', diskFull: true, failed: false, end });
    expect(existsSync(reserve(log))).toBe(false);
    // However often devices try, the log does not take what it gave up.
    for (let n = 0; n < 5; n++) await expect(put(log, big(n))).rejects.toMatchObject({ code: 'DISK_FULL' });
    // Nor all that was left before: nobody else found the disk full meanwhile.
    expect(disk!.freeBytes()).toBeGreaterThan(2 * RESERVE - 200_000);
    const others = join(disk!.path, 'others');
    writeFileSync(others, Buffer.alloc(RESERVE - 200_000));
    // Space comes back only when nobody has the file open any more.
    const reader = await log.openReader();
    expect((await readAll(reader)).length).toBe(end);
    await reader.close();

    await log.segments.dropOldest(log.segments.list()[0]!.baseOffset);
    await log.segments.dropOldest(log.segments.list()[0]!.baseOffset);
    expect(await put(log, record(end))).toBe(end);
    expect(log.figures()).toMatchObject({ reserve: 'held', diskFull: false });
    expect(statSync(reserve(log)).size).toBe(RESERVE);
    await log.close();
  });

  test('a log on a full disk opens, is read, refuses, and goes on when there is space', async () => {
    const dataDir = join(disk!.path, 'a');
    disk!.fill();
    expect(disk!.freeBytes()).toBe(0);
    const log = await open({ dataDir, config: CONFIG });
    const { end } = log.figures();
    expect(log.recovery).toMatchObject({ unclean: false, damage: [] });
    expect(log.figures()).toMatchObject({ reserve: 'given-up', diskFull: true });
    await expect(put(log, record(end))).rejects.toMatchObject({ code: 'DISK_FULL' });
    writeFileSync(join(disk!.path, 'state'), Buffer.alloc(RESERVE / 2));
    expect((await readAll(await log.openReader())).at(-1)).toMatchObject({ offset: end - 1 });
    disk!.clear();
    rmSync(join(disk!.path, 'others'));
    expect(await put(log, record(end))).toBe(end);
    expect(log.figures().reserve).toBe('held');
    await log.close();
  });

  test('drop-oldest: makes room by its oldest segments and refuses nobody', async () => {
    rmSync(join(disk!.path, 'a'), { recursive: true });
    const log = await open({
      dataDir: join(disk!.path, 'b'),
      config: { ...CONFIG, whenFull: 'drop-oldest' },
    });
    disk!.fill(5 * MIB);
    const asked: number[] = [];
    log.useSpaceMaker({
      makeRoom: async (bytes) => {
        asked.push(bytes);
        let freed = 0;
        for (const { baseOffset } of log.segments.list()) {
          if (freed >= bytes) break;
          freed += await log.segments.dropOldest(baseOffset);
        }
        return freed;
      },
    });
    expect(await putUntilRefused(log, 0, 200)).toEqual({ end: 200, error: null });
    expect(asked.length).toBeGreaterThan(2);
    expect(asked.every((bytes) => bytes > 2 * RESERVE)).toBe(true);
    const { start, end } = log.figures();
    expect(end).toBe(200);
    expect(start).toBeGreaterThan(100);
    const held = (await readAll(await log.openReader())).map(({ sequence }) => sequence);
    expect(held).toEqual(Array.from({ length: end - start }, (_, n) => start + n));
    await log.close();
  });
});

describe('a disk that says it is full', () => {
  const full = (state: { full: boolean; freeBytes?: number }): Partial<LogFs> => ({
    pwrite: (fd, bytes, start, length, position, done) => {
      if (state.full) queueMicrotask(() => done(failure('ENOSPC'), 0));
      else realFs.pwrite(fd, bytes, start, length, position, done);
    },
    freeBytes: (path) =>
      state.freeBytes === undefined ? realFs.freeBytes(path) : Promise.resolve(state.freeBytes),
  });

  test('once, for a moment: the batch is tried again and nobody hears of it', async () => {
    const state = { full: false };
    const log = await open({
      config: CONFIG,
      fs: {
        ...full(state),
        unlink: (path) => {
          state.full = false;
          return realFs.unlink(path);
        },
      },
    });
    state.full = true;
    expect(await put(log, record(0))).toBe(0);
    expect(log.figures()).toMatchObject({ diskFull: false, reserve: 'held', refused: { DISK_FULL: 0 } });
  });

  test('drop-oldest with nothing to drop refuses, and a maker is not heard under reject-new', async () => {
    for (const whenFull of ['drop-oldest', 'reject-new'] as const) {
      const state = { full: false };
      const log = await open({ config: { ...CONFIG, whenFull }, fs: full(state) });
      let asked = 0;
      log.useSpaceMaker({
        makeRoom: async () => {
          asked += 1;
          return 0;
        },
      });
      state.full = true;
      await expect(put(log, record(0))).rejects.toMatchObject({ code: 'DISK_FULL' });
      expect(asked > 0).toBe(whenFull === 'drop-oldest');
      state.full = false;
      expect(await put(log, record(0))).toBe(0);
    }
  });

  test('a maker that claims to free but does not is not asked for ever', async () => {
    const state = { full: false };
    const log = await open({
      config: { ...CONFIG, whenFull: 'drop-oldest', reserveBytes: 0 },
      fs: full(state),
    });
    let asked = 0;
    log.useSpaceMaker({ makeRoom: async () => ++asked });
    state.full = true;
    await expect(put(log, record(0))).rejects.toMatchObject({ code: 'DISK_FULL' });
    expect(asked).toBeLessThan(20);
  });

  test('space that others took is seen by watching, without an append', async () => {
    const state = { full: false, freeBytes: 100 * MIB };
    const log = await open({ config: CONFIG, fs: full(state) });
    state.freeBytes = RESERVE / 2;
    await expect.poll(() => log.figures().reserve, { timeout: 5000 }).toBe('given-up');
    await expect(put(log, record(0))).rejects.toMatchObject({ code: 'DISK_FULL' });
    expect(log.figures()).toMatchObject({ diskFull: true, diskFreeBytes: RESERVE / 2 });
    state.freeBytes = 100 * MIB;
    await expect.poll(() => log.figures().reserve, { timeout: 5000 }).toBe('held');
    expect(log.figures().diskFull).toBe(true);
    expect(await put(log, record(0))).toBe(0);
    expect(log.figures().diskFull).toBe(false);
  });

  test('without a reserve a full disk refuses as long as it is full', async () => {
    const state = { full: false };
    const log = await open({ config: { ...CONFIG, reserveBytes: 0 }, fs: full(state) });
    expect(log.figures().reserve).toBe('none');
    state.full = true;
    await expect(put(log, record(0))).rejects.toMatchObject({ code: 'DISK_FULL' });
    state.full = false;
    expect(await put(log, record(0))).toBe(0);
  });
});
