// The sealer as a stage on a real log: when blocks are cut, what is said when nothing arrives or something is lost,
// and that a refusal is an alarm and not a restart loop.
import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { logConfigSchema } from '../../../gateway/log/config.ts';
import { openLog } from '../../../gateway/log/log.ts';
import type { Log } from '../../../gateway/log/types.ts';
import type { LossTotals, StageFigures } from '../../../gateway/stage/types.ts';
import { StateStore } from '../../../gateway/state/state.ts';
import type { Block } from '../../../ledger/format/block.ts';
import { equalBytes } from '../../../ledger/format/hash.ts';
import { audit } from '../../../ledger/fsck/audit.ts';
import { fsck } from '../../../ledger/fsck/fsck.ts';
import { formatHtmlReport } from '../../../ledger/fsck/htmlreport.ts';
import { formatReport } from '../../../ledger/fsck/report.ts';
import { listSegments, scanSegment } from '../../../ledger/fsck/segments.ts';
import { flowBetween } from '../../../ledger/provenance/flow.ts';
import type { LedgerConfig } from '../../../ledger/seal/config.ts';
import { ledgerSchema } from '../../../ledger/seal/config.ts';
import { sealStage } from '../../../ledger/seal/stage.ts';
import { BlockLog, readHead } from '../../../ledger/tiles/blocks.ts';
import { directoryTiles } from '../../../ledger/tiles/source.ts';
import { directorySubtrees, subtreesFolder } from '../../../ledger/tiles/subtreefiles.ts';
import { rootOfSubtrees } from '../../../ledger/tiles/subtrees.ts';
import { GatewayDir, inputs, ORIGIN, sealUntilDone } from '../fsck/gateway.ts';

let dir: GatewayDir;
let log: Log;
beforeEach(async () => {
  dir = new GatewayDir();
  log = await open();
});
afterEach(async () => {
  await log.close();
  dir.remove();
});

const open = () => openLog({ dataDir: dir.dataDir, config: logConfigSchema.parse({}) });

interface Running {
  /** Latest figures, merged as the host merges them. */
  readonly figures: Record<string, number | string | boolean | null>;
  readonly errors: string[];
  /** Resolves when the figures satisfy a condition; looked at on every report. */
  until(condition: (figures: StageFigures) => boolean): Promise<void>;
  stop(): Promise<void>;
}

function start(
  ledger: Partial<LedgerConfig>,
  bootId = '00000000000000aa',
  losses: () => LossTotals = () => ({ refused: {}, dropped: {} }),
): Running {
  const stop = new AbortController();
  const figures: Running['figures'] = {};
  const errors: string[] = [];
  const waiting: { condition: (figures: StageFigures) => boolean; resolve: () => void }[] = [];
  const state = new StateStore(dir.dataDir);
  const ended = log.openReader().then(async (reader) => {
    try {
      await sealStage({
        name: 'sealer',
        config: {
          origin: ORIGIN,
          software: 'tidemark test',
          bootId,
          ledger: { ...ledgerSchema.parse({}), ...ledger },
          recovery: log.recovery,
        },
        dataDir: dir.dataDir,
        reader,
        appender: log,
        state,
        signal: stop.signal,
        losses,
        report: (latest) => {
          Object.assign(figures, latest);
          for (const entry of waiting) if (entry.condition(figures)) entry.resolve();
        },
        log: (level, message) => void (level === 'error' && errors.push(message)),
      });
    } finally {
      await reader.close();
      state.close();
    }
  });
  return {
    figures,
    errors,
    until: (condition) =>
      Promise.race([
        new Promise<void>((resolve) =>
          condition(figures) ? resolve() : void waiting.push({ condition, resolve }),
        ),
        ended.then(() => Promise.reject(new Error('the stage ended'))),
      ]),
    stop: () => {
      stop.abort();
      return ended;
    },
  };
}

async function chain(): Promise<Block[]> {
  const tiles = directoryTiles(join(dir.dataDir, 'ledger'));
  const head = (await readHead(tiles))!;
  const blocks = await new BlockLog(tiles, head.checkpoint.size).last(1_000);
  return blocks.map(({ block }) => block).reverse();
}
const summary = async () => (await chain()).map(({ kind, first, count }) => `${kind} ${first}+${count}`);

