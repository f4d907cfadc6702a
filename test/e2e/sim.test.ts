// `tidemark sim run` and `sim check` as a user calls them, against the real gateway: one scenario, judged over HTTP, and
// again from the disk after kill -9; then a byte of an acknowledged record is changed, and the check must say so.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { LoadReport } from '../../firmware-sim/load.ts';
import type { RunResult } from '../../firmware-sim/run-report.ts';
import { type Gateway, startGateway, tidemark } from '../support/processes.ts';

/** Each test starts several processes: a machine with other work takes its time. */
vi.setConfig({ testTimeout: 180_000, hookTimeout: 90_000 });

const folder = mkdtempSync(join(tmpdir(), 'tidemark-sim-e2e-'));
let gateway: Gateway;

beforeAll(async () => {
  gateway = await startGateway({
    dataDir: join(folder, 'data'),
    yaml: 'windows: [{ name: two, sizeMs: 2000, allowedLatenessMs: 500, idleMs: 500 }]',
  });
});
afterAll(async () => {
  await gateway.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});

/** Every protocol, and quirks that a gateway must not stumble over. */
const SCENARIO = `
name: every-protocol
seconds: 6
fleets:
  - { name: pump, kind: pump, count: 12, protocol: [mqtt, mqtt5, http, websocket, line, sparkplug], ratePerDevice: 4, quirks: { duplicates: 0.1 } }
  - { name: lorry, kind: gps-tracker, count: 4, protocol: [mqtt, mqtt5], ratePerDevice: 4,
      quirks: { offlinePerHour: 900, offlineSeconds: [0.2, 1], restartsPerHour: 300, sequence: reset, reordered: 0.1 } }
expect: { refusedMax: 0, ackedMin: 200 }
`;
const file = join(folder, 'every-protocol.yaml');
const out = join(folder, 'result');
const config = join(folder, 'data.yaml');

test('a scenario is run, judged and reported, and its windows agree', async () => {
  writeFileSync(file, SCENARIO);
  const words = ['sim', 'run', file, '--proofs', '20', '--json'];
  const { code, stdout, stderr } = await tidemark([
    ...words,
    ...[
      '--url',
      gateway.url,
      '--mqtt',
      `mqtt://127.0.0.1:${gateway.mqttPort}`,
      '--out',
      out,
      '--config',
      config,
    ],
  ]);
  expect(stderr).toBe('');
  const result = JSON.parse(stdout) as RunResult;
  expect(result.records.offenders).toEqual([]);
  expect(result).toMatchObject({
    ok: true,
    ledger: 'clean',
    records: { proofs: 20, unproven: 0, windows: { ok: true } },
  });
  expect(result.expectations.filter(({ met }) => !met)).toEqual([]);
  expect(result.records.windows?.compared).toBeGreaterThan(5);
  expect(code).toBe(0);
  expect(readdirSync(out).toSorted()).toEqual(['report.html', 'report.json', 'truth']);
  expect(readFileSync(join(out, 'report.html'), 'utf8')).toMatch(
    /^<!doctype html>[\s\S]*<svg[\s\S]*<\/html>\n$/,
  );
});

test('the same from the disk after kill -9; a changed byte is found', async () => {
  await gateway.kill('SIGKILL');
  const check = ['sim', 'check', out, '--data-dir', join(folder, 'data'), '--config', config];
  const sound = await tidemark(check);
  expect(sound.stdout).toContain('ok: everything acknowledged is there');
  expect(sound.code).toBe(0);

  const segment = join(folder, 'data', 'log', '00000000000000000000.log');
  const bytes = readFileSync(segment);
  const at = bytes.indexOf('"ts":');
  bytes[at + 6] = bytes[at + 6]! ^ 1;
  writeFileSync(segment, bytes);
  const spoilt = await tidemark(check);
  expect(spoilt.code).toBe(1);
  expect(spoilt.stdout).toMatch(/^ {2}lost: \S+ #\d+/m);
  expect(spoilt.stdout).toContain('FAILED');
});

test('load says what it sent and how busy both sides were', async () => {
  const loaded = await startGateway({ dataDir: join(folder, 'loaded') });
  const address = ['--mqtt', `mqtt://127.0.0.1:${loaded.mqttPort}`, '--url', loaded.url];
  const load = ['sim', 'load', '--connections', '2', '--rate', '500', '--seconds', '1', ...address];
  const { code, stdout } = await tidemark([...load, '--json']);
  const text = await tidemark(load);
  await loaded.kill();
  const report = JSON.parse(stdout) as LoadReport;
  expect(report).toMatchObject({ sent: 500, acked: 500, unanswered: 0, problems: [] });
  for (const side of [report.generator, report.gateway!]) {
    expect(side.cores).toBeGreaterThan(0);
    expect(side.thread).toBeGreaterThan(0);
    expect(side.thread).toBeLessThanOrEqual(1);
  }
  expect(code).toBe(0);
  expect(text.stdout).toMatch(/^gateway {7}[\d.]+ processors, ingest thread \d+ % busy$/m);
});

test('words that make no sense are refused with what to do', async () => {
  const nowhere = await tidemark(['sim', 'run', 'no-such-thing']);
  expect(nowhere.code).toBe(2);
  expect(nowhere.stderr).toContain('wind-farm');
  const elsewhere = await tidemark(['sim', 'run', 'wind-farm', '--url', 'http://192.0.2.1:8080']);
  expect(elsewhere.code).toBe(2);
  expect(elsewhere.stderr).toContain('takes an address on this machine');
  const plain = await tidemark(['sim', 'run', 'tls-fleet']);
  expect(plain.code).toBe(2);
  expect(plain.stderr).toContain('--mqtts');
  const check = await tidemark(['sim', 'check', join(folder, 'nothing')]);
  expect(check.code).toBe(2);
});
