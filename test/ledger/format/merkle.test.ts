// Merkle trees: fast code against the slow transcription of the RFC, and every published vector.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { EMPTY_ROOT, leafHash, sha256, toHex } from '../../../ledger/format/hash.ts';
import {
  consistencyProof,
  consistencyRanges,
  foldNodes,
  inclusionProof,
  inclusionRanges,
  MerkleRange,
  rangeNodes,
  root,
  rootFromSpan,
  spanRanges,
  verifyConsistency,
  verifyInclusion,
} from '../../../ledger/format/merkle.ts';
import { nativeSha256 } from './native.ts';
import { slowTree } from './rfc6962.ts';

const leafData = (count: number) =>
  Array.from({ length: count }, (_, i) => new TextEncoder().encode(`leaf ${i}`));
const flip = (hash: Uint8Array, bit = 0) => {
  // `slice` of a Buffer would be the same memory.
  const copy = new Uint8Array(hash);
  copy[bit >> 3]! ^= 1 << (bit & 7);
  return copy;
};
const hexes = (hashes: readonly Uint8Array[]) => hashes.map(toHex);

const LARGEST = 600;
const data = leafData(LARGEST);
const leaves = data.map((bytes) => leafHash(bytes, nativeSha256));
const slow = slowTree(data);

test('noble and node:crypto hash alike', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      (bytes) => toHex(sha256(bytes)) === toHex(nativeSha256(bytes)),
    ),
  );
});

test('roots of the RFC 6962 test tree, sizes 0 to 8', () => {
  const inputs = [
    '',
    '00',
    '10',
    '2021',
    '3031',
    '40414243',
    '5051525354555657',
    '606162636465666768696a6b6c6d6e6f',
  ];
  const roots = [
    'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
    'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
    'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
    'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
    '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
    'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
    '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
  ];
  const hashes = inputs.map((hex) => leafHash(Buffer.from(hex, 'hex')));
  roots.forEach((expected, size) => {
    expect(toHex(root(hashes.slice(0, size)))).toBe(expected);
  });
  expect(toHex(EMPTY_ROOT)).toBe(roots[0]);
});

test(`roots, inclusion and consistency equal the slow transcription for every tree to ${LARGEST}`, () => {
  const tree = new MerkleRange({ hash: nativeSha256 });
  for (let size = 1; size <= LARGEST; size++) {
    tree.append(leaves[size - 1]!);
    const expected = slow.root(size);
    expect(toHex(tree.root())).toBe(toHex(expected));
    for (let index = 0; index < size; index++) {
      const path = slow.inclusion(index, size);
      // The RFC's paths are subtrees of the slow tree: the ranges must name the same ones.
      const ranges = inclusionRanges(index, size);
      expect(ranges.length).toBe(path.length);
      if (!verifyInclusion(leaves[index]!, index, size, path, expected, nativeSha256))
        expect.fail(`leaf ${index} of ${size}`);
      // What must fail is tried of every leaf of the smaller trees, and of some of the larger.
      const tries = size <= 64 || index % 37 === 0;
      if (
        tries &&
        index > 0 &&
        verifyInclusion(leaves[index - 1]!, index, size, path, expected, nativeSha256)
      ) {
        expect.fail(`leaf ${index - 1} passes as ${index} of ${size}`);
      }
    }
    for (let old = 1; old <= size; old++) {
      const proof = slow.consistency(old, size);
      expect(consistencyRanges(old, size).length).toBe(proof.length);
      if (!verifyConsistency(old, size, slow.root(old), expected, proof, nativeSha256))
        expect.fail(`${old} to ${size}`);
      const tries = size <= 64 || old % 37 === 0;
      if (tries && verifyConsistency(old, size, flip(slow.root(old)), expected, proof, nativeSha256))
        expect.fail(`bad root, ${old} to ${size}`);
    }
  }
}, 120_000);

test('proofs that the fast code makes are those of the transcription', () => {
  for (const size of [1, 2, 3, 7, 8, 13, 64, 65, 127, 200]) {
    const some = leaves.slice(0, size);
    for (let index = 0; index < size; index += 1 + Math.floor(size / 20)) {
      expect(hexes(inclusionProof(some, index, nativeSha256))).toEqual(hexes(slow.inclusion(index, size)));
    }
    for (let old = 1; old <= size; old += 1 + Math.floor(size / 20)) {
      expect(hexes(consistencyProof(some, old, nativeSha256))).toEqual(hexes(slow.consistency(old, size)));
    }
  }
});

