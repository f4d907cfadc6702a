// A crash at every single step of sealing, and power cuts that forget what was not synced: the sealer must always
// open again, lose nothing, and never have signed two trees of one size.
import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { StateStore } from '../../../gateway/state/state.ts';
import { parseCheckpoint } from '../../../ledger/format/checkpoint.ts';
import { parseNote } from '../../../ledger/format/note.ts';
import type { TileReader } from '../../../ledger/format/tile.ts';
import { hasRoot, TileTree } from '../../../ledger/format/tile-tree.ts';
import { fileDisk, type LedgerDisk } from '../../../ledger/seal/disk.ts';
import { openSealer } from '../../../ledger/seal/open.ts';
import type { CheckpointStore, Sealer } from '../../../ledger/seal/sealer.ts';
import { checkChain } from '../../../ledger/verify/chain.ts';
import { FailingDisk, type FailureMode, ForgetfulDisk } from './disks.ts';
import { madeUpRecord, World } from './world.ts';

/** Sizes and roots of everything signed: one root per size, ever. */
function expectOneRootPerSize(texts: readonly string[]): void {
  const roots = new Map<number, string>();
  for (const text of texts) {
    const { size, root } = parseCheckpoint(text);
    const hex = Buffer.from(root).toString('hex');
    expect(roots.get(size) ?? hex).toBe(hex);
    roots.set(size, hex);
  }
}

/** The served chain is whole and covers exactly `records` records. */
async function expectWholeChain(read: TileReader, records: number): Promise<void> {
  const { size, root } = parseCheckpoint(parseNote((await read('checkpoint'))!).text);
  let covered = 0;
  const report = await checkChain({
    read,
    size,
    onBlock: ({ block }) => {
      covered = block!.first + block!.count;
    },
  });
  expect(report.violations).toEqual([]);
  expect(Buffer.from(report.root).equals(root)).toBe(true);
  expect(await hasRoot(new TileTree({ read, size }), root)).toBe(true);
  expect(covered).toBe(records);
}

const OPTIONS = { ledger: { blockRecordsMax: 1 } };

/** Two rounds: across the border of a tile, and beyond it. */
function twoRounds(sealer: Sealer, record: (offset: number) => ReturnType<typeof madeUpRecord>): void {
  for (const size of [4, 3]) {
    for (let i = 0; i < size; i += 1) sealer.take(record(sealer.next));
    sealer.commit();
  }
}
/** Genesis and 253 records: the first round of twoRounds ends at block 258. */
const BEFORE = 253;
const AFTER = BEFORE + 7;

describe('a failing call', () => {
  let prepared: World;
  beforeAll(async () => {
    prepared = new World();
    const sealer = await prepared.open(fileDisk, OPTIONS);
    prepared.addRecords(BEFORE);
    prepared.sealAll(sealer);
    prepared.state.close();
  });
  afterAll(() => rmSync(prepared.dataDir, { recursive: true, force: true }));

  async function crashAt(call: number, mode: FailureMode): Promise<{ calls: number; failed: boolean }> {
    const world = new World();
    world.state.close();
    rmSync(world.dataDir, { recursive: true });
    cpSync(prepared.dataDir, world.dataDir, { recursive: true });
    world.state = new StateStore(world.dataDir);
    Object.assign(world.key, prepared.key);
    world.addRecords(AFTER);
    const disk = new FailingDisk(fileDisk, call, mode);
    const swap = world.state.swapCheckpoint.bind(world.state);
    world.state.swapCheckpoint = (...values) => disk.step('swapCheckpoint', () => swap(...values));
    let failed = false;
    try {
      twoRounds(await world.open(disk, OPTIONS), (offset) => world.records[offset]!);
    } catch (error) {
      expect(String(error)).toContain(mode);
      failed = true;
    }
    world.state.swapCheckpoint = swap;
    // What is cut into blocks after the crash is cut at another time: other bytes, so other roots.
    world.clock.advance(12_345);
    world.sealAll(await world.open(fileDisk, OPTIONS));
    expectOneRootPerSize(world.signedTexts);
    await expectWholeChain(async (path) => fileDisk.read(join(world.ledgerDir, path)), AFTER);
    world.close();
    return { calls: disk.calls, failed };
  }

  for (const mode of ['failed', 'failed but persisted'] as const) {
    test(`${mode}, at every call of two rounds`, async () => {
      let call = 1;
      while ((await crashAt(call, mode)).failed) call += 1;
      // Reads of the start, then tiles, signature, checkpoint and clearing of both rounds.
      expect(call).toBeGreaterThan(60);
    }, 180_000);
  }
});

