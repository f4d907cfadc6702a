// Subtree roots kept beside the ledger make proofs quicker and nothing else: the same bytes with them, without them, and with
// every kind of damage to them.
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openReader } from '../../../gateway/log/reader.ts';
import type { LogReader } from '../../../gateway/log/types.ts';
import { offset as asOffset, type BlockHeight } from '../../../ledger/format/brand.ts';
import { spanRanges } from '../../../ledger/format/merkle.ts';
import { formatProofFile } from '../../../ledger/format/proof.ts';
import { formatRangeFile } from '../../../ledger/format/proof-range.ts';
import { createRecordHasher, type TelemetryRecord } from '../../../ledger/format/record.ts';
import { fileDisk } from '../../../ledger/seal/disk.ts';
import { declareRemovals } from '../../../ledger/seal/prune.ts';
import type { Sealer } from '../../../ledger/seal/sealer.ts';
import { SubtreeWriter } from '../../../ledger/seal/subtrees.ts';
import { HASH_BYTES, pathInPlace, rootInPlace } from '../../../ledger/tiles/batchtree.ts';
import { BlockLog, readHead } from '../../../ledger/tiles/blocks.ts';
import { nodeSha256 } from '../../../ledger/tiles/hashing.ts';
import { type ProveOptions, Prover } from '../../../ledger/tiles/prove.ts';
import { directoryTiles } from '../../../ledger/tiles/source.ts';
import {
  directorySubtrees,
  HEADER_BYTES,
  slotAt,
  subtreesFolder,
} from '../../../ledger/tiles/subtreefiles.ts';
import {
  pathThrough,
  rangeRoot,
  rootOfSubtrees,
  SUBTREE_LEAVES,
  subtreesInPlace,
  wholeSubtrees,
} from '../../../ledger/tiles/subtrees.ts';
import { verifyProof } from '../../../ledger/verify/index.ts';
import { GatewayDir, inputs } from '../fsck/gateway.ts';
import { World } from '../seal/world.ts';

const RECORDS = 3_000;
const height = (at: number) => at as BlockHeight;
/** Blocks of 700, the last of 200: too small for roots to be kept. */
const BLOCK = 700;
const dir = new GatewayDir();
let reader: LogReader;

const tiles = () => directoryTiles(join(dir.dataDir, 'ledger'));
const records = (first: number, count: number) =>
  reader.fetch(asOffset(first), { maxRecords: count, maxBytes: 8 * 1024 * 1024 });
const newProver = (options: Partial<ProveOptions> = {}) =>
  new Prover({ tiles: tiles(), records, subtrees: directorySubtrees(dir.dataDir), ...options });

beforeAll(async () => {
  await dir.run(inputs(RECORDS), { ledger: { blockRecordsMax: BLOCK }, group: 200 });
  reader = await openReader({ dataDir: dir.dataDir });
});
afterAll(async () => {
  await reader.close();
  dir.remove();
});

async function proofText(prover: Prover, offset: number): Promise<string> {
  const result = await prover.prove(offset);
  if (result.kind !== 'proof') throw new Error(`offset ${offset}: ${result.kind}`);
  return formatProofFile(result.proof);
}

async function rangeText(prover: Prover, first: number, last: number): Promise<string> {
  const result = await prover.proveRange(first, last);
  if (result.kind !== 'proof') throw new Error(`offsets ${first} to ${last}: ${result.kind}`);
  return formatRangeFile(result.proof);
}

const madeUpLeaves = (count: number) =>
  Buffer.concat(Array.from({ length: count }, (_, i) => nodeSha256(Buffer.from(`leaf ${i}`))));

