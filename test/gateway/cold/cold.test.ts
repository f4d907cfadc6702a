// Segments go to a folder or an object store, come back as they were, and readers and proofs do not notice; what was changed
// out there is refused.
import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { localProofs } from '../../../gateway/api/proofs.ts';
import { ColdFs } from '../../../gateway/cold/cold-fs.ts';
import { coldConfigSchema } from '../../../gateway/cold/config.ts';
import { ColdCopier } from '../../../gateway/cold/stage.ts';
import { type ColdStore, openColdStore } from '../../../gateway/cold/store.ts';
import { openReader } from '../../../gateway/log/reader.ts';
import { leafSource } from '../../../gateway/log/retention/leaf-files.ts';
import type { Log } from '../../../gateway/log/types.ts';
import { offset } from '../../../ledger/format/brand.ts';
import { gatewayVerifierKey, loadOrCreateGatewayKey } from '../../../ledger/seal/key.ts';
import { verifyProof } from '../../../ledger/verify/index.ts';
import { ORIGIN } from '../../ledger/fsck/gateway.ts';
import { plain, readAll, tempFolder } from '../log/records.ts';
import { fill, HOUR_MS, openKeeperLog, reading, settleRetention } from '../retention/keeper.ts';
import { FOREIGN_KEYS, startForeignS3 } from './foreign-s3.ts';
import { type S3Server, startS3 } from './s3-server.ts';
import { copyAll, KEYS, NOW_MS, RECORDS } from './tier.ts';

const CACHE_BYTES = 64 * 1024 * 1024;
const place = mkdtempSync(join(tmpdir(), 'tidemark-cold-'));
let s3: S3Server;
let foreign: Awaited<ReturnType<typeof startForeignS3>>;
beforeAll(async () => {
  const keys = { accessKeyId: KEYS.ID, secretAccessKey: KEYS.SECRET, region: 'eu-central-1' };
  s3 = await startS3({ folder: join(place, 's3'), ...keys });
  foreign = await startForeignS3(join(place, 'foreign'), 'telemetry');
});
afterAll(async () => {
  await s3.close();
  await foreign.close();
  rmSync(place, { recursive: true, force: true });
});

const s3Store = (prefix: string, environment: Record<string, string> = KEYS, endpoint = s3.endpoint) =>
  openColdStore(
    coldConfigSchema.parse({
      type: 's3',
      endpoint,
      bucket: 'telemetry',
      region: 'eu-central-1',
      prefix,
      accessKeyIdEnv: 'ID',
      secretAccessKeyEnv: 'SECRET',
    }),
    environment,
  );
const folderStore = (path: string) => openColdStore(coldConfigSchema.parse({ type: 'folder', path }), {});

async function filled(): Promise<{ dataDir: string; log: Log }> {
  const dataDir = tempFolder();
  const log = await openKeeperLog(dataDir);
  onTestFinished(() => log.close());
  await fill(log, dataDir, RECORDS);
  return { dataDir, log };
}

const stores = {
  folder: () => ({
    store: folderStore(join(place, 'folder')),
    at: (name: string) => join(place, 'folder', name),
  }),
  's3 api': () => ({
    store: s3Store('gw-3/'),
    at: (name: string) => s3.objectPath(`telemetry/gw-3/${name}`),
  }),
  's3 api, a server of another maker': () => ({
    store: s3Store('gw-3/', FOREIGN_KEYS, foreign.endpoint),
    at: (name: string) => foreign.objectPath(`telemetry/gw-3/${name}`),
  }),
};

