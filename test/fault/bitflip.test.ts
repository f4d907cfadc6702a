// One flipped bit in every class of byte of every kind of file: fsck finds it and names the file and the place, and the
// reader never returns a record that was not appended.
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { realFs } from '../../gateway/log/fs.ts';
import { SegmentIndexing } from '../../gateway/log/key-index-build.ts';
import { listSegments, logFolder } from '../../gateway/log/layout.ts';
import { openReader } from '../../gateway/log/reader.ts';
import { LogError } from '../../gateway/log/types.ts';
import type { Offset } from '../../ledger/format/brand.ts';
import { fsck } from '../../ledger/fsck/fsck.ts';
import { formatReport } from '../../ledger/fsck/report.ts';
import { plain } from '../gateway/log/records.ts';
import { GatewayDir, input, inputs } from '../ledger/fsck/gateway.ts';
import {
  type ByteClass,
  batchClasses,
  databaseClasses,
  entryClasses,
  keyIndexClasses,
  recordClasses,
  textClasses,
} from './byte-classes.ts';

const RECORDS = 300;
const sound = new GatewayDir();
const expected = new Map<number, string>();
let dataDir = '';
let flips = 0;

beforeAll(async () => {
  await sound.run(inputs(160), { group: 12, segmentBytes: 20 * 1024 });
  await sound.run(inputs(RECORDS - 160, 160), {
    group: 12,
    segmentBytes: 20 * 1024,
    bootId: '00000000000000bb',
  });
  await makeKeyIndexes(sound.dataDir);
  for (let offset = 0; offset < RECORDS; offset++) expected.set(offset, JSON.stringify(plain(input(offset))));
  dataDir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'tidemark-flip-'));
  cpSync(sound.dataDir, dataDir, { recursive: true });
  expect(await fsck(dataDir, { deep: true })).toMatchObject({ verdict: 'clean', findings: [] });
});
afterAll(() => {
  writeSync(1, `bitflip: ${flips} flips, one or more in every class of byte, all found and named\n`);
  sound.remove();
  rmSync(dataDir, { recursive: true, force: true });
});

/** As the gateway's indexer does for closed segments. */
async function makeKeyIndexes(dir: string): Promise<void> {
  const bases = await listSegments(realFs, logFolder(dir));
  for (const [index, base] of bases.slice(0, -1).entries())
    expect(
      await new SegmentIndexing(realFs, logFolder(dir), base).advance(bases[index + 1]!, true),
    ).toBeNull();
}

/** Reads on over everything that can be read. */
async function readable(): Promise<void> {
  const reader = await openReader({ dataDir });
  let hasDamage = false;
  try {
    for (let next = 0; ; ) {
      try {
        const records = await reader.fetch(next as Offset);
        if (records.length === 0) break;
        for (const record of records) {
          expect(record.offset).toBeGreaterThanOrEqual(next);
          expect(JSON.stringify(plain(record)), `offset ${record.offset}`).toBe(expected.get(record.offset));
          next = record.offset + 1;
        }
      } catch (error) {
        if (!(error instanceof LogError) || !(Number(error.facts.resume) > next)) throw error;
        hasDamage = true;
        next = Number(error.facts.resume);
      }
    }
    // By key index where there is one that can be believed.
    const device = 'pump-1';
    const asked = { device, fromMs: input(20).eventMs, toMs: input(120).eventMs };
    const found = await reader.query({ ...asked, limit: RECORDS }).catch((error: unknown) => {
      if (error instanceof LogError) return null;
      throw error;
    });
    for (const record of found?.records ?? [])
      expect(JSON.stringify(plain(record))).toBe(expected.get(record.offset));
    if (found?.complete && !hasDamage) expect(found.records.length).toBe(countOf(asked));
  } finally {
    await reader.close();
  }
}

function countOf({ device, fromMs, toMs }: { device: string; fromMs: number; toMs: number }): number {
  return Array.from({ length: RECORDS }, (_, at) => input(at)).filter(
    (record) => record.device === device && record.eventMs >= fromMs && record.eventMs < toMs,
  ).length;
}

