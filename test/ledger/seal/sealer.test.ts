// The chain a sealer writes, judged by the verifier's own rules; and what it refuses to sign.
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { StateStore } from '../../../gateway/state/state.ts';
import { toBase64 } from '../../../ledger/format/base64.ts';
import type { Block } from '../../../ledger/format/block.ts';
import { parseCheckpoint } from '../../../ledger/format/checkpoint.ts';
import { openNote, parseNote, verifierKey } from '../../../ledger/format/note.ts';
import { hasRoot, TileTree } from '../../../ledger/format/tile-tree.ts';
import { fileDisk } from '../../../ledger/seal/disk.ts';
import { directoryTiles } from '../../../ledger/tiles/source.ts';
import { checkChain } from '../../../ledger/verify/chain.ts';
import { madeUpRecord, ORIGIN, World } from './world.ts';

let world: World;
beforeEach(() => {
  world = new World();
});
afterEach(() => world.close());

/** The whole chain as an outsider reads it from the served checkpoint. */
async function readChain(): Promise<Block[]> {
  const read = directoryTiles(world.ledgerDir);
  const note = parseNote((await read('checkpoint'))!);
  openNote(note, [verifierKey(ORIGIN, world.key.publicKey)]);
  const { size, root } = parseCheckpoint(note.text);
  const blocks: Block[] = [];
  const report = await checkChain({ read, size, onBlock: ({ block }) => void blocks.push(block!) });
  expect(report.violations).toEqual([]);
  expect(Buffer.from(report.root).equals(root)).toBe(true);
  expect(await hasRoot(new TileTree({ read, size }), root)).toBe(true);
  return blocks;
}
const summary = (blocks: Block[]) => blocks.map(({ kind, first, count }) => `${kind} ${first}+${count}`);

test('an empty gateway signs its genesis block first', async () => {
  await world.open();
  const [genesis, ...rest] = await readChain();
  expect(rest).toEqual([]);
  expect(genesis).toMatchObject({ kind: 'genesis', origin: ORIGIN, height: 0, first: 0, count: 0 });
  expect(genesis!.detail).toEqual({
    publicKey: toBase64(world.key.publicKey),
    software: 'tidemark test',
    logFormat: 'kafka-record-batch-v2',
    recordFormat: 1,
  });
  expect(world.state.loadCheckpoint()!.note).toBe(readFileSync(join(world.ledgerDir, 'checkpoint'), 'utf8'));
});

test('blocks fill to the limit, the rest is cut, and one round has one checkpoint', async () => {
  const sealer = await world.open();
  world.addRecords(25);
  world.clock.advance(500);
  world.sealAll(sealer);
  expect(summary(await readChain())).toEqual(['genesis 0+0', 'data 0+10', 'data 10+10', 'data 20+5']);
  expect(world.signed.map(({ size }) => size)).toEqual([1, 4]);
  expect(sealer.commit()).toBeNull();
});

test('goes on after a restart where it ended, with a heartbeat between', async () => {
  const first = await world.open();
  world.addRecords(12);
  world.sealAll(first);
  world.clock.advance(60_000);
  first.heartbeat();
  first.commit();
  world.addRecords(3);
  const second = await world.open(fileDisk, { bootId: '00000000000000bb' });
  expect(second.next).toBe(12);
  world.sealAll(second);
  expect(summary(await readChain())).toEqual([
    'genesis 0+0',
    'data 0+10',
    'data 10+2',
    'heartbeat 12+0',
    'data 12+3',
  ]);
});

test('fills tiles past their width, keeps the tree readable and clears partial tiles', async () => {
  let sealer = await world.open(fileDisk, { ledger: { blockRecordsMax: 1 } });
  world.addRecords(600);
  world.sealAll(sealer);
  sealer = await world.open(fileDisk, { ledger: { blockRecordsMax: 1 } });
  expect(sealer.next).toBe(600);
  expect((await readChain()).length).toBe(601);
  const entries = readdirSync(join(world.ledgerDir, 'tile', 'entries')).sort();
  expect(entries).toEqual(['000', '001', '002.p']);
  expect(readdirSync(join(world.ledgerDir, 'tile', '1', '000.p')).sort()).toEqual(['1', '2']);
  expect(readdirSync(join(world.ledgerDir, '.incoming'))).toEqual([]);
});

