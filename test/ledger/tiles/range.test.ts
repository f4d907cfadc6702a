// Proofs of consecutive records: every span of a real directory verifies, and nothing can be left out, changed or moved.
import { createPublicKey, verify } from 'node:crypto';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openReader } from '../../../gateway/log/reader.ts';
import type { LogReader } from '../../../gateway/log/types.ts';
import { offset as asOffset } from '../../../ledger/format/brand.ts';
import { parseCheckpoint } from '../../../ledger/format/checkpoint.ts';
import { formatReceipt } from '../../../ledger/format/cose.ts';
import { parseNote } from '../../../ledger/format/note.ts';
import { formatProofFile } from '../../../ledger/format/proof.ts';
import { formatRangeFile, type RangeFile, type RangeProof } from '../../../ledger/format/proof-range.ts';
import { createRecordHasher } from '../../../ledger/format/record.ts';
import { asProofFile, formatTlogProof, parseTlogProof } from '../../../ledger/format/tlog-proof.ts';
import { nodeSha256 } from '../../../ledger/tiles/hashing.ts';
import { Prover } from '../../../ledger/tiles/prove.ts';
import { directoryTiles } from '../../../ledger/tiles/source.ts';
import { verifyProof } from '../../../ledger/verify/index.ts';
import { testKey } from '../format/native.ts';
import { GatewayDir, inputs } from '../fsck/gateway.ts';

const RECORDS = 160;
const dir = new GatewayDir();
let reader: LogReader;
let gatewayKey: string;
const records = (first: number, count: number) =>
  reader.fetch(asOffset(first), { maxRecords: count, maxBytes: 8 * 1024 * 1024 });
const newProver = () => new Prover({ tiles: directoryTiles(join(dir.dataDir, 'ledger')), records });

beforeAll(async () => {
  await dir.run(inputs(80), { ledger: { blockRecordsMax: 9 } });
  // A block of another size, and one between that covers nothing.
  await dir.run(inputs(80, 80), { ledger: { blockRecordsMax: 13 }, bootId: '00000000000000bb' });
  reader = await openReader({ dataDir: dir.dataDir });
  gatewayKey = dir.verifierKey;
});
afterAll(async () => {
  await reader.close();
  dir.remove();
});

async function range(first: number, last: number, prover = newProver()): Promise<RangeProof> {
  const result = await prover.proveRange(first, last);
  if (result.kind !== 'proof') throw new Error(`${first} to ${last}: ${result.kind}`);
  return result.proof;
}
const check = (proof: RangeProof) => verifyProof(formatRangeFile(proof), { gatewayKey });

test('every span verifies, in one file that grows by the records and not by their paths', async () => {
  const prover = newProver();
  for (let first = 0; first < RECORDS; first += 7)
    for (let last = first; last < RECORDS; last += 11) {
      const report = check(await range(first, last, prover));
      if (report.status !== 'signed-by-gateway-only')
        throw new Error(`${first}–${last}: ${JSON.stringify(report)}`);
      expect(report.range).toMatchObject({ first, last, records: last - first + 1, removed: 0, lost: 0 });
    }
  const proof = await range(0, RECORDS - 1);
  expect(proof.batchPaths.flat()).toEqual([]);
  expect(proof.records.map(({ offset }) => offset)).toEqual(Array.from({ length: RECORDS }, (_, i) => i));
});

