// What an auditor finds: nothing on an honest gateway, running or not, over disk or HTTP; every rewritten history.
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { StateStore } from '../../../gateway/state/state.ts';
import type { RecordInput } from '../../../ledger/format/record.ts';
import { type AuditReport, audit } from '../../../ledger/fsck/audit.ts';
import { formatReport } from '../../../ledger/fsck/report.ts';
import { listSegments } from '../../../ledger/fsck/segments.ts';
import { startTestGateway } from '../../gateway/api/gateway.ts';
import { GatewayDir, input, inputs, ORIGIN } from './gateway.ts';

const RECORDS = 700;
const RUN = { group: 20, segmentBytes: 32 * 1024 };
const honest = new GatewayDir();
beforeAll(() => honest.run(inputs(RECORDS), RUN));
afterAll(() => honest.remove());

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'tidemark-audit-'));
  cpSync(honest.dataDir, dataDir, { recursive: true });
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

const codes = (report: AuditReport) => report.findings.map(({ code }) => code);

/** The honest ledger over a log whose records somebody else wrote, checksums and all. */
async function rewriteLog(records: readonly RecordInput[]): Promise<void> {
  const forger = new GatewayDir();
  await forger.run(records, RUN);
  rmSync(join(dataDir, 'log'), { recursive: true });
  cpSync(join(forger.dataDir, 'log'), join(dataDir, 'log'), { recursive: true });
  forger.remove();
}

test('an honest directory is clean; without a policy the report says what that is worth', async () => {
  const report = await audit(dataDir, { gatewayKey: honest.verifierKey });
  expect(report).toMatchObject({
    verdict: 'clean',
    trust: 'gateway-key',
    status: 'signed-by-gateway-only',
    findings: [],
    sealedEnd: RECORDS,
    notSealedYet: 0,
    checkpoint: { origin: ORIGIN },
    blocks: { genesis: 1, data: 7 },
    records: {
      mode: 'full',
      blocksChecked: 7,
      recordsMatching: RECORDS,
      recordsMissing: 0,
      recordsPruned: 0,
    },
  });
  expect(await audit(dataDir, { policy: `log ${honest.verifierKey}\nquorum none\n` })).toMatchObject({
    verdict: 'clean',
    trust: 'policy',
  });
  const alone = await audit(dataDir);
  expect(alone).toMatchObject({ verdict: 'clean', trust: 'genesis' });
  expect(formatReport(alone)).toContain('A gateway alone proves little');
});

test('a sample checks so many blocks', async () => {
  let draws = 0;
  const random = () => (draws++ % 10) / 10;
  const report = await audit(dataDir, { records: 'sample', sampleBlocks: 3, random });
  expect(report.records).toMatchObject({ mode: 'sample', blocksChecked: 3, blocksMatching: 3 });
});

test('an edited record', async () => {
  await rewriteLog(inputs(RECORDS).map((record, i) => (i === 333 ? input(333, '{"value":0}') : record)));
  const report = await audit(dataDir);
  expect(codes(report)).toEqual(['RECORDS_CHANGED']);
  expect(report.findings[0]).toMatchObject({ facts: { first: 300, last: 399 } });
  expect(report.records).toMatchObject({ blocksChanged: 1, blocksMatching: 6 });
  expect(formatReport(report)).toMatch(/verdict {5}PROBLEMS: 1 error/);
});

test('a removed record', async () => {
  await rewriteLog(inputs(RECORDS).filter((_, i) => i !== 333));
  const report = await audit(dataDir);
  expect(codes(report)).toEqual([
    'RECORDS_CHANGED',
    'RECORDS_CHANGED',
    'RECORDS_CHANGED',
    'RECORDS_MISSING',
    'SEALED_BEYOND_LOG',
  ]);
});

test('an inserted record', async () => {
  await rewriteLog([...inputs(650), input(9_999), ...inputs(50, 650)]);
  const report = await audit(dataDir);
  expect(codes(report)).toEqual(['RECORDS_CHANGED']);
  expect(report.notSealedYet).toBe(1);
});

test('two records in another order', async () => {
  const records = inputs(RECORDS);
  [records[101], records[102]] = [records[102]!, records[101]!];
  await rewriteLog(records);
  const report = await audit(dataDir);
  expect(codes(report)).toEqual(['RECORDS_CHANGED']);
  expect(report.findings[0]).toMatchObject({ facts: { first: 100 } });
});

test('a removed segment: MISSING, with the offsets', async () => {
  const [first, second] = listSegments(dataDir);
  unlinkSync(first!.path);
  const report = await audit(dataDir);
  expect(new Set(codes(report))).toEqual(new Set(['RECORDS_MISSING']));
  expect(report.records.recordsMissing).toBe(second!.baseOffset);
  expect(report.records.recordsPruned).toBe(0);
});