test('any flipped bit, missing or added hash breaks a proof', () => {
  const arbitrary = fc.record({
    size: fc.integer({ min: 2, max: LARGEST }),
    part: fc.nat(),
    where: fc.nat(),
    bit: fc.nat({ max: 255 }),
    way: fc.constantFrom('flip', 'drop', 'add', 'swap leaf'),
  });
  fc.assert(
    fc.property(arbitrary, ({ size, part, where, bit, way }) => {
      const mutate = (path: Uint8Array[]) => {
        const copy = [...path];
        if (way === 'drop') copy.splice(where % path.length, 1);
        else if (way === 'add') copy.splice(where % (path.length + 1), 0, leaves[where % LARGEST]!);
        else copy[where % path.length] = flip(copy[where % path.length]!, bit);
        return copy;
      };
      const index = part % size;
      expect(
        verifyInclusion(leaves[index]!, index, size, mutate(slow.inclusion(index, size)), slow.root(size)),
      ).toBe(false);
      const old = 1 + (part % (size - 1));
      expect(
        verifyConsistency(old, size, slow.root(old), slow.root(size), mutate(slow.consistency(old, size))),
      ).toBe(false);
    }),
    { numRuns: 200 },
  );
});

test('an incremental tree resumes from its nodes and reports each perfect subtree once', () => {
  const seen = new Map<string, string>();
  const onNode = (level: number, index: number, hash: Uint8Array) => {
    expect(seen.has(`${level}/${index}`)).toBe(false);
    seen.set(`${level}/${index}`, toHex(hash));
  };
  let tree = new MerkleRange({ onNode });
  leaves.forEach((leaf, i) => {
    if (i % 17 === 0) tree = new MerkleRange({ size: tree.size, nodes: tree.nodes, onNode });
    tree.append(leaf);
  });
  expect(toHex(tree.root())).toBe(toHex(slow.root(LARGEST)));
  expect(tree.nodes.map(toHex)).toEqual(
    rangeNodes({ begin: 0, end: LARGEST }).map(({ level, index }) => seen.get(`${level}/${index}`)),
  );
  expect(toHex(foldNodes(tree.nodes))).toBe(toHex(slow.root(LARGEST)));
  expect(() => new MerkleRange({ size: 3, nodes: [leaves[0]!] })).toThrow(
    expect.objectContaining({ code: 'RANGE_INVALID' }),
  );
});

test('a tree of a million leaves: any leaf, any older size, any span', () => {
  const SIZE = 1_000_000;
  const levels: Buffer[] = [];
  for (let width = SIZE; width > 0; width = Math.floor(width / 2)) levels.push(Buffer.alloc(width * 32));
  const tree = new MerkleRange({
    hash: nativeSha256,
    onNode: (level, index, hash) => levels[level]!.set(hash, index * 32),
  });
  const leaf = Buffer.alloc(8);
  const halfway = 524_289;
  let rootHalfway = EMPTY_ROOT;
  for (let i = 0; i < SIZE; i++) {
    leaf.writeDoubleBE(i);
    tree.append(nativeSha256(leaf));
    if (tree.size === halfway) rootHalfway = tree.root();
  }
  const node = (level: number, index: number) =>
    new Uint8Array(levels[level]!.subarray(index * 32, index * 32 + 32));
  const rangeHash = (range: { begin: number; end: number }) =>
    foldNodes(
      rangeNodes(range).map(({ level, index }) => node(level, index)),
      nativeSha256,
    );
  const whole = tree.root();
  const anywhere = fc.record({ index: fc.nat({ max: SIZE - 1 }), width: fc.integer({ min: 1, max: 300 }) });
  fc.assert(
    fc.property(anywhere, ({ index, width }) => {
      const path = inclusionRanges(index, SIZE).map(rangeHash);
      expect(verifyInclusion(node(0, index), index, SIZE, path, whole, nativeSha256)).toBe(true);
      expect(verifyInclusion(node(0, index ^ 1), index, SIZE, path, whole, nativeSha256)).toBe(false);
      const old = index + 1;
      const proof = consistencyRanges(old, SIZE).map(rangeHash);
      const oldRoot = rangeHash({ begin: 0, end: old });
      expect(verifyConsistency(old, SIZE, oldRoot, whole, proof, nativeSha256)).toBe(true);
      expect(verifyConsistency(old, SIZE, flip(oldRoot), whole, proof, nativeSha256)).toBe(false);
      const span = { begin: index, end: Math.min(SIZE, index + width) };
      const hashes = Array.from({ length: span.end - span.begin }, (_, i) => node(0, span.begin + i));
      const beside = spanRanges(span, SIZE).map(rangeHash);
      const found = rootFromSpan(hashes, span.begin, SIZE, beside, nativeSha256);
      expect(found && toHex(found)).toBe(toHex(whole));
    }),
    { numRuns: 300 },
  );
  expect(toHex(rangeHash({ begin: 0, end: halfway }))).toBe(toHex(rootHalfway));
}, 120_000);

