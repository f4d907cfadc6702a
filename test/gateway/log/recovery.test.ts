// Holds opening to: acked records stay, torn tails go, damage is reported and kept, indexes are made again.
import {
  appendFileSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { openReader } from '../../../gateway/log/reader.ts';
import type { LogError } from '../../../gateway/log/types.ts';
import type { Offset } from '../../../ledger/format/brand.ts';
import { referenceBatch } from './kafka-reference.ts';
import { open, plain, put, readAll, record, tempFolder } from './records.ts';

const SMALL = { indexIntervalBytes: 1024, preallocateBytes: 0 };
const FIRST = '0'.repeat(20);
const logFile = (dataDir: string, name = `${FIRST}.log`) => join(dataDir, 'log', name);

/** Batches of two records each, as bytes and where each begins. */
function batches(count: number): { bytes: Buffer; starts: number[] } {
  const parts = Array.from({ length: count }, (_, n) =>
    referenceBatch(2 * n, [record(2 * n), record(2 * n + 1)]),
  );
  const starts = parts.map((_, n) => parts.slice(0, n).reduce((sum, part) => sum + part.length, 0));
  return { bytes: Buffer.concat(parts), starts };
}

/** A data directory as a crash leaves it: one segment with these bytes, no marker, no indexes. */
async function crashed(bytes: Uint8Array, base = 0): Promise<string> {
  const dataDir = tempFolder();
  await (await open({ dataDir })).close();
  rmSync(join(dataDir, 'log'), { recursive: true });
  mkdirSync(join(dataDir, 'log'));
  writeFileSync(logFile(dataDir, `${String(base).padStart(20, '0')}.log`), bytes);
  return dataDir;
}

const numbers = (count: number) => Array.from({ length: count }, (_, n) => n);

describe('torn tails', () => {
  const { bytes, starts } = batches(4);

  test('cuts all over the last batch, with and without zeros after it: the whole batches stay, nothing else', async () => {
    const cuts = numbers(bytes.length - starts[3]! - 1).map((n) => starts[3]! + 1 + n);
    for (const cut of cuts.filter((_, index) => index % 29 === 0 || index > cuts.length - 3)) {
      for (const zeros of [0, 4096]) {
        const dataDir = await crashed(Buffer.concat([bytes.subarray(0, cut), Buffer.alloc(zeros)]));
        const log = await open({ dataDir, config: SMALL });
        expect(log.recovery).toMatchObject({ unclean: true, at: 6, damage: [] });
        // A base offset begins with zeros, which are not told apart from preallocated ones.
        if (cut > starts[3]! + 8) expect(log.recovery.truncatedBytes).toBeGreaterThan(0);
        expect(log.recovery.truncatedBytes).toBeLessThanOrEqual(cut - starts[3]!);
        expect(await put(log, record(77))).toBe(6);
        expect((await readAll(await log.openReader())).map(({ sequence }) => sequence)).toEqual([
          ...numbers(6),
          77,
        ]);
        await log.close();
      }
    }
  });

  test('zeros alone are no tear', async () => {
    const log = await open({
      dataDir: await crashed(Buffer.concat([bytes, Buffer.alloc(100_000)])),
      config: SMALL,
    });
    expect(log.recovery).toMatchObject({ unclean: true, truncatedBytes: 0, at: 8, damage: [] });
    expect(await put(log, record(8))).toBe(8);
  });

  test('a lost first page (zeros, then bytes) is a tear', async () => {
    const tail = Buffer.concat([Buffer.alloc(4096), Buffer.from('rest of a batch')]);
    const log = await open({ dataDir: await crashed(Buffer.concat([bytes, tail])), config: SMALL });
    expect(log.recovery).toMatchObject({ truncatedBytes: tail.length, at: 8, damage: [] });
  });

  test('a well-formed batch inside the payload of a torn one is not taken for records', async () => {
    const forged = referenceBatch(9, [record(666)]);
    const carrier = referenceBatch(8, [record(8, { payload: Buffer.concat([forged, Buffer.alloc(64)]) })]);
    const cut = carrier.indexOf(forged) + forged.length;
    for (const tail of [
      carrier.subarray(0, cut),
      Buffer.concat([carrier.subarray(0, cut + 10), Buffer.alloc(50)]),
    ]) {
      const log = await open({ dataDir: await crashed(Buffer.concat([bytes, tail])), config: SMALL });
      expect(log.recovery).toMatchObject({ at: 8, damage: [] });
      expect(log.recovery.truncatedBytes).toBeGreaterThan(0);
      await log.close();
    }
  });

  test('any garbage after the records is cut, and never read', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 300 }), async (garbage) => {
        fc.pre(garbage.at(-1) !== 0);
        const dataDir = await crashed(Buffer.concat([bytes, garbage]));
        const log = await open({ dataDir, config: SMALL });
        expect(log.recovery).toMatchObject({ truncatedBytes: garbage.length, at: 8, damage: [] });
        expect((await readAll(await log.openReader())).length).toBe(8);
        await log.close();
      }),
      { numRuns: 25 },
    );
  });
});

