// Provenance over HTTP and on the command line: a record's way through a real log and ledger, and all flow between two times.
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { StateStore } from '../../../gateway/state/state.ts';
import { offset } from '../../../ledger/format/brand.ts';
import { SOURCE } from '../../../ledger/format/record.ts';
import type { FlowReport, RecordProvenance } from '../../../ledger/provenance/answers.ts';
import {
  anomaly,
  reading,
  startTestGateway,
  type TestGateway,
  windowResult,
} from '../../gateway/api/gateway.ts';
import { GatewayDir, input, inputs } from '../fsck/gateway.ts';

const ENTRY = resolve(import.meta.dirname, '../../../bin/tidemark.ts');
/** Beside this process, which serves the gateway that it may ask. */
const cli = (...args: string[]) =>
  new Promise<{ status: number; stdout: string; stderr: string }>((done) => {
    execFile(process.execPath, [ENTRY, ...args], (error, stdout, stderr) =>
      done({ status: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });

// Commands are processes of their own, and the machine may be busy.
vi.setConfig({ testTimeout: 120_000 });

describe('provenance', () => {
  let gateway: TestGateway;
  let began: number;
  const get = async <T>(path: string) => {
    const response = await fetch(`${gateway.url}${path}`);
    return { status: response.status, body: (await response.json()) as T };
  };

  beforeAll(async () => {
    began = Date.now() - 1_000;
    const at = (device: string, value: number, eventMs: number) =>
      reading(device, { value }, { eventMs, sequence: value });
    gateway = await startTestGateway({
      seal: true,
      before: [
        at('pump-1', 0, 30_000), // 0: in the window, scored
        at('pump-1', 1, 60_000), // 1: after the window
        at('pump-2', 2, 30_000), // 2: of another device
        { ...windowResult('pump-1'), eventMs: 60_000 }, // 3
        { ...anomaly('pump-1', 12.5, 0), eventMs: 30_000 }, // 4
        { ...anomaly('pump-2', 12.5, 2), eventMs: 30_000 }, // 5
      ],
    });
    const state = new StateStore(gateway.dataDir);
    state.saveCursor('forwarder:central', offset(3));
    state.close();
    while ((await get<{ sealed: number }>('/api/v1/records/5/proof')).status !== 200)
      await new Promise((done) => setTimeout(done, 20));
  });
  afterAll(() => gateway.close());

  test('of a record: device, block, checkpoint, and what was made from it', async () => {
    const { status, body } = await get<RecordProvenance>('/api/v1/records/0/provenance');
    expect(status).toBe(200);
    expect(body).toMatchObject({
      record: { offset: 0, device: 'pump-1', sequence: 0, source: SOURCE.mqtt },
      madeFrom: null,
      intact: true,
      usedByComplete: true,
      checkpoint: { origin: 'test.example/gw' },
      sinks: [],
    });
    expect(body.block!.height).toBeGreaterThan(0);
    expect(body.usedBy.map(({ offset: at, kind }) => [at, kind])).toEqual([
      [3, 'window'],
      [4, 'score'],
    ]);
    const uses = async (at: number) =>
      (await get<RecordProvenance>(`/api/v1/records/${at}/provenance`)).body.usedBy.map((use) => use.offset);
    expect(await uses(1)).toEqual([]);
    expect(await uses(2)).toEqual([5]);
  });

  test('of a result: what it was made from', async () => {
    const of = async (at: number) =>
      (await get<RecordProvenance>(`/api/v1/records/${at}/provenance`)).body.madeFrom;
    expect(await of(3)).toEqual({ fromMs: 0, toMs: 60_000 });
    expect(await of(4)).toEqual({ offset: 0 });
  });

  test('of what is not there, or asked for badly', async () => {
    expect((await get('/api/v1/records/99/provenance')).status).toBe(404);
    expect((await get('/api/v1/records/x/provenance')).status).toBe(400);
    for (const query of ['', '?from_ms=1', '?from_ms=a&to_ms=2', '?from_ms=1&to_ms=2&height=-1'])
      expect((await get(`/api/v1/provenance${query}`)).status, query).toBe(400);
  });

  test('of all flow between two times', async () => {
    const to = Date.now() + 1_000;
    const { body } = await get<FlowReport>(`/api/v1/provenance?from_ms=${began}&to_ms=${to}`);
    expect(body).toMatchObject({
      offsets: { first: 0, end: 6 },
      records: { intact: 6, changed: 0, notHeld: 0, devices: 2, bySource: { 1: 3, 4: 1, 5: 2 } },
      nextHeight: null,
    });
    expect(body.kinds.genesis).toBe(1);
    const none = await get<FlowReport>(`/api/v1/provenance?from_ms=0&to_ms=1000`);
    expect(none.body).toMatchObject({ blocks: null, records: { intact: 0 }, nextHeight: null });
  });

  test('on the command line, from the directory and from the gateway', async () => {
    for (const from of [
      ['--data-dir', gateway.dataDir],
      ['--url', gateway.url],
    ]) {
      const one = await cli('provenance', '--offset', '0', ...from);
      expect(one.stderr).toBe('');
      expect(one.status).toBe(0);
      expect(one.stdout).toMatch(/^device +pump-1, number 0, by mqtt\n/);
      expect(one.stdout).toContain('window $tidemark/windows/minute, offset 3');
      expect(one.stdout).toContain('leads to the sealed root');
      const all = JSON.parse(
        (await cli('provenance', '--from', String(began), '--json', ...from)).stdout,
      ) as FlowReport;
      expect(all.records).toMatchObject({ intact: 6, changed: 0 });
    }
    const sinks = (await cli('provenance', '-o', '3', '--data-dir', gateway.dataDir)).stdout;
    expect(sinks).toContain('central: not there yet, acknowledged before offset 3');
    expect((await cli('provenance', '-o', '2', '--data-dir', gateway.dataDir)).stdout).toContain(
      'central: has dealt with it',
    );
    expect((await cli('provenance', '-o', '99', '--data-dir', gateway.dataDir)).status).toBe(3);
    expect((await cli('provenance')).status).toBe(2);
  });

  test('a changed record is called changed, alone and in the flow', async () => {
    // The ledger of one gateway over the log of another: what somebody with the disk and time could make.
    const dirs = [new GatewayDir(), new GatewayDir()];
    const [honest, forged] = dirs as [GatewayDir, GatewayDir];
    try {
      await honest.run(inputs(50));
      await forged.run(inputs(50).with(20, input(20, '{"value":-1}')));
      rmSync(join(honest.dataDir, 'log'), { recursive: true });
      cpSync(join(forged.dataDir, 'log'), join(honest.dataDir, 'log'), { recursive: true });
      const one = await cli('provenance', '-o', '20', '--data-dir', honest.dataDir);
      expect(one.stdout).toContain('CHANGED: does not lead to the sealed root');
      expect(one.status).toBe(1);
      const all = await cli('provenance', '--from', '2020-01-01', '--data-dir', honest.dataDir);
      expect(all.stdout).toContain('50 in CHANGED blocks');
      expect(all.status).toBe(1);
    } finally {
      for (const dir of dirs) dir.remove();
    }
  });

  test('verify --file: a stored payload file against the ledger', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tidemark-provenance-'));
    try {
      const file = join(folder, 'payload.json');
      const proof = join(folder, 'p.json');
      writeFileSync(file, '{"value":0}');
      await cli('prove', '-o', '0', '--data-dir', gateway.dataDir, '--out', proof);
      const check = (...more: string[]) =>
        cli('verify', proof, '--key', gateway.publicKey, '--file', file, ...more);
      expect((await check()).stdout).toMatch(/^ok {3}file +/);
      expect((await check()).status).toBe(0);
      writeFileSync(file, '{"value":1}');
      expect((await check()).stdout).toMatch(/^FAIL file +.*not the payload/);
      expect((await check()).status).toBe(1);
      expect((await check('--json')).stdout).toContain('"file":{"ok":false');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
