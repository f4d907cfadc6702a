// Chains and forks: every block rule through the checker, resuming, reading from bundles, evidence checked.
import { describe, expect, test } from 'vitest';
import { type Block, blockHash, encodeBlock, parseBlock } from '../../../ledger/format/block.ts';
import { offset, treeSize } from '../../../ledger/format/brand.ts';
import { formatCheckpoint } from '../../../ledger/format/checkpoint.ts';
import { toHex } from '../../../ledger/format/hash.ts';
import { consistencyProof, root } from '../../../ledger/format/merkle.ts';
import { formatNote, verifierKey } from '../../../ledger/format/note.ts';
import { encodeEntryBundle, newTiles, tilePath } from '../../../ledger/format/tile.ts';
import { ChainChecker, checkChain, readBlocks, type TileReader } from '../../../ledger/verify/chain.ts';
import { checkFork } from '../../../ledger/verify/fork.ts';
import { nativeSha256, testKey } from '../format/native.ts';
import { checkpointNote, gatewayKey, ORIGIN, sampleChain, signCheckpoint } from './sample.ts';

const leavesOf = (blocks: readonly Uint8Array[]) => blocks.map((block) => blockHash(block));
const chain = sampleChain(600, 2);

function logOf(blocks: readonly Uint8Array[], size = blocks.length): TileReader {
  const files = new Map<string, Uint8Array>();
  for (const tile of newTiles(0, size)) {
    if (tile.level !== 'entries') continue;
    files.set(
      tilePath(tile),
      encodeEntryBundle(blocks.slice(tile.index * 256, tile.index * 256 + tile.width)),
    );
  }
  return async (path) => files.get(path) ?? null;
}

/** Changes one block and links the later ones to it again, as a gateway that rewrites its history would. */
function rewritten(height: number, change: (block: Block) => Partial<Block>): Uint8Array[] {
  const blocks = chain.slice(0, 40);
  for (let i = height; i < blocks.length; i++) {
    const block = { ...parseBlock(blocks[i]!), previous: blockHash(blocks[i - 1]!) };
    blocks[i] = encodeBlock(i === height ? { ...block, ...change(block) } : block);
  }
  return blocks;
}
const check = async (blocks: readonly Uint8Array[]) => {
  const report = await checkChain({ read: logOf(blocks), size: blocks.length, hash: nativeSha256 });
  return report.violations.map(({ rule, height }) => `${rule}@${height}`);
};

