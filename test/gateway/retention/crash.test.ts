// A crash, a failure and a power cut at every single call of the file system while retention drops and rewrites: what is there
// after the next start is the old or the new, nothing that stays is lost, and the ledger is never found wanting.
import { hash } from 'node:crypto';
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { realFs } from '../../../gateway/log/fs.ts';
import { StateStore } from '../../../gateway/state/state.ts';
import { audit } from '../../../ledger/fsck/audit.ts';
import { fsck } from '../../../ledger/fsck/fsck.ts';
import { FaultFs } from '../../fault/fault-fs.ts';
import { MemoryDisk } from '../../fault/memory-disk.ts';
import { type FaultMode, type FaultyFs, faultyFs } from '../log/faulty-fs.ts';
import { readAll, tempFolder } from '../log/records.ts';
import {
  declareAll,
  engineOn,
  fill,
  HOUR_MS,
  openKeeperLog,
  reading,
  START_MS,
  settleRetention,
} from './keeper.ts';

const RECORDS = 150;
const NOW_MS = START_MS + RECORDS * 60_000 + 2 * HOUR_MS;
const CASES = {
  drop: { maxAgeMs: 3 * HOUR_MS },
  rewrite: { rules: [{ topics: ['plant/debug'], maxAgeMs: 3 * HOUR_MS }] },
} as const;
/** Index files and their like may be missing after a crash; the next open makes them again. */
const MAY_STAND = new Set(['INDEX_MISSING', 'INDEX_WRONG']);

