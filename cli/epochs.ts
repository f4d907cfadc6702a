// The policies and keys of the chain in a data directory, for the commands that show and change them. Reads only.
import { join } from 'node:path';
import { type Block, parseBlock } from '../ledger/format/block.ts';
import { ChainEpochs } from '../ledger/format/epochs.ts';
import { nodeEd25519 } from '../ledger/keys/ed25519.ts';
import { readHead } from '../ledger/tiles/blocks.ts';
import { directoryTiles } from '../ledger/tiles/source.ts';
import { readBlocks } from '../ledger/verify/chain.ts';
import { CommandError, EXIT } from './errors.ts';

/** @throws CommandError where there is no ledger yet, or it cannot be read */
export async function epochsOf(dataDir: string): Promise<ChainEpochs> {
  const read = directoryTiles(join(dataDir, 'ledger'));
  const head = await readHead(read);
  if (!head)
    throw new CommandError(EXIT.usage, `${dataDir} has no ledger yet`, {
      hint: 'start the gateway once; ledger.policy names the first policy',
    });
  let epochs: ChainEpochs | null = null;
  for await (const { bytes } of readBlocks(read, { size: head.checkpoint.size })) {
    const block: Block = parseBlock(bytes);
    epochs ??= new ChainEpochs(block, nodeEd25519);
    const [unsound] = epochs.add(block);
    if (unsound) throw new CommandError(EXIT.unable, unsound.message, { hint: 'run `tidemark fsck`' });
  }
  return epochs!;
}
