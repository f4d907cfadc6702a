// prove, verify and audit as people run them: ranges, searches, copies of removed records, state files, reports, the monitor.
import { execFile, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { parseInvocation } from '../../cli/command.ts';
import { COMMANDS } from '../../cli/commands.ts';
import { wantedOf } from '../../cli/wanted.ts';
import { openReader } from '../../gateway/log/reader.ts';
import { offset } from '../../ledger/format/brand.ts';
import { recordToJson } from '../../ledger/format/record.ts';
import { asProofFile } from '../../ledger/format/tlog-proof.ts';
import { listSegments } from '../../ledger/fsck/segments.ts';
import { verifyProof } from '../../ledger/verify/index.ts';
import { GatewayDir, inputs } from '../ledger/fsck/gateway.ts';

const ENTRY = resolve(import.meta.dirname, '../../bin/tidemark.ts');
const cli = (...args: string[]) =>
  new Promise<{ status: number; stdout: string; stderr: string }>((done) => {
    execFile(process.execPath, [ENTRY, ...args], { encoding: 'utf8' }, (error, stdout, stderr) =>
      done({ status: error ? Number(error.code) : 0, stdout, stderr }),
    );
  });

// Each command is a process of its own, and the machine may be busy.
vi.setConfig({ testTimeout: 120_000 });

const dir = new GatewayDir();
const later = new GatewayDir();
let folder: string;
beforeAll(async () => {
  await dir.run(inputs(300), { segmentBytes: 16 * 1024 });
  cpSync(dir.dataDir, later.dataDir, { recursive: true });
  await later.run(inputs(100, 300), { bootId: '00000000000000bb' });
  folder = mkdtempSync(join(tmpdir(), 'tidemark-cli-'));
});
afterAll(() => {
  dir.remove();
  later.remove();
  rmSync(folder, { recursive: true, force: true });
});

describe('prove', () => {
  const at = (name: string) => join(folder, name);

  test('a range, and every form of one record, verify', async () => {
    const made: [string, string[]][] = [
      ['range.json', ['--offset', '90-210']],
      ['one.json', ['--offset', '7']],
      ['one.tlog-proof', ['--offset', '7', '--format', 'tlog-proof']],
      ['topic.json', ['--topic', 'plant/pump-2/vibration']],
      ['device.json', ['--device', 'pump-1', '--at', '2025-11-20T00:53:20.150Z']],
    ];
    for (const [name, args] of made) {
      const proved = await cli('prove', ...args, '--data-dir', dir.dataDir, '--out', at(name));
      expect(proved.stderr, name).toBe('');
      const report = verifyProof(asProofFile(readFileSync(at(name), 'utf8')), {
        gatewayKey: dir.verifierKey,
      });
      expect(report.status, name).toBe('signed-by-gateway-only');
    }
    expect((await cli('verify', at('range.json'), '--key', dir.verifierKey)).stdout).toContain(
      'offsets 90 to 210: 121 shown',
    );
    const { record } = JSON.parse(readFileSync(at('device.json'), 'utf8')) as {
      record: { device: string; eventMs: number };
    };
    expect(record.device).toBe('pump-1');
    expect(record.eventMs).toBeGreaterThanOrEqual(Date.parse('2025-11-20T00:53:20.150Z'));
    const receipt = await cli(
      'prove',
      '-o',
      '7',
      '--format',
      'cose',
      '--data-dir',
      dir.dataDir,
      '--out',
      at('r.cose'),
    );
    expect(receipt.status).toBe(0);
    expect(readFileSync(at('r.cose'))[0]).toBe(0xd2);
  });

  test('words that mean nothing are refused, and why', () => {
    const wanted = (...args: string[]) =>
      wantedOf(parseInvocation(COMMANDS.find(({ name }) => name === 'prove')!, args));
    expect(wanted('--offset', '9-12')).toEqual({ kind: 'offsets', first: 9, last: 12, isRange: true });
    expect(wanted('-o', '9')).toMatchObject({ first: 9, last: 9, isRange: false });
    expect(wanted('--topic', 'x', '--at', '2026-11-21T12:00:00+01:00')).toMatchObject({
      atMs: Date.parse('2026-11-21T11:00:00Z'),
    });
    const refusals: [string, string[]][] = [
      ['give the record', []],
      ['--offset takes', ['--offset', '9-3']],
      ['--offset takes', ['--offset', '0-70000']],
      ['--offset takes', ['--offset=-1']],
      ['--offset takes', ['--offset', '01']],
      ['--offset takes', ['--offset', '9007199254740993']],
      ['not both', ['--offset', '1', '--topic', 'x']],
      ['--at takes a time', ['--topic', 'x', '--at', 'yesterday']],
      ['--at takes a time', ['--topic', 'x', '--at', '2026-11-21T12:00']],
    ];
    for (const [words, args] of refusals) expect(() => wanted(...args), args.join(' ')).toThrow(words);
  });

  test('what it cannot do is said, with exit codes', async () => {
    const refusals: [number, string, string[]][] = [
      [2, '--format takes', ['--offset', '1', '--format', 'pdf']],
      [2, 'is of one record', ['--offset', '1-2', '--format', 'cose']],
      [3, 'no record of that topic', ['--topic', 'plant/nowhere']],
      [3, 'there is no record at offset 300', ['--offset', '290-300']],
    ];
    for (const [code, words, args] of refusals) {
      const { status, stderr } = await cli('prove', ...args, '--data-dir', dir.dataDir);
      expect(stderr, args.join(' ')).toContain(words);
      expect(status, args.join(' ')).toBe(code);
    }
  });

  test('records that were removed are proven from a copy made before, and from nothing but a true copy', async () => {
    const reader = await openReader({ dataDir: dir.dataDir });
    const records = await reader.fetch(offset(0), { maxRecords: 300, maxBytes: 1 << 24 });
    const copy = records.map((record) => JSON.stringify(recordToJson(record)));
    await reader.close();
    const lost = mkdtempSync(join(tmpdir(), 'tidemark-cli-'));
    onTestFinished(() => rmSync(lost, { recursive: true }));
    cpSync(dir.dataDir, lost, { recursive: true });
    for (const { path } of listSegments(lost).slice(0, -1)) rmSync(path);
    const prove = (...more: string[]) =>
      cli('prove', '-o', '40', '--data-dir', lost, '--out', at('copied.json'), ...more);
    const without = await prove();
    expect(without.status).toBe(3);
    expect(without.stderr).toContain('--copy');
    writeFileSync(at('copy.ndjson'), copy.slice(0, 150).join('\n'));
    expect((await prove('--copy', at('copy.ndjson'))).stderr).toBe('');
    const copied = verifyProof(readFileSync(at('copied.json'), 'utf8'), { gatewayKey: dir.verifierKey });
    expect(copied.valid).toBe(true);
    writeFileSync(
      at('pages.ndjson'),
      `{"records":[${copy.slice(0, 80).join(',')}],"next":80}\n{"records":[${copy.slice(80, 150).join(',')}]}`,
    );
    expect((await prove('--copy', at('pages.ndjson'))).status).toBe(0);
    writeFileSync(
      at('forged.ndjson'),
      copy.slice(0, 150).join('\n').replace('"eventMs":17636', '"eventMs":17637'),
    );
    expect((await prove('--copy', at('forged.ndjson'))).stderr).toContain('do not lead to the root');
    writeFileSync(at('short.ndjson'), copy.slice(0, 70).join('\n'));
    expect((await prove('--copy', at('short.ndjson'))).stderr).toContain('no longer holds');
    writeFileSync(at('bad.ndjson'), `${copy[0]}\n{"offset":1}`);
    const bad = await prove('--copy', at('bad.ndjson'));
    expect(bad.stderr).toContain('bad.ndjson, line 2');
    expect(bad.status).toBe(2);
  });
});

describe('audit', () => {
  let state: string;
  beforeEach(() => {
    state = join(mkdtempSync(join(folder, 'state-')), 'gw.state');
  });

  test('goes on from its state file; a rolled-back directory fails and leaves the state as it was', async () => {
    const audit = (source: string) => cli('audit', source, '--key', dir.verifierKey, '--state', state);
    expect((await audit(dir.dataDir)).status).toBe(0);
    const next = await audit(later.dataDir);
    expect(next.stdout).toMatch(/since +an audit before had checked/);
    const kept = readFileSync(state, 'utf8');
    const back = await audit(dir.dataDir);
    expect(back.status).toBe(1);
    expect(back.stdout).toContain('ROLLED_BACK');
    expect(readFileSync(state, 'utf8')).toBe(kept);
    writeFileSync(state, kept.slice(0, 100));
    const broken = await audit(later.dataDir);
    expect(broken.status).toBe(2);
    expect(broken.stderr).toContain('the state file cannot be used');
    expect((await cli('audit', dir.dataDir, '--state', state, '--device', 'x')).status).toBe(2);
  });

  test('writes its report as a page and as data', async () => {
    for (const name of ['r.html', 'r.json'])
      expect(
        (await cli('audit', dir.dataDir, '--device', 'pump-1', '--report', join(folder, name))).status,
      ).toBe(0);
    expect(readFileSync(join(folder, 'r.html'), 'utf8')).toMatch(/^<!doctype html>/);
    expect(JSON.parse(readFileSync(join(folder, 'r.json'), 'utf8'))).toMatchObject({ verdict: 'clean' });
    expect(readFileSync(join(folder, 'r.html'), 'utf8')).toMatch(/device +pump-1/);
  });

  test('--watch ends with the first alarm; with a webhook it tells and goes on', async () => {
    await cli('audit', later.dataDir, '--key', dir.verifierKey, '--state', state);
    const watch = [
      'audit',
      dir.dataDir,
      '--key',
      dir.verifierKey,
      '--watch',
      '--every',
      '1',
      '--heartbeat',
      '86400',
    ];
    const alone = await cli(...watch, '--state', state);
    expect(alone.status).toBe(1);
    expect(alone.stdout).toContain('ALARM ROLLED_BACK');

    const told: { alarms: { code: string }[] }[] = [];
    const hook = createServer(async (request, response) => {
      const parts: Buffer[] = [];
      for await (const part of request) parts.push(part as Buffer);
      told.push(JSON.parse(Buffer.concat(parts).toString()));
      // The first delivery fails: it is tried again.
      response.writeHead(told.length === 1 ? 503 : 200).end();
    });
    await new Promise<void>((done) => hook.listen(0, '127.0.0.1', done));
    onTestFinished(() => void hook.close());
    const { port } = hook.address() as AddressInfo;
    const child = spawn(process.execPath, [
      ENTRY,
      ...watch,
      '--state',
      state,
      '--webhook',
      `http://127.0.0.1:${port}/`,
    ]);
    const ended = new Promise<number | null>((done) => child.once('exit', done));
    const said: string[] = [];
    child.stdout.on('data', (chunk) => said.push(String(chunk)));
    const codes = () => told.map(({ alarms }) => alarms.map(({ code }) => code).join());
    const until = async (condition: () => boolean) => {
      while (!condition()) await new Promise((done) => setTimeout(done, 20));
    };
    await until(() => codes().length >= 2);
    expect(codes().slice(0, 2)).toEqual(['ROLLED_BACK', 'ROLLED_BACK']);
    // The directory is put right; the monitor sees it and says so.
    rmSync(dir.dataDir, { recursive: true });
    cpSync(later.dataDir, dir.dataDir, { recursive: true });
    await until(() => codes().includes('CLEAN_AGAIN'));
    child.kill('SIGTERM');
    expect(await ended).toBe(1);
    expect(said.join('')).toContain('ALARM ROLLED_BACK');
    expect(existsSync(state)).toBe(true);
  });
});