test('what arrives within the interval shares a block, and the rest is sealed at shutdown', async () => {
  const stage = start({ blockIntervalMs: 100 });
  await stage.until(({ blocks }) => blocks === 1);
  for (let i = 0; i < 5; i += 1) await log.appendAll(inputs(2, i * 2));
  await stage.until(({ sealed }) => sealed === 10);
  await log.appendAll(inputs(3, 10));
  await stage.stop();
  const blocks = await chain();
  expect(blocks.length).toBeLessThanOrEqual(4);
  expect(blocks.at(-1)).toMatchObject({ kind: 'data', first: 10, count: 3 });
  expect(stage.figures).toMatchObject({
    sealed: 13,
    final: true,
    alarm: null,
    checkpointSize: blocks.length,
  });
  const state = new StateStore(dir.dataDir);
  expect(state.loadCursor('sealer')!.next).toBe(13);
  state.close();
});

test('subtree roots that are missing or wrong are made while there is nothing to seal', async () => {
  const large = { blockRecordsMax: 300, blockIntervalMs: 60_000 };
  for (let at = 0; at < 1_200; at += 200) await log.appendAll(inputs(200, at));
  await start(large).stop();
  const folder = subtreesFolder(dir.dataDir);
  const [name] = readdirSync(folder);
  const path = join(folder, name!);
  const read = directorySubtrees(dir.dataDir);
  const full = (await chain()).filter(({ count }) => count === 300);
  expect(full).toHaveLength(4);
  const areRight = () =>
    full.every((block) => read(block) && equalBytes(rootOfSubtrees(read(block)!), block.root));
  expect(areRight()).toBe(true);
  for (const damage of [
    () => rmSync(folder, { recursive: true }),
    () => truncateSync(path, 100),
    () => {
      const bytes = readFileSync(path);
      bytes[bytes.length - 1]! ^= 1;
      writeFileSync(path, bytes);
    },
  ]) {
    damage();
    expect(areRight()).toBe(false);
    const again = start(large);
    await vi.waitFor(() => expect(areRight()).toBe(true), { timeout: 30_000 });
    await again.stop();
    expect(again.errors).toEqual([]);
  }
}, 120_000);

test('says heartbeat when nothing arrives', async () => {
  const stage = start({ heartbeatMs: 20 });
  await stage.until(({ blocks }) => Number(blocks) >= 4);
  await stage.stop();
  const kinds = (await chain()).map(({ kind }) => kind);
  expect(kinds.slice(0, 4)).toEqual(['genesis', 'heartbeat', 'heartbeat', 'heartbeat']);
});

test('a backlog becomes full blocks, many to a checkpoint', async () => {
  await log.appendAll(inputs(5_000));
  await sealUntilDone(dir.dataDir, log, { ledger: { blockRecordsMax: 20, blockIntervalMs: 300 } });
  const counts = (await chain()).map(({ count }) => count);
  expect(counts).toEqual([0, ...Array.from({ length: 250 }, () => 20)]);
});

test('records that became unreadable before they were sealed are declared, and sealing goes on', async () => {
  for (let i = 0; i < 5; i += 1) await log.appendAll(inputs(10, i * 10));
  await log.close();
  const segment = listSegments(dir.dataDir)[0]!;
  const batches = [...scanSegment(segment)].flatMap((item) => (item.kind === 'batch' ? [item.batch] : []));
  const bytes = readFileSync(segment.path);
  bytes[batches[2]!.position + 80]! ^= 0xff;
  writeFileSync(segment.path, bytes);
  log = await open();
  const stage = start({ blockIntervalMs: 20 });
  await stage.until(({ sealed }) => sealed === 50);
  await stage.stop();
  expect(stage.errors).toEqual(['records 20 to 29 cannot be read and will not be sealed']);
  expect(await summary()).toEqual(['genesis 0+0', 'data 0+20', 'gap 20+10', 'data 30+20']);
  expect((await chain())[2]!.detail).toEqual({
    cause: 'log-damage',
    count: 10,
    file: segment.name,
    first: 20,
    position: batches[2]!.position,
  });
  const report = await audit(dir.dataDir);
  expect(report).toMatchObject({
    verdict: 'clean',
    declared: [{ height: 2, cause: 'log-damage', count: 10 }],
  });
  expect(report.records).toMatchObject({ recordsMatching: 40, offsetsLost: 10, recordsMissing: 0 });
  expect((await fsck(dir.dataDir)).verdict).toBe('damaged');
});