for (const [kind, make] of Object.entries(stores)) {
  describe(kind, () => {
    test('copied, dropped here, read and proven from there', async () => {
      const { store, at } = make();
      const { dataDir, log } = await filled();
      const before = await readAll(await log.openReader());
      const retention = { maxAgeMs: HOUR_MS };
      const consumers = ['sealer', 'cold'];
      // Nothing goes before it is copied.
      await settleRetention(dataDir, log, { retention, nowMs: NOW_MS, consumers });
      expect(log.segments.list()[0]!.baseOffset).toBe(0);
      const end = await copyAll(dataDir, store);
      expect(end).toBe(log.segments.list().at(-1)!.endOffset);
      await settleRetention(dataDir, log, { retention, nowMs: NOW_MS, consumers });
      expect(log.segments.list()).toEqual([]);

      const fs = new ColdFs(dataDir, store, CACHE_BYTES).port;
      const reader = await openReader({ dataDir, durableEnd: log.durableEnd, fs });
      onTestFinished(() => reader.close());
      expect(await reader.start()).toBe(0);
      expect((await readAll(reader)).map(plain)).toEqual(before.map(plain));
      expect((await reader.fetch(offset(17), { maxRecords: 1 })).map(plain)).toEqual([plain(before[17]!)]);
      expect(await reader.offsetForTime(reading(120).eventMs)).toBe(120);
      const proofs = localProofs(reader, dataDir, leafSource(dataDir, fs));
      const answer = await proofs.prove(offset(50));
      if (answer.kind !== 'proof') throw new Error(answer.kind);
      const gatewayKey = gatewayVerifierKey(ORIGIN, loadOrCreateGatewayKey(dataDir));
      expect(verifyProof(answer.text, { gatewayKey })).toMatchObject({ valid: true });

      // A changed byte out there is refused, whatever it is.
      const name = '00000000000000000000.log';
      appendFileSync(at(name), 'x');
      rmSync(join(dataDir, 'cold-cache'), { recursive: true });
      const other = new ColdFs(dataDir, store, CACHE_BYTES).port;
      const late = await openReader({ dataDir, durableEnd: log.durableEnd, fs: other });
      onTestFinished(() => late.close());
      await expect(late.fetch(offset(0))).rejects.toMatchObject({ code: 'COLD_DAMAGED' });
      expect(readdirSync(join(dataDir, 'cold-cache'))).toEqual([]);
    });

    test('a copy cut off is gone on with, and its manifest comes last', async () => {
      const { store, at } = make();
      const { dataDir } = await filled();
      const names: string[] = [];
      let left = 2;
      const breaking: ColdStore = {
        get: (name, path) => store.get(name, path),
        hashOf: (name) => store.hashOf(name),
        put: async (name, path, sha256) => {
          if (left-- === 0) throw new Error('the line went down');
          names.push(name);
          await store.put(name, path, sha256);
        },
      };
      // Under another prefix than the test before: the same names, other bytes.
      rmSync(at(''), { recursive: true, force: true });
      await expect(new ColdCopier(dataDir, breaking).copyNext(0)).rejects.toThrow('the line went down');
      expect(names).toEqual(['00000000000000000000.log', '00000000000000000000.index']);
      left = 100;
      await copyAll(dataDir, breaking);
      expect(names.slice(2, 4)).toEqual(['00000000000000000000.timeindex', '00000000000000000000.json']);
      expect(names.at(-1)).toMatch(/json$/);
      const manifest = readFileSync(join(dataDir, 'cold/00000000000000000000.json'), 'utf8');
      expect(readFileSync(at('00000000000000000000.json'), 'utf8')).toBe(manifest);
    });
  });
}

test('the store is given the time to come back, and refuses wrong keys by name without saying them', async () => {
  const file = join(place, 'file');
  writeFileSync(file, 'hello');
  const hash = '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824';
  const store = s3Store('keys/');
  s3.failNext(2);
  await store.put('a', file, hash);
  expect(await store.hashOf('a')).toBe(hash);
  expect(await store.hashOf('b')).toBeNull();
  await expect(store.put('c', file, hash.replace('2', '3'))).rejects.toMatchObject({
    code: 'COLD_REFUSED',
    message: expect.stringContaining('XAmzContentSHA256Mismatch'),
  });
  const wrong = s3Store('keys/', { ...KEYS, SECRET: 'not-it-at-all' });
  const refusal = await wrong.put('a', file, hash).catch((error: Error) => error);
  expect(String(refusal)).toContain('SignatureDoesNotMatch');
  expect(String(refusal)).not.toContain('not-it-at-all');
  const elsewhere = s3Store('keys/', { ...FOREIGN_KEYS, SECRET: 'not-it-at-all' }, foreign.endpoint);
  await expect(elsewhere.put('a', file, hash)).rejects.toThrow('SignatureDoesNotMatch');
  expect(() => s3Store('keys/', {})).toThrow(expect.objectContaining({ code: 'COLD_NO_CREDENTIALS' }));
});

test('the cache stays within its bound', async () => {
  const { dataDir, log } = await filled();
  const store = folderStore(join(place, 'bound'));
  await copyAll(dataDir, store);
  const consumers = ['sealer', 'cold'];
  await settleRetention(dataDir, log, { retention: { maxAgeMs: HOUR_MS }, nowMs: NOW_MS, consumers });
  const maxBytes = 40 * 1024;
  const fs = new ColdFs(dataDir, store, maxBytes).port;
  const reader = await openReader({ dataDir, durableEnd: log.durableEnd, fs });
  onTestFinished(() => reader.close());
  expect(await readAll(reader)).toHaveLength(RECORDS);
  const cache = join(dataDir, 'cold-cache');
  const bytes = readdirSync(cache).reduce((sum, name) => sum + readFileSync(join(cache, name)).length, 0);
  expect(bytes).toBeLessThanOrEqual(maxBytes);
});