for (const [name, retention] of Object.entries(CASES)) {
  const planned = { dataDir: '' };
  let keep: (offset: number) => boolean;

  beforeAll(async () => {
    // Filled, sealed, the removal planned and declared: all that follows is the removal itself.
    planned.dataDir = mkdtempSync(join(tmpdir(), 'tidemark-retention-'));
    const { dataDir } = planned;
    const log = await openKeeperLog(dataDir);
    await fill(log, dataDir, RECORDS);
    const state = new StateStore(dataDir);
    const engine = engineOn(dataDir, log, state, { retention: retention as never, nowMs: NOW_MS });
    expect(await engine.check()).toBe('declare');
    await declareAll(dataDir, log);
    const removal = state.openRemovals()[0]!;
    keep = (offset) =>
      offset >= removal.end || (removal.segment !== null && reading(offset).topic !== 'plant/debug');
    state.close();
    await log.close();
  });
  afterAll(() => rmSync(planned.dataDir, { recursive: true, force: true }));

  /** Opens a copy, runs the removal through `fs` from its first call on; resolves when it is over or has crashed. */
  async function attempt(dataDir: string, make: () => FaultyFs): Promise<FaultyFs> {
    cpSync(planned.dataDir, dataDir, { recursive: true });
    // Opening goes through the real one: the fault is counted from the removal's first call.
    let fs: FaultyFs | null = null;
    const through = new Proxy(realFs, {
      get: (_, key: keyof typeof realFs) => (fs ? fs[key] : realFs[key]),
    });
    const log = await openKeeperLog(dataDir, through);
    const state = new StateStore(dataDir);
    const engine = engineOn(dataDir, log, state, {
      retention: retention as never,
      nowMs: NOW_MS,
      fs: through,
    });
    fs = make();
    const outcome = await Promise.race([
      engine.check().then(
        () => 'done',
        () => 'failed',
      ),
      fs.crashed.then(() => 'crashed'),
    ]);
    state.close();
    const used = fs;
    // After a crash nothing more happens in it: the log stays as it is, with its lock, until the test ends.
    if (outcome !== 'crashed') {
      fs = null;
      await log.close();
    }
    return used;
  }

  /** The real code opens what is left, retention goes on, and every check passes. */
  async function survives(dataDir: string, label: string): Promise<void> {
    // A copy stands for the disk a new process finds: the crashed one in this process still holds its lock.
    const left = tempFolder();
    cpSync(dataDir, left, { recursive: true, filter: (path) => !path.endsWith('lock.db') });
    const before = await audit(left);
    expect(
      before.findings.filter(({ code }) => !MAY_STAND.has(code)),
      `${label}: audit of what is left`,
    ).toEqual([]);
    const log = await openKeeperLog(left);
    expect(log.recovery.damage, label).toEqual([]);
    const offsets = (await readAll(await log.openReader())).map((record) => record.offset as number);
    for (let offset = 0; offset < RECORDS; offset++)
      if (keep(offset)) expect(offsets.includes(offset), `${label}: record ${offset}`).toBe(true);
    await settleRetention(left, log, { retention: retention as never, nowMs: NOW_MS });
    const after = (await readAll(await log.openReader())).map((record) => record.offset as number);
    expect(after.length, label).toBeLessThan(RECORDS);
    await log.close();
    expect((await fsck(left, { deep: true })).findings, label).toEqual([]);
    expect((await audit(left)).records, label).toMatchObject({ recordsMissing: 0, recordsUnproven: 0 });
    rmSync(left, { recursive: true, force: true });
  }

  test(`${name}: a crash or failure at every call`, { timeout: 120_000 }, async () => {
    const count = (await attempt(tempFolder(), () => faultyFs(null))).calls.length;
    expect(count).toBeGreaterThan(10);
    const modes: FaultMode[] = ['crash', 'fails', 'half', 'done'];
    let cases = 0;
    for (const mode of modes) {
      for (let at = 0; at < count; at++) {
        const dataDir = tempFolder();
        await attempt(dataDir, () => faultyFs({ at, mode, code: 'EIO' }));
        await survives(dataDir, `${mode} at call ${at}`);
        cases += 1;
      }
    }
    console.info(`${name}: ${cases} cases over ${count} calls`);
  });

  /** Runs the removal on a disk in memory; the disk before each of its calls, with state.db as it was then. */
  async function moments(): Promise<{ disk: MemoryDisk; stateDir: string }[]> {
    const dataDir = tempFolder();
    cpSync(planned.dataDir, dataDir, { recursive: true });
    const files = readdirSync(join(dataDir, 'log')).map(
      (file) => [`log/${file}`, readFileSync(join(dataDir, 'log', file))] as const,
    );
    const seen: { disk: MemoryDisk; stateDir: string }[] = [];
    let isWatched = false;
    const begun = MemoryDisk.of(new Map(files));
    const see = (disk: MemoryDisk) => {
      const stateDir = tempFolder();
      for (const file of readdirSync(dataDir).filter((each) => each.startsWith('state.db')))
        copyFileSync(join(dataDir, file), join(stateDir, file));
      seen.push({ disk: disk.fork(), stateDir });
    };
    const fs = new FaultFs(begun, dataDir, null, (disk) => isWatched && see(disk));
    const log = await openKeeperLog(dataDir, fs.port);
    const state = new StateStore(dataDir);
    const options = { retention: retention as never, nowMs: NOW_MS, fs: fs.port };
    isWatched = true;
    await engineOn(dataDir, log, state, options).check();
    isWatched = false;
    see(begun);
    state.close();
    await log.close();
    return seen;
  }

  test(`${name}: a power cut at every call`, { timeout: 300_000 }, async () => {
    const seen = await moments();
    expect(seen.length).toBeGreaterThan(10);
    const judged = new Set<string>();
    let cases = 0;
    for (const [at, { disk, stateDir }] of seen.entries()) {
      for (const cut of disk.powerCuts()) {
        cases += 1;
        const files = [...cut.disk.files()];
        const state = readdirSync(stateDir).map((file) => readFileSync(join(stateDir, file)));
        const key = [...files.flat(), ...state].map((part) => hash('sha1', part)).join();
        if (judged.has(key)) continue;
        judged.add(key);
        const left = tempFolder();
        cpSync(planned.dataDir, left, {
          recursive: true,
          filter: (path) => !/\/(log|state\.db[^/]*)$/.test(path),
        });
        cpSync(stateDir, left, { recursive: true });
        mkdirSync(join(left, 'log'));
        for (const [file, bytes] of files) writeFileSync(join(left, file), bytes);
        await survives(left, `power cut before call ${at} of ${seen.length - 1}, ${cut.name}`);
        rmSync(left, { recursive: true, force: true });
      }
    }
    console.info(`${name}: ${cases} power cuts left ${judged.size} different disks`);
  });
}
