// The frozen data directory of format 1: today's code opens it, reads every record as it was, finds nothing wrong, and
// goes on appending and sealing in it.
import { chmodSync, cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openLog } from '../../gateway/log/log.ts';
import { openReader } from '../../gateway/log/reader.ts';
import { StateStore } from '../../gateway/state/state.ts';
import type { Offset } from '../../ledger/format/brand.ts';
import { recordToJson, SOURCE } from '../../ledger/format/record.ts';
import { audit } from '../../ledger/fsck/audit.ts';
import { fsck } from '../../ledger/fsck/fsck.ts';
import { logConfig, readAll, runStageOnce, sealer } from './make.ts';

const listing = readFileSync(join(import.meta.dirname, 'v1.records.jsonl'), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as { source: number });
const folder = mkdtempSync(join(tmpdir(), 'tidemark-v1-'));
const dataDir = join(folder, 'v1');
beforeAll(() => {
  cpSync(join(import.meta.dirname, 'v1'), dataDir, { recursive: true });
  chmodSync(join(dataDir, 'gateway.key'), 0o600);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const json = (records: readonly Parameters<typeof recordToJson>[0][]) =>
  records.map((record) => JSON.parse(JSON.stringify(recordToJson(record))));

async function expectSound(records: number): Promise<void> {
  const checked = await fsck(dataDir, { deep: true });
  expect(checked.findings).toEqual([]);
  expect(checked).toMatchObject({
    verdict: 'clean',
    log: { records },
    records: { recordsMatching: records },
  });
  const audited = await audit(dataDir);
  expect(audited.findings).toEqual([]);
  expect(audited).toMatchObject({ verdict: 'clean', notSealedYet: 0 });
  for (const kind of ['genesis', 'data', 'heartbeat', 'gap'] as const)
    expect(audited.blocks[kind], kind).toBeGreaterThan(0);
}

test('it holds what it is meant to hold', async () => {
  const sources = new Set(listing.map(({ source }) => source));
  expect(sources).toEqual(
    new Set([SOURCE.mqtt, SOURCE.websocket, SOURCE.http, SOURCE.window, SOURCE.model, SOURCE.gateway]),
  );
  await expectSound(listing.length);
});

test('a reader of another process reads every record as it was', async () => {
  const reader = await openReader({ dataDir });
  expect(json(await readAll(reader))).toEqual(listing);
  await reader.close();
});

test('the gateway goes on in it', async () => {
  const log = await openLog({ dataDir, config: logConfig });
  expect(log.recovery).toMatchObject({
    unclean: false,
    truncatedBytes: 0,
    at: listing.length,
    damage: [],
    rebuiltIndexes: [],
  });
  expect(log.figures().segments).toBe(3);
  const reader = await log.openReader();
  const records = await readAll(reader);
  expect(json(records)).toEqual(listing);
  await reader.close();
  const again = records.filter(({ source }) => source <= SOURCE.http).slice(0, 60);
  expect(await log.appendAll(again)).toBe(listing.length);
  await runStageOnce(dataDir, log, sealer(log, '00000000000000c3'));
  await log.close();
  await expectSound(listing.length + again.length);
  const state = new StateStore(dataDir);
  expect(state.loadCursor('sealer')?.next).toBe((listing.length + again.length) as Offset);
  state.close();
});
