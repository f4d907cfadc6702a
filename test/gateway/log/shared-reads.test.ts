// Holds readers of one thread to sharing what they read, within a bound, and to following a segment file that another
// one replaces; and fetch to waiting for minBytes.
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { sealBatch, writeBaseOffset } from '../../../gateway/log/batch.ts';
import { realFs } from '../../../gateway/log/fs.ts';
import { Group } from '../../../gateway/log/group.ts';
import { openReader } from '../../../gateway/log/reader.ts';
import { KeptBytes } from '../../../gateway/log/shared-reads.ts';
import { DurableEnd } from '../../../gateway/log/signal.ts';
import type { Offset } from '../../../ledger/format/brand.ts';
import type { RecordInput } from '../../../ledger/format/record.ts';
import { open, plain, put, readAll, record, tempFolder } from './records.ts';

const at = (value: number) => value as Offset;
const LIMITS = { maxBatchBytes: 1 << 20, maxRecordBytes: 1 << 20, maxPendingBytes: 1 << 24 };

/** Bytes of one batch over [from, from + spans) with the records at these offsets; as retention leaves it. */
function batchOf(records: ReadonlyMap<number, RecordInput>, from: number, spans: number): Buffer {
  const group = new Group(LIMITS);
  const chosen = [...records].filter(([offset]) => offset >= from && offset < from + spans);
  if (chosen.length === 0) {
    const empty = Buffer.alloc(61);
    sealBatch(empty, 0, 61, { count: 0, baseTimestamp: 0, maxTimestamp: 0, lastOffsetDelta: spans - 1 });
    writeBaseOffset(empty, 0, from);
    return empty;
  }
  // Offset deltas below 64 take one byte: records written in a full run keep theirs when others are left out.
  for (let offset = from; offset < from + spans; offset++)
    group.add(records.get(offset) ?? record(offset), () => {}, 1 << 30);
  const batch = group.batches[0]!;
  sealBatch(group.buffer, batch.start, batch.end, batch);
  const full = Buffer.from(group.buffer.subarray(batch.start, batch.end));
  const kept: Buffer[] = [full.subarray(0, 61)];
  let position = 61;
  for (let offset = from; offset < from + spans; offset++) {
    let length = 0;
    let width = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = full[position + width++]!;
      length |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    const size = width + (length >>> 1);
    if (records.has(offset)) kept.push(full.subarray(position, position + size));
    position += size;
  }
  const bytes = Buffer.concat(kept);
  const times = chosen.map(([, { eventMs }]) => eventMs);
  sealBatch(bytes, 0, bytes.length, {
    count: chosen.length,
    baseTimestamp: records.get(from)?.eventMs ?? record(from).eventMs,
    maxTimestamp: Math.max(...times),
    lastOffsetDelta: spans - 1,
  });
  writeBaseOffset(bytes, 0, from);
  return bytes;
}

/** A data directory whose one segment is these bytes, durable up to `end`. */
function logOf(bytes: Buffer, end: number) {
  const dataDir = tempFolder();
  const file = join(dataDir, 'log', '00000000000000000000.log');
  mkdirSync(join(dataDir, 'log'));
  writeFileSync(file, bytes);
  const durable = new DurableEnd();
  durable.advance(end);
  return { dataDir, file, durableEnd: durable.shared };
}

describe('sharing', () => {
  test('five tailing readers of one thread read the file about once', async () => {
    let bytes = 0;
    const counting = {
      ...realFs,
      pread: async (...args: Parameters<typeof realFs.pread>) => {
        const read = await realFs.pread(...args);
        bytes += read;
        return read;
      },
    };
    const total = 400;
    const run = async (readers: number) => {
      const log = await open({ config: { preallocateBytes: 0 }, fs: counting });
      const tails = Array.from({ length: readers }, async () => {
        const reader = await openReader({ dataDir: log.dataDir, durableEnd: log.durableEnd, fs: counting });
        for (let next = 0; next < total; ) {
          const records = await reader.fetch(at(next), { maxWaitMs: 10_000 });
          expect(records.map(({ offset }) => offset)).toEqual(records.map((_, index) => next + index));
          next += records.length;
        }
        await reader.close();
      });
      bytes = 0;
      for (let n = 0; n < total; n += 10)
        await log.appendAll(Array.from({ length: 10 }, (_, k) => record(n + k)));
      await Promise.all(tails);
      return bytes;
    };
    const alone = await run(1);
    expect(await run(5)).toBeLessThan(alone * 2.5);
  });

  test('what is kept stays within its bound, and what was used last stays longest', () => {
    const kept = new KeptBytes(100);
    const gone: number[] = [];
    const items = [40, 40, 40, 30].map((sizeBytes, index) => ({ sizeBytes, forget: () => gone.push(index) }));
    for (const item of items.slice(0, 2)) kept.use(item);
    kept.use(items[0]!);
    kept.use(items[2]!);
    expect(gone).toEqual([1]);
    kept.use(items[3]!);
    expect(gone).toEqual([1, 0]);
    expect(kept.bytes).toBe(70);
    kept.use({ sizeBytes: 1000, forget: () => gone.push(99) });
    expect(gone).toEqual([1, 0, 2, 3]);
  });

  test('reads from anywhere agree with reading all, in batches of many records', async () => {
    const log = await open({ config: { indexIntervalBytes: 4096 } });
    const records = Array.from({ length: 3000 }, (_, n) => record(n));
    await log.appendAll(records.slice(0, 1000));
    await log.appendAll(records.slice(1000, 1010));
    await log.appendAll(records.slice(1010));
    const reader = await log.openReader();
    await fc.assert(
      fc.asyncProperty(fc.nat(2999), fc.integer({ min: 1, max: 200 }), async (from, maxRecords) => {
        const found = await reader.fetch(at(from), { maxRecords });
        expect(found.map(plain)).toEqual(records.slice(from, from + maxRecords).map(plain));
      }),
      { numRuns: 60 },
    );
  });
});