test('declares what recovery found once per run, and offsets that were lost', async () => {
  await world.open();
  world.addRecords(5);
  const recovery = { unclean: true, truncatedBytes: 77, at: 5 };
  await world.open(fileDisk, { bootId: '00000000000000bb', recovery });
  const again = await world.open(fileDisk, { bootId: '00000000000000bb', recovery });
  again.take(world.records[0]!);
  again.gap({ cause: 'log-damage', first: 1, count: 2 }, 2);
  world.sealAll(again);
  const blocks = await readChain();
  expect(summary(blocks)).toEqual(['genesis 0+0', 'gap 0+0', 'data 0+1', 'gap 1+2', 'data 3+2']);
  expect(blocks[1]!.detail).toEqual({ cause: 'truncated-tail', bytes: 77, at: 5 });
  await world.open(fileDisk, {
    bootId: '00000000000000cc',
    recovery: { unclean: true, truncatedBytes: 0, at: 5 },
  });
  expect((await readChain()).at(-1)!.detail).toEqual({ cause: 'unclean-boot', at: 5 });
  await world.open(fileDisk, {
    bootId: '00000000000000dd',
    recovery: { unclean: false, truncatedBytes: 0, at: 5 },
  });
  expect((await readChain()).length).toBe(6);
});

test('a wall clock that steps back is declared before the block that shows it', async () => {
  const sealer = await world.open();
  world.addRecords(1);
  world.clock.advance(1_000);
  world.clock.wallMs -= 3_600_000;
  world.sealAll(sealer);
  const blocks = await readChain();
  expect(summary(blocks)).toEqual(['genesis 0+0', 'gap 0+0', 'data 0+1']);
  expect(blocks[1]!.detail).toEqual({
    cause: 'clock-step',
    fromMs: 1_763_600_000_000,
    toMs: 1_763_596_401_000,
  });
});

test('a step declared while the clock ticks: the block that shows it is not before its declaration', async () => {
  const sealer = await world.open();
  world.addRecords(1);
  world.clock.wallMs -= 3_600_000;
  world.clock.ticking = true;
  world.sealAll(sealer);
  const blocks = await readChain();
  expect(summary(blocks)).toEqual(['genesis 0+0', 'gap 0+0', 'data 0+1']);
  expect(blocks[2]!.sealedMs).toBeGreaterThanOrEqual(blocks[1]!.sealedMs);
  expect(blocks[1]!.detail).toMatchObject({ toMs: blocks[1]!.sealedMs });
});

async function refusal(options: Parameters<World['config']>[0] = {}): Promise<string> {
  const opened = await world.tryOpen(fileDisk, options);
  return opened.kind === 'refused' ? opened.reason : opened.kind;
}

test('refuses when tiles were rolled back behind the signed checkpoint', async () => {
  const copy = join(world.dataDir, 'copy');
  const sealer = await world.open();
  cpSync(world.ledgerDir, copy, { recursive: true });
  world.addRecords(10);
  world.sealAll(sealer);
  rmSync(world.ledgerDir, { recursive: true });
  cpSync(copy, world.ledgerDir, { recursive: true });
  const signatures = world.signed.length;
  expect(await refusal()).toBe('rolled-back');
  expect(world.signed.length).toBe(signatures);
});

test('refuses when state.db was rolled back behind the served checkpoint', async () => {
  const sealer = await world.open();
  world.state.close();
  cpSync(join(world.dataDir, 'state.db'), join(world.dataDir, 'old.db'));
  world.state = new StateStore(world.dataDir);
  world.addRecords(10);
  world.sealAll(sealer);
  world.state.close();
  for (const name of ['state.db', 'state.db-wal', 'state.db-shm'])
    rmSync(join(world.dataDir, name), { force: true });
  cpSync(join(world.dataDir, 'old.db'), join(world.dataDir, 'state.db'));
  world.state = new StateStore(world.dataDir);
  expect(await refusal()).toBe('rolled-back');
});

