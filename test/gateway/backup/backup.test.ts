// A backup made while the gateway writes, seals and removes is restored into a directory that opens, goes on and audits
// clean; nothing damaged is ever restored.
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { backup } from '../../../gateway/backup/backup.ts';
import { objectPath, parseManifest } from '../../../gateway/backup/manifest.ts';
import { restore } from '../../../gateway/backup/restore.ts';
import { audit } from '../../../ledger/fsck/audit.ts';
import { fsck } from '../../../ledger/fsck/fsck.ts';
import { sealUntilDone } from '../../ledger/fsck/gateway.ts';
import { readAll, tempFolder } from '../log/records.ts';
import {
  fill,
  HOUR_MS,
  openKeeperLog,
  reading,
  runSealer,
  START_MS,
  settleRetention,
} from '../retention/keeper.ts';

const nowMs = START_MS;

test('restored from a backup made under load, a gateway starts, goes on and audits clean', async () => {
  const dataDir = tempFolder();
  const target = join(tempFolder(), 'backup');
  const log = await openKeeperLog(dataDir);
  await fill(log, dataDir, 300);
  const stop = new AbortController();
  const sealer = runSealer(dataDir, log, stop.signal);
  const load = (async () => {
    for (let at = 300; !stop.signal.aborted; at += 5) {
      await log.appendAll(Array.from({ length: 5 }, (_, i) => reading(at + i)));
      await sleep(2);
    }
  })();
  const first = await backup({ dataDir, target, withKey: true, nowMs });
  const rules = [{ topics: ['plant/debug'], maxAgeMs: HOUR_MS }];
  const retention = settleRetention(dataDir, log, {
    retention: { rules, maxAgeMs: 3 * HOUR_MS },
    nowMs: START_MS + 300 * 60_000,
    declare: () => sleep(20),
  });
  await backup({ dataDir, target, withKey: true, nowMs: nowMs + 1 });
  await retention;
  const second = await backup({ dataDir, target, withKey: true, nowMs: nowMs + 2 });
  stop.abort();
  await Promise.all([load, sealer]);
  const end = Number(log.figures().end);
  await log.close();
  expect(second.manifest.log.end).toBeGreaterThan(first.manifest.log.end - 1);
  expect(end).toBeGreaterThanOrEqual(second.manifest.log.end);
  expect(second.keptFiles).toBeGreaterThan(5);

  const restored = join(tempFolder(), 'data');
  const manifest = await restore({ source: target, dataDir: restored });
  expect(manifest).toEqual(second.manifest);
  expect(statSync(join(restored, 'gateway.key')).mode & 0o777).toBe(0o600);
  expect((await audit(restored)).findings).toEqual([]);
  expect((await audit(restored)).blocks.prune).toBeGreaterThan(0);
  const again = await openKeeperLog(restored);
  expect(again.recovery).toMatchObject({ damage: [], at: manifest.log.end });
  await again.appendAll([reading(9_999)]);
  await sealUntilDone(restored, again, { bootId: '00000000000000bb', ledger: { blockRecordsMax: 37 } });
  const records = await readAll(await again.openReader());
  expect(records.at(-1)).toMatchObject({ offset: manifest.log.end, sequence: 9_999 });
  await again.close();
  const report = await audit(restored);
  expect(report.findings).toEqual([]);
  expect(report.sealedEnd).toBe(manifest.log.end + 1);
  expect((await fsck(restored, { deep: true })).findings).toEqual([]);
});

test.each([
  ['a few blocks on: other partial tiles', 30],
  ['so far that a full tile stands', 300],
])(
  'the sealer moves on while tiles are copied, %s: the copy has what its checkpoint needs',
  async (_, blocks) => {
    const dataDir = tempFolder();
    const log = await openKeeperLog(dataDir);
    await fill(log, dataDir, 20);
    const early = tempFolder();
    cpSync(dataDir, early, { recursive: true });
    for (let at = 20; at < 20 + blocks; at += 1) {
      await log.appendAll([reading(at)]);
      await sealUntilDone(dataDir, log, { bootId: '00000000000000cc', ledger: { blockRecordsMax: 1 } });
    }
    await log.close();
    // What the copy meets: the ledger of before, and that of now from the first tile on.
    const ledger = join(dataDir, 'ledger');
    const later = join(tempFolder(), 'ledger');
    cpSync(ledger, later, { recursive: true });
    rmSync(ledger, { recursive: true });
    for (const name of ['ledger', 'state.db'])
      cpSync(join(early, name), join(dataDir, name), { recursive: true });
    let moved = false;
    const onProgress = (path: string) => {
      if (moved || !path.startsWith('ledger/tile/entries')) return;
      moved = true;
      rmSync(ledger, { recursive: true });
      cpSync(later, ledger, { recursive: true });
    };
    const target = join(tempFolder(), 'backup');
    await backup({ dataDir, target, withKey: true, nowMs, onProgress });
    expect(moved).toBe(true);
    const restored = join(tempFolder(), 'data');
    await restore({ source: target, dataDir: restored });
    expect((await fsck(restored)).findings.filter(({ severity }) => severity === 'error')).toEqual([]);
    expect((await audit(restored)).findings).toEqual([]);
  },
);

test('the key is left out unless asked for, and what belongs to the run as well', async () => {
  const dataDir = tempFolder();
  const log = await openKeeperLog(dataDir);
  await fill(log, dataDir, 30);
  const target = join(tempFolder(), 'backup');
  const { manifest } = await backup({ dataDir, target, nowMs });
  await log.close();
  const paths = manifest.files.map(({ path }) => path);
  expect(manifest.withKey).toBe(false);
  expect(paths.filter((path) => /key|lock|reserve|clean|wal|shm/.test(path))).toEqual([]);
  expect(paths).toContain('state.db');
  expect(existsSync(join(target, 'incoming'))).toBe(false);
});

test('nothing damaged is restored, nothing is written over, and a failed restore leaves nothing', async () => {
  const dataDir = tempFolder();
  const log = await openKeeperLog(dataDir);
  await fill(log, dataDir, 30);
  const target = join(tempFolder(), 'backup');
  const { manifest } = await backup({ dataDir, target, nowMs });
  await log.close();
  const place = tempFolder();
  const used = join(place, 'used');
  mkdirSync(used);
  writeFileSync(join(used, 'anything'), '');
  await expect(restore({ source: target, dataDir: used })).rejects.toMatchObject({
    code: 'TARGET_NOT_EMPTY',
  });
  await expect(restore({ source: place, dataDir: join(place, 'new') })).rejects.toMatchObject({
    code: 'NO_BACKUP',
  });
  for (const file of manifest.files) {
    const object = join(target, objectPath(file.sha256));
    const good = readFileSync(object);
    chmodSync(object, 0o600);
    for (const bad of [Buffer.concat([good, Buffer.from('x')]), good.subarray(1)]) {
      writeFileSync(object, bad);
      const fails = expect(restore({ source: target, dataDir: join(place, 'new') }), file.path);
      await fails.rejects.toMatchObject({ code: 'BACKUP_DAMAGED' });
    }
    writeFileSync(object, good);
  }
  expect(readdirSync(place)).toEqual(['used']);
  for (const path of ['../outside', '/etc/passwd', 'log/../../x', '', 'a//b']) {
    const text = JSON.stringify({ ...manifest, files: [{ ...manifest.files[0]!, path }] });
    expect(() => parseManifest(text), path).toThrow(expect.objectContaining({ code: 'BACKUP_DAMAGED' }));
  }
});
