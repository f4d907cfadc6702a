// An audit of a block log without records: an authority's mirror, a copy on a web server that knows nothing of Tidemark, a copy
// in a folder. What it can find there it finds; what it cannot, it says.
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { authorityConfig } from '../../../ledger/authority/config.ts';
import { originHash } from '../../../ledger/authority/evidence-files.ts';
import { type RunningAuthority, startAuthority } from '../../../ledger/authority/server.ts';
import { formatAddCheckpoint } from '../../../ledger/format/add-checkpoint.ts';
import { type AuditOptions, type AuditReport, audit as auditOf } from '../../../ledger/fsck/audit.ts';
import type { AuditState } from '../../../ledger/fsck/auditstate.ts';
import { formatReport } from '../../../ledger/fsck/report.ts';
import { tidemark } from '../../support/processes.ts';
import { forge } from './forger.ts';
import { GatewayDir, inputs, ORIGIN } from './gateway.ts';

const early = new GatewayDir();
const late = new GatewayDir();
let folder: string;
let web: Server;
let url: string;
let authority: RunningAuthority;
let policy: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tidemark-alone-'));
  await early.run(inputs(200), { ledger: { blockRecordsMax: 50 } });
  cpSync(early.dataDir, late.dataDir, { recursive: true });
  await late.run(inputs(200, 200), { ledger: { blockRecordsMax: 50 }, bootId: '00000000000000bb' });
  for (const [name, { dataDir }] of [
    ['early', early],
    ['late', late],
  ] as const)
    cpSync(join(dataDir, 'ledger'), join(folder, name), { recursive: true });
  web = createServer((request, response) => {
    const file = join(folder, new URL(request.url!, 'http://x').pathname);
    if (request.url!.endsWith('/') || !existsSync(file)) response.writeHead(404).end('no such key');
    else response.end(readFileSync(file));
  });
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(web.address() as AddressInfo).port}`;
  authority = await startAuthority(
    authorityConfig.parse({
      ...{ name: 'w.example.com', dataDir: join(folder, 'authority'), port: 0 },
      gateways: [{ keys: [late.verifierKey], mirror: `${url}/late` }],
    }),
    { info: () => undefined, warn: () => undefined, error: () => undefined },
  );
  policy = `log ${late.verifierKey}\nwitness w ${authority.verifierKey} ${authority.url}\nquorum w\n`;
  const note = readFileSync(join(folder, 'late/checkpoint'), 'utf8');
  const body = formatAddCheckpoint({ oldSize: 0, proof: [], note });
  expect((await fetch(`${authority.url}/add-checkpoint`, { method: 'POST', body })).status).toBe(200);
}, 120_000);
afterAll(async () => {
  await authority?.close();
  web?.closeAllConnections();
  web?.close();
  for (const dir of [early, late]) dir.remove();
  rmSync(folder, { recursive: true, force: true });
});

const audit = (source: string, options: AuditOptions) => auditOf(source, { ...options, blocksOnly: true });
const codes = ({ findings }: AuditReport) => [...new Set(findings.map(({ code }) => code))];

test('the mirror of an authority: all blocks, final by its cosignature; a monitor goes on from its state', async () => {
  const mirror = `${authority.url}/mirror/${originHash(ORIGIN)}`;
  await vi.waitFor(async () => expect((await fetch(`${mirror}/checkpoint`)).status).toBe(200), {
    ...{ timeout: 30_000, interval: 50 },
  });
  let state: AuditState | undefined;
  const report = await audit(mirror, { policy, onState: (next) => (state = next) });
  expect(report).toMatchObject({
    ...{ verdict: 'clean', status: 'final', findings: [], log: null, notSealedYet: 0 },
    ...{ sealedEnd: 400, records: { mode: 'none', blocksChecked: 0 }, authorities: [{ verdict: 'agrees' }] },
  });
  expect(formatReport(report)).toContain('none here: a block log alone');
  expect(await audit(mirror, { policy, state })).toMatchObject({
    ...{ verdict: 'clean', since: report.checkpoint!.size },
  });
  expect(codes(await audit(`${url}/early`, { policy, state, askAuthorities: false }))).toEqual([
    'ROLLED_BACK',
  ]);
});

test('a copy on a web server and one in a folder; an older one is behind what the authority has seen', async () => {
  for (const source of [`${url}/late`, `${url}/late/`, join(folder, 'late'), late.dataDir])
    expect(await audit(source, { policy })).toMatchObject({
      ...{ verdict: 'clean', status: 'pending', sealedEnd: 400, records: { mode: 'none' } },
    });
  for (const source of [`${url}/early`, join(folder, 'early')])
    expect(codes(await audit(source, { policy }))).toEqual(['ROLLED_BACK']);
});

test('a block that was changed, a tile that is gone, a block signed anew against the rules', async () => {
  const changed = join(folder, 'changed');
  const copy = () => {
    rmSync(changed, { recursive: true, force: true });
    cpSync(join(folder, 'late'), changed, { recursive: true });
  };
  const report = await audit(join(folder, 'late'), { gatewayKey: late.verifierKey });
  const bundle = join(changed, `tile/entries/000.p/${report.checkpoint!.size}`);
  copy();
  writeFileSync(bundle, readFileSync(bundle, 'latin1').replace('kind data', 'kind dada'), 'latin1');
  expect(codes(await audit(`${url}/changed`, { gatewayKey: late.verifierKey }))).toContain('BLOCK_CHANGED');
  copy();
  rmSync(bundle);
  expect(codes(await audit(`${url}/changed`, { gatewayKey: late.verifierKey }))).toContain('TILE_MISSING');
  const forged = new GatewayDir();
  cpSync(late.dataDir, forged.dataDir, { recursive: true });
  await forge(forged.dataDir, {
    edit: (blocks) =>
      blocks.map((block, at) => (at === 3 ? block.replace(/\nfirst \d+/, '\nfirst 7') : block)),
  });
  expect(codes(await audit(join(forged.dataDir, 'ledger'), { gatewayKey: late.verifierKey }))).toEqual([
    'BLOCK_RULE',
  ]);
  forged.remove();
});

test('what only records can answer is refused, with what to do; what is no ledger at all still says so', async () => {
  const trust = ['--key', late.verifierKey];
  for (const source of [`${url}/late`, join(folder, 'late')]) {
    const unasked = await tidemark(['audit', source, ...trust]);
    expect(unasked.code).toBe(2);
    expect(unasked.stderr).toContain('is a block log without records');
    expect(unasked.stderr).toContain('--blocks-only');
  }
  const device = await tidemark(['audit', `${url}/late`, ...trust, '--blocks-only', '--device', 'pump-1']);
  expect(device.code).toBe(2);
  expect(device.stderr).toContain('no device can be followed there');
  const clean = await tidemark(['audit', `${url}/late`, ...trust, '--blocks-only']);
  expect(clean.stderr).toBe('');
  expect(clean.code).toBe(0);
  const nothing = await tidemark(['audit', `${url}/nothing`, ...trust]);
  expect(nothing.code).toBe(2);
  expect(nothing.stderr).toContain('does not answer as a gateway does');
});