test('paths and roots through subtrees are those of the whole tree, for any size and span', () => {
  const sized = fc
    .integer({ min: 1, max: 1_200 })
    .chain((count) =>
      fc.tuple(
        fc.constant(count),
        fc.integer({ min: 0, max: count - 1 }),
        fc.integer({ min: 1, max: count }),
      ),
    );
  fc.assert(
    fc.property(sized, ([count, begin, length]) => {
      const leaves = madeUpLeaves(count);
      const whole = () => Buffer.from(leaves);
      const roots = Buffer.from(subtreesInPlace(whole(), count));
      expect(rootOfSubtrees(roots)).toEqual(rootInPlace(whole(), count));
      const partOf = (from: number, to: number) => {
        const part = wholeSubtrees(from, to, count);
        return { ...part, leaves: leaves.subarray(part.begin * HASH_BYTES, part.end * HASH_BYTES) };
      };
      expect(pathThrough(roots, partOf(begin, begin + 1), begin)).toEqual(pathInPlace(whole(), count, begin));
      const end = Math.min(begin + length, count);
      const part = partOf(begin, end);
      for (const range of spanRanges({ begin, end }, count))
        expect(rangeRoot(roots, part, range.begin, range.end)).toEqual(
          rootInPlace(
            Buffer.from(leaves.subarray(range.begin * HASH_BYTES, range.end * HASH_BYTES)),
            range.end - range.begin,
          ),
        );
    }),
    { numRuns: 300 },
  );
});

test('proofs are byte for byte those made from whole blocks', async () => {
  const quick = newProver();
  const slow = newProver({ subtrees: undefined });
  const gatewayKey = dir.verifierKey;
  for (let at = 0; at < RECORDS; at += at % BLOCK < 130 ? 1 : 31) {
    const text = await proofText(quick, at);
    expect(text).toBe(await proofText(slow, at));
    if (at % 97 === 0) expect(verifyProof(text, { gatewayKey }).valid).toBe(true);
  }
  for (const [first, last] of [
    [0, 0],
    [63, 64],
    [10, 699],
    [128, 191],
    [640, 760],
    [699, 700],
    [5, 2_999],
    [1_400, 2_799],
    [2_790, 2_999],
  ] as const) {
    const text = await rangeText(quick, first, last);
    expect(text).toBe(await rangeText(slow, first, last));
    expect(verifyProof(text, { gatewayKey }).valid).toBe(true);
  }
});

test('a proof reads the records of one subtree, and without the file those of the block, once', async () => {
  let read = 0;
  const counted = async (first: number, count: number) => {
    const found = await records(first, count);
    read += found.length;
    return found;
  };
  await newProver({ records: counted }).prove(1_000);
  expect(read).toBe(SUBTREE_LEAVES);
  read = 0;
  const prover = newProver({ records: counted, subtrees: undefined });
  await prover.prove(1_000);
  expect(read).toBe(BLOCK + SUBTREE_LEAVES);
  await prover.prove(1_399);
  // The last subtree of 700 leaves has 60.
  expect(read).toBe(BLOCK + SUBTREE_LEAVES + 60);
});

test('blocks of few records leave nothing', async () => {
  const small = new GatewayDir();
  await small.run(inputs(600), { ledger: { blockRecordsMax: 256 } });
  expect(readdirSync(small.dataDir)).not.toContain('subtrees');
  small.remove();
});

test('damaged in any place, cut anywhere or gone, the file changes no proof', async () => {
  const at = BLOCK + 100;
  const span = [at, at + 70] as const;
  const expected = [await proofText(newProver(), at), await rangeText(newProver(), ...span)];
  const folder = subtreesFolder(dir.dataDir);
  const [name] = readdirSync(folder);
  const path = join(folder, name!);
  const sound = readFileSync(path);
  const slot = slotAt(
    (await new BlockLog(tiles(), (await readHead(tiles()))!.checkpoint.size).covering(at))!.block.height,
  );
  const roots = sound.readUInt32BE(slot);
  const same = async (what: string) => {
    const prover = newProver();
    const made = [await proofText(prover, at), await rangeText(prover, ...span)];
    expect(made, what).toEqual(expected);
  };
  const places = [0, 4, 8, 15, slot, slot + 3, ...Array.from({ length: 11 }, (_, i) => roots + i * 32 + i)];
  for (const place of places)
    for (const bit of [1, 0x80]) {
      const flipped = Buffer.from(sound);
      flipped[place]! ^= bit;
      writeFileSync(path, flipped);
      await same(`byte ${place}`);
    }
  for (const length of [0, 3, 16, HEADER_BYTES - 1, HEADER_BYTES, roots, roots + 5, roots + 11 * 32 - 1]) {
    writeFileSync(path, sound);
    truncateSync(path, length);
    await same(`cut at ${length}`);
  }
  rmSync(path);
  await same('gone');
  mkdirSync(path);
  await same('a folder');
  rmSync(folder, { recursive: true });
  await same('no folder');
  mkdirSync(folder);
  writeFileSync(path, sound);
});

