// A crash of the gateway at every single step of seal → sign → store → publish → cosign → serve, and of the authority before
// and after it stores: nobody ever signs two roots of one size, no evidence arises, and all is final in the end.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { authorityConfig } from '../../../ledger/authority/config.ts';
import { servedGateways } from '../../../ledger/authority/gateways.ts';
import { openAuthority } from '../../../ledger/authority/store.ts';
import { Witness, type WitnessAnswer } from '../../../ledger/authority/witness.ts';
import { formatAddCheckpoint } from '../../../ledger/format/add-checkpoint.ts';
import { toBase64 } from '../../../ledger/format/base64.ts';
import { parseCheckpoint } from '../../../ledger/format/checkpoint.ts';
import { formatVerifierKey, openNote, parseNote, parseVerifierKey } from '../../../ledger/format/note.ts';
import { TileTree } from '../../../ledger/format/tile-tree.ts';
import { fileDisk } from '../../../ledger/seal/disk.ts';
import { gatewayVerifierKey } from '../../../ledger/seal/key.ts';
import type { Sealer } from '../../../ledger/seal/sealer.ts';
import { directoryTiles } from '../../../ledger/tiles/source.ts';
import type { EvidenceFile } from '../../../ledger/verify/evidence.ts';
import { FailingDisk, type FailureMode } from '../seal/disks.ts';
import { ORIGIN, World } from '../seal/world.ts';

const OPTIONS = { ledger: { blockRecordsMax: 1 } };
const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** One authority in this process, on a real database that can be closed and opened like after a crash. */
class CrashingAuthority {
  readonly evidence: EvidenceFile[] = [];
  /** Texts it cosigned, whether or not the answer arrived. */
  readonly cosigned: string[] = [];
  readonly #dataDir = mkdtempSync(join(tmpdir(), 'tidemark-authority-'));
  readonly #gatewayKey: string;
  #opened!: ReturnType<typeof openAuthority>;
  #witness!: Witness;

  constructor(world: World) {
    folders.push(this.#dataDir);
    this.#gatewayKey = gatewayVerifierKey(ORIGIN, world.key);
    this.open();
  }

  open(): void {
    this.#opened = openAuthority(this.#dataDir);
    const gateways = servedGateways(
      authorityConfig.parse({ name: 'w', dataDir: this.#dataDir, gateways: [{ keys: [this.#gatewayKey] }] }),
    );
    this.#witness = new Witness({
      name: 'w',
      ...this.#opened,
      gatewayOf: (origin) => gateways.get(origin),
      historyKept: 100,
      nowMs: () => 1_763_600_000_000,
      onEvidence: (_origin, evidence) => this.evidence.push(evidence),
    });
  }

  close(): void {
    this.#opened.heads.close();
  }

  get key() {
    return parseVerifierKey(formatVerifierKey(this.#witness.verifierKey));
  }

  submit(body: string): WitnessAnswer {
    const answer = this.#witness.addCheckpoint(Buffer.from(body));
    if (answer.status === 200) this.cosigned.push(parseNote(body.slice(body.indexOf('\n\n') + 2)).text);
    return answer;
  }
}

/** What the gateway does after a commit: from what it believes is held, following one 409. */
async function cosign(
  world: World,
  sealer: Sealer,
  authority: CrashingAuthority,
  disk: FailingDisk,
): Promise<void> {
  const { size, note } = sealer.signed!;
  const tree = new TileTree({ read: directoryTiles(world.ledgerDir), size });
  let held = 0;
  for (;;) {
    const proof = held === 0 || held === size ? [] : await tree.consistencyProof(held);
    // Failed: the request never arrived. Failed but persisted: it was answered, and the answer was lost.
    const answer = disk.step('submit', () =>
      authority.submit(formatAddCheckpoint({ oldSize: held, proof, note })),
    );
    if (answer.status === 409 && answer.size !== held) {
      expect(answer.size).toBeLessThanOrEqual(size);
      held = answer.size;
      continue;
    }
    if (answer.status !== 200) throw new Error(`HTTP ${answer.status}`);
    const cosigned = note + answer.lines;
    openNote(parseNote(cosigned), [authority.key]);
    sealer.serveFinal(cosigned);
    sealer.serve(cosigned);
    return;
  }
}

function expectOneRootPerSize(texts: readonly string[]): void {
  const roots = new Map<number, string>();
  for (const text of texts) {
    const { size, root } = parseCheckpoint(text);
    expect(roots.get(size) ?? toBase64(root)).toBe(toBase64(root));
    roots.set(size, toBase64(root));
  }
}

async function crashAt(call: number, mode: FailureMode): Promise<boolean> {
  const world = new World();
  const authority = new CrashingAuthority(world);
  world.addRecords(4);
  const disk = new FailingDisk(fileDisk, call, mode);
  const swap = world.state.swapCheckpoint.bind(world.state);
  world.state.swapCheckpoint = (...values) => disk.step('swapCheckpoint', () => swap(...values));
  let failed = false;
  try {
    const sealer = await world.open(disk, OPTIONS);
    for (const upTo of [2, 4]) {
      while (sealer.next < upTo) sealer.take(world.records[sealer.next]!);
      sealer.commit();
      await cosign(world, sealer, authority, disk);
    }
  } catch (error) {
    expect(String(error)).toContain(mode);
    failed = true;
  }
  world.state.swapCheckpoint = swap;
  // The authority's machine goes down with it, and the clock is another one when both are back.
  authority.close();
  authority.open();
  world.clock.advance(12_345);
  const sealer = await world.open(fileDisk, OPTIONS);
  world.sealAll(sealer);
  await cosign(world, sealer, authority, new FailingDisk(fileDisk));
  expectOneRootPerSize([...world.signedTexts, ...authority.cosigned]);
  expect(authority.evidence).toEqual([]);
  const served = parseNote(fileDisk.read(join(world.ledgerDir, 'checkpoint'))!);
  expect(openNote(served, [authority.key])).toHaveLength(1);
  authority.close();
  world.close();
  return failed;
}

describe('a crash at every step', () => {
  for (const mode of ['failed', 'failed but persisted'] as const) {
    test(`${mode}`, async () => {
      let call = 1;
      while (await crashAt(call, mode)) call += 1;
      // Start, tiles, signature, checkpoint, submission and serving, twice.
      expect(call).toBeGreaterThan(50);
    }, 180_000);
  }
});