describe('checkChain', () => {
  test('a sound chain: no violations, and the root of the tree', async () => {
    const seen: number[] = [];
    const report = await checkChain({
      read: logOf(chain),
      size: chain.length,
      onBlock: (_, height) => void seen.push(height),
    });
    expect(report).toMatchObject({ size: 601, violations: [], violationCount: 0 });
    expect(toHex(report.root)).toBe(toHex(root(leavesOf(chain))));
    expect(seen).toEqual(chain.map((_, i) => i));
  });

  test('goes on from any position', async () => {
    for (const middle of [1, 255, 256, 257, 600]) {
      const first = await checkChain({ read: logOf(chain, middle), size: middle });
      const second = await checkChain({ read: logOf(chain), size: chain.length, from: first.position });
      expect(second.violations).toEqual([]);
      expect(toHex(second.root)).toBe(toHex(root(leavesOf(chain))));
    }
    expect(() => new ChainChecker({ from: { size: 1, nodes: [new Uint8Array(32)], last: null } })).toThrow(
      expect.objectContaining({ code: 'RANGE_INVALID' }),
    );
  });

  test.each<[string, Uint8Array[], string[]]>([
    [
      'a block edited',
      chain
        .slice(0, 9)
        .map((b, i) =>
          i === 5 ? encodeBlock({ ...parseBlock(b), sealedMs: parseBlock(b).sealedMs + 1 }) : b,
        ),
      ['previous-mismatch@6'],
    ],
    [
      'a block removed',
      chain.slice(0, 9).filter((_, i) => i !== 5),
      ['height-not-next@6', 'previous-mismatch@6', 'first-not-next@6'],
    ],
    [
      'a block twice',
      [...chain.slice(0, 6), chain[5]!],
      ['height-not-next@5', 'previous-mismatch@5', 'first-not-next@5'],
    ],
    [
      'another genesis',
      [encodeBlock({ ...parseBlock(chain[0]!), detail: null }), ...chain.slice(1, 4)],
      ['previous-mismatch@1'],
    ],
    [
      'offsets skipped, all linked again',
      rewritten(9, (b) => ({ first: offset(b.first + 1) })),
      ['first-not-next@9', 'first-not-next@10'],
    ],
    ['fewer records claimed, all linked again', rewritten(9, () => ({ count: 1 })), ['first-not-next@10']],
    [
      'clock turned back, all linked again',
      rewritten(9, () => ({ sealedMs: 5, monotonicMs: 0 })),
      ['monotonic-backwards@9', 'sealed-backwards@9'],
    ],
  ])('%s', async (_, blocks, expected) => {
    expect((await check(blocks)).sort()).toEqual(expected.sort());
  });

  test('reordered blocks', async () => {
    const [a, b] = [chain[5]!, chain[6]!];
    const found = await check([...chain.slice(0, 5), b, a, ...chain.slice(7, 9)]);
    expect(found).toContain('height-not-next@6');
    expect(found).toContain('previous-mismatch@5');
  });

  test('bytes that are no block are one violation; the blocks after are still checked', async () => {
    const blocks = chain.slice(0, 9);
    blocks[4] = new TextEncoder().encode('not a block');
    blocks[8] = encodeBlock({ ...parseBlock(blocks[8]!), bootId: 'ffffffffffffffff', first: offset(0) });
    expect(await check(blocks)).toEqual(['block-malformed@4', 'previous-mismatch@5', 'first-not-next@8']);
  });

  test('a height that lies is caught though the next follows it', () => {
    const checker = new ChainChecker();
    for (const block of chain.slice(0, 3)) checker.add(block);
    checker.add(new Uint8Array(0));
    const wrong = encodeBlock({ ...parseBlock(chain[3]!), previous: blockHash(new Uint8Array(0)) });
    expect(checker.add(wrong).violations.map((v) => v.rule)).toEqual(['height-not-next']);
  });

  test('violations are counted beyond the limit on how many are kept', async () => {
    const blocks = chain.slice(0, 60).map((_, i) => new TextEncoder().encode(`${i}`));
    const report = await checkChain({ read: logOf(blocks), size: 60, maxViolations: 7 });
    expect([report.violations.length, report.violationCount]).toEqual([7, 60]);
  });

  test('a missing or cut bundle is an error, not an empty chain', async () => {
    await expect(checkChain({ read: async () => null, size: 1 })).rejects.toMatchObject({
      code: 'TILE_MISSING',
    });
    const cut: TileReader = async (path) => (await logOf(chain)(path))?.subarray(0, 100) ?? null;
    await expect(checkChain({ read: cut, size: chain.length })).rejects.toMatchObject({
      code: 'BUNDLE_INVALID',
    });
  });

  test('a cleared partial bundle is read from the full one', async () => {
    const full = logOf(chain, 512);
    const heights: number[] = [];
    for await (const { height } of readBlocks(full, { from: 250, size: 300 })) heights.push(height);
    expect(heights).toEqual(Array.from({ length: 50 }, (_, i) => 250 + i));
  });
});

describe('fork evidence', () => {
  const other = rewritten(9, () => ({ sealedMs: 5 }));
  const honest = chain.slice(0, 40);

  test('one size, two roots', () => {
    const verdict = checkFork({ first: checkpointNote(honest), second: checkpointNote(other) }, gatewayKey);
    expect(verdict).toMatchObject({ kind: 'fork', first: { size: 40 }, second: { size: 40 } });
  });

  test('two sizes: the larger extends another history', () => {
    const first = checkpointNote(honest.slice(0, 20));
    const second = checkpointNote(other);
    const extended = {
      root: root(leavesOf(other.slice(0, 20))),
      proof: consistencyProof(leavesOf(other), 20),
    };
    expect(checkFork({ first, second, extended }, gatewayKey).kind).toBe('fork');
    const bad = { ...extended, proof: extended.proof.slice(1) };
    expect(checkFork({ first, second, extended: bad }, gatewayKey).kind).toBe('no-fork');
    expect(checkFork({ first, second }, gatewayKey).kind).toBe('no-fork');
    const swapped = { first: second, second: first, extended };
    expect(checkFork(swapped, gatewayKey).kind).toBe('no-fork');
  });

  test('an honest history is never evidence', () => {
    const [first, second] = [checkpointNote(honest.slice(0, 20)), checkpointNote(honest)];
    expect(checkFork({ first: second, second }, gatewayKey).kind).toBe('no-fork');
    const extended = {
      root: root(leavesOf(honest.slice(0, 20))),
      proof: consistencyProof(leavesOf(honest), 20),
    };
    expect(checkFork({ first, second, extended }, gatewayKey).kind).toBe('no-fork');
  });

  test('notes that the gateway did not sign accuse nobody', () => {
    const impostor = testKey('impostor');
    const text = formatCheckpoint({ origin: ORIGIN, size: treeSize(40), root: new Uint8Array(32) });
    const forged = formatNote({ text, signatures: [signCheckpoint(text, impostor)] });
    const evidence = { first: checkpointNote(honest), second: forged };
    expect(() => checkFork(evidence, gatewayKey)).toThrow(
      expect.objectContaining({ code: 'NOTE_SIGNATURE_INVALID' }),
    );
    expect(() => checkFork(evidence, verifierKey('x', impostor.publicKey))).toThrow(
      expect.objectContaining({ code: 'NOTE_NOT_SIGNED' }),
    );
  });
});
