// Power cut at every write while a gateway seals and an authority cosigns: the calls of a real run, as the kernel saw them,
// with every outcome of what no sync had covered. Each disk that can be left is started from, and judged by what was promised.
import { spawnSync } from 'node:child_process';
import { hash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { authorityConfig } from '../../../ledger/authority/config.ts';
import { servedGateways } from '../../../ledger/authority/gateways.ts';
import { openAuthority } from '../../../ledger/authority/store.ts';
import { Witness } from '../../../ledger/authority/witness.ts';
import { decodeMemory } from '../../../ledger/cosign/memory.ts';
import { formatAddCheckpoint } from '../../../ledger/format/add-checkpoint.ts';
import { toBase64 } from '../../../ledger/format/base64.ts';
import { treeSize } from '../../../ledger/format/brand.ts';
import { formatCheckpoint, parseCheckpoint } from '../../../ledger/format/checkpoint.ts';
import { sha256 } from '../../../ledger/format/hash.ts';
import { formatNote, formatVerifierKey, parseNote, parseVerifierKey } from '../../../ledger/format/note.ts';
import { TileTree } from '../../../ledger/format/tile-tree.ts';
import { loadKeyFile, type SigningKey } from '../../../ledger/keys/file.ts';
import { applyChanges, keyChangePath } from '../../../ledger/seal/changes.ts';
import { fileDisk } from '../../../ledger/seal/disk.ts';
import { gatewayKeyPath, gatewayVerifierKey } from '../../../ledger/seal/key.ts';
import { directoryTiles } from '../../../ledger/tiles/source.ts';
import type { MemoryDisk } from '../../fault/memory-disk.ts';
import { freePort } from '../../support/processes.ts';
import { ORIGIN, World } from '../seal/world.ts';
import { type Call, type Mark, ReplayedDisk, traced } from './trace.ts';

const hasStrace = spawnSync('strace', ['-V']).status === 0;
if (!hasStrace) console.warn('skipped: apt-get install strace to follow what reaches the disk');

/** Whose promises are whose. */
const PROMISED = {
  gateway: ['gateway key', 'rotated', 'signed', 'stored', 'remembered'],
  authority: ['authority key', 'answered'],
} as const satisfies Record<string, readonly Mark['kind'][]>;
type Machine = keyof typeof PROMISED;
const MACHINES = Object.keys(PROMISED) as Machine[];
const SHOWN = 5;

/** What a machine that starts again must still hold to. */
type Promises = readonly Mark[];

let calls: Call[];
let work: string;
/** The whole run's ledger, to go on from wherever an authority stands. */
let ended: {
  readonly folder: string;
  readonly key: SigningKey;
  readonly keys: readonly string[];
  readonly note: string;
};

beforeAll(async () => {
  if (!hasStrace) return;
  calls = traced(join(import.meta.dirname, 'hall.ts'), [String(await freePort())]);
  // Thousands of small databases: in memory where there is such a folder. What is judged has left its disk already.
  work = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'tidemark-power-'));
  const last = new ReplayedDisk();
  const keys = new Set<string>();
  for (const call of calls) {
    const of = machineOf(call);
    if (of !== null) await last.apply(call);
    if (of !== 'marks' || call.kind !== 'write') continue;
    const mark = JSON.parse(call.bytes.toString()) as Mark;
    if (mark.kind === 'gateway key') keys.add(mark.key);
  }
  const folder = join(work, 'ended');
  put(last.disk, folder);
  const world = new World(join(folder, 'gateway'));
  const { note } = world.state.loadCheckpoint()!;
  world.state.close();
  const key = loadKeyFile(gatewayKeyPath(world.dataDir))!;
  ended = { folder: join(folder, 'gateway'), key, keys: [...keys], note };
}, 300_000);
afterAll(() => {
  if (work) rmSync(work, { recursive: true, force: true });
});

/** By descriptor, for calls that name none. */
const followed = new Map<number, string>();

function machineOf(call: Call): Machine | 'marks' | null {
  if (call.kind === 'open') followed.set(call.fd, call.path);
  const path =
    'path' in call ? call.path : 'from' in call ? call.from : followed.get((call as { fd: number }).fd)!;
  const [top] = path.split('/');
  return MACHINES.find((machine) => machine === top) ?? (top === 'marks' ? 'marks' : null);
}