test('refuses when blocks below the checkpoint were changed, or cannot be read', async () => {
  const sealer = await world.open();
  world.addRecords(20);
  world.sealAll(sealer);
  const bundle = join(world.ledgerDir, 'tile/entries/000.p/3');
  const good = readFileSync(bundle);
  const changed = Buffer.from(good);
  const at = changed.indexOf('sealed ') + 8;
  changed[at] = changed[at] === 0x37 ? 0x38 : 0x37;
  writeFileSync(bundle, changed);
  expect(await refusal()).toBe('rolled-back');
  const cut = Buffer.from(good);
  cut[0] = 0xff;
  writeFileSync(bundle, cut);
  expect(await refusal()).toBe('damaged');
  writeFileSync(bundle, good);
  expect(await refusal()).toBe('ready');
});

test('makes a damaged or missing hash tile again from the blocks', async () => {
  const sealer = await world.open();
  world.addRecords(20);
  world.sealAll(sealer);
  const tile = join(world.ledgerDir, 'tile/0/000.p/3');
  const good = readFileSync(tile);
  const bad = Buffer.from(good);
  bad[40]! ^= 1;
  writeFileSync(tile, bad);
  const opened = await world.tryOpen();
  expect(opened).toMatchObject({ kind: 'ready', repairedFiles: ['tile/0/000.p/3'] });
  expect(readFileSync(tile).equals(good)).toBe(true);
  unlinkSync(tile);
  await world.open();
  expect(readFileSync(tile).equals(good)).toBe(true);
});

test('refuses another key, another origin, and a log that ends before what is sealed', async () => {
  const sealer = await world.open();
  world.addRecords(20);
  world.sealAll(sealer);
  expect(await refusal({ origin: 'other.example.com' })).toBe('other-origin');
  const log = world.records.splice(15);
  expect(await refusal()).toBe('log-behind');
  world.records.push(...log);
  const other = new World();
  const mine = { ...world.key };
  Object.assign(world.key, other.key);
  expect(await refusal()).toBe('other-key');
  Object.assign(world.key, mine);
  other.close();
  expect(await refusal()).toBe('ready');
});

test('unsigned blocks that do not fit the log are not signed', async () => {
  const sealer = await world.open();
  world.addRecords(10);
  // Another writer took the checkpoint: the tiles stand, unsigned.
  const swap = world.state.swapCheckpoint.bind(world.state);
  world.state.swapCheckpoint = () => false;
  expect(() => world.sealAll(sealer)).toThrow('no longer holds a checkpoint');
  world.state.swapCheckpoint = swap;
  const kept = world.records[4]!;
  world.records[4] = madeUpRecord(4, '{"value":"other"}');
  expect(await refusal()).toBe('damaged');
  world.records[4] = kept;
  expect(await refusal()).toBe('ready');
  expect(summary(await readChain())).toEqual(['genesis 0+0', 'data 0+10']);
  expect(existsSync(join(world.ledgerDir, 'checkpoint'))).toBe(true);
});

test('few partial tiles stay, and who comes with an older checkpoint still gets the tree of it', async () => {
  const sealer = await world.open();
  for (let round = 0; round < 40; round++) {
    world.addRecords(3);
    world.clock.advance(500);
    world.sealAll(sealer);
  }
  for (const folder of ['tile/entries/000.p', 'tile/0/000.p'])
    expect(readdirSync(join(world.ledgerDir, folder)).length).toBeLessThanOrEqual(9);
  const read = directoryTiles(world.ledgerDir);
  expect(world.signed.length).toBeGreaterThan(40);
  for (const { size, note } of world.signed) {
    const { root } = parseCheckpoint(parseNote(Buffer.from(note)).text);
    const report = await checkChain({ read, size });
    expect(report.violations).toEqual([]);
    expect(Buffer.from(report.root).equals(root)).toBe(true);
    expect(await hasRoot(new TileTree({ read, size }), root)).toBe(true);
  }
  await world.open();
});
