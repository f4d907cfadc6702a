// A gateway's sealer and an authority in one process, each on its own folder, both closed and opened again in between, and a
// new gateway key put in force; run under strace by trace.ts. After each promise it says so in a file of marks, whose place among the system calls counts.
//
//   node hall.ts FOLDER PORT
import { mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import Database from 'better-sqlite3';
import type { StageFigures } from '../../../gateway/stage/types.ts';
import { authorityConfig } from '../../../ledger/authority/config.ts';
import { startAuthority } from '../../../ledger/authority/server.ts';
import { decodeMemory } from '../../../ledger/cosign/memory.ts';
import { toBase64 } from '../../../ledger/format/base64.ts';
import { parseCheckpoint } from '../../../ledger/format/checkpoint.ts';
import { formatNote, parseNote, verifierKey } from '../../../ledger/format/note.ts';
import { formatKeyStatement } from '../../../ledger/format/statements.ts';
import { createKeyFile, type SigningKey } from '../../../ledger/keys/file.ts';
import {
  adoptFirstPolicy,
  applyChanges,
  keyChangePath,
  leaveStatement,
} from '../../../ledger/seal/changes.ts';
import { CosignSide } from '../../../ledger/seal/cosign.ts';
import { fileDisk } from '../../../ledger/seal/disk.ts';
import { gatewayVerifierKey, nextKeyPath } from '../../../ledger/seal/key.ts';
import { ORIGIN, World } from '../seal/world.ts';
import type { Mark } from './trace.ts';

const [folder, port] = process.argv.slice(2) as [string, string];
const marks = openSync(join(folder, 'marks'), 'w');
const say = (mark: Mark) => writeSync(marks, `${JSON.stringify(mark)}\n`);
const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };
const OPTIONS = { ledger: { blockRecordsMax: 1 } };
let records = 0;

async function run(rounds: number, rotates = false): Promise<void> {
  const dataDir = join(folder, 'gateway');
  mkdirSync(dataDir, { recursive: true });
  const world = new World(dataDir);
  world.clock.advance(records * 1_000);
  world.addRecords(records);
  const gatewayKey = gatewayVerifierKey(ORIGIN, world.key);
  say({ kind: 'gateway key', key: gatewayKey });
  const signed: string[] = [];
  const swap = world.state.swapCheckpoint.bind(world.state);
  world.state.swapCheckpoint = (expected, size, note) => {
    const { text } = parseNote(note);
    signed.push(text);
    say({ kind: 'signed', text });
    const swapped = swap(expected, size, note);
    if (swapped) say({ kind: 'stored', size });
    return swapped;
  };
  const save = world.state.saveCursor.bind(world.state);
  world.state.saveCursor = (name, next, state) => {
    save(name, next, state);
    const { final } = decodeMemory(state ?? null);
    if (name === 'cosigner' && final) say({ kind: 'remembered', size: sizeOf(final) });
  };

  const serving = (keys: readonly string[]) =>
    authorityConfig.parse({
      name: 'w.example.com',
      dataDir: join(folder, 'authority'),
      port: Number(port),
      gateways: [{ keys }],
    });
  const authority = await startAuthority(serving([gatewayKey]), quiet);
  say({ kind: 'authority key', key: authority.verifierKey });

  const figures: StageFigures = {};
  let answered = 0;
  const cosign = new CosignSide(
    {
      config: world.config(OPTIONS),
      dataDir,
      state: world.state,
      report: (latest) => {
        Object.assign(figures, latest);
        const size = Number(figures['authority.w.size'] ?? 0);
        const text = signed.findLast((one) => parseCheckpoint(one).size === size);
        if (size === answered || text === undefined) return;
        answered = size;
        say({ kind: 'answered', size, root: toBase64(parseCheckpoint(text).root) });
      },
      log: () => undefined,
    },
    world.clock,
  );
  const sealer = await world.open(fileDisk, OPTIONS);
  const policy = `log ${gatewayKey}\nwitness w ${authority.verifierKey} ${authority.url}\nquorum w\n`;
  adoptFirstPolicy(sealer, world.key, policy, () => undefined);
  cosign.attach(sealer);
  if (rotates) {
    const next = createKeyFile(nextKeyPath(dataDir));
    const nextText = gatewayVerifierKey(ORIGIN, next);
    say({ kind: 'gateway key', key: nextText });
    authority.reload(serving([gatewayKey, nextText]));
    leaveStatement(keyChangePath(dataDir), rotation(world.key, next));
    applyChanges(sealer, dataDir, () => undefined);
    say({ kind: 'rotated', key: nextText });
    cosign.committed();
  }
  for (let round = 0; round < rounds; round += 1) {
    world.addRecords(1);
    records += 1;
    world.clock.advance(1_000);
    world.sealAll(sealer);
    cosign.committed();
    while (figures.finalSize !== sealer.signed!.size) await sleep(1);
    // What SQLite does by itself after a thousand pages: the next commit begins the write-ahead log anew, over the old one.
    if (round === 0)
      for (const file of [join(dataDir, 'state.db'), join(folder, 'authority', 'authority.db')]) moved(file);
  }
  await cosign.finish(0);
  world.state.close();
  await authority.close();
}

function moved(file: string): void {
  const second = new Database(file);
  second.pragma('wal_checkpoint(PASSIVE)');
  second.close();
}

/** As `tidemark key rotate` writes it. */
function rotation(old: SigningKey, next: SigningKey): string {
  const [previous, following] = [old, next].map(({ publicKey }) => verifierKey(ORIGIN, publicKey));
  const text = formatKeyStatement({ origin: ORIGIN, previous: previous!, next: following! });
  const signatures = [old, next].map((key) => {
    const { name, keyId } = verifierKey(ORIGIN, key.publicKey);
    return { name, keyId, signature: key.sign(new TextEncoder().encode(text)) };
  });
  return formatNote({ text, signatures });
}

const sizeOf = (note: string) => parseCheckpoint(parseNote(note).text).size;

await run(2);
await run(1, true);