function put(disk: MemoryDisk, folder: string): void {
  rmSync(folder, { recursive: true, force: true });
  for (const [name, bytes] of disk.files()) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes, { mode: 0o600 });
  }
}

interface Swept {
  readonly moments: number;
  readonly cases: number;
  readonly disks: number;
  readonly failures: readonly string[];
}

/** Every power cut of one machine, at every moment of the run. @param isLost syncs that shall do nothing */
async function sweep(
  machine: Machine,
  judge: (folder: string, promises: Promises) => Promise<void>,
  isLost: (path: string) => boolean = () => false,
): Promise<Swept> {
  const replayed = new ReplayedDisk();
  const promised = new Set<Mark['kind']>(PROMISED[machine]);
  const promises: Mark[] = [];
  const seen = new Set<string>();
  const failures: string[] = [];
  let moments = 0;
  let cases = 0;
  for (const [at, call] of calls.entries()) {
    const of = machineOf(call);
    if (of === 'marks' && call.kind === 'write') {
      const mark = JSON.parse(call.bytes.toString()) as Mark;
      if (!promised.has(mark.kind)) continue;
      promises.push(mark);
    } else if (of !== machine) continue;
    else if (!(call.kind === 'sync' && isLost(followed.get(call.fd)!))) await replayed.apply(call);
    if (call.kind === 'close' || call.kind === 'open') continue;
    moments += 1;
    for (const { name, disk } of replayed.disk.powerCuts()) {
      cases += 1;
      const files = [...disk.files()]
        // Unfinished files are removed at a start, whatever they hold: one disk for all of them.
        .filter(([file]) => !file.includes('/.incoming/'))
        .map(([file, bytes]) => `${file} ${hash('sha1', bytes, 'base64')}`);
      const key = hash('sha1', `${promises.length}\n${files.join('\n')}`, 'base64');
      if (seen.has(key)) continue;
      seen.add(key);
      const folder = join(work, machine);
      put(disk, folder);
      mkdirSync(join(folder, machine), { recursive: true });
      try {
        await judge(join(folder, machine), promises);
      } catch (error) {
        failures.push(`call ${at} (${call.kind}), ${name}: ${error instanceof Error ? error.stack : error}`);
        if (failures.length === SHOWN) return { moments, cases, disks: seen.size, failures };
      }
    }
  }
  return { moments, cases, disks: seen.size, failures };
}

const of = <K extends Mark['kind']>(promises: Promises, kind: K) =>
  promises.filter((mark): mark is Extract<Mark, { kind: K }> => mark.kind === kind);

/** Still the key and the heads it answered with; cosigns no other history; goes on with the honest one. */
async function judgeAuthority(dataDir: string, promises: Promises): Promise<void> {
  const { key, heads } = openAuthority(dataDir);
  try {
    const config = { name: 'w.example.com', dataDir, gateways: [{ keys: ended.keys }] };
    const gateways = servedGateways(authorityConfig.parse(config));
    const witness = new Witness({
      ...{
        name: 'w.example.com',
        key,
        heads,
        historyKept: 100,
        nowMs: Date.now,
        onEvidence: () => undefined,
      },
      gatewayOf: (origin) => gateways.get(origin),
    });
    for (const promised of of(promises, 'authority key'))
      expect(formatVerifierKey(witness.verifierKey)).toBe(promised.key);
    for (const { size, root } of of(promises, 'answered')) {
      const head = heads.at(ORIGIN, size);
      expect(head && toBase64(head.root), `the head of ${size} blocks`).toBe(root);
    }
    const held = witness.newest(ORIGIN)?.size ?? 0;
    const add = (oldSize: number, proof: readonly Uint8Array[], note: string) =>
      witness.addCheckpoint(Buffer.from(formatAddCheckpoint({ oldSize, proof, note }))).status;
    if (held > 0) {
      for (const [oldSize, size] of [
        [held, held],
        [0, held],
        [held, held + 1],
      ] as const)
        expect(add(oldSize, [], otherHistory(size))).not.toBe(200);
    }
    const { size } = parseCheckpoint(parseNote(ended.note).text);
    const tree = new TileTree({ read: directoryTiles(join(ended.folder, 'ledger')), size });
    const proof = held === 0 || held === size ? [] : await tree.consistencyProof(held);
    expect(add(held, proof, ended.note)).toBe(200);
  } finally {
    heads.close();
  }
  expect(isSound(join(dataDir, 'authority.db'))).toBe(true);
}

