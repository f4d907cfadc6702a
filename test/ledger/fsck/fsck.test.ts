// One flipped bit anywhere in log or ledger is found and named; torn tails are told from damage.
import {
  appendFileSync,
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { realFs } from '../../../gateway/log/fs.ts';
import { SegmentIndexing } from '../../../gateway/log/key-index-build.ts';
import { crc32c } from '../../../ledger/fsck/crc32c.ts';
import { fsck } from '../../../ledger/fsck/fsck.ts';
import { formatReport } from '../../../ledger/fsck/report.ts';
import { listSegments, scanSegment } from '../../../ledger/fsck/segments.ts';
import { GatewayDir, inputs } from './gateway.ts';

const RECORDS = 900;
const original = new GatewayDir();
beforeAll(async () => {
  // Two runs, so that there are partial bundles of several sizes, several segments and a gap block.
  await original.run(inputs(400), { group: 20, segmentBytes: 32 * 1024 });
  await original.run(inputs(RECORDS - 400, 400), {
    group: 20,
    segmentBytes: 32 * 1024,
    bootId: '00000000000000bb',
  });
});
afterAll(() => original.remove());

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'tidemark-fsck-copy-'));
  cpSync(original.dataDir, dataDir, { recursive: true });
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(dataDir, join(entry.parentPath, entry.name)))
    .sort();
}

const lastSegment = () => listSegments(dataDir).at(-1)!;

test('a sound data directory is clean, shallow and deep', async () => {
  const shallow = await fsck(dataDir);
  expect(shallow).toMatchObject({ verdict: 'clean', findings: [], records: null });
  const deep = await fsck(dataDir, { deep: true });
  expect(deep).toMatchObject({
    verdict: 'clean',
    findings: [],
    log: { records: RECORDS, start: 0, end: RECORDS },
    ledger: { coveredEnd: RECORDS, rootAgrees: true },
    records: { recordsMatching: RECORDS, blocksChanged: 0, recordsMissing: 0 },
  });
  expect(formatReport(deep)).toMatch(/\nverdict {5}clean\n$/);
});

test('an empty data directory has nothing wrong with it', async () => {
  const empty = mkdtempSync(join(tmpdir(), 'tidemark-empty-'));
  expect(await fsck(empty, { deep: true })).toMatchObject({
    verdict: 'clean',
    ledger: null,
    log: { records: 0 },
  });
  rmSync(empty, { recursive: true });
});

test('one flipped bit in any file of log and ledger is found, and the file is named', async () => {
  const files = [...filesBelow(join(dataDir, 'log')), ...filesBelow(join(dataDir, 'ledger'))].filter(
    (file) => file !== 'log/reserve', // room for others: what is in it means nothing
  );
  expect(files.length).toBeGreaterThan(15);
  const flip = fc.record({ file: fc.constantFrom(...files), at: fc.nat(), bit: fc.nat(7) });
  await fc.assert(
    fc.asyncProperty(flip, async ({ file, at, bit }) => {
      const path = join(dataDir, file);
      const good = readFileSync(path);
      fc.pre(good.length > 0);
      const bad = Buffer.from(good);
      const position = at % good.length;
      bad[position]! ^= 1 << bit;
      writeFileSync(path, bad);
      const report = await fsck(dataDir, { deep: true });
      writeFileSync(path, good);
      expect(report.verdict, `${file} byte ${position} bit ${bit}`).not.toBe('clean');
      const named = report.findings.filter((finding) => finding.file === file && finding.severity !== 'note');
      expect(named, `${file} byte ${position} bit ${bit}: ${formatReport(report)}`).not.toEqual([]);
      // A position names the damaged unit by its first byte, so one of them is not behind the flipped byte.
      expect(named.some((finding) => (finding.position ?? 0) <= position)).toBe(true);
    }),
    { numRuns: 150 },
  );
}, 60_000);

test('a bit in every byte of one batch and of the file end is found', async () => {
  const segment = listSegments(dataDir)[0]!;
  const good = readFileSync(segment.path);
  const [item] = [...scanSegment(segment)];
  const bytes = item?.kind === 'batch' ? item.batch.bytes : 0;
  for (let position = 0; position < Math.min(bytes, 200); position += 1) {
    const bad = Buffer.from(good);
    bad[position]! ^= 0x10;
    writeFileSync(segment.path, bad);
    const report = await fsck(dataDir);
    expect(
      report.findings.some(({ file, severity }) => file === `log/${segment.name}` && severity === 'error'),
      `byte ${position}`,
    ).toBe(true);
  }
});

