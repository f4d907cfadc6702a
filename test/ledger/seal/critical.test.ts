// Selective anchoring: which records a rule means, that those are sealed in blocks of their own without waiting for the
// interval, and that they are listed apart.
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { SealedBlocks } from '../../../gateway/api/sealed.ts';
import { logConfigSchema } from '../../../gateway/log/config.ts';
import { openLog } from '../../../gateway/log/log.ts';
import { StateStore } from '../../../gateway/state/state.ts';
import type { TelemetryRecord } from '../../../ledger/format/record.ts';
import { audit } from '../../../ledger/fsck/audit.ts';
import { ledgerSchema } from '../../../ledger/seal/config.ts';
import { criticalBy } from '../../../ledger/seal/critical.ts';
import { criticalRules } from '../../../ledger/seal/critical-config.ts';
import { sealStage } from '../../../ledger/seal/stage.ts';
import { BlockLog, readHead } from '../../../ledger/tiles/blocks.ts';
import { directoryTiles } from '../../../ledger/tiles/source.ts';
import { GatewayDir, input, inputs, ORIGIN } from '../fsck/gateway.ts';

const rules = [
  {
    name: 'overheat',
    topics: ['plant/+/temperature'],
    value: { pointer: '/celsius', above: 90, below: -20 },
  },
  { name: 'alarm', header: { name: 'class', value: 'critical' } },
];
const bytes = new TextEncoder();
const record = (topic: string, payload: string, more: Partial<TelemetryRecord> = {}) =>
  ({ ...input(1), topic, payload: bytes.encode(payload), headers: [], ...more }) as TelemetryRecord;

test('a rule means records by topic, value and header', () => {
  const of = criticalBy(criticalRules.parse(rules))!;
  const hot = 'plant/a/temperature';
  expect(of(record(hot, '{"celsius":90.1}'))).toBe('overheat');
  expect(of(record(hot, '{"celsius":-21}'))).toBe('overheat');
  for (const cool of ['{"celsius":90}', '{"celsius":"91"}', '{"fahrenheit":200}', '{', '', '91'])
    expect(of(record(hot, cool)), cool).toBeNull();
  expect(of(record('plant/a/pressure', '{"celsius":99}'))).toBeNull();
  const labelled = (value: string) => ({ headers: [['class', bytes.encode(value)]] as const });
  expect(of(record('x', '1', labelled('critical')))).toBe('alarm');
  expect(of(record('x', '1', labelled('Critical')))).toBeNull();
  expect(of(record('$tidemark/windows/m', '1', labelled('critical')))).toBeNull();
  expect(criticalBy([])).toBeNull();
});

test('rules that mean nothing are refused', () => {
  for (const bad of [
    [{ name: 'a', value: { pointer: 'x', above: 1 } }],
    [{ name: 'a', value: { pointer: '/x' } }],
    [{ name: 'A' }],
    [{ name: 'a', topics: ['a/#/b'] }],
    [{ name: 'a' }, { name: 'a' }],
    Array.from({ length: 33 }, (_, i) => ({ name: `r${i}` })),
  ])
    expect(criticalRules.safeParse(bad).success, JSON.stringify(bad)).toBe(false);
});

test('critical records are sealed without waiting, in blocks of their own; the rest waits for its interval', async () => {
  const dir = new GatewayDir();
  onTestFinished(() => dir.remove());
  const log = await openLog({ dataDir: dir.dataDir, config: logConfigSchema.parse({}) });
  const reader = await log.openReader();
  const state = new StateStore(dir.dataDir);
  const stop = new AbortController();
  let sealed = 0;
  // An interval and a heartbeat that this test does not live to see.
  const ledger = ledgerSchema.parse({ blockIntervalMs: 60_000, heartbeatMs: 86_400_000, critical: rules });
  const stage = sealStage({
    name: 'sealer',
    config: { origin: ORIGIN, software: 'tidemark test', bootId: '00000000000000aa', ledger },
    dataDir: dir.dataDir,
    reader,
    appender: log,
    state,
    signal: stop.signal,
    report: (figures) => {
      if (typeof figures.sealed === 'number') sealed = figures.sealed;
    },
    log: () => undefined,
  });
  const alarm = (index: number) => ({
    ...input(index),
    headers: [['class', bytes.encode('critical')]] as const,
  });
  const until = async (end: number) => {
    while (sealed < end) await new Promise((resolve) => setTimeout(resolve, 5));
  };
  await log.appendAll(inputs(5));
  await log.appendAll([alarm(5), alarm(6), ...inputs(3, 7), alarm(10)]);
  await until(11);
  await log.appendAll(inputs(4, 11));
  stop.abort();
  await stage;
  await reader.close();
  await log.close();
  state.close();

  const tiles = directoryTiles(join(dir.dataDir, 'ledger'));
  const { size } = (await readHead(tiles))!.checkpoint;
  const blocks = new BlockLog(tiles, size);
  const found = [];
  for (let height = 1; height < size; height += 1) {
    const { kind, first, count, detail } = (await blocks.at(height)).block;
    if (kind === 'data') found.push([first, count, detail?.critical ?? null]);
  }
  // How the records met the sealer's reads decides how many blocks there are, not which records share one.
  const critical = found.filter(([, , names]) => names !== null);
  const covered = critical.flatMap(([first, count]) =>
    Array.from({ length: Number(count) }, (_, i) => Number(first) + i),
  );
  expect(covered).toEqual([5, 6, 10]);
  for (const [, , names] of critical) expect(names).toEqual(['alarm']);
  expect(await audit(dir.dataDir)).toMatchObject({ verdict: 'clean', sealedEnd: 15 });

  const listed = new SealedBlocks(tiles, () => Number.POSITIVE_INFINITY);
  const page = await listed.critical(1, null);
  expect(page.critical).toMatchObject([{ first: 10, count: 1, critical: ['alarm'] }]);
  const rest = await listed.critical(100, page.next);
  expect(rest.next).toBeNull();
  expect(rest.critical.reduce((sum, { count }) => sum + count, 0)).toBe(2);
  expect((await listed.newest(100)).filter(({ critical: names }) => names !== null).length).toBe(
    critical.length,
  );
});
