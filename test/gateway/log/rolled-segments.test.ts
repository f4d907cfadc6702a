// Holds the log to what retention may count on: closed segments go and change while readers read on, and a crash at any
// call leaves the old state or the new one.
import { cpSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32c } from '@node-rs/crc32';
import { describe, expect, test } from 'vitest';
import { sealBatch, writeBaseOffset } from '../../../gateway/log/batch.ts';
import { logConfigSchema } from '../../../gateway/log/config.ts';
import { openLog } from '../../../gateway/log/log.ts';
import { openReader } from '../../../gateway/log/reader.ts';
import type { Log } from '../../../gateway/log/types.ts';
import type { Offset } from '../../../ledger/format/brand.ts';
import { faultyFs } from './faulty-fs.ts';
import { type OpenOptions, open, plain, put, readAll, record, tempFolder } from './records.ts';

const CONFIG = {
  segmentBytes: 16 * 1024,
  indexIntervalBytes: 1024,
  preallocateBytes: 0,
  reserveBytes: 16 * 1024,
};
const file = (base: number, kind: string) => `${String(base).padStart(20, '0')}.${kind}`;

async function filled(options: OpenOptions = {}) {
  const log = await open({ config: CONFIG, ...options });
  for (let n = 0; n < 60; n++) await log.appendAll(Array.from({ length: 10 }, (_, k) => record(n * 10 + k)));
  return log;
}

/** A segment for the range that keeps one empty batch. */
function emptied(from: number, until: number): Buffer {
  const bytes = Buffer.alloc(61);
  sealBatch(bytes, 0, 61, { count: 1, baseTimestamp: 0, maxTimestamp: 0 });
  bytes.writeInt32BE(until - from - 1, 23);
  bytes.writeInt32BE(0, 57);
  return withCrc(bytes, from);
}

function withCrc(bytes: Buffer, from: number): Buffer {
  bytes.writeUInt32BE(crc32c(bytes.subarray(21)), 17);
  writeBaseOffset(bytes, 0, from);
  return bytes;
}

describe('closed segments', () => {
  test('are listed with their ranges, also after a restart', async () => {
    let now = 5_000_000;
    const log = await open({ config: { ...CONFIG, segmentAgeMs: 3_600_000 }, clock: () => now });
    expect(log.segments.list()).toEqual([]);
    await log.appendAll([record(0), record(1, { eventMs: 1_900_000_000_000 }), record(2)]);
    now += 1000;
    await log.segments.roll();
    const [first] = log.segments.list();
    expect(first).toMatchObject({
      baseOffset: 0,
      endOffset: 3,
      maxEventMs: 1_900_000_000_000,
      lastWrittenMs: 5_000_000,
    });
    await log.segments.roll();
    expect(log.segments.list()).toHaveLength(1);
    expect(await put(log, record(3))).toBe(3);
    await log.segments.roll();
    expect(log.segments.list().map(({ baseOffset, endOffset }) => [baseOffset, endOffset])).toEqual([
      [0, 3],
      [3, 4],
    ]);
    await log.close();
    const again = await open({ dataDir: log.dataDir, config: CONFIG });
    const listed = again.segments.list();
    expect(listed.map(({ baseOffset, endOffset, sizeBytes }) => [baseOffset, endOffset, sizeBytes])).toEqual([
      [0, 3, first!.sizeBytes],
      [3, 4, listed[1]!.sizeBytes],
    ]);
    expect(listed[0]!.maxEventMs).toBe(1_900_000_000_000);
    expect(Math.abs(listed[0]!.lastWrittenMs - Date.now())).toBeLessThan(60_000);
  });

  test('the oldest goes with all its files, under a reader that is in the middle of it', async () => {
    const log = await filled();
    const reader = await log.openReader();
    const begun = await reader.fetch(0 as Offset, { maxRecords: 3 });
    expect(begun.map(({ offset }) => offset)).toEqual([0, 1, 2]);
    const [first, second] = log.segments.list();
    const before = log.figures();
    await expect(log.segments.dropOldest(second!.baseOffset)).rejects.toThrow(RangeError);
    expect(await log.segments.dropOldest(first!.baseOffset)).toBe(first!.sizeBytes);
    expect(readdirSync(join(log.dataDir, 'log')).filter((name) => name.startsWith('0'.repeat(20)))).toEqual(
      [],
    );
    expect(log.figures()).toMatchObject({
      start: second!.baseOffset,
      segments: before.segments - 1,
      bytes: before.bytes - first!.sizeBytes,
    });
    expect((await reader.fetch(3 as Offset, { maxRecords: 1 }))[0]).toMatchObject({ offset: 3 });
    const other = await log.openReader();
    expect(await other.start()).toBe(second!.baseOffset);
    expect((await other.fetch(0 as Offset))[0]).toMatchObject({ offset: second!.baseOffset });
    await log.close();
    const again = await open({ dataDir: log.dataDir, config: CONFIG });
    expect(again.recovery).toMatchObject({ unclean: false, damage: [], at: 600 });
    expect(again.figures().start).toBe(second!.baseOffset);
  });

  test('all of them may go; the log goes on', async () => {
    const log = await filled();
    await log.segments.roll();
    for (const { baseOffset } of log.segments.list()) await log.segments.dropOldest(baseOffset);
    expect(log.figures()).toMatchObject({ start: 600, end: 600, segments: 1, bytes: 0 });
    expect(await put(log, record(600))).toBe(600);
    expect((await readAll(await log.openReader())).map(({ offset }) => offset)).toEqual([600]);
  });

  test('one is replaced under readers; what is not its like is refused', async () => {
    const log = await filled();
    const [first, second] = log.segments.list();
    const reader = await log.openReader();
    await reader.fetch(0 as Offset, { maxRecords: 3 });
    const folder = join(log.dataDir, 'log');
    const draft = join(folder, 'draft');
    writeFileSync(draft, emptied(first!.baseOffset, first!.endOffset - 1));
    await expect(log.segments.replace(first!.baseOffset, { log: draft })).rejects.toMatchObject({
      code: 'SEGMENT_DAMAGED',
    });
    expect(existsSync(join(folder, file(0, 'index')))).toBe(true);
    writeFileSync(draft, emptied(first!.baseOffset, first!.endOffset));
    await log.segments.replace(first!.baseOffset, { log: draft });
    expect(readFileSync(join(folder, file(0, 'log'))).length).toBe(61);
    expect(existsSync(join(folder, file(0, 'index')))).toBe(false);
    expect(existsSync(draft)).toBe(false);
    expect(log.segments.list()[0]).toMatchObject({
      baseOffset: 0,
      endOffset: second!.baseOffset,
      sizeBytes: 61,
    });
    const fresh = await log.openReader();
    const rest = Array.from({ length: 600 - second!.baseOffset }, (_, n) =>
      plain(record(second!.baseOffset + n)),
    );
    expect((await readAll(fresh)).map(plain)).toEqual(rest);
    expect((await readAll(reader, second!.baseOffset)).map(plain)).toEqual(rest);
    await log.close();
    const again = await open({ dataDir: log.dataDir, config: CONFIG });
    expect(again.recovery).toMatchObject({ damage: [], at: 600 });
    expect((await readAll(await again.openReader())).map(plain)).toEqual(rest);
  });

  test('nothing more once the log is closed', async () => {
    const log = await filled();
    const [first] = log.segments.list();
    await log.close();
    await expect(log.segments.dropOldest(first!.baseOffset)).rejects.toMatchObject({ code: 'CLOSED' });
    await expect(log.segments.roll()).rejects.toMatchObject({ code: 'CLOSED' });
  });

  test('a segment asked for while groups are written is begun between two of them', async () => {
    const log = await open({ config: CONFIG });
    const puts: Promise<Offset>[] = [];
    const rolls: Promise<void>[] = [];
    for (let n = 0; n < 100; n++) {
      puts.push(put(log, record(n)));
      if (n % 10 === 0) rolls.push(log.segments.roll());
      if (n % 7 === 0) await puts.at(-1);
    }
    expect(await Promise.all(puts)).toEqual(Array.from({ length: 100 }, (_, n) => n));
    await Promise.all(rolls);
    expect(log.segments.list().length).toBeGreaterThan(2);
    expect((await readAll(await log.openReader())).map(plain)).toEqual(
      Array.from({ length: 100 }, (_, n) => plain(record(n))),
    );
  });
});