test('what is left out, changed, moved or added is found', async () => {
  const sound = JSON.parse(formatRangeFile(await range(20, 60))) as RangeFile;
  const other = JSON.parse(formatRangeFile(await range(21, 61))) as RangeFile;
  type Mutable = {
    -readonly [K in keyof RangeFile]: RangeFile[K] extends readonly (infer T)[] ? T[] : RangeFile[K];
  };
  const lies: Record<string, (file: Mutable) => void> = {
    'a record is left out': ({ records }) => void records.splice(3, 1),
    'the first is left out and the range says so': (file) => {
      file.records.shift();
      file.first += 1;
    },
    'the last is left out and the range says so': (file) => {
      file.records.pop();
      file.last -= 1;
    },
    'a payload is changed': ({ records }) => {
      records[3] = { ...records[3]!, payload: 'e30=' };
    },
    'two records are swapped': ({ records }) => {
      [records[3], records[4]] = [records[4]!, records[3]!];
    },
    'two records swap their offsets': ({ records }) => {
      const [a, b] = [records[3]!, records[4]!];
      records[3] = { ...b, offset: a.offset };
      records[4] = { ...a, offset: b.offset };
    },
    'a record stands twice': ({ records }) => void records.splice(3, 0, records[3]!),
    'a record is called removed under another hash': (file) => {
      const [gone] = file.records.splice(3, 1);
      file.removed.push({ offset: gone!.offset, hash: file.batchPaths[0]![0]! });
    },
    'a block is left out': ({ blocks }) => void blocks.splice(1, 1),
    'blocks are swapped': ({ blocks }) => {
      [blocks[0], blocks[1]] = [blocks[1]!, blocks[0]!];
    },
    'a path is left out': ({ batchPaths }) => void batchPaths.pop(),
    'a path is too many': ({ batchPaths }) => void batchPaths.push([]),
    'a hash is left out': ({ blockPath }) => void blockPath.pop(),
    'a hash is too many': ({ blockPath }) => void blockPath.push(blockPath[0]!),
    'the records of another range': (file) => {
      file.records = [...other.records];
    },
  };
  for (const [name, lie] of Object.entries(lies)) {
    const file = structuredClone(sound) as Mutable;
    lie(file);
    const report = verifyProof(JSON.stringify(file), { gatewayKey });
    expect(report.status, name).toBe('invalid');
  }
  for (const [name, lie] of Object.entries({
    'an unknown member': (file) => Object.assign(file, { more: 1 }),
    'an empty range': (file) => {
      file.records = [];
      file.last = file.first - 1;
    },
    'no blocks': (file) => {
      file.blocks = [];
    },
    'an offset above 2^53': (file) => {
      file.last = 2 ** 53;
    },
  } satisfies Record<string, (file: Mutable) => unknown>)) {
    const file = structuredClone(sound) as Mutable;
    lie(file);
    expect(verifyProof(JSON.stringify(file), { gatewayKey }).status, name).toBe('unusable');
  }
  const twice = JSON.stringify(sound).replace('"last":60', '"last":60,"last":60');
  expect(verifyProof(twice, { gatewayKey }).status).toBe('unusable');
});

test('records that retention removed stand as hashes', async () => {
  const gone = await records(25, 3);
  const hashRecord = createRecordHasher(nodeSha256);
  const leaves = new Map(
    gone.slice(0, 3).map((record) => [record.offset as number, hashRecord(record).slice()]),
  );
  const prover = new Prover({
    tiles: directoryTiles(join(dir.dataDir, 'ledger')),
    records: async (first, count) => {
      const from = first >= 25 && first < 28 ? 28 : first;
      const held = await records(from, count);
      return held.filter(({ offset }) => offset < 25 || offset >= 28);
    },
    leaves: async () => leaves,
  });
  const report = check(await range(20, 40, prover));
  expect(report).toMatchObject({ status: 'signed-by-gateway-only', range: { records: 18, removed: 3 } });
});

test('too many records, too many bytes, and what is not sealed are refused', async () => {
  await expect(newProver().proveRange(0, 65_536)).rejects.toThrow(RangeError);
  await expect(newProver().proveRange(5, 4)).rejects.toThrow(RangeError);
  expect(await newProver().proveRange(0, RECORDS)).toEqual({ kind: 'not-sealed-yet', sealedEnd: RECORDS });
  expect(await newProver().proveRange(0, 99, 200)).toMatchObject({ kind: 'too-large' });
});