describe('minBytes', () => {
  test('waits until that much is durable, and returns what there is at the limit', async () => {
    const log = await open();
    const reader = await log.openReader();
    const payload = new Uint8Array(500);
    const waiting = reader.fetch(at(0), { minBytes: 1500, maxWaitMs: 20_000 });
    for (let n = 0; n < 3; n++) await put(log, record(n, { payload }));
    expect((await waiting).length).toBe(3);
    const short = await reader.fetch(at(1), { minBytes: 10_000, maxWaitMs: 30 });
    expect(short.map(({ offset }) => offset)).toEqual([1, 2]);
    // Never waits for more than it may return.
    expect(await reader.fetch(at(0), { minBytes: 1 << 20, maxBytes: 600, maxWaitMs: 20_000 })).toHaveLength(
      2,
    );
    expect(await reader.fetch(at(0), { minBytes: 1 << 20, maxRecords: 2, maxWaitMs: 20_000 })).toHaveLength(
      2,
    );
    const abort = new AbortController();
    const aborted = reader.fetch(at(0), { minBytes: 1 << 19, maxWaitMs: 20_000, signal: abort.signal });
    setImmediate(() => abort.abort());
    expect(await aborted).toHaveLength(3);
  });
});

describe('segments that were rewritten', () => {
  test('records keep their offsets where others were removed', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(fc.boolean(), { minLength: 1, maxLength: 40 }), { minLength: 1, maxLength: 6 }),
        fc.nat(300),
        async (batches, anywhere) => {
          const kept = new Map<number, RecordInput>();
          const bytes: Buffer[] = [];
          let end = 0;
          for (const flags of batches) {
            for (const [index, keep] of flags.entries()) if (keep) kept.set(end + index, record(end + index));
            bytes.push(batchOf(kept, end, flags.length));
            end += flags.length;
          }
          const { dataDir, durableEnd } = logOf(Buffer.concat(bytes), end);
          const reader = await openReader({ dataDir, durableEnd });
          const from = anywhere % (end + 1);
          for (const start of [0, from]) {
            const found = await readAll(reader, start);
            expect(found.map((each) => [each.offset, plain(each)])).toEqual(
              [...kept]
                .filter(([offset]) => offset >= start)
                .map(([offset, input]) => [offset, plain(input)]),
            );
          }
          await reader.close();
        },
      ),
      { numRuns: 40 },
    );
  });

  test('a file replaced under a reader is read to its end as it was, and anew after the next seek', async () => {
    const all = new Map(Array.from({ length: 60 }, (_, n) => [n, record(n)] as const));
    const rest = new Map([...all].filter(([offset]) => offset % 3 === 0));
    const batches = (records: ReadonlyMap<number, RecordInput>) =>
      Buffer.concat([0, 20, 40].map((from) => batchOf(records, from, 20)));
    const { dataDir, file, durableEnd } = logOf(batches(all), 60);
    for (const options of [{ dataDir, durableEnd }, { dataDir }]) {
      writeFileSync(`${file}.draft`, batches(all));
      renameSync(`${file}.draft`, file);
      const reader = await openReader(options);
      onTestFinished(() => reader.close());
      expect((await reader.fetch(at(0), { maxRecords: 5 })).length).toBe(5);
      writeFileSync(`${file}.draft`, batches(rest));
      renameSync(`${file}.draft`, file);
      const onward = await reader.fetch(at(5));
      expect(onward.every(({ offset }, index) => offset === 5 + index)).toBe(true);
      const found = await readAll(reader, 1);
      expect(found.map(({ offset }) => offset)).toEqual([...rest.keys()].slice(1));
      await reader.close();
    }
  });

  test('a batch of a kind not read here is refused by name', async () => {
    const good = batchOf(new Map([[0, record(0)]]), 0, 1);
    const foreign = batchOf(new Map([[1, record(1)]]), 1, 1);
    sealBatch(foreign, 0, foreign.length, { count: 1, baseTimestamp: 0, maxTimestamp: 0, codec: 2 });
    const { dataDir, durableEnd, file } = logOf(Buffer.concat([good, foreign]), 2);
    expect(readFileSync(file).length).toBe(good.length + foreign.length);
    const reader = await openReader({ dataDir, durableEnd });
    expect((await reader.fetch(at(0))).length).toBe(1);
    await expect(reader.fetch(at(1))).rejects.toMatchObject({
      code: 'BATCH_UNSUPPORTED',
      facts: { position: good.length, offset: 1, resume: 2 },
    });
    await reader.close();
  });
});
