// An authority that fails is asked less and less often, whatever it says and however much is sealed meanwhile, and at once
// again when it is back. The clock stands still unless the test moves it.
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { StageFigures } from '../../../gateway/stage/types.ts';
import { authorityConfig } from '../../../ledger/authority/config.ts';
import { type RunningAuthority, startAuthority } from '../../../ledger/authority/server.ts';
import { AuthorityClient } from '../../../ledger/cosign/client.ts';
import { cosignSchema } from '../../../ledger/cosign/config.ts';
import { Cosigner } from '../../../ledger/cosign/cosigner.ts';
import { NO_MEMORY } from '../../../ledger/cosign/memory.ts';
import { Peer } from '../../../ledger/cosign/peer.ts';
import { verifierKey } from '../../../ledger/format/note.ts';
import { parsePolicy } from '../../../ledger/format/policy.ts';
import { gatewayVerifierKey } from '../../../ledger/seal/key.ts';
import type { Sealer } from '../../../ledger/seal/sealer.ts';
import { directoryTiles } from '../../../ledger/tiles/source.ts';
import { ORIGIN, World } from '../seal/world.ts';

const CONFIG = cosignSchema.parse({ timeoutMs: 30_000, retryFirstMs: 1_000, retryMaxMs: 60_000 });
const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };

let world: World;
let sealer: Sealer;
let dataDir: string;
const authorities: RunningAuthority[] = [];
beforeEach(async () => {
  world = new World();
  sealer = await world.open();
  dataDir = mkdtempSync(join(tmpdir(), 'tidemark-breaker-'));
});
afterEach(async () => {
  for (const authority of authorities.splice(0)) await authority.close();
  world.close();
  rmSync(dataDir, { recursive: true, force: true });
});

async function honest(name: string): Promise<RunningAuthority> {
  const gateways = [{ keys: [gatewayVerifierKey(ORIGIN, world.key)] }];
  const config = authorityConfig.parse({ name, dataDir: join(dataDir, name), port: 0, gateways });
  const authority = await startAuthority(config, quiet);
  authorities.push(authority);
  return authority;
}

test('each failure doubles the wait, up to the longest; a cosignature ends it; a hint can only make it longer', () => {
  const key = verifierKey(ORIGIN, world.key.publicKey);
  const authority = { name: 'w', key, url: 'http://127.0.0.1:9', policyKey: null };
  const client = new AuthorityClient({ url: authority.url, timeoutMs: 1_000 });
  const peer = new Peer(authority, client);
  const waits = [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000];
  for (const [at, wait] of [...waits, ...Array<number>(2_000).fill(60_000)].entries()) {
    peer.failed('failing', 'no', 5, CONFIG);
    expect(peer.failures).toBe(at + 1);
    expect(peer.notBeforeMs - 5).toBeGreaterThanOrEqual(wait / 2);
    expect(peer.notBeforeMs - 5).toBeLessThanOrEqual(wait);
  }
  peer.failed('failing', 'no', 5, CONFIG, 1);
  expect(peer.notBeforeMs - 5).toBeGreaterThanOrEqual(30_000);
  peer.failed('failing', 'no', 5, CONFIG, 3_000_000);
  expect(peer.notBeforeMs).toBe(3_000_005);
  peer.failed('failing', 'it holds more', 5, CONFIG, 0);
  expect(peer.notBeforeMs).toBe(5);
  peer.succeeded(1, 'line');
  expect(peer).toMatchObject({ state: 'ok', failures: 0, notBeforeMs: 0 });
  client.close();
});

test('while it fails and others sign on it is asked once for each wait; back again, it catches up with one request', async () => {
  const [good, behind] = [await honest('good'), await honest('behind')];
  let asked = 0;
  let answer = (response: ServerResponse): unknown =>
    response.writeHead(503, { 'retry-after': '0.001' }).end('not now');
  const relay = createServer(async (request, response) => {
    const parts: Buffer[] = [];
    for await (const part of request) parts.push(part as Buffer);
    asked += 1;
    if (answer(response) !== null) return;
    const forwarded = await fetch(`${behind.url}${request.url}`, {
      method: 'POST',
      body: Buffer.concat(parts),
    });
    response.writeHead(forwarded.status, Object.fromEntries(forwarded.headers)).end(await forwarded.text());
  });
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(relay.address() as AddressInfo).port}`;
  const policy = parsePolicy(
    `witness good ${good.verifierKey} ${good.url}\nwitness flaky ${behind.verifierKey} ${url}\ngroup g 1 good flaky\nquorum g\n`,
    { allowNonIntersecting: true },
  );
  let nowMs = 0;
  const figures: StageFigures = {};
  const cosigner = new Cosigner(policy, {
    config: CONFIG,
    ca: undefined,
    tiles: directoryTiles(world.ledgerDir),
    keysAt: () => [verifierKey(ORIGIN, world.key.publicKey)],
    monotonicMs: () => nowMs,
    load: () => NO_MEMORY,
    save: () => undefined,
    onCosigned: () => undefined,
    onAlarm: () => undefined,
    report: (latest) => void Object.assign(figures, latest),
    log: () => undefined,
  });
  const until = (check: () => void) => vi.waitFor(check, { timeout: 30_000, interval: 5 });
  /** More blocks, each made final by the other authority. */
  const sealOn = async (blocks: number) => {
    for (let at = 0; at < blocks; at += 1) {
      sealer.heartbeat();
      sealer.commit();
      cosigner.offer(sealer.signed!);
      await until(() => expect(cosigner.finalSize).toBe(sealer.signed!.size));
    }
  };
  try {
    for (const [failures, waitMs] of [1_000, 2_000, 4_000, 8_000].entries()) {
      await sealOn(5);
      await until(() => expect(figures['authority.flaky.failures']).toBe(failures + 1));
      await sealOn(5);
      expect(asked).toBe(failures + 1);
      expect(figures['authority.flaky.state']).toBe('failing');
      nowMs += waitMs;
    }
    answer = () => null;
    await sealOn(1);
    const { size } = sealer.signed!;
    await until(() => expect(figures['authority.flaky.size']).toBe(size));
    expect(asked).toBe(5);
    expect(figures).toMatchObject({ 'authority.flaky.state': 'ok', 'authority.flaky.failures': 0 });
  } finally {
    cosigner.close();
    relay.closeAllConnections();
    relay.close();
  }
});
