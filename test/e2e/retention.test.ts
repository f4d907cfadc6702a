// Retention, backup and restore on the real process: what is old goes, is declared, and the audit of what is left is clean.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { audit } from '../../ledger/fsck/audit.ts';
import { type Gateway, startGateway } from '../support/processes.ts';

const folder = mkdtempSync(join(tmpdir(), 'tidemark-retention-e2e-'));
const dataDir = join(folder, 'data');
const bin = join(import.meta.dirname, '../../bin/tidemark.ts');
const yaml = [
  'windows: []',
  'models: []',
  'ingest: { snapshotIntervalMs: 100 }',
  'log: { segmentBytes: 16384, preallocateBytes: 0 }',
  'ledger: { blockIntervalMs: 50 }',
  'retention:',
  '  maxAgeMs: 2000',
  '  checkIntervalMs: 200',
  '  rules: [{ topics: [plant/alarm], maxAgeMs: null }]',
  `cold: { type: folder, path: ${join(folder, 'cold')} }`,
  '',
].join('\n');
let gateway: Gateway;

beforeAll(async () => {
  gateway = await startGateway({ dataDir, yaml });
});
afterAll(async () => {
  await gateway.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

async function send(topic: string, count: number): Promise<void> {
  const lines = Array.from({ length: count }, (_, i) => JSON.stringify({ value: i, pad: 'x'.repeat(100) }));
  const response = await fetch(`${gateway.url}/api/v1/ingest/${topic}`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson', 'tidemark-device': 'pump-1' },
    body: `${lines.join('\n')}\n`,
  });
  expect(response.ok, await response.text()).toBe(true);
}

const tidemark = (...args: string[]) =>
  spawnSync(process.execPath, [bin, ...args], { encoding: 'utf8', cwd: folder });

test('old records go and alarms stay, while the gateway runs; a backup restores to what audits clean', {
  timeout: 60_000,
}, async () => {
  for (let i = 0; i < 12; i++) {
    await send('plant/pump/vibration', 60);
    if (i % 2 === 0) await send('plant/alarm', 2);
  }
  const removed = async () => {
    const status = (await (await fetch(`${gateway.url}/api/v1/status`)).json()) as {
      stages: Record<string, Record<string, number>>;
    };
    return status.stages.retention?.recordsRemoved ?? 0;
  };
  await expect.poll(removed, { timeout: 30_000, interval: 200 }).toBeGreaterThan(500);
  const live = await audit(gateway.url);
  expect(live.findings).toEqual([]);
  expect(live.records.recordsPruned).toBeGreaterThan(500);

  const target = join(folder, 'backup');
  const backup = tidemark('backup', target, '--data-dir', dataDir, '--with-key', '--json');
  expect(backup.stderr).toBe('');
  expect(backup.status).toBe(0);
  const restored = join(folder, 'restored');
  const restore = tidemark('restore', target, '--data-dir', restored);
  expect(restore.stdout).toContain('would sign a second history');
  expect(restore.status).toBe(0);
  const report = await audit(restored);
  expect(report.findings).toEqual([]);
  expect(report.records).toMatchObject({ recordsMissing: 0, recordsUnproven: 0 });
  expect(readdirSync(join(restored, 'log')).some((name) => name.endsWith('.leaves'))).toBe(true);
  expect(tidemark('restore', target, '--data-dir', restored).status).toBe(2);
  expect(tidemark('fsck', dataDir, '--repair').status).toBe(3);
});
