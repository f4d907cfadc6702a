// Holds queries and look-ups by key index to what a scan of everything finds, whatever the index is like: absent,
// behind, of another segment, damaged in any byte.
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32c } from '@node-rs/crc32';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type LogFs, realFs } from '../../../gateway/log/fs.ts';
import { KEY_HEADER_BYTES, SPAN_BYTES } from '../../../gateway/log/key-index.ts';
import { SegmentIndexing } from '../../../gateway/log/key-index-build.ts';
import { parseKeyIndexHeader } from '../../../gateway/log/key-index-file.ts';
import { KeyIndexer, keepKeyIndexes } from '../../../gateway/log/key-indexer.ts';
import { listSegments, segmentFile } from '../../../gateway/log/layout.ts';
import { openReader } from '../../../gateway/log/reader.ts';
import type { Log, LogQuery, SearchableLogReader } from '../../../gateway/log/types.ts';
import { Chores } from '../../../gateway/threads/chores.ts';
import type { Offset } from '../../../ledger/format/brand.ts';
import type { RecordInput, TelemetryRecord } from '../../../ledger/format/record.ts';
import { open, plain, put, record } from './records.ts';

const at = (value: number) => value as Offset;
const SMALL = { segmentBytes: 64 * 1024, indexIntervalBytes: 1024, preallocateBytes: 0 };
const DEVICES = ['a', 'b', 'pump-1', 'pump-10', 'ü', ''];
const TOPICS = ['t', 'plant/1', 'plant/2'];

/** Records with few keys, and times that go up with some far out of order. */
const anyRun: fc.Arbitrary<RecordInput[]> = fc
  .array(
    fc.record({
      device: fc.constantFrom(...DEVICES),
      topic: fc.constantFrom(...TOPICS),
      jump: fc.oneof({ weight: 9, arbitrary: fc.nat(20) }, fc.integer({ min: -5000, max: 5000 })),
      size: fc.oneof({ weight: 9, arbitrary: fc.nat(120) }, fc.nat(3000)),
    }),
    { minLength: 1, maxLength: 250 },
  )
  .map((items) =>
    items.map(({ device, topic, jump, size }, index) =>
      record(index, {
        device,
        topic,
        eventMs: 10_000 + index * 10 + jump,
        payload: new Uint8Array(size),
        sequence: null,
      }),
    ),
  );

const anyQuery = fc.record({
  device: fc.option(fc.constantFrom(...DEVICES, 'nobody'), { nil: undefined }),
  topic: fc.option(fc.constantFrom(...TOPICS, 'nothing'), { nil: undefined }),
  fromMs: fc.option(fc.integer({ min: 5000, max: 16_000 }), { nil: undefined }),
  toMs: fc.option(fc.integer({ min: 5000, max: 16_000 }), { nil: undefined }),
  fromOffset: fc.option(fc.nat(1500).map(at), { nil: undefined }),
  limit: fc.option(fc.integer({ min: 1, max: 60 }), { nil: undefined }),
  maxReadBytes: fc.option(fc.constantFrom(1, 20_000, 200_000), { nil: undefined }),
});

function naive(records: readonly RecordInput[], query: LogQuery): number[] {
  const { device, topic, fromMs = -Infinity, toMs = Infinity, fromOffset = 0 } = query;
  return records.flatMap((each, offset) =>
    offset >= fromOffset &&
    (device === undefined || each.device === device) &&
    (topic === undefined || each.topic === topic) &&
    each.eventMs >= fromMs &&
    each.eventMs < toMs
      ? [offset]
      : [],
  );
}

async function pages(reader: SearchableLogReader, query: LogQuery): Promise<TelemetryRecord[]> {
  const records: TelemetryRecord[] = [];
  for (let fromOffset = query.fromOffset; ; ) {
    const page = await reader.query({ ...query, fromOffset });
    expect(page.records.length).toBeLessThanOrEqual(query.limit ?? 1000);
    records.push(...page.records);
    if (page.complete) return records;
    expect(page.next).toBeGreaterThan(fromOffset ?? -1);
    fromOffset = page.next;
  }
}

/** Indexes every closed segment, and the last one as far as it goes. */
async function indexAll(log: Log & { dataDir: string }): Promise<string[]> {
  const folder = join(log.dataDir, 'log');
  const bases = await listSegments(realFs, folder);
  const files: string[] = [];
  for (const [index, base] of bases.entries()) {
    const next = bases[index + 1];
    const until = next ?? log.figures().end;
    if (until === base) continue;
    // The writer cuts a segment's zeros and completes its files in the background.
    for (let problem: string | null = ''; problem !== null; ) {
      problem = await new SegmentIndexing(realFs, folder, base).advance(until, next !== undefined, {
        writeEveryBytes: 1,
      });
      if (problem !== null && problem !== 'the segment does not end where it should')
        throw new Error(problem);
    }
    files.push(join(folder, segmentFile(base, 'keys')));
  }
  return files;
}