describe('records removed while the audit runs', () => {
  /** Audits; when the walk over the blocks begins, after the checkpoint was read, `meanwhile` happens. */
  async function auditWith(meanwhile: () => void): Promise<AuditReport> {
    let isFirst = true;
    return audit(dataDir, {
      gatewayKey: honest.verifierKey,
      onProgress: () => {
        if (isFirst) meanwhile();
        isFirst = false;
      },
    });
  }

  /** The gateway `from` goes on: it declares the removal of its first segment, then removes it. */
  async function laterOf(from: string): Promise<{ folder: string; removed: number }> {
    const folder = mkdtempSync(join(tmpdir(), 'tidemark-audit-later-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    cpSync(from, folder, { recursive: true });
    const [first, second] = listSegments(folder);
    const removed = second!.baseOffset;
    const state = new StateStore(folder);
    state.planRemoval(
      { first: 0, end: removed, records: removed, cause: 'retention', rule: 'test', segment: null },
      1_763_600_100_000,
    );
    state.close();
    const more = new GatewayDir(folder);
    await more.run(inputs(10, RECORDS), RUN);
    unlinkSync(first!.path);
    return { folder, removed };
  }

  const take = (folder: string) => () => {
    for (const part of ['ledger', 'log']) {
      if (part === 'log') rmSync(join(dataDir, part), { recursive: true });
      cpSync(join(folder, part), join(dataDir, part), { recursive: true });
    }
  };

  test('declared by then: pruned, not missing', async () => {
    const { folder, removed } = await laterOf(dataDir);
    const report = await auditWith(take(folder));
    expect(report.findings).toEqual([]);
    expect(report.records).toMatchObject({ recordsMissing: 0 });
    expect(report.records.recordsPruned + report.records.recordsUnproven).toBeGreaterThanOrEqual(removed);
    expect(report.checkpoint?.size).toBe(8);
  });

  test('not declared: missing', async () => {
    const { folder } = await laterOf(dataDir);
    rmSync(join(folder, 'ledger'), { recursive: true });
    cpSync(join(dataDir, 'ledger'), join(folder, 'ledger'), { recursive: true });
    const report = await auditWith(take(folder));
    expect(new Set(codes(report))).toEqual(new Set(['RECORDS_MISSING']));
  });

  test('declared by a chain that does not continue the audited one: missing', async () => {
    const other = new GatewayDir();
    onTestFinished(() => other.remove());
    cpSync(join(dataDir, 'gateway.key'), join(other.dataDir, 'gateway.key'));
    await other.run(inputs(RECORDS), { ...RUN, bootId: '00000000000000bb' });
    const { folder } = await laterOf(other.dataDir);
    const report = await auditWith(take(folder));
    expect(codes(report)).toContain('RECORDS_MISSING');
  });
});

test('a block changed by someone without the key', async () => {
  const folder = join(dataDir, 'ledger/tile/entries/000.p');
  const widest = join(folder, String(Math.max(...readdirSync(folder).map(Number))));
  const bytes = readFileSync(widest);
  const at = bytes.lastIndexOf('sealed ') + 12;
  bytes[at] = bytes[at] === 0x31 ? 0x32 : 0x31;
  writeFileSync(widest, bytes);
  const found = codes(await audit(dataDir));
  expect(found).toContain('BLOCK_CHANGED');
  expect(found).toContain('ROOT_WRONG');
});

test('a whole history written by another gateway under the same name', async () => {
  const other = new GatewayDir();
  await other.run(inputs(50), RUN);
  const report = await audit(other.dataDir, { gatewayKey: honest.verifierKey });
  expect(report).toMatchObject({ verdict: 'problems', status: 'unsigned' });
  expect(codes(report)).toContain('CHECKPOINT_UNSIGNED');
  // Nothing but its own word speaks against it for someone who has no key.
  expect((await audit(other.dataDir)).verdict).toBe('clean');
  other.remove();
});

test('no ledger, no directory, no gateway', async () => {
  rmSync(join(dataDir, 'ledger'), { recursive: true });
  expect(await audit(dataDir)).toMatchObject({ verdict: 'problems', checkpoint: null });
  await expect(audit(join(dataDir, 'nowhere'))).rejects.toMatchObject({ code: 'SOURCE_UNREACHABLE' });
  await expect(audit('http://127.0.0.1:9')).rejects.toMatchObject({ code: 'SOURCE_UNREACHABLE' });
});

test('a running gateway over HTTP and on its disk: clean while records go on arriving', async () => {
  const gateway = await startTestGateway({ seal: true, before: inputs(2_500) });
  let isAuditing = true;
  const feeding = (async () => {
    for (let from = 2_500; isAuditing; from += 20) await gateway.log.appendAll(inputs(20, from));
  })();
  try {
    await until(async () => (await audit(gateway.dataDir)).sealedEnd > 0);
    for (const source of [gateway.url, `${gateway.url}/`, gateway.dataDir]) {
      const report = await audit(source, { gatewayKey: gateway.publicKey });
      expect(report.findings, formatReport(report)).toEqual([]);
      expect(report.verdict).toBe('clean');
      expect(report.records.recordsMatching).toBe(report.sealedEnd);
      expect(report.sealedEnd).toBeGreaterThanOrEqual(2_500);
    }
  } finally {
    isAuditing = false;
    await feeding;
    await gateway.close();
  }
}, 30_000);

/** Waits for the sealer's first checkpoint, which arrives on no event this process could see. */
async function until(isDone: () => Promise<boolean>): Promise<void> {
  while (!(await isDone())) await new Promise((resolve) => setTimeout(resolve, 20));
}