test('a tlog-proof is the same proof in another spelling', async () => {
  const prover = newProver();
  for (const at of [0, 17, RECORDS - 1]) {
    const result = await prover.prove(at);
    if (result.kind !== 'proof') throw new Error(result.kind);
    const text = formatTlogProof(result.proof);
    expect(text).toMatch(/^c2sp\.org\/tlog-proof@v1\nextra [A-Za-z0-9+/=]+\nindex \d+\n/);
    expect(text.endsWith(`\n\n${result.proof.checkpoint}`)).toBe(true);
    expect(formatProofFile(parseTlogProof(text))).toBe(formatProofFile(result.proof));
    expect(verifyProof(asProofFile(text), { gatewayKey }).status).toBe('signed-by-gateway-only');
    const { height } = { height: Number(/^index (\d+)$/m.exec(text)![1]) };
    for (const changed of [
      text.replace('@v1', '@v2'),
      text.replace(`index ${height}`, `index ${height + 1}`),
      text.replace(`index ${height}`, `index 0${height}`),
      text.replace('extra ', 'extra  '),
      text.replace('\nindex', '\r\nindex'),
    ])
      expect(() => parseTlogProof(changed)).toThrow(expect.objectContaining({ code: expect.any(String) }));
  }
});

/** Just enough CBOR to read a receipt back, written apart from what wrote it. */
function decodeCbor(bytes: Buffer): unknown {
  let at = 0;
  const next = (): unknown => {
    const first = bytes[at++]!;
    const low = first & 31;
    let argument = low;
    if (low >= 24) {
      const size = 1 << (low - 24);
      argument = Number(BigInt(`0x${bytes.subarray(at, at + size).toString('hex')}`));
      at += size;
    }
    switch (first >> 5) {
      case 0:
        return argument;
      case 1:
        return -1 - argument;
      case 2:
        at += argument;
        return bytes.subarray(at - argument, at);
      case 3:
        at += argument;
        return bytes.toString('utf8', at - argument, at);
      case 4:
        return Array.from({ length: argument }, next);
      case 5:
        return new Map(Array.from({ length: argument }, () => [next(), next()] as const));
      case 6:
        return { tag: argument, value: next() };
      default:
        return null;
    }
  };
  const value = next();
  expect(at).toBe(bytes.length);
  return value;
}

test('a COSE receipt: decoded apart, its path leads to the root that its signature is over', async () => {
  const result = await newProver().prove(33);
  if (result.kind !== 'proof') throw new Error(result.kind);
  const { root, size } = parseCheckpoint(parseNote(result.proof.checkpoint).text);
  const key = testKey('cose');
  const bytes = formatReceipt(
    { size, root, index: result.height, path: result.proof.blockPath, keyId: new Uint8Array([1, 2, 3, 4]) },
    key.sign,
  );
  const { tag, value } = decodeCbor(Buffer.from(bytes)) as { tag: number; value: unknown[] };
  const [header, unprotected, payload, signature] = value as [Buffer, Map<number, unknown>, unknown, Buffer];
  expect([tag, payload]).toEqual([18, null]);
  expect([...(decodeCbor(header) as Map<number, unknown>)]).toEqual([
    [1, -8],
    [4, Buffer.from([1, 2, 3, 4])],
    [395, 1],
  ]);
  const [proof] = (unprotected.get(396) as Map<number, Buffer[]>).get(-1)!;
  const [treeSize, index, path] = decodeCbor(proof!) as [number, number, Buffer[]];
  expect([treeSize, index]).toEqual([size, result.height]);
  expect(path.map((hash) => hash.toString('hex'))).toEqual(
    result.proof.blockPath.map((hash) => Buffer.from(hash).toString('hex')),
  );
  const toBeSigned = Buffer.concat([
    Buffer.from([0x84, 0x6a]),
    Buffer.from('Signature1'),
    Buffer.from([0x40 + header.length]),
    header,
    Buffer.from([0x40, 0x58, 0x20]),
    root,
  ]);
  const spki = Buffer.concat([Buffer.from('302a300506032b6570032100', 'hex'), key.publicKey]);
  const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' });
  expect(verify(null, toBeSigned, publicKey, signature)).toBe(true);
});
