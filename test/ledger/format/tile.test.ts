// Tiles: paths, geometry and bundles as C2SP tlog-tiles says, and proofs read from tiles equal to those from leaves.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { leafHash, toHex } from '../../../ledger/format/hash.ts';
import {
  consistencyProof,
  inclusionProof,
  MerkleRange,
  root,
  verifyConsistency,
  verifyInclusion,
} from '../../../ledger/format/merkle.ts';
import {
  decodeEntryBundle,
  encodeEntryBundle,
  newTiles,
  parseTilePath,
  type TileId,
  tilePath,
  tileWidth,
} from '../../../ledger/format/tile.ts';
import { hasRoot, TileTree } from '../../../ledger/format/tile-tree.ts';
import { nativeSha256 } from './native.ts';

const code = (expected: string) => expect.objectContaining({ code: expected });

describe('paths', () => {
  test.each<[TileId, string]>([
    [{ level: 0, index: 0, width: 256 }, 'tile/0/000'],
    [{ level: 0, index: 999, width: 1 }, 'tile/0/999.p/1'],
    [{ level: 2, index: 1000, width: 255 }, 'tile/2/x001/000.p/255'],
    [{ level: 'entries', index: 1234067, width: 256 }, 'tile/entries/x001/x234/067'],
    [{ level: 63, index: Number.MAX_SAFE_INTEGER, width: 256 }, 'tile/63/x009/x007/x199/x254/x740/991'],
  ])('%j is %s', (tile, path) => {
    expect(tilePath(tile)).toBe(path);
    expect(parseTilePath(path)).toEqual(tile);
  });

  const wrong = [
    'tile/0/0',
    'tile/0/0000',
    'tile/0/x000/000',
    'tile/0/001/000',
    'tile/0/x001',
    'tile/00/000',
    'tile/64/000',
    'tile/-1/000',
    'tile/0/000.p/0',
    'tile/0/000.p/256',
    'tile/0/000.p/01',
    'tile/0/000.p/',
    'tile/0/000/',
    'tile/0/../checkpoint',
    '/tile/0/000',
    'tile/0/000\n',
    'tile/data/000',
    'tile/0/x999/x999/x999/x999/x999/999',
    '',
  ];
  test.each(wrong)('refuses %j', (path) => {
    expect(() => parseTilePath(path)).toThrow(code('TILE_PATH_INVALID'));
  });
  test('refuses to name an empty tile', () => {
    expect(() => tilePath({ level: 0, index: 0, width: 0 })).toThrow(code('TILE_PATH_INVALID'));
    expect(() => tilePath({ level: 0, index: 1.5, width: 1 })).toThrow(code('TILE_PATH_INVALID'));
  });
});

describe('geometry', () => {
  test('a tree of 70,000 is what the specification says', () => {
    const tiles = newTiles(0, 70_000);
    const of = (level: TileId['level']) =>
      tiles.filter((tile) => tile.level === level).map((tile) => tile.width);
    expect(of(0)).toEqual([...new Array(273).fill(256), 112]);
    expect(of('entries')).toEqual(of(0));
    expect(of(1)).toEqual([256, 17]);
    expect(of(2)).toEqual([1]);
    expect(tiles.length).toBe(274 * 2 + 3);
    expect(newTiles(0, 256).map(tilePath)).toEqual(['tile/entries/000', 'tile/0/000', 'tile/1/000.p/1']);
    expect(newTiles(5, 5)).toEqual([]);
    expect(newTiles(256, 257).map(tilePath)).toEqual(['tile/entries/001.p/1', 'tile/0/001.p/1']);
  });

  test('tiles written on growth are all that a tree of the size has', () => {
    const sizes = fc.uniqueArray(fc.nat({ max: 200_000 }), { minLength: 2, maxLength: 6 });
    fc.assert(
      fc.property(sizes, (unsorted) => {
        const steps = [0, ...unsorted.sort((a, b) => a - b)];
        const written = new Set<string>();
        steps.slice(1).forEach((size, i) => {
          for (const tile of newTiles(steps[i]!, size)) written.add(tilePath(tile));
        });
        const last = steps.at(-1)!;
        for (const tile of newTiles(0, last)) {
          expect(tile.width).toBe(tileWidth(tile.level, tile.index, last));
          expect(written.has(tilePath(tile))).toBe(true);
        }
      }),
      { numRuns: 30 },
    );
  });
});

describe('bundles', () => {
  test('read back', () => {
    const entries = fc.array(fc.uint8Array({ maxLength: 400 }), { maxLength: 256 });
    fc.assert(
      fc.property(entries, (some) => {
        expect(decodeEntryBundle(encodeEntryBundle(some), some.length).map(toHex)).toEqual(some.map(toHex));
      }),
      { numRuns: 50 },
    );
  });
  test.each<[string, number[], number]>([
    ['half a length', [0], 1],
    ['an entry cut short', [0, 2, 1], 1],
    ['half a length after an entry', [0, 1, 9, 0], 1],
    ['too few entries', [0, 1, 9], 2],
    ['too many entries', [0, 1, 9, 0, 0], 1],
    ['nothing', [], 1],
  ])('refuses %s', (_, bytes, width) => {
    expect(() => decodeEntryBundle(Uint8Array.from(bytes), width)).toThrow(code('BUNDLE_INVALID'));
  });
  test('refuses 257 entries and an entry of 65,536 bytes', () => {
    expect(() => decodeEntryBundle(new Uint8Array(514), 257)).toThrow(code('BUNDLE_INVALID'));
    expect(() => encodeEntryBundle([new Uint8Array(65_536)])).toThrow(code('BUNDLE_INVALID'));
  });
});

