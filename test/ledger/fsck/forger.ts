// A gateway that lies: rewrites the blocks of its own ledger and signs again with its own key, or somebody's.
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { blockHash, encodeBlock, parseBlock } from '../../../ledger/format/block.ts';
import type { TreeSize } from '../../../ledger/format/brand.ts';
import { formatCheckpoint, parseCheckpoint } from '../../../ledger/format/checkpoint.ts';
import { formatNote, parseNote, verifierKey } from '../../../ledger/format/note.ts';
import { fileDisk } from '../../../ledger/seal/disk.ts';
import { TreeEdge } from '../../../ledger/seal/edge.ts';
import { loadOrCreateGatewayKey } from '../../../ledger/seal/key.ts';
import { TileFiles } from '../../../ledger/seal/tilefiles.ts';
import { directoryTiles } from '../../../ledger/tiles/source.ts';
import { readBlocks } from '../../../ledger/verify/chain.ts';

export interface ForgeOptions {
  /** Texts of all blocks as they were; what comes back is chained, put into tiles and signed. */
  readonly edit: (blocks: string[]) => string[];
  /** False: `previous` of the blocks stays as the edit left it. */
  readonly chain?: boolean;
}

const text = new TextDecoder();
const bytesOf = new TextEncoder();

export async function forge(dataDir: string, { edit, chain = true }: ForgeOptions): Promise<void> {
  const folder = join(dataDir, 'ledger');
  const { origin, size } = parseCheckpoint(parseNote(readFileSync(join(folder, 'checkpoint'))).text);
  const blocks: string[] = [];
  for await (const { bytes } of readBlocks(directoryTiles(folder), { size })) blocks.push(text.decode(bytes));
  const edge = new TreeEdge();
  let previous: Uint8Array | null = null;
  for (const block of edit(blocks)) {
    let bytes: Uint8Array = bytesOf.encode(block);
    if (chain && previous) bytes = encodeBlock({ ...parseBlock(bytes), previous });
    edge.append(bytes);
    previous = blockHash(bytes);
  }
  rmSync(folder, { recursive: true });
  const files = new TileFiles(fileDisk, folder);
  files.write(edge.unsaved());
  const key = loadOrCreateGatewayKey(dataDir);
  const note = formatCheckpoint({ origin, size: edge.size as TreeSize, root: edge.root() });
  const signature = key.sign(bytesOf.encode(note));
  const { keyId } = verifierKey(origin, key.publicKey);
  files.replace(
    'checkpoint',
    bytesOf.encode(formatNote({ text: note, signatures: [{ name: origin, keyId, signature }] })),
  );
}
