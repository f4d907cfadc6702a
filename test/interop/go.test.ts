// Other people's code on our formats: Go's sumdb/note and sumdb/tlog (Debian: golang-go, golang-golang-x-mod-dev) open our
// checkpoint with its cosignatures, rebuild the tree from our bundles and check proofs from our tiles; and a witness written
// on them stands in a policy as an authority, unchanged.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { authorityConfig } from '../../ledger/authority/config.ts';
import { startAuthority } from '../../ledger/authority/server.ts';
import { cosignSchema } from '../../ledger/cosign/config.ts';
import { Cosigner } from '../../ledger/cosign/cosigner.ts';
import { NO_MEMORY } from '../../ledger/cosign/memory.ts';
import { parsePolicy } from '../../ledger/format/policy.ts';
import { gatewayVerifierKey } from '../../ledger/seal/key.ts';
import { directoryTiles } from '../../ledger/tiles/source.ts';
import { ORIGIN, World } from '../ledger/seal/world.ts';
import { ended } from '../support/processes.ts';

const GOPATH = '/usr/share/gocode';
const hasGo =
  spawnSync('go', ['version']).status === 0 && existsSync(join(GOPATH, 'src/golang.org/x/mod/sumdb/tlog'));
if (!hasGo) console.warn('skipped: apt-get install golang-go golang-golang-x-mod-dev to check against Go');

const folder = mkdtempSync(join(tmpdir(), 'tidemark-go-'));
const program = join(folder, 'program');
const closers: (() => unknown)[] = [];

beforeAll(() => {
  if (!hasGo) return;
  execFileSync('go', ['build', '-o', program, join(import.meta.dirname, 'go', 'main.go')], {
    env: { ...process.env, GO111MODULE: 'off', GOPATH, GOCACHE: join(folder, 'cache') },
  });
}, 180_000);
afterAll(async () => {
  for (const close of closers.reverse()) await close();
  rmSync(folder, { recursive: true, force: true });
});

const check = (ledgerDir: string, keys: readonly string[]) =>
  spawnSync(program, ['check', ledgerDir, ...keys], { encoding: 'utf8' });

test.skipIf(!hasGo)(
  'Go opens what we wrote and cosigned, and a witness in Go cosigns what we send',
  async () => {
    const world = new World();
    closers.push(() => world.close());
    const sealer = await world.open();
    const gatewayKey = gatewayVerifierKey(ORIGIN, world.key);

    const witness = spawn(program, ['witness', 'go.example.com/w', gatewayKey], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    closers.push(() => {
      witness.stdin.end();
      return ended(witness);
    });
    const [line] = (await once(createInterface({ input: witness.stdout }), 'line')) as [string];
    const [witnessKey, witnessUrl] = line.split(' ') as [string, string];
    const dataDir = join(folder, 'authority');
    const authority = await startAuthority(
      authorityConfig.parse({
        name: 'ours.example.com',
        dataDir,
        port: 0,
        gateways: [{ keys: [gatewayKey] }],
      }),
      { info: () => {}, warn: () => {}, error: () => {} },
    );
    closers.push(() => authority.close());

    const text = `log ${gatewayKey}\nwitness ours ${authority.verifierKey} ${authority.url}\nwitness theirs ${witnessKey} ${witnessUrl}\ngroup both all ours theirs\nquorum both\n`;
    const alarms: unknown[] = [];
    const cosigner = new Cosigner(parsePolicy(text), {
      config: cosignSchema.parse({}),
      ca: undefined,
      tiles: directoryTiles(world.ledgerDir),
      keysAt: (size) => sealer.epochs.keysAt(size),
      monotonicMs: () => performance.now(),
      load: () => NO_MEMORY,
      save: () => {},
      onCosigned: (note, _size, final) => {
        if (final) sealer.serve(note);
      },
      onAlarm: (alarm) => alarms.push(alarm),
      report: () => {},
      log: () => {},
    });
    closers.push(() => cosigner.close());

    // Sizes on both sides of a full tile; each grows from what the witness in Go holds, by a proof of ours.
    for (const size of [1, 2, 7, 255, 256, 257, 600]) {
      while (sealer.signed!.size + sealer.uncommitted < size) {
        world.addRecords(1);
        sealer.take(world.records[sealer.next]!);
        sealer.cut();
        if (sealer.roundFull) sealer.commit();
      }
      sealer.commit();
      cosigner.offer(sealer.signed!);
      await vi.waitFor(() => expect(cosigner.finalSize).toBe(size), { timeout: 30_000 });
      const { status, stdout, stderr } = check(world.ledgerDir, [
        gatewayKey,
        authority.verifierKey,
        witnessKey,
      ]);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(stdout).toContain(`ok ${ORIGIN} size ${size} signatures 3 kinds genesis`);
    }
    expect(alarms).toEqual([]);

    // And it is no rubber stamp.
    const other = gatewayKey.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'));
    expect(check(world.ledgerDir, [other]).status).toBe(1);
    const tile = join(world.ledgerDir, 'tile/0/000');
    const bytes = readFileSync(tile);
    bytes[40] = bytes[40]! ^ 1;
    writeFileSync(tile, bytes);
    expect(check(world.ledgerDir, [gatewayKey]).status).toBe(1);
  },
  120_000,
);
