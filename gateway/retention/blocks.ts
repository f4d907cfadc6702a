// Where the blocks of the signed ledger begin and end, for those offsets retention asks about. Reads tiles only.
import { join } from 'node:path';
import { BlockLog, readHead } from '../../ledger/tiles/blocks.ts';
import { directoryTiles } from '../../ledger/tiles/source.ts';
import type { BlockSpan } from './engine.ts';

/** Data blocks that overlap [first, end), in order; [] where nothing is signed yet. */
export function ledgerBlocks(dataDir: string): (first: number, end: number) => Promise<BlockSpan[]> {
  const read = directoryTiles(join(dataDir, 'ledger'));
  return async (first, end) => {
    const head = await readHead(read);
    if (!head) return [];
    const blocks = new BlockLog(read, head.checkpoint.size);
    const spans: BlockSpan[] = [];
    for (let offset = first; offset < end; ) {
      const found = await blocks.covering(offset);
      if (!found) break;
      const { block } = found;
      const blockEnd = block.first + block.count;
      if (block.kind === 'data') spans.push({ first: block.first, end: blockEnd });
      offset = blockEnd;
    }
    return spans;
  };
}