async function filled(runs: readonly RecordInput[][]): Promise<Log & { dataDir: string }> {
  const log = await open({ config: SMALL });
  for (const run of runs) await log.appendAll(run);
  return log;
}

async function checkAll(log: Log & { dataDir: string }, records: RecordInput[], queries: LogQuery[]) {
  const reader = await openReader({ dataDir: log.dataDir, durableEnd: log.durableEnd });
  try {
    await reader.start();
    for (const query of queries) {
      const found = await pages(reader, query);
      expect(found.map(({ offset }) => offset)).toEqual(naive(records, query));
      expect(found.map(plain)).toEqual(found.map(({ offset }) => plain(records[offset]!)));
      const from = query.fromOffset ?? 0;
      const maxRecords = query.limit ?? 1000;
      const fetched = await reader.fetch(at(from), { maxRecords });
      expect(fetched.map(plain)).toEqual(records.slice(from, from + fetched.length).map(plain));
      expect(fetched.length > 0).toBe(from < records.length);
      const time = query.fromMs ?? 0;
      const first = records.findIndex(({ eventMs }) => eventMs >= time);
      expect(await reader.offsetForTime(time)).toBe(first < 0 ? null : first);
    }
  } finally {
    await reader.close();
  }
}

describe('queries find what a scan finds', () => {
  test('without indexes, with those of closed segments, with one that covers part of the last', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyRun, { minLength: 1, maxLength: 6 }),
        fc.array(anyQuery, { minLength: 4, maxLength: 8 }),
        anyRun,
        async (runs, queries, more) => {
          const log = await filled(runs);
          await checkAll(log, runs.flat(), queries);
          await indexAll(log);
          await checkAll(log, runs.flat(), queries);
          await log.appendAll(more);
          await checkAll(log, [...runs, more].flat(), queries);
          await log.close();
        },
      ),
      { numRuns: 15 },
    );
  });

  test('and when any byte of an index is wrong, or some are missing', async () => {
    const sample = fc.sample(fc.tuple(fc.array(anyRun, { minLength: 4, maxLength: 4 })), {
      numRuns: 1,
      seed: 7,
    });
    const runs = sample[0]![0];
    const log = await filled(runs);
    const files = await indexAll(log);
    await fc.assert(
      fc.asyncProperty(
        fc.nat(files.length - 1),
        fc.nat(100_000),
        fc.integer({ min: 1, max: 255 }),
        fc.boolean(),
        fc.array(anyQuery, { minLength: 2, maxLength: 3 }),
        async (file, place, flip, cut, queries) => {
          const path = files[file]!;
          const whole = readFileSync(path);
          const bytes = Buffer.from(whole);
          const position = place % bytes.length;
          bytes[position] = bytes[position]! ^ flip;
          writeFileSync(path, cut ? whole.subarray(0, position) : bytes);
          await checkAll(log, runs.flat(), queries);
          writeFileSync(path, whole);
        },
      ),
      { numRuns: 60 },
    );
    for (const file of files) rmSync(file);
    await checkAll(log, runs.flat(), [{ device: 'a' }]);
  });

  test('a look-up whose index has right sums, and spans that are elsewhere, reads the long way', async () => {
    const numbers = Array.from({ length: 1_200 }, (_, number) => number);
    const runs = Array.from({ length: 12 }, (_, run) =>
      numbers.slice(run * 100, (run + 1) * 100).map((n) => record(n, { payload: Buffer.alloc(200, n) })),
    );
    const log = await filled(runs);
    for (const path of await indexAll(log)) {
      const bytes = readFileSync(path);
      const spans = bytes.readUInt32BE(20);
      const wrong = bytes.subarray(KEY_HEADER_BYTES, KEY_HEADER_BYTES + spans * SPAN_BYTES);
      // Places swapped, one beyond the segment: not of the first and the last span, which are looked at when it is loaded.
      for (let number = 2; number + 2 < spans; number += 2) {
        const [one, two] = [number * SPAN_BYTES, (number + 1) * SPAN_BYTES];
        const place = wrong.readUInt32BE(one);
        wrong.writeUInt32BE(wrong.readUInt32BE(two), one);
        wrong.writeUInt32BE(number === 4 ? 0xffff_fff0 : place, two);
      }
      bytes.writeUInt32BE(crc32c(wrong), 64);
      bytes.writeUInt32BE(crc32c(bytes.subarray(0, 92)), 92);
      writeFileSync(path, bytes);
    }
    const reader = await openReader({ dataDir: log.dataDir, durableEnd: log.durableEnd });
    onTestFinished(() => reader.close());
    await reader.start();
    for (const number of numbers.filter((each) => each % 7 === 3)) {
      const found = await reader.fetch(at(number), { maxRecords: 1 });
      expect(found.map(plain)).toEqual([plain(runs.flat()[number]!)]);
    }
  });

  test('an index made from another file of that name is not believed', async () => {
    const make = async (device: string) => {
      const log = await open({ config: SMALL });
      await log.appendAll(Array.from({ length: 20 }, (_, n) => record(n, { device })));
      return { log, keys: (await indexAll(log))[0]! };
    };
    const [one, other] = [await make('one'), await make('two')];
    renameSync(one.keys, other.keys);
    const reader = await openReader({ dataDir: other.log.dataDir, durableEnd: other.log.durableEnd });
    onTestFinished(() => reader.close());
    expect((await pages(reader, { device: 'two' })).length).toBe(20);
  });

  test('damage in the segment is reported, not passed over by index', async () => {
    const log = await filled([Array.from({ length: 300 }, (_, n) => record(n))]);
    await log.appendAll(Array.from({ length: 600 }, (_, n) => record(n)));
    await indexAll(log);
    const path = join(log.dataDir, 'log', segmentFile(0, 'log'));
    const bytes = readFileSync(path);
    bytes[bytes.length >> 1]! ^= 1;
    writeFileSync(path, bytes);
    const reader = await openReader({ dataDir: log.dataDir, durableEnd: log.durableEnd });
    onTestFinished(() => reader.close());
    await reader.start();
    const before = await reader.query({ device: 'pump-1' });
    expect(before.records.length).toBeGreaterThan(5);
    expect(before).toMatchObject({ complete: false });
    await expect(reader.query({ device: 'pump-1', fromOffset: before.next })).rejects.toMatchObject({
      code: 'SEGMENT_DAMAGED',
      facts: { offset: 0, resume: 300 },
    });
    await expect(reader.fetch(before.next, { maxRecords: 1 })).rejects.toMatchObject({
      code: 'SEGMENT_DAMAGED',
    });
  });
});