describe('every call of a drop and a replacement goes wrong once', () => {
  const config = logConfigSchema.parse(CONFIG);

  async function change(log: Log, folder: string): Promise<void> {
    const [first, second] = log.segments.list();
    await log.segments.dropOldest(first!.baseOffset).catch(() => {});
    await log.segments.replace(second!.baseOffset, { log: join(folder, 'draft') }).catch(() => {});
  }

  test.each(['fails', 'done', 'crash'] as const)('%s', async (mode) => {
    const model = await filled();
    const [, second] = model.segments.list();
    await model.close();
    writeFileSync(join(model.dataDir, 'log', 'draft'), emptied(second!.baseOffset, second!.endOffset));
    let done = false;
    for (let at = 0; !done; at++) {
      const dataDir = join(tempFolder(), 'data');
      cpSync(model.dataDir, dataDir, { recursive: true });
      const fs = faultyFs(null);
      const log = await openLog({ dataDir, config, fs });
      fs.arm({ at: fs.calls.length + at, mode, code: 'EIO' });
      const before = fs.calls.length;
      await Promise.race([change(log, join(dataDir, 'log')), fs.crashed]);
      done = fs.calls.length <= before + at;
      fs.arm({ at: Number.POSITIVE_INFINITY, mode, code: 'EIO' });
      const name = `call ${at} (${fs.calls[before + at]}) ${mode}`;
      let left = dataDir;
      if (mode === 'crash') {
        left = join(tempFolder(), 'left');
        cpSync(dataDir, left, { recursive: true });
      } else {
        expect(await put(log, record(600)), name).toBe(600);
        await log.close();
      }
      const again = await openLog({ dataDir: left, config });
      expect(again.recovery.damage, name).toEqual([]);
      const present = (await readAll(await again.openReader())).map(({ offset }) => offset as number);
      const [start, all] = [present[0]!, again.figures().end];
      expect([0, second!.baseOffset, second!.endOffset], name).toContain(start);
      const gone = present.includes(second!.baseOffset) ? [] : [second!.baseOffset, second!.endOffset];
      expect(present, name).toEqual(
        Array.from({ length: all - start }, (_, n) => start + n).filter(
          (offset) => gone.length === 0 || offset < gone[0]! || offset >= gone[1]!,
        ),
      );
      await again.close();
      if (mode !== 'crash' && !done) {
        const reader = await openReader({ dataDir: left });
        expect(await reader.end(), name).toBe(601);
        await reader.close();
      }
    }
  });
});
