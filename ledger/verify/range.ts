// The steps that differ for a proof of consecutive records: every offset of the range is accounted for, its blocks follow
// one another, and all of them lead to the checkpoint. Judges signatures no other way than steps.ts.
import type { Block } from '../format/block.ts';
import { checkBlock, checkSuccessor } from '../format/block-rules.ts';
import { equalBytes } from '../format/hash.ts';
import { rootFromSpan } from '../format/merkle.ts';
import type { RangeProof } from '../format/proof-range.ts';
import { recordLeafHash } from '../format/record.ts';
import { broken, holds, type Outcome, undecided } from './outcome.ts';
import type { TrustedInput } from './signed.ts';
import { type CheckedProof, judge, type Read, type ReadBlock, read, readBlock } from './steps.ts';

export function checkRange(proof: RangeProof, trusted: TrustedInput): CheckedProof {
  const { first, last, records, removed } = proof;
  const blocks = read(() => proof.blocks.map(readBlock));
  const leaves = new Map<number, Uint8Array>();
  for (const record of records) leaves.set(record.offset, recordLeafHash(record));
  for (const { offset, hash } of removed) leaves.set(offset, hash);
  const shown: Read<ReadBlock> =
    blocks.value === null ? blocks : read(() => blocks.value.at(-1) ?? readBlock(''));
  let lost = 0;
  if (blocks.value) lost = lostWithin(blocks.value, first, last);
  return judge(
    {
      hash: () => countStep(proof, leaves, lost, blocks.value !== null),
      batch: () => batchStep(proof, leaves, blocks.value),
      block: (head) => {
        if (!blocks.value) return broken(`a block cannot be read: ${blocks.error}`);
        if (!head.value) return undecided('not reached: the checkpoint cannot be read');
        return blocksStep(proof, blocks.value, head.value.checkpoint);
      },
      shown,
      checkpoint: proof.checkpoint,
      record: null,
      range: {
        ...{ first, last, lost },
        records: records.length,
        removed: removed.length,
        firstReceivedMs: records[0]?.receivedMs ?? null,
        lastReceivedMs: records.at(-1)?.receivedMs ?? null,
      },
    },
    trusted,
  );
}

/** The part of a block within the range, as offsets [from, to). */
const within = ({ first, count }: Block, proof: { first: number; last: number }) => ({
  from: Math.max(first, proof.first),
  to: Math.min(first + count, proof.last + 1),
});

function lostWithin(blocks: readonly ReadBlock[], first: number, last: number): number {
  let lost = 0;
  for (const { block } of blocks) {
    const { from, to } = within(block, { first, last });
    if (block.kind !== 'data') lost += Math.max(0, to - from);
  }
  return lost;
}

/** Offsets strictly ascending within the range, none twice, and as many as it has. */
function countStep(
  { first, last, records, removed }: RangeProof,
  leaves: ReadonlyMap<number, Uint8Array>,
  lost: number,
  readable: boolean,
): Outcome {
  const shown = records.length + removed.length;
  const offsets = [records, removed].every((list) =>
    list.every(
      ({ offset }, i) => offset >= first && offset <= last && (i === 0 || list[i - 1]!.offset < offset),
    ),
  );
  if (!offsets || leaves.size !== shown) return broken('the offsets do not ascend within the range');
  if (readable && shown + lost !== last - first + 1)
    return broken(
      `offsets ${first} to ${last} are ${last - first + 1}; ${shown} are shown, ${lost} declared lost`,
    );
  return holds(`${shown} record hashes for offsets ${first} to ${last}`);
}

function batchStep(
  proof: RangeProof,
  leaves: ReadonlyMap<number, Uint8Array>,
  blocks: readonly ReadBlock[] | null,
): Outcome {
  if (!blocks) return undecided('not reached: a block cannot be read');
  let used = 0;
  let next = proof.first;
  for (const { block } of blocks) {
    const { from, to } = within(block, proof);
    if (to <= from) continue;
    if (from !== next) return broken(`offset ${next} is in none of the blocks`);
    next = to;
    if (block.kind !== 'data') continue;
    const held: Uint8Array[] = [];
    for (let offset = from; offset < to; offset++) {
      const leaf = leaves.get(offset);
      if (!leaf) return broken(`record ${offset} of block ${block.height} is not shown`);
      held.push(leaf);
    }
    const found = rootFromSpan(held, from - block.first, block.count, proof.batchPaths[used++] ?? []);
    if (!found || !equalBytes(found, block.root))
      return broken(
        `records ${from} to ${to - 1} do not lead to the batch root of block ${block.height}: one was changed since it was sealed, or a hash of the path was`,
      );
  }
  if (next !== proof.last + 1) return broken(`offset ${next} is in none of the blocks`);
  if (used !== proof.batchPaths.length) return broken('there are batch paths that belong to no block');
  return holds(`the records lead to the batch roots of ${used} blocks`);
}

function blocksStep(
  { blockPath }: RangeProof,
  blocks: readonly ReadBlock[],
  { size, root }: { readonly size: number; readonly root: Uint8Array },
): Outcome {
  let before: ReadBlock | null = null;
  for (const next of blocks) {
    // The first stands alone: what was before it is proven by the tree.
    const [violation] = before
      ? checkSuccessor(before.block, before.hash, next.block)
      : checkBlock(next.block);
    if (violation) return broken(violation.message);
    before = next;
  }
  const from = blocks[0]!.block.height;
  const leaves = blocks.map(({ hash }) => hash);
  const found = rootFromSpan(leaves, from, size, blockPath);
  if (!found || !equalBytes(found, root))
    return broken(
      `blocks ${from} to ${from + blocks.length - 1} do not lead to the root of the checkpoint of ${size} blocks`,
    );
  return holds(`blocks ${from} to ${from + blocks.length - 1} are in the tree of ${size} blocks`);
}
