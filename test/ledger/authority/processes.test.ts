// Four real processes on loopback: a gateway and three authorities. Final at quorum, pending otherwise; one authority down,
// cut off in the middle of everything, then restored. And what an authority does for a gateway: blocks kept for it, and an
// end to sealing when its data directory was set back.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Status } from '../../../gateway/api/status.ts';
import { originHash } from '../../../ledger/authority/evidence-files.ts';
import { cosigners } from '../../../ledger/format/epochs.ts';
import { parseNote } from '../../../ledger/format/note.ts';
import { parsePolicy } from '../../../ledger/format/policy.ts';
import { gatewayVerifierKey, loadOrCreateGatewayKey } from '../../../ledger/seal/key.ts';
import { BlockLog, readHead } from '../../../ledger/tiles/blocks.ts';
import { directoryTiles } from '../../../ledger/tiles/source.ts';
import { AuthorityProcess } from '../../support/authority.ts';
import { freePort, type Gateway, startGateway, tidemark } from '../../support/processes.ts';

const ORIGIN = 'test.example.com/gateway';

let folder: string;
let authorities: AuthorityProcess[];
let gateway: Gateway | null = null;
let httpPort: number;
let policyFile: string;
let newAuthority: (name: string) => Promise<AuthorityProcess>;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tidemark-quorum-'));
  httpPort = await freePort();
  const gatewayKey = gatewayVerifierKey(ORIGIN, loadOrCreateGatewayKey(join(folder, 'data')));
  newAuthority = (name) =>
    AuthorityProcess.make(folder, name, [
      { key: gatewayKey, mirror: name === 'vendor' ? `http://127.0.0.1:${httpPort}/ledger` : null },
    ]);
  authorities = await Promise.all(['operator', 'regulator', 'vendor'].map(newAuthority));
  policyFile = join(folder, 'policy.txt');
  writeFileSync(
    policyFile,
    `log ${gatewayKey}\n${authorities.map(({ name, key, url }) => `witness ${name} ${key} ${url}\n`).join('')}group any-two 2 operator regulator vendor\nquorum any-two\n`,
  );
});
afterEach(async () => {
  await gateway?.kill('SIGKILL');
  gateway = null;
  for (const authority of authorities) await authority.end('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

const begin = async (dataDir = join(folder, 'data')) => {
  gateway = await startGateway({
    dataDir,
    httpPort,
    yaml: `ledger: { policy: ${policyFile}, blockIntervalMs: 50, heartbeatMs: 1000, cosign: { timeoutMs: 1000, retryFirstMs: 50, retryMaxMs: 300, startWaitMs: 5000 } }`,
  });
  return gateway;
};
const status = async () => (await (await fetch(`${gateway!.url}/api/v1/status`)).json()) as Status;
const until = <T>(check: () => T | Promise<T>) => vi.waitFor(check, { timeout: 30_000, interval: 50 });
const send = async (value: number) => {
  const response = await fetch(`${gateway!.url}/api/v1/ingest/plant/pump-1/vibration`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ value }),
  });
  expect(response.ok).toBe(true);
};
const finalBeyond = (size: number) =>
  until(async () => {
    const { ledger } = await status();
    expect(ledger.finalSize).toBeGreaterThan(size);
    return ledger.finalSize;
  });