test('a query by device reads what it needs, not the log', async () => {
  const log = await open({ config: { ...SMALL, segmentBytes: 1024 * 1024 } });
  const rare = new Set([2000, 9000]);
  for (let n = 0; n < 12_000; n += 2000) {
    const run = Array.from({ length: 2000 }, (_, k) =>
      record(n + k, rare.has(n + k) ? { device: 'rare' } : {}),
    );
    await log.appendAll(run);
  }
  await indexAll(log);
  const reader = await log.openReader();
  const page = await reader.query({ device: 'rare' });
  expect(page.records.map(({ offset }) => offset)).toEqual([...rare]);
  expect(page.complete).toBe(true);
  expect(page.readBytes).toBeLessThan(100_000);
  expect(log.figures().bytes).toBeGreaterThan(1_200_000);
  const early = await reader.query({ device: 'pump-1', toMs: record(50).eventMs });
  expect(early.records.length).toBe(7);
  expect(early.readBytes).toBeLessThan(100_000);
});

test('look-ups at once and one after the other read one span each, and leave nothing but their records', async () => {
  let readBytes = 0;
  const fs: LogFs = {
    ...realFs,
    // As from a slow disk: several are under way together.
    pread: async (fd, into, start, length, position) => {
      await new Promise((resolve) => setImmediate(resolve));
      readBytes += length;
      return realFs.pread(fd, into, start, length, position);
    },
  };
  const log = await open({ config: { ...SMALL, segmentBytes: 1024 * 1024 } });
  const records = Array.from({ length: 4000 }, (_, number) => record(number));
  await log.appendAll(records);
  await log.appendAll(records);
  await indexAll(log);
  const reader = await openReader({ dataDir: log.dataDir, durableEnd: log.durableEnd, fs });
  onTestFinished(() => reader.close());
  const wanted = Array.from({ length: 40 }, (_, index) => (index * 1777) % 4000);
  await reader.fetch(at(wanted[0]!), { maxRecords: 1 });
  readBytes = 0;
  const together = wanted.slice(0, 20).map((offset) => reader.fetch(at(offset), { maxRecords: 1 }));
  const found = (await Promise.all(together)).flat();
  for (const offset of wanted.slice(20)) found.push(...(await reader.fetch(at(offset), { maxRecords: 1 })));
  expect(found.map(({ offset }) => offset)).toEqual(wanted);
  expect(found.map(plain)).toEqual(wanted.map((offset) => plain(records[offset]!)));
  for (const { payload } of found) expect(payload.buffer.byteLength).toBeLessThan(1024);
  expect(readBytes).toBeLessThan(wanted.length * 10 * 1024 + 1);
});