describe('damage', () => {
  const { bytes, starts } = batches(6);

  test.each([
    ['a payload', starts[2]! + 200],
    ['the base offset', starts[2]! + 7],
    ['the length, larger', starts[2]! + 10],
    ['the length, smaller', starts[2]! + 11],
    ['the magic', starts[2]! + 16],
    ['the checksum', starts[2]! + 18],
    ['the record count', starts[2]! + 60],
  ])('a flipped bit in %s: named, kept, and read around', async (_, at) => {
    const flipped = Buffer.from(bytes);
    flipped[at]! ^= 0x01;
    const dataDir = await crashed(flipped);
    const log = await open({ dataDir, config: SMALL });
    expect(log.recovery).toMatchObject({ at: 12, truncatedBytes: 0 });
    expect(log.recovery.damage).toMatchObject([
      { file: `${FIRST}.log`, position: starts[2], bytes: starts[3]! - starts[2]!, offset: 4, resume: 6 },
    ]);
    expect(await put(log, record(12))).toBe(12);
    expect(readFileSync(logFile(dataDir)).subarray(0, bytes.length).equals(flipped)).toBe(true);

    for (const reader of [await log.openReader(), await openReader({ dataDir })]) {
      expect((await reader.fetch(0 as Offset)).map(({ offset }) => offset)).toEqual([0, 1, 2, 3]);
      const error = (await reader.fetch(4 as Offset).catch((thrown: unknown) => thrown)) as LogError;
      expect(error).toMatchObject({
        code: 'SEGMENT_DAMAGED',
        facts: { file: `${FIRST}.log`, position: starts[2], resume: 6 },
      });
      expect((await readAll(reader, 6)).map(({ offset }) => offset)).toEqual([6, 7, 8, 9, 10, 11, 12]);
      expect((await reader.fetch(9 as Offset, { maxRecords: 1 })).map(({ offset }) => offset)).toEqual([9]);
      await reader.close();
    }
  });

  test('flipped bits all over a segment: never a wrong record, never a lost one outside its batch', async () => {
    const { bytes: three } = batches(3);
    const dataDir = tempFolder();
    await (await open({ dataDir })).close();
    rmSync(join(dataDir, 'log', 'clean'));
    const good = numbers(6).map((n) => plain(record(n)));
    for (let bit = 3; bit < three.length * 8; bit += 17) {
      const flipped = Buffer.from(three);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      writeFileSync(logFile(dataDir), flipped);
      const reader = await openReader({ dataDir });
      const found = new Map<number, unknown>();
      for (let next = 0; ; ) {
        const batch = await reader
          .fetch(next as Offset)
          .catch((error: LogError) => error.facts.resume as number);
        if (typeof batch === 'number') next = batch;
        else if (batch.length === 0) break;
        else {
          for (const each of batch) found.set(each.offset, plain(each));
          next = batch.at(-1)!.offset + 1;
        }
      }
      await reader.close();
      expect(found.size).toBeGreaterThanOrEqual(4);
      for (const [offset, each] of found) expect(each).toEqual(good[offset]);
    }
  });

  test('bad bytes after a clean shutdown are damage, not a tear, and their offsets stay spent', async () => {
    const dataDir = tempFolder();
    const log = await open({ dataDir, config: SMALL });
    for (let n = 0; n < 5; n++) await put(log, record(n));
    await log.close();
    const whole = readFileSync(logFile(dataDir));
    whole[whole.length - 3]! ^= 0xff;
    writeFileSync(logFile(dataDir), whole);
    const again = await open({ dataDir, config: SMALL });
    expect(again.recovery).toMatchObject({
      unclean: false,
      truncatedBytes: 0,
      at: 5,
      damage: [{ offset: 4, resume: 5 }],
    });
    expect(await put(again, record(5))).toBe(5);
    expect(statSync(logFile(dataDir)).size).toBe(whole.length);
    const reader = await again.openReader();
    await expect(reader.fetch(4 as Offset)).rejects.toMatchObject({
      code: 'SEGMENT_DAMAGED',
      facts: { resume: 5 },
    });
    expect((await reader.fetch(5 as Offset)).map(({ sequence }) => sequence)).toEqual([5]);
  });

  test('a segment cut short after a clean shutdown, or gone, does not give its offsets away again', async () => {
    const dataDir = tempFolder();
    const log = await open({ dataDir, config: SMALL });
    for (let n = 0; n < 5; n++) await put(log, record(n));
    await log.close();
    const gone = tempFolder();
    cpSync(dataDir, gone, { recursive: true });
    truncateSync(logFile(dataDir), statSync(logFile(dataDir)).size - 10);
    const cut = await open({ dataDir, config: SMALL });
    expect(cut.recovery).toMatchObject({ at: 5, damage: [{ offset: 4, resume: 5 }] });
    rmSync(logFile(gone));
    const without = await open({ dataDir: gone, config: SMALL });
    expect(without.recovery).toMatchObject({
      at: 5,
      damage: [{ offset: 0, resume: 5, reason: 'file is missing' }],
    });
    expect(await put(without, record(5))).toBe(5);
    expect((await readAll(await without.openReader())).map(({ offset }) => offset)).toEqual([5]);
  });

  test('a file of which nothing can be read is set aside, not deleted', async () => {
    const dataDir = tempFolder();
    const log = await open({ dataDir, config: SMALL });
    await log.close();
    writeFileSync(
      join(dataDir, 'log', 'clean'),
      JSON.stringify({ version: 1, segment: 0, sizeBytes: 0, end: 0 }),
    );
    appendFileSync(logFile(dataDir), 'what is this');
    const again = await open({ dataDir, config: SMALL });
    expect(again.recovery.damage).toHaveLength(1);
    expect(readFileSync(logFile(dataDir, `${FIRST}.log.damaged-1`), 'utf8')).toBe('what is this');
    expect(await put(again, record(0))).toBe(0);
  });
});

