// What the outbox does when the log refuses: waits, takes up what was kept in part, singles out what can never be stored.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { logConfigSchema } from '../../../gateway/log/config.ts';
import { openLog } from '../../../gateway/log/log.ts';
import { type Log, LogError, type LogReader } from '../../../gateway/log/types.ts';
import {
  DerivedOutbox,
  type DerivedResult,
  fetchPastDamage,
  KEY_HEADER,
} from '../../../gateway/stage/derived.ts';
import { offset } from '../../../ledger/format/brand.ts';
import { type RecordInput, SOURCE } from '../../../ledger/format/record.ts';

let dataDir: string;
let log: Log;
let reader: LogReader;

beforeEach(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'tidemark-derived-'));
  const config = logConfigSchema.parse({
    preallocateBytes: 0,
    maxRecordBytes: 2048,
    maxPendingBytes: 65_536,
  });
  log = await openLog({ dataDir, config });
  reader = await log.openReader();
});

afterEach(async () => {
  await reader.close();
  await log.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const result = (key: string, text = ''): DerivedResult => ({
  topic: '$tidemark/windows/m',
  device: 'pump-1',
  key,
  eventMs: 1000,
  payload: { key, text },
});

interface Given {
  readonly append?: (records: readonly RecordInput[]) => Promise<ReturnType<typeof offset>>;
  readonly stop?: AbortController;
  readonly pause?: (ms: number) => Promise<void>;
}

function outboxOf({ append, stop = new AbortController(), pause = async () => {} }: Given = {}) {
  return new DerivedOutbox({
    stage: 'windows',
    source: SOURCE.window,
    reader,
    appender: { appendAll: append ?? ((records) => log.appendAll(records)) },
    clock: () => 5000,
    signal: stop.signal,
    pause,
    log: () => {},
  });
}

async function keysInLog(): Promise<string[]> {
  const records = await reader.fetch(offset(0));
  return records.map(({ headers }) =>
    new TextDecoder().decode(headers.find(([name]) => name === KEY_HEADER)![1]),
  );
}

test('results are appended in order and stamped with stage, key and receipt', async () => {
  const outbox = outboxOf();
  for (const key of ['a', 'b', 'c']) outbox.add(result(key));
  expect(await outbox.flush()).toBe(true);
  const [first] = await reader.fetch(offset(0));
  expect(first).toMatchObject({ receivedMs: 5000, eventMs: 1000, source: SOURCE.window, sequence: null });
  expect(await keysInLog()).toEqual(['a', 'b', 'c']);
  expect(outbox.figures).toEqual({ appended: 3, replayed: 0, refused: 0 });
});

test('what the log holds is left out, until no replay can repeat it', async () => {
  const before = outboxOf();
  before.add(result('a'));
  await before.flush();
  const outbox = outboxOf();
  await outbox.learn(offset(0));
  expect(outbox.replaying(offset(0))).toBe(true);
  outbox.add(result('a'));
  outbox.add(result('b'));
  await outbox.flush();
  expect(await keysInLog()).toEqual(['a', 'b']);
  expect(outbox.figures.replayed).toBe(1);
  expect(outbox.replaying(offset(1))).toBe(false);
});

test('results of another stage, or of another device, are not taken for its own', async () => {
  const before = outboxOf();
  before.add(result('a'));
  before.add({ ...result('b'), device: 'pump-2' });
  await before.flush();
  const other = new DerivedOutbox({
    stage: 'model:x',
    source: SOURCE.window,
    reader,
    appender: log,
    clock: () => 0,
    signal: new AbortController().signal,
    pause: async () => {},
    log: () => {},
  });
  const same = outboxOf();
  for (const outbox of [other, same]) {
    await outbox.learn(offset(0));
    outbox.add(result('a'));
    outbox.add(result('b'));
    await outbox.flush();
  }
  expect(other.figures.appended).toBe(2);
  expect(same.figures).toEqual({ appended: 1, replayed: 1, refused: 0 });
});

test('while the disk is full it waits; what was kept of a refused group is not appended again', async () => {
  const pauses: number[] = [];
  let refusals = 3;
  const outbox = outboxOf({
    async append(records) {
      if (refusals-- <= 0) return log.appendAll(records);
      if (refusals === 1) await log.appendAll(records.slice(0, 2));
      throw new LogError('DISK_FULL', 'no space');
    },
    pause: async (ms) => void pauses.push(ms),
  });
  for (const key of ['a', 'b', 'c', 'd']) outbox.add(result(key));
  expect(await outbox.flush()).toBe(true);
  expect(await keysInLog()).toEqual(['a', 'b', 'c', 'd']);
  expect(pauses).toEqual([100, 200, 400]);
});

test('told to stop while it waits, it says that not everything is durable', async () => {
  const stop = new AbortController();
  const outbox = outboxOf({
    stop,
    append: () => Promise.reject(new LogError('DISK_FULL', 'no space')),
    pause: async () => stop.abort(),
  });
  outbox.add(result('a'));
  expect(await outbox.flush()).toBe(false);
});

test('a result the log can never take is counted and left out, the others are stored', async () => {
  const outbox = outboxOf();
  for (const key of ['a', 'b', 'c']) outbox.add(result(key, key === 'b' ? 'x'.repeat(5000) : ''));
  expect(await outbox.flush()).toBe(true);
  expect(await keysInLog()).toEqual(['a', 'c']);
  expect(outbox.figures).toEqual({ appended: 2, replayed: 0, refused: 1 });
});

test('a dead log ends the stage', async () => {
  const outbox = outboxOf({ append: () => Promise.reject(new LogError('SYNC_FAILED', 'EIO')) });
  outbox.add(result('a'));
  await expect(outbox.flush()).rejects.toMatchObject({ code: 'SYNC_FAILED' });
});

test('a damaged part of the log is passed and told, other errors are not', async () => {
  const writer = outboxOf();
  for (const key of ['a', 'b', 'c']) writer.add(result(key));
  await writer.flush();
  const damaged = (facts: Record<string, number>): LogReader => ({
    ...reader,
    start: () => reader.start(),
    end: () => reader.end(),
    close: async () => {},
    fetch: (from, options) =>
      from < 2
        ? Promise.reject(new LogError('SEGMENT_DAMAGED', 'crc', { facts }))
        : reader.fetch(from, options),
  });
  const holes: number[][] = [];
  const records = await fetchPastDamage(damaged({ resume: 2 }), offset(0), {}, (from, to) =>
    holes.push([from, to]),
  );
  expect(records.map((record) => record.offset)).toEqual([2]);
  expect(holes).toEqual([[0, 2]]);
  await expect(fetchPastDamage(damaged({}), offset(0), {})).rejects.toMatchObject({
    code: 'SEGMENT_DAMAGED',
  });
});
