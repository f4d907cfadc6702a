// The main promise: kill −9 the gateway under load, start it again, and every acknowledged record is there once,
// in the log and in the ledger.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { killLoop } from '../support/kill-loop.ts';

test('kill -9 during load, 3 times: every acked record is there once, the audit is clean, fsck finds nothing', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-kill-'));
  try {
    const report = await killLoop({ folder, rounds: 3, devices: 8, ackedPerRound: () => 2_000 });
    expect(report.missing).toEqual([]);
    expect(report.doubled).toEqual([]);
    expect(report.acked).toBeGreaterThan(6_000);
    expect(report.audit.code, report.audit.text).toBe(0);
    expect(report.cleanStop).toEqual({ code: 0, signal: null });
    expect(report.fsck.code, report.fsck.text).toBe(0);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}, 120_000);
