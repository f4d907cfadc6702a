// What fsck --repair puts right, what it leaves alone, and that the bytes of before are to be found beside it.
import { appendFileSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { repairDataDir } from '../../cli/repair.ts';
import { logConfigSchema } from '../../gateway/log/config.ts';
import { openLog } from '../../gateway/log/log.ts';
import { fsck } from '../../ledger/fsck/fsck.ts';
import { listSegments } from '../../ledger/fsck/segments.ts';
import { GatewayDir, inputs } from '../ledger/fsck/gateway.ts';

const INTERVAL = 1024;
let dir: GatewayDir;
beforeEach(async () => {
  dir = new GatewayDir();
  await dir.run(inputs(600), { segmentBytes: 32 * 1024 });
});
afterEach(() => dir.remove());
const repair = () => repairDataDir(dir.dataDir, INTERVAL, Date.UTC(2026, 10, 20));
const inLog = (name: string) => join(dir.dataDir, 'log', name);

test('a sound directory: nothing is changed, nothing is put aside', async () => {
  expect(await repair()).toEqual({ repairs: [], ledgerNote: null });
  expect(readdirSync(dir.dataDir).filter((name) => name.startsWith('repair-'))).toEqual([]);
});

test('a torn tail is cut and kept aside; afterwards all is clean', async () => {
  rmSync(inLog('clean'));
  const last = listSegments(dir.dataDir).at(-1)!;
  const before = readFileSync(last.path);
  const torn = Buffer.from('0000000000000258000000ff0000000002abcdef', 'hex');
  appendFileSync(last.path, torn);
  const { repairs } = await repair();
  expect(repairs).toHaveLength(1);
  expect(repairs[0]!.what).toContain(
    `${torn.length} bytes of an unfinished write were cut at byte ${before.length}`,
  );
  expect(readFileSync(last.path)).toEqual(before);
  expect(readFileSync(join(dir.dataDir, repairs[0]!.saved!))).toEqual(torn);
  expect((await fsck(dir.dataDir, { deep: true })).verdict).toBe('clean');
});

test('indexes are made again, the wrong ones kept aside', async () => {
  const [first, second] = listSegments(dir.dataDir);
  const index = first!.path.replace(/log$/, 'index');
  const wrong = Buffer.from(readFileSync(index));
  wrong[7]! ^= 1;
  writeFileSync(index, wrong);
  const good = readFileSync(second!.path.replace(/log$/, 'timeindex'));
  rmSync(second!.path.replace(/log$/, 'timeindex'));
  const { repairs } = await repair();
  expect(repairs.map(({ what }) => what)).toEqual(
    Array(2).fill('the indexes were made again from the segment'),
  );
  expect(readFileSync(join(dir.dataDir, repairs[0]!.saved!))).toEqual(wrong);
  expect(readFileSync(second!.path.replace(/log$/, 'timeindex'))).toEqual(good);
  expect((await fsck(dir.dataDir, { deep: true })).verdict).toBe('clean');
});

test('hash tiles and the checkpoint are made again under the signed root', async () => {
  const tiles = join(dir.dataDir, 'ledger/tile/0/000.p');
  const tile = join(tiles, readdirSync(tiles).at(-1)!);
  const good = readFileSync(tile);
  const wrong = Buffer.from(good);
  wrong[5]! ^= 1;
  writeFileSync(tile, wrong);
  const checkpoint = readFileSync(join(dir.dataDir, 'ledger/checkpoint'));
  truncateSync(join(dir.dataDir, 'ledger/checkpoint'), 20);
  const { repairs, ledgerNote } = await repair();
  expect(ledgerNote).toBeNull();
  expect(repairs.map(({ file }) => file)).toEqual([
    expect.stringContaining('ledger/tile/0/000.p/'),
    'ledger/checkpoint',
  ]);
  expect(readFileSync(join(dir.dataDir, repairs[0]!.saved!))).toEqual(wrong);
  expect(readFileSync(tile)).toEqual(good);
  expect(readFileSync(join(dir.dataDir, 'ledger/checkpoint'))).toEqual(checkpoint);
  expect((await fsck(dir.dataDir, { deep: true })).verdict).toBe('clean');
});

test.each([
  ['a block', 100],
  // With the length of one, no block can be read, and how far records are sealed is unknown.
  ['the frame of blocks', 0],
])('damage in the middle, in what is sealed and in %s is left as it is', async (_, at) => {
  const [first] = listSegments(dir.dataDir);
  const last = listSegments(dir.dataDir).at(-1)!;
  rmSync(inLog('clean'));
  const damaged = Buffer.from(readFileSync(first!.path));
  damaged[5_000]! ^= 1;
  writeFileSync(first!.path, damaged);
  truncateSync(last.path, readFileSync(last.path).length - 10);
  const cut = readFileSync(last.path);
  const entries = join(dir.dataDir, 'ledger/tile/entries/000.p');
  const widest = Math.max(...readdirSync(entries).map(Number));
  const bundle = join(entries, String(widest));
  const changed = Buffer.from(readFileSync(bundle));
  changed[at]! ^= 1;
  writeFileSync(bundle, changed);
  const { ledgerNote } = await repair();
  expect(ledgerNote).not.toBeNull();
  expect(readFileSync(first!.path)).toEqual(damaged);
  expect(readFileSync(last.path)).toEqual(cut);
  expect(readFileSync(bundle)).toEqual(changed);
  expect((await fsck(dir.dataDir)).verdict).toBe('damaged');
});

test('refuses while a gateway has the directory', async () => {
  const log = await openLog({ dataDir: dir.dataDir, config: logConfigSchema.parse({}) });
  await expect(repair()).rejects.toMatchObject({ code: 'LOCKED' });
  await log.close();
});