describe('closed segments and indexes', () => {
  async function several(): Promise<string> {
    const dataDir = tempFolder();
    const log = await open({ dataDir, config: { ...SMALL, segmentBytes: 16 * 1024 } });
    for (let n = 0; n < 300; n++) await put(log, record(n, { payload: Buffer.alloc(150, 'z') }));
    await log.close();
    return dataDir;
  }
  const names = (dataDir: string, kind: string) =>
    readdirSync(join(dataDir, 'log')).filter((name) => name.endsWith(kind));

  test.each<[string, (path: string) => void]>([
    ['missing', (path) => rmSync(path)],
    ['short', (path) => truncateSync(path, 12)],
    ['full of zeros', (path) => writeFileSync(path, Buffer.alloc(64))],
    ['garbage', (path) => writeFileSync(path, Buffer.from('abcdefghijklmnopqrstuvwxyz'.repeat(4)))],
    [
      'pointing astray',
      (path) => {
        const bytes = readFileSync(path);
        bytes.writeInt32BE(bytes.readInt32BE(bytes.length - 4) + 3, bytes.length - 4);
        writeFileSync(path, bytes);
      },
    ],
  ])('an index that is %s is made again as it was, and no record is lost', async (_, spoil) => {
    const dataDir = await several();
    for (const kind of ['.index', '.timeindex']) {
      const originals = names(dataDir, kind).map(
        (name) => [name, readFileSync(logFile(dataDir, name))] as const,
      );
      expect(originals.length).toBeGreaterThan(3);
      for (const [name] of originals) spoil(logFile(dataDir, name));
      const reader = await openReader({ dataDir });
      expect((await readAll(reader)).length).toBe(300);
      for (const from of [0, 17, 133, 299]) {
        expect((await reader.fetch(from as Offset, { maxRecords: 1 }))[0]!.offset).toBe(from);
      }
      await reader.close();
      const log = await open({ dataDir, config: { ...SMALL, segmentBytes: 16 * 1024 } });
      expect(log.recovery).toMatchObject({ unclean: false, damage: [], at: 300 });
      expect(log.recovery.rebuiltIndexes.length).toBeGreaterThanOrEqual(originals.length - 1);
      await log.close();
      for (const [name, bytes] of originals)
        expect(readFileSync(logFile(dataDir, name)).equals(bytes)).toBe(true);
    }
  });

  test('damage in a closed segment is reported at the place where it is met, zeros after one are trimmed', async () => {
    const dataDir = await several();
    const [first, second, third] = names(dataDir, '.log');
    const last = readFileSync(logFile(dataDir, second!));
    last[last.length - 20]! ^= 1;
    writeFileSync(logFile(dataDir, second!), last);
    appendFileSync(logFile(dataDir, first!), Buffer.alloc(5000));
    const size = statSync(logFile(dataDir, first!)).size;
    const log = await open({ dataDir, config: SMALL });
    const resume = Number(third!.slice(0, 20));
    expect(log.recovery.damage).toMatchObject([{ file: second, resume, reason: 'bad checksum' }]);
    expect(statSync(logFile(dataDir, first!)).size).toBe(size - 5000);
    const reader = await log.openReader();
    expect((await readAll(reader, resume)).length).toBe(300 - resume);
  });

  test('a missing segment in the middle is damage, not silence', async () => {
    const dataDir = await several();
    const all = names(dataDir, '.log');
    rmSync(logFile(dataDir, all[1]!));
    const log = await open({ dataDir, config: SMALL });
    const [from, resume] = [Number(all[1]!.slice(0, 20)), Number(all[2]!.slice(0, 20))];
    expect(log.recovery.damage).toMatchObject([{ file: all[0], offset: from, resume }]);
    const reader = await log.openReader();
    expect((await readAll(reader, resume)).length).toBe(300 - resume);
    await expect(reader.fetch((from + 1) as Offset)).rejects.toMatchObject({
      code: 'SEGMENT_DAMAGED',
      facts: { resume },
    });
  });

  test('damage before the last indexed position is not looked for at open, and found when it is read', async () => {
    const dataDir = await several();
    const name = names(dataDir, '.log').at(-1)!;
    const bytes = readFileSync(logFile(dataDir, name));
    bytes.fill(0xee, 0, bytes.length / 2);
    writeFileSync(logFile(dataDir, name), bytes);
    const log = await open({ dataDir, config: SMALL });
    expect(log.recovery).toMatchObject({ at: 300, truncatedBytes: 0, damage: [] });
    const reader = await log.openReader();
    const from = Number(name.slice(0, 20));
    const error = await reader.fetch(from as Offset).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'SEGMENT_DAMAGED',
      facts: { file: name, position: 0, offset: from },
    });
    const resume = (error as LogError).facts.resume as number;
    const rest = await readAll(reader, resume);
    expect(rest.map(({ offset }) => offset)).toEqual(numbers(300).slice(resume));
    expect(rest.length).toBeGreaterThan(10);
  });
});
