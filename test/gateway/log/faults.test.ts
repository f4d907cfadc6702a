// Holds the writer to its promises on a disk that is full, fails, or ends in the middle: every call of a run goes
// wrong once, in each way it can, and what the next open finds is held against what was acknowledged.
import { cpSync, existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { logConfigSchema } from '../../../gateway/log/config.ts';
import { type LogFs, realFs } from '../../../gateway/log/fs.ts';
import { openLog } from '../../../gateway/log/log.ts';
import { openReader } from '../../../gateway/log/reader.ts';
import { type Log, LogError } from '../../../gateway/log/types.ts';
import type { Offset } from '../../../ledger/format/brand.ts';
import { type Fault, type FaultyFs, faultyFs } from './faulty-fs.ts';
import { failure, open, plain, put, readAll, record, tempFolder } from './records.ts';

const FIRST = `${'0'.repeat(20)}.log`;

/** A disk whose free space is a switch: while it is full, writes put down half and fail. */
function fillable() {
  const disk = { full: false, truncateFails: false };
  const fs: Partial<LogFs> = {
    pwrite: (fd, bytes, start, length, position, done) => {
      if (!disk.full) realFs.pwrite(fd, bytes, start, length, position, done);
      else realFs.pwrite(fd, bytes, start, length >> 1, position, () => done(failure('ENOSPC'), 0));
    },
    ftruncate: (fd, size) =>
      disk.truncateFails ? Promise.reject(failure('EIO')) : realFs.ftruncate(fd, size),
  };
  return { disk, fs };
}

describe('a full disk', () => {
  test('refuses what does not fit, keeps and serves the rest, and goes on by itself when there is room', async () => {
    const { disk, fs } = fillable();
    const log = await open({ fs });
    const reader = await log.openReader();
    for (let n = 0; n < 10; n++) await put(log, record(n));
    disk.full = true;
    const big = (n: number) => record(n, { payload: Buffer.alloc(300_000, 'x') });
    const outcomes = await Promise.allSettled([1, 2, 3, 4, 5, 6].map((n) => put(log, big(n))));
    for (const outcome of outcomes) expect(outcome).toMatchObject({ reason: { code: 'DISK_FULL' } });
    await expect(log.appendAll([record(1), record(2)])).rejects.toMatchObject({ code: 'DISK_FULL' });
    expect(log.figures()).toMatchObject({
      diskFull: true,
      end: 10,
      failed: false,
      refused: { DISK_FULL: 8 },
    });
    expect((await readAll(reader)).length).toBe(10);
    disk.full = false;
    expect(await put(log, record(10))).toBe(10);
    expect(log.figures().diskFull).toBe(false);
    expect((await readAll(reader)).map(plain)).toEqual(
      Array.from({ length: 11 }, (_, n) => plain(record(n))),
    );
    await log.close();
    const again = await open({ dataDir: log.dataDir });
    expect(again.recovery).toMatchObject({ unclean: false, truncatedBytes: 0, at: 11, damage: [] });
  });

  test('what was refused is cut off before anything else is written, however often cutting fails', async () => {
    const { disk, fs } = fillable();
    const log = await open({ fs, config: { preallocateBytes: 0 } });
    await put(log, record(0));
    const size = statSync(join(log.dataDir, 'log', FIRST)).size;
    disk.full = true;
    disk.truncateFails = true;
    await expect(put(log, record(1, { payload: Buffer.alloc(9000, 'x') }))).rejects.toMatchObject({
      code: 'DISK_FULL',
    });
    disk.full = false;
    await expect(put(log, record(1))).rejects.toMatchObject({ code: 'DISK_FULL' });
    expect(statSync(join(log.dataDir, 'log', FIRST)).size).toBeGreaterThan(size + 1000);
    disk.truncateFails = false;
    expect(await put(log, record(2))).toBe(1);
    const bytes = readFileSync(join(log.dataDir, 'log', FIRST));
    expect(bytes.length).toBe(log.figures().bytes);
    expect(bytes.includes('xxxx')).toBe(false);
  });

  test('a refused batch that reached the disk whole is not read, by anyone who read ahead either', async () => {
    let full = false;
    const log = await open({
      fs: {
        pwrite: (fd, bytes, start, length, position, done) =>
          realFs.pwrite(fd, bytes, start, length, position, (error, written) =>
            done(full ? failure('ENOSPC') : error, written),
          ),
      },
    });
    const reader = await log.openReader();
    await log.appendAll([record(0), record(1)]);
    const refused = [record(100), record(101)];
    full = true;
    const refusal = expect(log.appendAll(refused)).rejects.toMatchObject({ code: 'DISK_FULL' });
    await reader.fetch(0 as Offset);
    await refusal;
    await reader.fetch(0 as Offset);
    full = false;
    await log.appendAll([record(2), record(3)]);
    expect((await reader.fetch(2 as Offset)).map(({ sequence }) => sequence)).toEqual([2, 3]);
  });

  test('space ahead is a convenience: zeros that do not fit refuse nobody', async () => {
    const log = await open({
      config: { preallocateBytes: 1024 * 1024 },
      fs: {
        pwrite: (fd, bytes, start, length, position, done) => {
          const zeros = length > 200_000 && bytes[start] === 0 && bytes[start + 16] === 0;
          if (zeros) queueMicrotask(() => done(failure('ENOSPC'), 0));
          else realFs.pwrite(fd, bytes, start, length, position, done);
        },
      },
    });
    for (let n = 0; n < 20; n++) expect(await put(log, record(n))).toBe(n);
    expect(log.figures()).toMatchObject({ diskFull: false, refused: { DISK_FULL: 0 } });
  });

  test('no new segment can be begun: the old one grows on', async () => {
    let stuck = true;
    const log = await open({
      config: { segmentBytes: 16 * 1024 },
      fs: {
        open: (path, mode) =>
          stuck && mode === 'create' && path.endsWith('.log') && !path.endsWith(FIRST)
            ? Promise.reject(failure('ENOSPC'))
            : realFs.open(path, mode),
      },
    });
    for (let n = 0; n < 30; n++) await put(log, record(n, { payload: Buffer.alloc(1500) }));
    expect(log.figures().segments).toBe(1);
    stuck = false;
    await put(log, record(30));
    expect(log.figures().segments).toBe(2);
    expect((await readAll(await log.openReader())).length).toBe(31);
  });
});

describe('a failing disk', () => {
  test('a failed fdatasync ends the writer: everyone waiting hears, nothing more is written', async () => {
    let failing = false;
    const log = await open({
      config: { preallocateBytes: 0 },
      fs: {
        fdatasync: (fd, done) =>
          failing ? queueMicrotask(() => done(failure('EIO'))) : realFs.fdatasync(fd, done),
      },
    });
    await put(log, record(0));
    const fatal = new Promise<LogError>((resolve) => log.onFatal(resolve));
    failing = true;
    const outcomes = await Promise.allSettled([
      put(log, record(1)),
      log.appendAll([record(2)]),
      put(log, record(3)),
    ]);
    for (const outcome of outcomes) expect(outcome).toMatchObject({ reason: { code: 'SYNC_FAILED' } });
    expect(await fatal).toMatchObject({ code: 'SYNC_FAILED', facts: { end: 1 } });
    failing = false;
    const size = statSync(join(log.dataDir, 'log', FIRST)).size;
    await expect(put(log, record(4))).rejects.toMatchObject({ code: 'SYNC_FAILED' });
    expect(log.figures()).toMatchObject({ failed: true, end: 1 });
    await log.close();
    expect(statSync(join(log.dataDir, 'log', FIRST)).size).toBe(size);
    expect(existsSync(join(log.dataDir, 'log', 'clean'))).toBe(false);
    const again = await open({ dataDir: log.dataDir });
    expect(again.recovery.unclean).toBe(true);
    expect((await readAll(await again.openReader()))[0]).toMatchObject({ offset: 0, sequence: 0 });
  });

  test('the sync of zeros counts like any other', async () => {
    let failing = false;
    const log = await open({
      config: { preallocateBytes: 512 * 1024 },
      fs: {
        fdatasync: (fd, done) => realFs.fdatasync(fd, (error) => done(failing ? failure('EIO') : error)),
      },
    });
    const fatal = new Promise<LogError>((resolve) => log.onFatal(resolve));
    failing = true;
    log.append(record(0), () => {});
    expect((await fatal).code).toBe('SYNC_FAILED');
  });

  test('writes that come back short are gone on with', async () => {
    const log = await open({
      fs: {
        pwrite: (fd, bytes, start, length, position, done) =>
          realFs.pwrite(fd, bytes, start, Math.min(length, 777), position, done),
      },
    });
    const records = Array.from({ length: 50 }, (_, n) => record(n));
    await log.appendAll(records);
    expect((await readAll(await log.openReader())).map(plain)).toEqual(records.map(plain));
  });
});

describe('every call goes wrong once', () => {
  const config = logConfigSchema.parse({
    segmentBytes: 16 * 1024,
    preallocateBytes: 8 * 1024,
    maxBatchBytes: 4096,
    maxRecordBytes: 4096,
    indexIntervalBytes: 1024,
    reserveBytes: 16 * 1024,
  });
  type Outcomes = Map<number, Offset | string>;

  /** Opens, appends in groups over a roll, closes. Notes for each sequence the offset or the refusal. */
  async function run(dataDir: string, fs: FaultyFs, outcomes: Outcomes): Promise<void> {
    let log: Log;
    try {
      log = await openLog({ dataDir, config, fs });
    } catch {
      return;
    }
    let number = 0;
    for (let group = 0; group < 5; group++) {
      const waits: Promise<void>[] = [];
      for (let n = 0; n < 8; n++) {
        const sequence = number++;
        waits.push(
          put(log, record(sequence, { payload: Buffer.alloc(600, sequence) })).then(
            (offset) => void outcomes.set(sequence, offset),
            (error: LogError) => void outcomes.set(sequence, error.code),
          ),
        );
      }
      await Promise.all(waits);
    }
    await log.close();
  }

  async function judge(dataDir: string, outcomes: Outcomes, name: string): Promise<void> {
    const log = await openLog({ dataDir, config });
    const present = await readAll(await log.openReader());
    expect(log.recovery.damage, name).toEqual([]);
    expect(
      present.map(({ offset }) => offset),
      name,
    ).toEqual(present.map((_, index) => index));
    const found = present.map(({ sequence }) => sequence);
    expect(new Set(found).size, name).toBe(found.length);
    for (const each of present)
      expect(plain(each), name).toEqual(
        plain(record(each.sequence!, { payload: Buffer.alloc(600, each.sequence!) })),
      );
    for (const [sequence, outcome] of outcomes) {
      if (typeof outcome === 'number')
        expect(present[outcome]?.sequence, `${name}: acked ${sequence}`).toBe(sequence);
      else if (outcome === 'DISK_FULL') expect(found, `${name}: refused ${sequence}`).not.toContain(sequence);
    }
    expect(await put(log, record(999))).toBe(present.length);
    await log.close();
    const reader = await openReader({ dataDir });
    expect((await readAll(reader)).length, name).toBe(present.length + 1);
    await reader.close();
  }

  const ways: Omit<Fault, 'at'>[] = [
    { mode: 'fails', code: 'ENOSPC' },
    { mode: 'half', code: 'ENOSPC', times: 2 },
    { mode: 'done', code: 'ENOSPC' },
    { mode: 'done', code: 'EIO' },
    { mode: 'crash', code: 'EIO' },
  ];

  test.each(ways)('$mode $code', async (way) => {
    const healthy = faultyFs(null);
    const all: Outcomes = new Map();
    await run(tempFolder(), healthy, all);
    expect([...all.values()]).toEqual(Array.from({ length: 40 }, (_, n) => n));
    expect(new Set(healthy.calls)).toContain('ftruncate');
    const counts = healthy.calls.length;
    expect(counts).toBeGreaterThan(40);
    for (let at = 0; at < counts; at++) {
      const name = `call ${at} (${healthy.calls[at]}) ${way.mode} ${way.code}`;
      const dataDir = tempFolder();
      const outcomes: Outcomes = new Map();
      const fs = faultyFs({ ...way, at });
      await Promise.race([run(dataDir, fs, outcomes), fs.crashed]);
      if (way.mode !== 'crash') {
        await judge(dataDir, outcomes, name);
        continue;
      }
      const left = join(tempFolder(), 'left');
      cpSync(dataDir, left, { recursive: true });
      await judge(left, outcomes, name);
    }
  });
});

test('LogError says what it knows', () => {
  const error = new LogError('DISK_FULL', 'no space', { facts: { folder: 'log' }, hint: 'free some' });
  expect(error).toMatchObject({
    name: 'LogError',
    code: 'DISK_FULL',
    facts: { folder: 'log' },
    hint: 'free some',
  });
});