test('a changed record is found by itself, with the file or with a damaged one; those of other subtrees stay proven', async () => {
  const at = BLOCK + 100;
  const edited = async (first: number, count: number): Promise<TelemetryRecord[]> =>
    (await records(first, count)).map((record) =>
      record.offset === at ? { ...record, payload: new Uint8Array(1) } : record,
    );
  const damaged: ProveOptions['subtrees'] = (block) => {
    const roots = directorySubtrees(dir.dataDir)(block);
    roots?.fill(0);
    return roots;
  };
  for (const subtrees of [directorySubtrees(dir.dataDir), damaged, undefined]) {
    const prover = newProver({ records: edited, subtrees });
    expect(await prover.prove(at)).toMatchObject({ kind: 'does-not-match', height: 2 });
    expect(await prover.prove(at + 1)).toMatchObject({ kind: 'does-not-match' });
    expect(await prover.proveRange(at - 5, at + 5)).toMatchObject({ kind: 'does-not-match' });
  }
  const text = await proofText(newProver({ records: edited }), at + 100);
  expect(text).toBe(await proofText(newProver(), at + 100));
});

test('where retention removed records and kept their hashes, the others are proven', async () => {
  const isGone = (at: number) => at >= 100 && at < 900 && at % 3 !== 0;
  const hashRecord = createRecordHasher(nodeSha256);
  const all: TelemetryRecord[] = [];
  while (all.length < RECORDS) all.push(...(await records(all.length, RECORDS)));
  const gone = new Map(
    all.filter(({ offset }) => isGone(offset)).map((one) => [one.offset as number, hashRecord(one)]),
  );
  // As a reader gives them: from the first held one on.
  const kept = all.filter(({ offset }) => !isGone(offset));
  const held = async (first: number, count: number) =>
    kept.filter(({ offset }) => offset >= first).slice(0, count);
  const leaves = async (first: number, end: number) =>
    new Map([...gone].filter(([at]) => at >= first && at < end));
  const quick = newProver({ records: held, leaves });
  const slow = newProver({ records: held, leaves, subtrees: undefined });
  for (const at of [0, 99, 102, 600, 699, 702, 897, 900])
    expect(await proofText(quick, at)).toBe(await proofText(slow, at));
  expect(await rangeText(quick, 90, 910)).toBe(await rangeText(slow, 90, 910));
  for (const prover of [quick, slow]) expect(await prover.prove(101)).toMatchObject({ kind: 'not-held' });
  // Without the hashes the rest of a touched subtree cannot be proven; the whole of another can.
  const without = newProver({ records: held });
  expect(await without.prove(102)).toMatchObject({ kind: 'not-held' });
  expect(await proofText(without, 50)).toBe(await proofText(slow, 50));
});

// ---- the writer

function sealRecords(world: World, sealer: Sealer, count: number): void {
  world.addRecords(count);
  for (const record of world.records.slice(sealer.next)) sealer.take(record);
  sealer.cut();
  sealer.commit();
}

const LARGE = { ledger: { blockRecordsMax: 300 } };

async function expectAllProven(world: World, from = 0): Promise<void> {
  const subtrees = directorySubtrees(world.dataDir);
  const options = { tiles: directoryTiles(world.ledgerDir), records: world.readRecords };
  const quick = new Prover({ ...options, subtrees });
  const slow = new Prover(options);
  for (let at = from; at < world.records.length; at += 37)
    expect(await proofText(quick, at)).toBe(await proofText(slow, at));
}