describe('a tree read from tiles', () => {
  const SIZE = 70_000;
  const leaves = Array.from({ length: SIZE }, (_, i) =>
    leafHash(new TextEncoder().encode(`${i}`), nativeSha256),
  );
  const nodes = new Map<string, Uint8Array>();
  const range = new MerkleRange({
    hash: nativeSha256,
    onNode: (level, index, hash) => nodes.set(`${level}/${index}`, hash),
  });
  for (const leaf of leaves) range.append(leaf);

  /** The files of a log that has cleared away partial tiles where `onlyFull`. */
  function filesOf(size: number, onlyFull = false): Map<string, Uint8Array> {
    const files = new Map<string, Uint8Array>();
    for (const tile of newTiles(0, size)) {
      if (tile.level === 'entries' || (onlyFull && tile.width < 256)) continue;
      const first = tile.index * 256;
      const hashes = Array.from(
        { length: tile.width },
        (_, i) => nodes.get(`${8 * Number(tile.level)}/${first + i}`)!,
      );
      files.set(tilePath(tile), Uint8Array.from(Buffer.concat(hashes)));
    }
    return files;
  }
  const treeOf = (files: Map<string, Uint8Array>, size: number) =>
    new TileTree({ size, read: async (path) => files.get(path) ?? null, hash: nativeSha256 });

  test.each([1, 2, 255, 256, 257, 511])('of %i leaves', async (size) => {
    const some = leaves.slice(0, size);
    const tree = treeOf(filesOf(size), size);
    expect(toHex(await tree.root())).toBe(toHex(root(some, nativeSha256)));
    expect(await hasRoot(tree, root(some, nativeSha256))).toBe(true);
    const picks = new Set([0, 1, 254, 255, 256, 257, 65_535, size >> 1, size - 1].filter((i) => i < size));
    for (const index of picks) {
      expect((await tree.inclusionProof(index)).map(toHex)).toEqual(
        inclusionProof(some, index, nativeSha256).map(toHex),
      );
      expect(toHex(await tree.leafHash(index))).toBe(toHex(some[index]!));
      const old = index + 1;
      expect((await tree.consistencyProof(old)).map(toHex)).toEqual(
        consistencyProof(some, old, nativeSha256).map(toHex),
      );
    }
  });

  // A log that never cleared a partial tile away, of the sizes asked for below.
  const allFiles = new Map(
    [1, 256, 257, 32_768, 32_769, 35_001, 65_535, 65_536, 65_537, SIZE].flatMap((size) => [...filesOf(size)]),
  );

  test.each([65_535, 65_536, 65_537, SIZE])('of %i leaves: its proofs verify', async (size) => {
    const tree = treeOf(allFiles, size);
    const head = root(leaves.slice(0, size), nativeSha256);
    expect(toHex(await tree.root())).toBe(toHex(head));
    for (const index of [0, 255, 256, 65_534, size >> 1, size - 1]) {
      const path = await tree.inclusionProof(index);
      expect(verifyInclusion(leaves[index]!, index, size, path, head, nativeSha256)).toBe(true);
      const proof = await tree.consistencyProof(index + 1);
      const oldRoot = await treeOf(allFiles, index + 1).root();
      expect(verifyConsistency(index + 1, size, oldRoot, head, proof, nativeSha256)).toBe(true);
    }
  });

  test('an older size reads from full tiles once its partial ones are gone', async () => {
    const tree = treeOf(filesOf(65_536, true), 300);
    await expect(tree.root()).resolves.toEqual(root(leaves.slice(0, 300), nativeSha256));
  });

  test('missing and short tiles are named', async () => {
    const files = filesOf(300);
    files.delete('tile/0/001.p/44');
    await expect(treeOf(files, 300).root()).rejects.toMatchObject({
      code: 'TILE_MISSING',
      facts: { path: 'tile/0/001.p/44' },
    });
    files.set('tile/0/001.p/44', new Uint8Array(43 * 32));
    await expect(treeOf(files, 300).root()).rejects.toMatchObject({ code: 'TILE_INVALID' });
    await expect(treeOf(filesOf(300), 300).leafHash(300)).rejects.toMatchObject({ code: 'RANGE_INVALID' });
  });

  test('a read that failed once is asked again', async () => {
    const files = filesOf(10);
    let failures = 1;
    const read = async (path: string) => {
      if (failures-- > 0) throw new Error('network');
      return files.get(path) ?? null;
    };
    const tree = new TileTree({ size: 10, read });
    await expect(tree.leafHash(3)).rejects.toThrow('network');
    await expect(tree.leafHash(3)).resolves.toEqual(Uint8Array.from(leaves[3]!));
  });
});