test('a rolled-back ledger is an alarm: nothing is signed, and the stage waits to be stopped', async () => {
  await log.appendAll(inputs(10));
  await sealUntilDone(dir.dataDir, log);
  rmSync(join(dir.dataDir, 'ledger'), { recursive: true });
  const stage = start({});
  await stage.until(({ alarm }) => alarm === 'rolled-back');
  await stage.stop();
  expect(stage.errors).toHaveLength(1);
  expect(stage.errors[0]).toContain('not sealing: ');
});

test('what was refused or dropped is said once, per cause: by a heartbeat in silence, by a gap while records arrive', async () => {
  let totals: LossTotals = { refused: {}, dropped: {} };
  const stage = start({ heartbeatMs: 50, blockIntervalMs: 20 }, undefined, () => totals);
  await stage.until(({ blocks }) => Number(blocks) >= 2);
  totals = { refused: { malformed: 2, 'rate-limited': 0 }, dropped: { overloaded: 3 } };
  const said = async () => (await chain()).filter(({ detail }) => detail?.refused !== undefined);
  await vi.waitFor(async () => expect(await said()).toHaveLength(1), { timeout: 30_000 });
  expect((await said())[0]).toMatchObject({
    kind: 'heartbeat',
    detail: { refused: { malformed: 2 }, dropped: { overloaded: 3 } },
  });
  // From now on it is never silent for as long as a heartbeat takes.
  totals = { refused: { malformed: 2, 'rate-limited': 7 }, dropped: { overloaded: 4 } };
  let at = 0;
  while ((await said()).length < 2) {
    await log.appendAll(inputs(1, at));
    at += 1;
  }
  const second = (await said())[1]!;
  expect(second.detail).toMatchObject({ refused: { 'rate-limited': 7 }, dropped: { overloaded: 1 } });
  await stage.stop();
  // The stage fails and is started again in the same run: totals it has said are not said again.
  totals = { refused: { malformed: 3, 'rate-limited': 7 }, dropped: { overloaded: 4 } };
  const again = start({ heartbeatMs: 60_000 }, undefined, () => totals);
  await again.until(({ blocks }) => Number(blocks) > 0);
  await again.stop();
  expect((await said()).at(-1)).toMatchObject({
    kind: 'gap',
    count: 0,
    detail: { cause: 'refused', refused: { malformed: 1 }, dropped: {} },
  });
  expect((await said()).length).toBe(3);
  const report = await audit(dir.dataDir);
  expect(report).toMatchObject({
    ...{ verdict: 'clean', declared: [], declaredCount: 0 },
    refusals: { refused: { malformed: 3, 'rate-limited': 7 }, dropped: { overloaded: 4 } },
  });
  expect(formatReport(report)).toContain('7 rate-limited, 3 malformed (the senders were told)');
  expect(formatReport(report)).toContain('4 overloaded (the senders do not know)');
  expect(formatHtmlReport(report, 0)).toContain('<td>rate-limited</td><td>7</td><td>0</td>');
  const flow = await flowBetween(
    { tiles: directoryTiles(join(dir.dataDir, 'ledger')), records: { records: async () => [] } },
    { fromMs: 0, toMs: Number.MAX_SAFE_INTEGER },
  );
  expect(flow.refusals).toEqual(report.refusals);
  expect(flow.declared).toEqual([]);
  // Another run counts from nothing.
  totals = { refused: { malformed: 1 }, dropped: {} };
  const next = start({ heartbeatMs: 60_000 }, '00000000000000bb', () => totals);
  await next.until(({ blocks }) => Number(blocks) > 0);
  await next.stop();
  expect((await said()).at(-1)).toMatchObject({ detail: { refused: { malformed: 1 }, dropped: {} } });
});