test('a crash after the signature and before the roots are written loses them alone', async () => {
  const world = new World();
  const errors: unknown[] = [];
  const writer = new SubtreeWriter(world.dataDir, (error) => errors.push(error));
  sealRecords(world, await world.open(fileDisk, { ...LARGE, subtrees: writer }), 300);
  sealRecords(world, await world.open(fileDisk, LARGE), 300);
  sealRecords(world, await world.open(fileDisk, { ...LARGE, subtrees: writer }), 300);
  const subtrees = directorySubtrees(world.dataDir);
  expect([1, 2, 3].map((at) => subtrees({ height: height(at), count: 300 })?.length)).toEqual([
    160,
    undefined,
    160,
  ]);
  await expectAllProven(world);
  // Torn by a power cut: begun anew, and the older blocks are read as a whole.
  truncateSync(join(subtreesFolder(world.dataDir), '000000000000.roots'), 20);
  sealRecords(world, await world.open(fileDisk, { ...LARGE, subtrees: writer }), 300);
  expect([1, 2, 3, 4].map((at) => subtrees({ height: height(at), count: 300 })?.length)).toEqual([
    undefined,
    undefined,
    undefined,
    160,
  ]);
  await expectAllProven(world);
  expect(errors).toEqual([]);
  world.close();
});

test('where they cannot be written sealing goes on, and it is said once', async () => {
  const world = new World();
  const errors: unknown[] = [];
  writeFileSync(subtreesFolder(world.dataDir), 'in the way');
  const writer = new SubtreeWriter(world.dataDir, (error) => errors.push(error));
  const sealer = await world.open(fileDisk, { ...LARGE, subtrees: writer });
  sealRecords(world, sealer, 300);
  sealRecords(world, sealer, 300);
  expect(errors).toHaveLength(1);
  await expectAllProven(world);
  rmSync(subtreesFolder(world.dataDir));
  sealRecords(world, sealer, 300);
  expect(directorySubtrees(world.dataDir)({ height: height(3), count: 300 })).toHaveLength(160);
  world.close();
});

test('a declared removal takes the files of blocks that are gone, and a copy of the folder does no harm', async () => {
  const world = new World();
  const writer = new SubtreeWriter(world.dataDir, (error) => {
    throw error;
  });
  const sealer = await world.open(fileDisk, { ...LARGE, subtrees: writer });
  for (let group = 0; group < 3; group += 1) {
    sealRecords(world, sealer, 300);
    while (sealer.last!.height % 256 !== 255) {
      sealer.heartbeat();
      if (sealer.roundFull) sealer.commit();
    }
    sealer.commit();
  }
  const folder = subtreesFolder(world.dataDir);
  const names = ['000000000000.roots', '000000000001.roots', '000000000002.roots'];
  expect(readdirSync(folder)).toEqual(names);
  cpSync(folder, `${folder}-copy`, { recursive: true });
  const remove = async (end: number) => {
    world.state.planRemoval(
      { first: 0, end, records: end, cause: 'retention', rule: 'test', segment: null },
      0,
    );
    await declareRemovals(sealer, world.state, directoryTiles(world.ledgerDir), writer);
  };
  await remove(299);
  expect(readdirSync(folder)).toEqual(names);
  await remove(300);
  expect(readdirSync(folder)).toEqual(names.slice(1));
  await remove(900);
  expect(readdirSync(folder)).toEqual(names.slice(2));
  await expectAllProven(world, 300);
  // Of another chain, or older than this one: other roots under the same heights.
  rmSync(folder, { recursive: true });
  cpSync(`${folder}-copy`, folder, { recursive: true });
  const [first, second] = names.map((name) => readFileSync(join(folder, name)));
  writeFileSync(join(folder, names[0]!), second!);
  writeFileSync(join(folder, names[1]!), first!);
  await expectAllProven(world);
  world.close();
});