describe('a power cut', () => {
  const DATA_DIR = '/data';
  const keyWorld = new World();
  afterAll(() => keyWorld.close());

  interface Machine {
    disk: ForgetfulDisk;
    stored: { size: number; note: string } | null;
    readonly signedTexts: string[];
    wallMs: number;
  }

  async function open(
    machine: Machine,
    disk: LedgerDisk,
    step: <T>(run: () => T) => T,
    bootId: string,
  ): Promise<Sealer> {
    const checkpoints: CheckpointStore = {
      loadCheckpoint: () => machine.stored,
      swapCheckpoint: (expected, size, note) =>
        step(() => {
          if ((machine.stored?.size ?? null) !== expected) return false;
          machine.stored = { size, note };
          return true;
        }),
    };
    const opened = await openSealer({
      dataDir: DATA_DIR,
      config: keyWorld.config({ ...OPTIONS, bootId }),
      disk,
      clock: { nowMs: () => machine.wallMs, monotonicMs: () => 1 },
      key: {
        publicKey: keyWorld.key.publicKey,
        sign: (message) => {
          machine.signedTexts.push(Buffer.from(message).toString());
          return keyWorld.key.sign(message);
        },
      },
      checkpoints,
      readRecords: async (first, count) => Array.from({ length: count }, (_, i) => madeUpRecord(first + i)),
      logEnd: 1_000_000,
    });
    if (opened.kind === 'refused') throw new Error(`refused: ${opened.reason}: ${opened.message}`);
    return opened.sealer;
  }

  /** A small seeded generator (mulberry32), so that a failing cut can be repeated from its name. */
  function seeded(seed: number): () => number {
    let state = seed;
    return () => {
      state = (state + 0x6d2b79f5) | 0;
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
      return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
    };
  }

  async function prepare(records: number): Promise<Machine> {
    const machine: Machine = {
      disk: new ForgetfulDisk(DATA_DIR),
      stored: null,
      signedTexts: [],
      wallMs: 1_763_600_000_000,
    };
    if (records === 0) return machine;
    const sealer = await open(machine, machine.disk, (run) => run(), '0000000000000001');
    while (sealer.next < records) {
      sealer.take(madeUpRecord(sealer.next));
      if (sealer.roundFull) sealer.commit();
    }
    sealer.commit();
    return machine;
  }

  /** Cuts the power at `call`, and once more at a random call of the restart; then all must be well. */
  async function cutAt(start: Machine, call: number, seed: number): Promise<boolean> {
    const random = seeded(seed);
    const machine: Machine = { ...start, disk: start.disk.clone(), signedTexts: [...start.signedTexts] };
    let wasCut = false;
    for (const failAt of [call, 1 + Math.floor(random() * 40)]) {
      const failing = new FailingDisk(
        machine.disk,
        failAt,
        random() < 0.5 ? 'failed' : 'failed but persisted',
      );
      try {
        const sealer = await open(
          machine,
          failing,
          (run) => failing.step('swapCheckpoint', run),
          `000000000000${1000 + failAt}`,
        );
        twoRounds(sealer, madeUpRecord);
      } catch (error) {
        if (!String(error).includes('failed')) throw error;
        wasCut ||= failAt === call;
      }
      const chance = random();
      machine.disk.powerCut(() => random() < chance);
      machine.wallMs += 1_000;
    }
    const sealer = await open(machine, machine.disk, (run) => run(), '00000000000000ff');
    twoRounds(sealer, madeUpRecord);
    expectOneRootPerSize(machine.signedTexts);
    await expectWholeChain(async (path) => machine.disk.read(`${DATA_DIR}/ledger/${path}`), sealer.next);
    return wasCut;
  }

  for (const records of [0, BEFORE]) {
    test(`at every call of two rounds after ${records} records, seeds 1 and 2`, async () => {
      const start = await prepare(records);
      for (let seed = 1; seed <= 2; seed += 1) {
        for (let call = 1; ; call += 1) {
          let wasCut = false;
          try {
            wasCut = await cutAt(start, call, seed * 1_000 + call);
          } catch (error) {
            throw new Error(`power cut at call ${call}, seed ${seed}`, { cause: error });
          }
          if (!wasCut) break;
        }
      }
    }, 180_000);
  }
});