describe('the end of the log', () => {
  beforeEach(() => unlinkSync(join(dataDir, 'log', 'clean')));

  test('without the marker of an orderly shutdown is no finding', async () => {
    expect((await fsck(dataDir, { deep: true })).verdict).toBe('clean');
  });

  test('an unfinished batch beyond what is sealed is a torn tail, not damage', async () => {
    const { path, name } = lastSegment();
    const end = statSync(path).size;
    appendFileSync(path, readFileSync(path).subarray(0, 100));
    const report = await fsck(dataDir);
    expect(report.verdict).toBe('repairable');
    expect(report.findings).toMatchObject([
      { code: 'SEGMENT_TORN_TAIL', file: `log/${name}`, position: end },
    ]);
  });

  test('zeros written ahead are nothing; a stray bit in them is named where it is', async () => {
    const { path, name } = lastSegment();
    const end = statSync(path).size;
    truncateSync(path, end + 10_000);
    expect((await fsck(dataDir)).verdict).toBe('clean');
    const bytes = readFileSync(path);
    bytes[end + 5_000] = 1;
    writeFileSync(path, bytes);
    expect((await fsck(dataDir)).findings).toMatchObject([
      { code: 'SEGMENT_TORN_TAIL', file: `log/${name}`, position: end + 5_000 },
    ]);
  });

  test('a cut-off batch that is sealed is damage, and so are the records it held', async () => {
    const { path, name } = lastSegment();
    truncateSync(path, statSync(path).size - 10);
    const report = await fsck(dataDir, { deep: true });
    expect(report.verdict).toBe('damaged');
    expect(report.findings.map(({ code }) => code)).toEqual([
      'SEGMENT_DAMAGED',
      'SEALED_BEYOND_LOG',
      'RECORDS_MISSING',
    ]);
    expect(report.findings[0]!.file).toBe(`log/${name}`);
    expect(report.findings[0]!.message).toContain(`everything before offset ${RECORDS - 20} is readable`);
  });
});

test('damage in the middle names the place, the lost offsets and where reading goes on', async () => {
  const segment = listSegments(dataDir)[1]!;
  const batches = [...scanSegment(segment)].flatMap((item) => (item.kind === 'batch' ? [item.batch] : []));
  const hit = batches[2]!;
  const bytes = readFileSync(segment.path);
  bytes.fill(0xee, hit.position + 30, hit.position + hit.bytes - 5);
  writeFileSync(segment.path, bytes);
  const report = await fsck(dataDir, { deep: true });
  const file = `log/${segment.name}`;
  expect(report.findings.slice(0, 2)).toMatchObject([
    { code: 'SEGMENT_DAMAGED', file, position: hit.position, facts: { bytes: hit.bytes } },
    { code: 'OFFSETS_MISSING', file, facts: { expected: hit.baseOffset, found: hit.lastOffset + 1 } },
  ]);
  expect(report.records!.recordsMissing).toBe(20);
});

test('a payload that contains a valid batch is not taken for one after damage', async () => {
  const first = listSegments(dataDir)[0]!;
  const batch = readFileSync(first.path).subarray(
    0,
    ([...scanSegment(first)][0] as { batch: { bytes: number } }).batch.bytes,
  );
  const hostile = new GatewayDir();
  const records = inputs(3);
  await hostile.run([records[0]!, { ...records[1]!, payload: new Uint8Array(batch) }, records[2]!], {
    group: 1,
  });
  const segment = listSegments(hostile.dataDir)[0]!;
  const batches = [...scanSegment(segment)].flatMap((item) => (item.kind === 'batch' ? [item.batch] : []));
  const bytes = readFileSync(segment.path);
  bytes[batches[1]!.position + 62]! ^= 1;
  writeFileSync(segment.path, bytes);
  const after = [...scanSegment(segment)];
  expect(after.map((item) => item.kind)).toEqual(['batch', 'damage', 'batch']);
  expect(after[2]).toMatchObject({ batch: { baseOffset: 2 } });
  hostile.remove();
});

