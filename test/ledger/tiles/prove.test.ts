// Every record of a real data directory is proven from tiles and log and verified by what outsiders run.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openReader } from '../../../gateway/log/reader.ts';
import type { LogReader } from '../../../gateway/log/types.ts';
import { offset as asOffset } from '../../../ledger/format/brand.ts';
import { formatProofFile } from '../../../ledger/format/proof.ts';
import { BlockLog, readHead } from '../../../ledger/tiles/blocks.ts';
import { Prover, prove } from '../../../ledger/tiles/prove.ts';
import { cachedTiles, directoryTiles } from '../../../ledger/tiles/source.ts';
import { verifyProof } from '../../../ledger/verify/index.ts';
import { GatewayDir, inputs } from '../fsck/gateway.ts';

const RECORDS = 3_000;
const dir = new GatewayDir();
let reader: LogReader;
const records = (first: number, count: number) =>
  reader.fetch(asOffset(first), { maxRecords: count, maxBytes: 8 * 1024 * 1024 });
const tiles = () => directoryTiles(join(dir.dataDir, 'ledger'));

beforeAll(async () => {
  // Small blocks in two runs: more than 256 of them, of several sizes, with blocks between that cover nothing.
  await dir.run(inputs(1_000), { ledger: { blockRecordsMax: 9 }, group: 200 });
  await dir.run(inputs(RECORDS - 1_000, 1_000), {
    ledger: { blockRecordsMax: 13 },
    group: 200,
    bootId: '00000000000000bb',
  });
  reader = await openReader({ dataDir: dir.dataDir });
});
afterAll(async () => {
  await reader.close();
  dir.remove();
});

test('proves and verifies every offset', async () => {
  const prover = new Prover({ tiles: tiles(), records });
  const gatewayKey = dir.verifierKey;
  for (let offset = 0; offset < RECORDS; offset += 1) {
    const result = await prover.prove(offset);
    if (result.kind !== 'proof') throw new Error(`offset ${offset}: ${result.kind}`);
    expect(result.proof.record.offset).toBe(offset);
    // Verifying is portable and slower than proving: every seventh, and all around the first blocks.
    if (offset % 7 !== 0 && offset > 30) continue;
    const report = verifyProof(formatProofFile(result.proof), { gatewayKey });
    if (report.status !== 'signed-by-gateway-only')
      throw new Error(`offset ${offset}: ${JSON.stringify(report)}`);
  }
}, 60_000);

test('an offset beyond the last sealed one is not sealed yet', async () => {
  expect(await prove({ tiles: tiles(), records, offset: RECORDS })).toEqual({
    kind: 'not-sealed-yet',
    sealedEnd: RECORDS,
  });
  expect(await prove({ tiles: async () => null, records, offset: 0 })).toEqual({
    kind: 'not-sealed-yet',
    sealedEnd: 0,
  });
});

test('records the log no longer holds, or holds changed, give no proof', async () => {
  const pruned = (first: number, count: number) => records(Math.max(first, 50), count);
  expect(await prove({ tiles: tiles(), records: pruned, offset: 20 })).toMatchObject({ kind: 'not-held' });
  // Offset 50 is held, but not the whole of its block.
  expect(await prove({ tiles: tiles(), records: pruned, offset: 50 })).toMatchObject({ kind: 'not-held' });
  expect(await prove({ tiles: tiles(), records: pruned, offset: 70 })).toMatchObject({ kind: 'proof' });
  const edited = async (first: number, count: number) =>
    (await records(first, count)).map((record) =>
      record.offset === 70 ? { ...record, payload: new Uint8Array(1) } : record,
    );
  expect(await prove({ tiles: tiles(), records: edited, offset: 70 })).toMatchObject({
    kind: 'does-not-match',
  });
  expect(await prove({ tiles: tiles(), records: edited, offset: 71 })).toMatchObject({
    kind: 'does-not-match',
  });
});

test('finds blocks by height, from the end, and by the offset they cover', async () => {
  const head = (await readHead(tiles()))!;
  const blocks = new BlockLog(cachedTiles(tiles()), head.checkpoint.size);
  expect(head.checkpoint.size).toBeGreaterThan(256);
  expect((await blocks.at(0)).block.kind).toBe('genesis');
  const newest = await blocks.last(3);
  expect(newest.map(({ block }) => block.height)).toEqual(
    [1, 2, 3].map((back) => head.checkpoint.size - back),
  );
  for (const offset of [0, 8, 9, 998, 999, 1_000, 2_999]) {
    const { block } = (await blocks.covering(offset))!;
    expect(block.kind).toBe('data');
    expect(offset - block.first).toBeLessThan(block.count);
    expect(block.first).toBeLessThanOrEqual(offset);
  }
  expect(await blocks.covering(RECORDS)).toBeNull();
  await expect(blocks.at(head.checkpoint.size)).rejects.toThrow(RangeError);
});

test('a directory gives only what tlog-tiles names, and full tiles are read once', async () => {
  const read = tiles();
  writeFileSync(join(dir.dataDir, 'ledger', 'secret'), 'x');
  for (const path of ['secret', '../gateway.key', 'tile/../checkpoint', '/etc/passwd', 'tile/0/000/', '']) {
    expect(await read(path), path).toBeNull();
  }
  let reads = 0;
  const cached = cachedTiles(async (path) => {
    reads += 1;
    return read(path);
  }, 2);
  for (let i = 0; i < 5; i += 1) await cached('tile/0/000');
  expect(reads).toBe(1);
  await cached('checkpoint');
  await cached('checkpoint');
  expect(reads).toBe(3);
  expect(
    Buffer.from((await cached('tile/0/000'))!).equals(readFileSync(join(dir.dataDir, 'ledger/tile/0/000'))),
  ).toBe(true);
});