describe('keeping indexes', () => {
  test('every closed segment gets one while the writer appends; a missing or replaced one is made again', async () => {
    const log = await open({ config: SMALL });
    const folder = join(log.dataDir, 'log');
    const problems: string[] = [];
    const stop = new AbortController();
    const keeping = keepKeyIndexes(realFs, folder, log.durableEnd, stop.signal, (problem) =>
      problems.push(problem),
    );
    while (log.figures().segments < 6) await put(log, record(0, { payload: new Uint8Array(9000) }));
    const indexed = async () => {
      for (;;) {
        const bases = (await listSegments(realFs, folder)).slice(0, -1);
        const names = new Set(readdirSync(folder));
        if (bases.every((base) => names.has(segmentFile(base, 'keys')))) return bases;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    const bases = await indexed();
    rmSync(join(folder, segmentFile(bases[1]!, 'keys')));
    await indexed();
    stop.abort();
    await keeping;
    expect(problems).toEqual([]);
    const summary = parseKeyIndexHeader(readFileSync(join(folder, segmentFile(bases[0]!, 'keys'))));
    expect(summary).toMatchObject({ baseOffset: bases[0], lastOffset: bases[1]! - 1, keyCount: 1 });
    expect(summary!.timeIndexCrc).not.toBeNull();
  });

  test('in its thread, which ends when told to', async () => {
    const log = await open({ config: SMALL });
    const chores = new Chores();
    const indexer = new KeyIndexer(chores, { dataDir: log.dataDir, durableEnd: log.durableEnd });
    await log.appendAll([record(0)]);
    await indexer.close();
    await chores.close();
  });

  test('there is none for a segment with damage', async () => {
    const log = await filled([[record(0)], [record(1)], [record(2)]]);
    const end = log.figures().end;
    await log.close();
    const folder = join(log.dataDir, 'log');
    const path = join(folder, segmentFile(0, 'log'));
    const bytes = readFileSync(path);
    bytes[bytes.length - 3]! ^= 1;
    writeFileSync(path, bytes);
    expect(await new SegmentIndexing(realFs, folder, 0).advance(end, true)).toBe('bad checksum');
    expect(readdirSync(folder)).not.toContain(segmentFile(0, 'keys'));
  });
});

test('a reader that knows an index looks for one that covers more', async () => {
  const log = await open({ config: { ...SMALL, segmentBytes: 1024 * 1024 } });
  const reader = await log.openReader();
  const run = (from: number) => Array.from({ length: 1000 }, (_, n) => record(from + n));
  await log.appendAll(run(0));
  await indexAll(log);
  expect((await reader.query({ device: 'nobody' })).readBytes).toBe(0);
  await log.appendAll(run(1000));
  expect((await reader.query({ device: 'nobody' })).readBytes).toBeGreaterThan(50_000);
  await indexAll(log);
  const deadline = performance.now() + 10_000;
  while ((await reader.query({ device: 'nobody' })).readBytes > 0)
    expect(performance.now()).toBeLessThan(deadline);
});

test('a time index that lost its last entry is noticed at the next start', async () => {
  const log = await filled([[record(0, { eventMs: 10_000 })]]);
  // The greatest time comes early, so that nothing later shows that its entry is gone.
  const times = (n: number) => (n === 40 ? 90_000 : n < 40 ? 10_000 + n : 5000);
  for (let n = 1; n < 400; n++)
    await put(log, record(n, { eventMs: times(n), payload: new Uint8Array(300) }));
  await indexAll(log);
  await log.close();
  const path = join(log.dataDir, 'log', segmentFile(0, 'timeindex'));
  const whole = readFileSync(path);
  writeFileSync(path, whole.subarray(0, whole.length - 12));
  const again = await open({ dataDir: log.dataDir, config: SMALL });
  expect(again.recovery.rebuiltIndexes).toContain(segmentFile(0, 'timeindex'));
  expect(readFileSync(path).equals(whole)).toBe(true);
});