function otherHistory(size: number): string {
  const text = formatCheckpoint({
    origin: ORIGIN,
    size: treeSize(size),
    root: sha256(Buffer.from('another')),
  });
  const { name, keyId } = parseVerifierKey(gatewayVerifierKey(ORIGIN, ended.key));
  return formatNote({ text, signatures: [{ name, keyId, signature: ended.key.sign(Buffer.from(text)) }] });
}

/**
 * Still its key, its checkpoint and what is final; signs no second root of a size, whatever the clock says now; finishes a
 * rotation that it had begun.
 */
async function judgeGateway(dataDir: string, promises: Promises): Promise<void> {
  const world = new World(dataDir);
  try {
    const signed = of(promises, 'signed').map(({ text }) => text);
    if (signed.length > 0) {
      const keys = of(promises, 'gateway key').map(({ key }) => key);
      expect(keys).toContain(gatewayVerifierKey(ORIGIN, world.key));
    }
    const stored = of(promises, 'stored').at(-1)?.size ?? 0;
    expect(world.state.loadCheckpoint()?.size ?? 0).toBeGreaterThanOrEqual(stored);
    const { final } = decodeMemory(world.state.loadCursor('cosigner')?.state ?? null);
    const remembered = of(promises, 'remembered').at(-1)?.size ?? 0;
    expect(final === null ? 0 : parseCheckpoint(parseNote(final).text).size).toBeGreaterThanOrEqual(
      remembered,
    );
    world.addRecords(RECORDS);
    world.clock.advance(77_777_777);
    const sealer = await world.open(fileDisk, { ledger: { blockRecordsMax: 1 } });
    const wasRotated = of(promises, 'rotated').at(-1);
    if (wasRotated) expect(formatVerifierKey(sealer.epochs.key)).toBe(wasRotated.key);
    applyChanges(sealer, dataDir, (level, message) => expect(level, message).toBe('info'));
    world.sealAll(sealer);
    expect(sealer.next).toBe(RECORDS);
    expect(existsSync(keyChangePath(dataDir))).toBe(false);
    const inForce = formatVerifierKey(sealer.epochs.key);
    expect(gatewayVerifierKey(ORIGIN, loadKeyFile(gatewayKeyPath(dataDir))!)).toBe(inForce);
    const roots = new Map<number, string>();
    for (const text of [...signed, ...world.signed.map(({ note }) => parseNote(note).text)]) {
      const { size, root } = parseCheckpoint(text);
      expect(roots.get(size) ?? toBase64(root), `the root of ${size} blocks`).toBe(toBase64(root));
      roots.set(size, toBase64(root));
    }
  } finally {
    world.state.close();
  }
  expect(isSound(join(dataDir, 'state.db'))).toBe(true);
}

/** One more than the run has sealed. */
const RECORDS = 4;

function isSound(file: string): boolean {
  const db = new Database(file, { readonly: true });
  try {
    return db.pragma('integrity_check', { simple: true }) === 'ok';
  } finally {
    db.close();
  }
}

function expectKept(machine: Machine, { moments, cases, disks, failures }: Swept): void {
  writeSync(
    1,
    `power: ${machine}: ${cases} cuts at ${moments} moments left ${disks} different disks, each started from\n`,
  );
  expect(failures.join('\n\n')).toBe('');
  // Five cosignatures, with write-ahead logs begun, synced, moved and begun anew.
  expect(disks).toBeGreaterThan(40);
}

describe.skipIf(!hasStrace)('power cut at every write, with every outcome', () => {
  test('an authority keeps its key and every head it answered with, and cosigns no other history', async () => {
    expectKept('authority', await sweep('authority', judgeAuthority));
  }, 300_000);

  test('a gateway keeps its key, its checkpoint and what is final, and signs one root for a size', async () => {
    expectKept('gateway', await sweep('gateway', judgeGateway));
  }, 300_000);

  test('and without the syncs of a database each of them breaks its word', async () => {
    const isWal = (path: string) => path.endsWith('-wal');
    expect((await sweep('authority', judgeAuthority, isWal)).failures).not.toEqual([]);
    expect((await sweep('gateway', judgeGateway, isWal)).failures).not.toEqual([]);
  }, 300_000);
});