test('final at quorum with one down, pending with two away, final again once one is back; nothing is lost in between', async () => {
  const [operator, regulator, vendor] = authorities as [AuthorityProcess, AuthorityProcess, AuthorityProcess];
  await operator.start();
  await regulator.start();
  await begin();
  await send(1);
  const bad = await fetch(`${gateway!.url}/api/v1/ingest/plant/+/vibration`, { method: 'POST', body: '{}' });
  expect(bad.status).toBe(400);
  let final = await finalBeyond(2);
  const policy = parsePolicy(readFileSync(policyFile, 'utf8'));
  const served = await (await fetch(`${gateway!.url}/ledger/checkpoint.final`)).text();
  expect(cosigners(parseNote(served), policy)).toEqual(new Set(['operator', 'regulator']));
  expect((await status()).stages.sealer).toMatchObject({ 'authority.vendor.state': 'failing' });

  // Cut off: it takes connections and never answers.
  regulator.child!.kill('SIGSTOP');
  await send(2);
  await until(async () =>
    expect((await status()).stages.sealer!['authority.regulator.state']).toBe('failing'),
  );
  await until(async () => {
    const { ledger } = await status();
    expect(ledger.blocks).toBeGreaterThan(ledger.finalSize + 1);
    expect(ledger.final).toBe(false);
    final = ledger.finalSize;
  });
  // Its proof is pending, and says so; sealing went on.
  await send(3);
  const pending = await until(async () => {
    const result = await tidemark([
      'prove',
      '--offset',
      '2',
      '--url',
      gateway!.url,
      '--out',
      join(folder, 'p.json'),
    ]);
    expect(result.code).toBe(0);
    return tidemark(['verify', join(folder, 'p.json'), '--policy', policyFile]);
  });
  expect(pending.code).toBe(0);
  expect(pending.stdout).toContain('pending');

  regulator.child!.kill('SIGCONT');
  final = await finalBeyond(final);
  await vendor.start();
  await until(async () => expect((await status()).stages.sealer!.authoritiesUp).toBe(3));
  await until(async () => {
    await tidemark(['prove', '--offset', '2', '--url', gateway!.url, '--out', join(folder, 'p.json')]);
    const result = await tidemark(['verify', join(folder, 'p.json'), '--policy', policyFile]);
    expect(result.stdout).toContain('valid, final');
  });

  // The vendor's mirror has caught up with what it cosigned, and is a ledger like any other.
  await until(async () => {
    const head = await fetch(`${vendor.url}/mirror/${originHash(ORIGIN)}/checkpoint`);
    expect(Number((await head.text()).split('\n')[1])).toBeGreaterThan(final);
  });
  expect(
    (await fetch(`${vendor.url}/mirror/${originHash(ORIGIN)}/tile/entries/000.p/1`)).status,
  ).toBeLessThan(500);
  expect((await gateway!.kill()).code).toBe(0);
  gateway = null;
  const { code, stdout } = await tidemark(['audit', join(folder, 'data'), '--policy', policyFile]);
  expect(stdout).not.toContain('ERROR');
  expect(code).toBe(0);
  // The refusal at the door is in the ledger.
  const read = directoryTiles(join(folder, 'data', 'ledger'));
  const head = (await readHead(read))!;
  const refused = (await new BlockLog(read, head.checkpoint.size).last(head.checkpoint.size))
    .map(({ block }) => block.detail?.refused)
    .find((counts) => counts !== undefined);
  expect(refused).toEqual({ 'bad-topic': 1 });
}, 300_000);

test('a data directory set back to an earlier day is told so by an authority, and signs nothing', async () => {
  await Promise.all(authorities.map((authority) => authority.start()));
  await begin();
  await send(1);
  await finalBeyond(2);
  await gateway!.kill();
  cpSync(join(folder, 'data'), join(folder, 'yesterday'), { recursive: true });
  await begin();
  await send(2);
  const size = await until(async () => {
    const { ledger } = await status();
    expect(ledger.final && ledger.sealed === 2).toBe(true);
    return ledger.finalSize;
  });
  await gateway!.kill();

  await begin(join(folder, 'yesterday'));
  const alarmed = await until(async () => {
    const now = await status();
    expect(now.stages.sealer!.alarm).toBe('rolled-back');
    return now;
  });
  expect(alarmed.ledger.blocks).toBeLessThan(size);
  expect(alarmed.stages.sealer!.alarmMessage).toContain('this disk knows');
  // Ingest goes on; nothing of it is signed, and no authority has seen a second history.
  await send(3);
  expect((await status()).ledger.blocks).toBe(alarmed.ledger.blocks);
  for (const { url } of authorities) expect(await (await fetch(`${url}/evidence`)).json()).toEqual([]);
}, 300_000);