/** Flips these bits of the class's byte, one at a time; fsck must point at its unit. */
async function flip(file: string, { name, at, unit, mayBe }: ByteClass, bits = [0x01, 0x80]): Promise<void> {
  const path = join(dataDir, file);
  const good = readFileSync(path);
  for (const bit of bits) {
    const bad = Buffer.from(good);
    bad[at]! ^= bit;
    writeFileSync(path, bad);
    flips += 1;
    const what = `${file}: ${name}, byte ${at}, bit ${bit}`;
    try {
      const report = await fsck(dataDir, { deep: true });
      const named = report.findings.filter((finding) => finding.severity !== 'note' && finding.file === file);
      expect(report.verdict, what).not.toBe('clean');
      expect(named.length, `${what}: ${formatReport(report)}`).toBeGreaterThan(0);
      if (unit !== null)
        expect(
          named.some(({ position }) => position !== null && position >= unit && position <= at),
          `${what}, in the unit from ${unit}: ${formatReport(report)}`,
        ).toBe(true);
      if (mayBe !== undefined) expect(report.verdict, what).toBe(mayBe);
      await readable();
    } finally {
      writeFileSync(path, good);
    }
  }
}

const logFiles = (end: string) =>
  readdirSync(join(sound.dataDir, 'log'))
    .filter((name) => name.endsWith(end))
    .sort();

describe('a segment', () => {
  test('every field of a batch header, in the first, a middle and the last batch', async () => {
    const [first] = logFiles('.log');
    const bytes = readFileSync(join(dataDir, 'log', first!));
    for (const batch of ['first', 'middle', 'last'] as const)
      for (const each of batchClasses(bytes, batch)) await flip(`log/${first}`, each);
  }, 180_000);

  test('every part of a record, in the segment written last', async () => {
    const last = logFiles('.log').at(-1)!;
    for (const each of recordClasses(readFileSync(join(dataDir, 'log', last))))
      await flip(`log/${last}`, each);
  }, 180_000);
});

test('the indexes: warnings only, for they can be made again', async () => {
  for (const [end, entryBytes] of [
    ['.index', 8],
    ['.timeindex', 12],
  ] as const) {
    const [first] = logFiles(end);
    for (const each of entryClasses(readFileSync(join(dataDir, 'log', first!)), entryBytes))
      await flip(`log/${first}`, { ...each, mayBe: 'repairable' });
  }
}, 180_000);

test('the key index: every field, and no query misses or makes up a record', async () => {
  const [first] = logFiles('.keys');
  for (const each of keyIndexClasses(readFileSync(join(dataDir, 'log', first!))))
    await flip(`log/${first}`, { ...each, mayBe: 'repairable' }, [each.at % 2 ? 0x01 : 0x80]);
}, 180_000);

test('the marker of an orderly end', async () => {
  for (const each of textClasses(readFileSync(join(dataDir, 'log/clean'))))
    await flip('log/clean', each, [each.at % 2 ? 0x01 : 0x80]);
}, 180_000);

test('ledger: checkpoint, tiles, bundles', async () => {
  for (const each of textClasses(readFileSync(join(dataDir, 'ledger/checkpoint'))))
    await flip('ledger/checkpoint', each, [each.at % 2 ? 0x01 : 0x80]);
  for (const kind of ['tile/0/000.p', 'tile/entries/000.p']) {
    for (const width of readdirSync(join(dataDir, 'ledger', kind))) {
      const file = `ledger/${kind}/${width}`;
      const { length } = readFileSync(join(dataDir, file));
      for (const [name, at] of [
        ['first byte', 0],
        ['second', 1],
        ['in a third', (length / 3) | 0],
        ['last byte', length - 1],
      ] as const)
        await flip(file, { name, at, unit: null });
    }
  }
}, 180_000);

test('state.db: file header, page header, cell pointers, cells', async () => {
  // As fsck would find it with the gateway stopped: all in one file.
  const db = new Database(join(dataDir, 'state.db'));
  db.pragma('wal_checkpoint(TRUNCATE)');
  db.close();
  const bytes = readFileSync(join(dataDir, 'state.db'));
  const classes = databaseClasses(bytes);
  expect(classes.length).toBeGreaterThan(30);
  for (const each of classes) await flip('state.db', each);
}, 180_000);

test('the signing key', async () => {
  // Without its last byte: a line's end after the end of the key means nothing.
  for (const each of textClasses(readFileSync(join(dataDir, 'gateway.key'))).slice(0, -1))
    await flip('gateway.key', each, [each.at % 2 ? 0x01 : 0x80]);
}, 180_000);
