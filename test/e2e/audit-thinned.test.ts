// `tidemark audit URL` of a real gateway whose retention took some records of many blocks: those that are left are proven with
// the hashes that were kept of the others, as from the directory; a hash that was changed is found.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { audit } from '../../ledger/fsck/audit.ts';
import { fill, HOUR_MS, openKeeperLog, START_MS, settleRetention } from '../gateway/retention/keeper.ts';
import { ORIGIN } from '../ledger/fsck/gateway.ts';
import { type Gateway, startGateway } from '../support/processes.ts';

const RECORDS = 150;
const dataDir = mkdtempSync(join(tmpdir(), 'tidemark-thinned-'));
let gateway: Gateway;

async function start(): Promise<void> {
  gateway = await startGateway({ dataDir, origin: ORIGIN });
}

beforeAll(async () => {
  const log = await openKeeperLog(dataDir);
  await fill(log, dataDir, RECORDS);
  const retention = { rules: [{ topics: ['plant/debug'], maxAgeMs: 3 * HOUR_MS }] };
  await settleRetention(dataDir, log, { retention, nowMs: START_MS + RECORDS * 60_000 + 2 * HOUR_MS });
  await log.close();
  await start();
}, 60_000);
afterAll(async () => {
  await gateway.kill();
  rmSync(dataDir, { recursive: true, force: true });
  rmSync(`${dataDir}.yaml`, { force: true });
});

test('records beside removed ones are proven over HTTP', async () => {
  const report = await audit(gateway.url);
  expect(report.findings).toEqual([]);
  expect(report.records.recordsPruned).toBeGreaterThan(0);
  expect(report.records).toMatchObject({ recordsMissing: 0, recordsUnproven: 0 });
  expect(report.records.recordsMatching + report.records.recordsPruned).toBeGreaterThanOrEqual(RECORDS);
}, 60_000);

test('a kept hash that was changed is found', async () => {
  await gateway.kill();
  const name = readdirSync(join(dataDir, 'log')).find((each) => each.endsWith('.leaves'))!;
  const path = join(dataDir, 'log', name);
  const bytes = readFileSync(path);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(path, bytes);
  await start();
  const report = await audit(gateway.url);
  expect(report.findings.map(({ code }) => code)).toEqual(['RECORDS_CHANGED']);
}, 60_000);
