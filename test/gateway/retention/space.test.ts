// Under drop-oldest the oldest segments make room, whoever still needs them; the ledger says what went, sealed or not.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { logConfigSchema } from '../../../gateway/log/config.ts';
import { realFs } from '../../../gateway/log/fs.ts';
import { openLog } from '../../../gateway/log/log.ts';
import type { Log } from '../../../gateway/log/types.ts';
import { DropOldest } from '../../../gateway/retention/space.ts';
import { StateStore } from '../../../gateway/state/state.ts';
import { audit } from '../../../ledger/fsck/audit.ts';
import { fsck } from '../../../ledger/fsck/fsck.ts';
import { put, readAll, tempFolder } from '../log/records.ts';
import { mountSmallDisk } from '../log/small-disk.ts';
import { declareAll, engineOn, fill, openKeeperLog, reading, runSealer, START_MS } from './keeper.ts';

const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const makerOn = (log: Log & { dataDir?: string }, state: StateStore, declareMaxMs: number) =>
  new DropOldest({
    segments: log.segments,
    state,
    logger: quiet,
    declareMaxMs,
    freeBytes: async () => (log.dataDir === undefined ? null : realFs.freeBytes(log.dataDir)),
  });

test('sealed or not, nothing is dropped before the ledger declares it, and the next try goes on with what was noted', async () => {
  const dataDir = tempFolder();
  const log = await openKeeperLog(dataDir);
  await fill(log, dataDir, 100);
  for (let i = 100; i < 500; i++) await log.appendAll([reading(i)]);
  // The last one rolled is closed in the background, and listed only then.
  const onDisk = readdirSync(join(dataDir, 'log')).filter((name) => name.endsWith('.log')).length;
  await vi.waitFor(() => expect(log.segments.list()).toHaveLength(onDisk - 1), { timeout: 30_000 });
  const state = new StateStore(dataDir);
  const bytes = log.segments.list().reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const end = log.segments.list().at(-1)!.endOffset;
  const held = log.segments.list().length;
  for (let tries = 0; tries < 2; tries++) {
    expect(await makerOn(log, state, 0).makeRoom(bytes)).toBe(0);
    expect(log.segments.list()).toHaveLength(held);
    expect(state.openRemovals()).toMatchObject([{ cause: 'drop-oldest', end, declaredHeight: null }]);
  }
  await declareAll(dataDir, log);
  expect(await makerOn(log, state, 0).makeRoom(1)).toBe(bytes);
  expect(log.segments.list()).toEqual([]);
  const reader = await log.openReader();
  expect((await readAll(reader)).map(({ offset }) => offset as number)).toEqual(
    Array.from({ length: 500 - end }, (_, i) => end + i),
  );
  expect(state.openRemovals()).toEqual([]);
  state.close();
  await fill(log, dataDir, 10, 500);
  const report = await audit(dataDir);
  expect(report.findings).toEqual([]);
  expect(report.declared).toEqual([{ height: expect.any(Number), cause: 'drop-oldest', count: end - 100 }]);
  expect(report.blocks.prune).toBe(1);
  expect(report.records).toMatchObject({ recordsPruned: 100, recordsMissing: 0, offsetsLost: end - 100 });
  await log.close();
  expect((await fsck(dataDir, { deep: true })).findings).toEqual([]);
});

test('a sealer at work declares first, and nothing at all is dropped that could not be noted', async () => {
  const dataDir = tempFolder();
  const log = await openKeeperLog(dataDir);
  await fill(log, dataDir, 300);
  const state = new StateStore(dataDir);
  const stop = new AbortController();
  const sealer = runSealer(dataDir, log, stop.signal);
  const oldest = log.segments.list()[0]!;
  expect(await makerOn(log, state, 10_000).makeRoom(1)).toBe(oldest.sizeBytes);
  expect(state.openRemovals()).toEqual([]);
  stop.abort();
  await sealer;
  expect((await audit(dataDir)).findings).toEqual([]);
  state.close();
  const held = log.segments.list().length;
  expect(await makerOn(log, state, 0).makeRoom(1)).toBe(0);
  expect(log.segments.list()).toHaveLength(held);
  await log.close();
});

test('a crash between the drop and the end of its note is made good by retention', async () => {
  const dataDir = tempFolder();
  const log = await openKeeperLog(dataDir);
  await fill(log, dataDir, 300);
  const state = new StateStore(dataDir);
  const { baseOffset: first, endOffset: end } = log.segments.list()[0]!;
  const records = end - first;
  const removal = {
    first,
    end,
    records,
    cause: 'drop-oldest',
    rule: 'the disk is full',
    segment: null,
  } as const;
  state.planRemoval(removal, START_MS);
  await declareAll(dataDir, log);
  await log.segments.dropOldest(first);
  await engineOn(dataDir, log, state, { retention: {}, nowMs: START_MS }).check();
  expect(state.openRemovals()).toEqual([]);
  state.close();
  expect((await audit(dataDir)).findings).toEqual([]);
  await log.close();
});

test('a full disk: appending goes on, the oldest go, all of it in the ledger', async ({ skip }) => {
  const disk = mountSmallDisk(24 * 1024 * 1024);
  if (!disk) return skip('no disk can be mounted here');
  try {
    const dataDir = disk.path;
    const config = logConfigSchema.parse({
      segmentBytes: 512 * 1024,
      preallocateBytes: 0,
      // What the ledger may write meanwhile: its partial bundles alone come to megabytes before a full one replaces them.
      reserveBytes: 4 * 1024 * 1024,
      whenFull: 'drop-oldest',
    });
    const log = await openLog({ dataDir, config });
    const state = new StateStore(dataDir);
    log.useSpaceMaker(makerOn(Object.assign(log, { dataDir }), state, 2_000));
    const stop = new AbortController();
    const sealer = runSealer(dataDir, log, stop.signal);
    const payload = new Uint8Array(16_000);
    const count = 2_000;
    for (let i = 0; i < count; i += 1) await put(log, { ...reading(i), payload });
    expect(Number(await log.openReader().then((reader) => reader.start()))).toBeGreaterThan(count / 4);
    stop.abort();
    await sealer;
    await log.close();
    state.close();
    const report = await audit(dataDir);
    expect(report.findings).toEqual([]);
    expect(report.blocks.prune + report.blocks.gap).toBeGreaterThan(0);
    expect(report.sealedEnd).toBe(count);
  } finally {
    disk.unmount();
  }
});