test('spans of every small tree lead to its root, and no changed, missing or added hash does', () => {
  for (let size = 1; size <= 40; size++) {
    const expected = toHex(slow.root(size));
    const some = leaves.slice(0, size);
    for (let begin = 0; begin < size; begin++)
      for (let end = begin + 1; end <= size; end++) {
        const path = spanRanges({ begin, end }, size).map((range) =>
          root(some.slice(range.begin, range.end), nativeSha256),
        );
        const hex = (hashes: readonly Uint8Array[], from = begin, of = size, at = path) => {
          const found = rootFromSpan(hashes, from, of, at, nativeSha256);
          return found && toHex(found);
        };
        const span = some.slice(begin, end);
        if (hex(span) !== expected) expect.fail(`${begin} to ${end} of ${size}`);
        if ((begin + end) % 7 !== 0) continue;
        expect(hex(span.with(0, flip(span[0]!)))).not.toBe(expected);
        expect(hex(span, begin, size, [...path, leaves[0]!])).toBeNull();
        if (path.length > 0) {
          expect(hex(span, begin, size, path.slice(1))).toBeNull();
          expect(hex(span, begin, size, path.with(0, flip(path[0]!)))).not.toBe(expected);
        }
      }
  }
  for (const [begin, end, size] of [
    [0, 0, 4],
    [2, 1, 4],
    [0, 5, 4],
    [0.5, 2, 4],
    [2 ** 53, 2 ** 53 + 1, 2 ** 53 + 2],
  ] as const)
    expect(() => spanRanges({ begin, end }, size)).toThrow(
      expect.objectContaining({ code: 'RANGE_INVALID' }),
    );
  expect(rootFromSpan([], 0, 4, [])).toBeNull();
  expect(rootFromSpan([leaves[0]!, leaves[1]!], 3, 4, [])).toBeNull();
});

test('indexes and sizes that no tree has are refused', () => {
  const hash = leaves[0]!;
  for (const [index, size] of [
    [0, 0],
    [1, 1],
    [-1, 1],
    [0.5, 2],
    [2 ** 53, 2 ** 53 + 2],
    [Number.NaN, 1],
    [0, Infinity],
  ] as const) {
    expect(verifyInclusion(hash, index, size, [], hash)).toBe(false);
    expect(() => inclusionRanges(index, size)).toThrow(expect.objectContaining({ code: 'RANGE_INVALID' }));
  }
  for (const [old, size] of [
    [0, 0],
    [0, 4],
    [5, 4],
    [-1, 4],
    [1, 2 ** 53],
  ] as const) {
    expect(verifyConsistency(old, size, hash, hash, [])).toBe(false);
    expect(() => consistencyRanges(old, size)).toThrow(expect.objectContaining({ code: 'RANGE_INVALID' }));
  }
  expect(verifyInclusion(hash.slice(1), 0, 1, [], hash.slice(1))).toBe(false);
});

test('paths near 2^53 leaves have the length of the formula', () => {
  const bits = (n: bigint) => (n === 0n ? 0 : n.toString(2).length);
  const size = fc.integer({ min: 2, max: Number.MAX_SAFE_INTEGER });
  fc.assert(
    fc.property(size, fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), (n, part) => {
      const index = Math.min(n - 1, Math.floor(part * n));
      const inner = bits(BigInt(index) ^ BigInt(n - 1));
      const border = [...(BigInt(index) >> BigInt(inner)).toString(2)].filter((bit) => bit === '1').length;
      expect(inclusionRanges(index, n).length).toBe(inner + border);
    }),
  );
});

interface Vector {
  readonly leafIdx: number;
  readonly treeSize: number;
  readonly root: string;
  readonly leafHash: string;
  readonly size1: number;
  readonly size2: number;
  readonly root1: string;
  readonly root2: string;
  readonly proof: readonly string[] | null;
  readonly wantErr: boolean;
}
const bytesOf = (text: string) => new Uint8Array(Buffer.from(text, 'base64'));

function vectorFiles(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.json'))
    .sort();
}

describe.each(['shared', 'own'] as const)('%s vectors', (whose) => {
  const base = join(
    import.meta.dirname,
    whose === 'own' ? '../../vectors/merkle' : '../../../../shared/data/vectors/merkle/testdata',
  );
  const inclusion = vectorFiles(join(base, 'inclusion'));
  const consistency = vectorFiles(join(base, 'consistency'));
  const read = (kind: string, name: string) =>
    JSON.parse(readFileSync(join(base, kind, name), 'utf8')) as Vector;
  const why = 'the published vectors are not beside this checkout';

  test(`inclusion: ${inclusion.length} files`, (context) => {
    if (inclusion.length === 0) return context.skip(why);
    for (const name of inclusion) {
      const vector = read('inclusion', name);
      const path = (vector.proof ?? []).map(bytesOf);
      const ok = verifyInclusion(
        bytesOf(vector.leafHash),
        vector.leafIdx,
        vector.treeSize,
        path,
        bytesOf(vector.root),
      );
      expect.soft(ok, name).toBe(!vector.wantErr);
    }
  });

  test(`consistency: ${consistency.length} files`, (context) => {
    if (consistency.length === 0) return context.skip(why);
    for (const name of consistency) {
      const vector = read('consistency', name);
      const proof = (vector.proof ?? []).map(bytesOf);
      const ok = verifyConsistency(
        vector.size1,
        vector.size2,
        bytesOf(vector.root1),
        bytesOf(vector.root2),
        proof,
      );
      expect.soft(ok, name).toBe(!vector.wantErr);
    }
  });
});