test('missing files are named: a segment, an index, a tile, the bundle, the checkpoint', async () => {
  const partial = join(dataDir, 'ledger/tile/0/000.p');
  const widest = Math.max(...readdirSync(partial).map(Number));
  const cases: [string, string][] = [
    [`log/${listSegments(dataDir)[1]!.name}`, 'OFFSETS_MISSING'],
    [`log/${listSegments(dataDir)[0]!.name.replace('.log', '.index')}`, 'INDEX_MISSING'],
    [`ledger/tile/0/000.p/${widest}`, 'TILE_MISSING'],
    [`ledger/tile/entries/000.p/${widest}`, 'TILE_MISSING'],
    ['ledger/checkpoint', 'CHECKPOINT_MISSING'],
  ];
  for (const [file, code] of cases) {
    const good = readFileSync(join(dataDir, file));
    unlinkSync(join(dataDir, file));
    const report = await fsck(dataDir);
    expect(
      report.findings.map((finding) => finding.code),
      file,
    ).toContain(code);
    expect(report.verdict).not.toBe('clean');
    writeFileSync(join(dataDir, file), good);
  }
  writeFileSync(join(dataDir, 'log/notes.txt'), 'x');
  writeFileSync(join(dataDir, 'ledger/tile/notes.txt'), 'x');
  const report = await fsck(dataDir);
  expect(report.verdict).toBe('clean');
  expect(report.findings.map(({ file }) => file)).toEqual(['ledger/tile/notes.txt', 'log/notes.txt']);
});

test('cosignatures below the served checkpoint are no difference from the stored one', async () => {
  const cosignature = `— operator.example.com ${Buffer.alloc(76, 7).toString('base64')}\n`;
  appendFileSync(join(dataDir, 'ledger/checkpoint'), cosignature);
  expect((await fsck(dataDir)).findings).toEqual([]);
});

test('another key in gateway.key is named', async () => {
  const other = new GatewayDir();
  void other.verifierKey;
  cpSync(join(other.dataDir, 'gateway.key'), join(dataDir, 'gateway.key'));
  other.remove();
  expect((await fsck(dataDir)).findings).toMatchObject([{ code: 'KEY_DIFFERS', file: 'gateway.key' }]);
});

test('a key index with right checksums that lists something else than its segment holds is found by --deep', async () => {
  const folder = join(dataDir, 'log');
  const [base, next] = listSegments(dataDir).map(({ baseOffset }) => baseOffset);
  expect(await new SegmentIndexing(realFs, folder, base!).advance(next!, true)).toBeNull();
  const name = `${String(base).padStart(20, '0')}.keys`;
  const good = readFileSync(join(folder, name));
  expect((await fsck(dataDir, { deep: true })).findings).toEqual([]);
  const spans = good.readUInt32BE(20);
  const tableAt = 96 + spans * 40;
  const changes: Record<string, (bytes: Buffer) => void> = {
    'the times of a span': (bytes) => {
      bytes.writeBigInt64BE(0n, 96 + 24);
      bytes.writeUInt32BE(crc32c(bytes.subarray(96, tableAt)), 64);
    },
    'the sum of a span': (bytes) => {
      bytes[96 + 4]! ^= 1;
      bytes.writeUInt32BE(crc32c(bytes.subarray(96, tableAt)), 64);
    },
    'the number of records': (bytes) => bytes.writeUInt32BE(bytes.readUInt32BE(56) + 1, 56),
    'the times of a key': (bytes) => {
      const block = tableAt + bytes.readUInt32BE(24) * 16;
      bytes.writeBigInt64BE(0n, block + 4);
      bytes.writeUInt32BE(crc32c(bytes.subarray(block + 4, block + bytes.readUInt32BE(tableAt + 12))), block);
    },
  };
  for (const [what, change] of Object.entries(changes)) {
    const bad = Buffer.from(good);
    change(bad);
    bad.writeUInt32BE(crc32c(bad.subarray(0, 92)), 92);
    writeFileSync(join(folder, name), bad);
    expect((await fsck(dataDir)).findings, what).toEqual([]);
    expect((await fsck(dataDir, { deep: true })).findings, what).toMatchObject([
      { code: 'INDEX_WRONG', severity: 'warning', file: `log/${name}` },
    ]);
  }
});