test('an authority under a new key, a new policy, then a new gateway key, while everything runs; an auditor with the first policy follows', async () => {
  const successor = await newAuthority('successor');
  authorities.push(successor);
  await Promise.all(authorities.map((authority) => authority.start()));
  await begin();
  await send(1);
  await finalBeyond(2);
  const dataDir = join(folder, 'data');
  const prove = async (offset: number, out: string) => {
    await until(async () => {
      const { code } = await tidemark(['prove', '-o', `${offset}`, '--data-dir', dataDir, '--out', out]);
      expect(code).toBe(0);
    });
    return out;
  };
  const early = await prove(0, join(folder, 'early.json'));
  const all = join(folder, 'all.txt');
  writeFileSync(
    all,
    readFileSync(policyFile, 'utf8')
      .replace(/^witness vendor .*$/m, `witness successor ${successor.key} ${successor.url}`)
      .replace('any-two 2 operator regulator vendor', 'any-two 3 operator regulator successor'),
  );
  const proposal = join(folder, 'proposal.note');
  const proposed = await tidemark(['policy', 'propose', all, '--data-dir', dataDir, '--out', proposal]);
  expect(proposed).toMatchObject({ code: 0, stderr: expect.stringContaining('at least 3 of 3') });
  const signed: string[] = [];
  for (const { name, config } of [authorities[0]!, authorities[1]!, successor]) {
    const out = join(folder, `${name}.note`);
    expect((await tidemark(['policy', 'sign', proposal, '-c', config, '--out', out])).code).toBe(0);
    signed.push(out);
  }
  const refused = await tidemark(['policy', 'apply', ...signed.slice(0, 2), '--data-dir', dataDir]);
  expect(refused.code).toBe(2);
  expect(refused.stderr).toContain('a quorum of the new authorities has not signed the new policy');
  const applied = await tidemark(['policy', 'apply', ...signed, '--data-dir', dataDir]);
  expect(applied).toMatchObject({ code: 0, stdout: expect.stringContaining('epoch 2') });
  await until(async () => expect((await status()).stages.sealer!.policyEpoch).toBe(2));
  let final = await finalBeyond((await status()).ledger.finalSize);
  expect((await tidemark(['policy', 'show', '--data-dir', dataDir])).stdout).toContain('epoch   2');

  const prepared = await tidemark(['key', 'rotate', '--prepare', '--data-dir', dataDir]);
  // The authorities learn of it as they run.
  for (const { config, child } of authorities) {
    const text = readFileSync(config, 'utf8');
    writeFileSync(config, text.replace("']\n", `', '${prepared.stdout.trim()}']\n`));
    child!.kill('SIGHUP');
  }
  const before = (await status()).publicKey;
  expect((await tidemark(['key', 'rotate', '--data-dir', dataDir])).code).toBe(0);
  await until(async () => expect((await status()).publicKey).toBe(prepared.stdout.trim()));
  await send(2);
  final = await finalBeyond(final + 1);
  expect((await gateway!.kill()).code).toBe(0);
  gateway = null;
  const state = join(folder, 'auditor.state');
  for (const trust of [
    ['--policy', policyFile, '--state', state],
    ['--key', before],
  ]) {
    const { code, stdout } = await tidemark(['audit', dataDir, ...trust, '--json']);
    const report = JSON.parse(stdout);
    expect({ code, findings: report.findings }).toEqual({ code: 0, findings: [] });
    expect(report.blocks).toMatchObject({ policy: 2, key: 1 });
    if (trust[0] === '--policy') expect(report.status).toBe('final');
  }
  // Proofs from before and after, for who holds the first policy or the second: by what was in force at their checkpoints.
  const late = await prove(1, join(folder, 'late.json'));
  for (const [file, policy, epoch] of [
    [early, all, 1],
    [late, policyFile, 2],
  ] as const) {
    const { code, stdout } = await tidemark(['verify', file, '--policy', policy, '--state', state]);
    expect(stdout).toContain(`epoch ${epoch}, in force from block`);
    expect(stdout).toContain('valid, final');
    expect(code).toBe(0);
  }
  const alone = await tidemark(['verify', late, '--policy', policyFile]);
  expect(alone.code).toBe(1);
  expect(alone.stdout).toContain('policies and gateway keys change');
  // The old key is gone from the disk, and the gateway goes on with the new one.
  await begin();
  await finalBeyond(final);
}, 400_000);
