// Walks a block log once, from genesis to a checkpoint: chain rules, tiles, root, and each block to whoever looks at
// its records. What both fsck and audit stand on. Repairs nothing.
import { type Block, blockHash, parseBlock } from '../format/block.ts';
import { type Checkpoint, parseCheckpoint } from '../format/checkpoint.ts';
import { ChainEpochs } from '../format/epochs.ts';
import { FormatError } from '../format/errors.ts';
import { equalBytes } from '../format/hash.ts';
import { parseNote, type SignedNote } from '../format/note.ts';
import {
  CHECKPOINT_PATH,
  decodeEntryBundle,
  TILE_WIDTH,
  type TileId,
  type TileReader,
  tilePath,
  tileWidth,
} from '../format/tile.ts';
import { hasRoot, TileTree } from '../format/tile-tree.ts';
import { ChainChecker, type ChainPosition, readBlocks, START_OF_CHAIN } from '../verify/chain.ts';
import { Findings } from './findings.ts';
import { nodeSha256 } from './hashing.ts';
import { TilesCheck } from './tilescheck.ts';

export interface SignedHead {
  readonly note: SignedNote;
  readonly checkpoint: Checkpoint;
}

/** The served checkpoint; null where there is none, or where it cannot be read (which is then a finding). */
export async function readSignedHead(
  read: TileReader,
  findings: Findings,
  prefix: string,
): Promise<SignedHead | null> {
  const file = prefix + CHECKPOINT_PATH;
  const bytes = await read(CHECKPOINT_PATH);
  if (!bytes) {
    findings.add(
      'error',
      'CHECKPOINT_MISSING',
      { file },
      'there is no checkpoint: nothing is sealed, or the ledger is gone',
    );
    return null;
  }
  try {
    const note = parseNote(bytes);
    return { note, checkpoint: parseCheckpoint(note.text) };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    findings.add('error', 'CHECKPOINT_INVALID', { file }, error.message, { code: error.code });
    return null;
  }
}

export interface ChainWalkOptions {
  readonly read: TileReader;
  readonly checkpoint: Checkpoint;
  readonly findings: Findings;
  readonly prefix: string;
  readonly partialWidths?: (level: TileId['level'], index: number) => readonly number[];
  /** The walk also has to pass through this earlier state of the tree. */
  readonly through?: Pick<Checkpoint, 'size' | 'root'>;
  /** Goes on from blocks that were walked before; tiles of those are not read again. Default: from genesis. */
  readonly from?: ChainPosition;
  /** With `from`: the genesis block and all policy and key blocks before it. */
  readonly epochBlocks?: readonly Uint8Array[];
  /** Each block that could be read, in order; awaited. */
  readonly onBlock?: (block: Block, file: string) => Promise<void> | void;
}

export interface ChainSummary {
  /** Blocks read. */
  readonly blocks: number;
  /** One past the last offset the chain covers. */
  readonly coveredEnd: number;
  readonly genesis: Block | null;
  /** Policies and keys of the chain; null without a usable genesis block. */
  readonly epochs: ChainEpochs | null;
  readonly last: Block | null;
  /** All blocks were readable and lead to the checkpoint's root. */
  readonly rootAgrees: boolean;
  /** The first `through.size` blocks have `through.root`; false where none was given. */
  readonly wentThrough: boolean;
  /** From where a later walk may go on. */
  readonly position: ChainPosition;
}

/** Stops at the first bundle that cannot be read: without it neither heights nor hashes beyond are known. */
export async function walkChain(options: ChainWalkOptions): Promise<ChainSummary> {
  const { checkpoint, findings, prefix, through } = options;
  const from = options.from ?? START_OF_CHAIN;
  const chain = new ChainChecker({ hash: nodeSha256, from });
  const tileFindings = new Findings();
  const tiles =
    from.size === 0 ? new TilesCheck({ ...options, findings: tileFindings, size: checkpoint.size }) : null;
  let genesis: Block | null = null;
  const resumed = (options.epochBlocks ?? []).map(parseBlock);
  let epochs: ChainEpochs | null = resumed[0] ? epochsOf(resumed[0]) : null;
  for (const block of resumed.slice(1)) epochs?.add(block);
  let last: Block | null = from.last && parseBlock(from.last);
  let wentThrough = false;
  for (let index = Math.floor(from.size / TILE_WIDTH); index * TILE_WIDTH < checkpoint.size; index += 1) {
    const bundle = await readBundle(options, index);
    if (!bundle) break;
    for (const entry of bundle.entries.slice(Math.max(0, from.size - index * TILE_WIDTH))) {
      const checked = chain.add(entry.bytes);
      if (chain.size === through?.size) wentThrough = equalBytes(chain.root(), through.root);
      const changes = checked.block && epochs ? epochs.add(checked.block) : [];
      for (const violation of [...checked.violations, ...changes]) {
        findings.add(
          'error',
          'BLOCK_RULE',
          { file: bundle.file, position: entry.position },
          violation.message,
          {
            rule: violation.rule,
            height: violation.height,
          },
        );
      }
      await tiles?.add(entry.bytes, checked.hash);
      if (!checked.block) continue;
      if (chain.size === 1) epochs = epochsOf(checked.block);
      genesis ??= checked.block;
      last = checked.block;
      if (checked.block.origin !== checkpoint.origin && checked.block.height === 0) {
        findings.add(
          'error',
          'BLOCK_RULE',
          { file: bundle.file, position: entry.position },
          `the chain is of ${checked.block.origin}, the checkpoint of ${checkpoint.origin}`,
          {
            rule: 'origin-changed',
            height: 0,
          },
        );
      }
      await options.onBlock?.(checked.block, bundle.file);
    }
  }
  const isComplete = chain.size === checkpoint.size;
  const rootAgrees = isComplete && equalBytes(chain.root(), checkpoint.root);
  if (isComplete) {
    await tiles?.end();
    // Where the stored tiles lead to the signed root and the blocks do not, the blocks are wrong and the tiles right.
    const signed = rootAgrees || from.size > 0 ? null : await signedTree(options);
    if (!signed) findings.addAll(tileFindings.list);
    if (signed) await nameChangedBlocks(options, signed);
    if (!rootAgrees) {
      findings.add(
        'error',
        'ROOT_WRONG',
        { file: prefix + CHECKPOINT_PATH },
        `the ${checkpoint.size} blocks do not lead to the root of the checkpoint: a block or the checkpoint was changed`,
        { size: checkpoint.size },
      );
    }
  } else {
    findings.addAll(tileFindings.list);
  }
  const coveredEnd = last ? last.first + last.count : 0;
  const { position } = chain;
  return { blocks: chain.size, coveredEnd, genesis, epochs, last, rootAgrees, wentThrough, position };
}

/** Null where the genesis block names no usable key: whoever checks signatures says so. */
function epochsOf(genesis: Block): ChainEpochs | null {
  try {
    return new ChainEpochs(genesis);
  } catch (error) {
    if (error instanceof FormatError) return null;
    throw error;
  }
}

interface PlacedEntry {
  readonly bytes: Uint8Array;
  /** Where the block's bytes begin in the bundle. */
  readonly position: number;
}

async function readBundle(
  options: ChainWalkOptions,
  index: number,
): Promise<{ file: string; entries: PlacedEntry[] } | null> {
  const { read, checkpoint, findings, prefix } = options;
  const width = tileWidth('entries', index, checkpoint.size);
  for (const stored of new Set([width, TILE_WIDTH])) {
    const path = tilePath({ level: 'entries', index, width: stored });
    const bytes = await read(path);
    if (!bytes) continue;
    try {
      const entries = decodeEntryBundle(bytes, stored)
        .slice(0, width)
        .map((entry) => ({ bytes: entry, position: entry.byteOffset - bytes.byteOffset }));
      return { file: prefix + path, entries };
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      findings.add(
        'error',
        'BUNDLE_UNREADABLE',
        { file: prefix + path },
        `${error.message}; blocks before height ${index * TILE_WIDTH} are readable`,
        { index },
      );
      return null;
    }
  }
  const path = tilePath({ level: 'entries', index, width });
  findings.add(
    'error',
    'TILE_MISSING',
    { file: prefix + path },
    `missing; blocks before height ${index * TILE_WIDTH} are readable`,
    { index, width },
  );
  return null;
}

/** The stored hash tiles as a tree, if they lead to the checkpoint's root. */
async function signedTree({ read, checkpoint }: ChainWalkOptions): Promise<TileTree | null> {
  const tree = new TileTree({ read, size: checkpoint.size, hash: nodeSha256 });
  try {
    return (await hasRoot(tree, checkpoint.root)) ? tree : null;
  } catch (error) {
    if (error instanceof FormatError) return null;
    throw error;
  }
}

async function nameChangedBlocks(options: ChainWalkOptions, tree: TileTree): Promise<void> {
  const { checkpoint, findings } = options;
  for (let index = 0; index * TILE_WIDTH < checkpoint.size; index += 1) {
    const bundle = await readBundle(options, index);
    if (!bundle) return;
    for (const [at, { bytes, position }] of bundle.entries.entries()) {
      const height = index * TILE_WIDTH + at;
      if (equalBytes(blockHash(bytes, nodeSha256), await tree.leafHash(height))) continue;
      findings.add(
        'error',
        'BLOCK_CHANGED',
        { file: bundle.file, position },
        `block ${height} is not the one that was signed at this height`,
        { height },
      );
    }
  }
}

/** Blocks that can be read; those that cannot were found by the walk before. */
export async function* parsedBlocks(read: TileReader, size: number, from = 0): AsyncGenerator<Block> {
  for await (const { bytes } of readBlocks(read, { from, size })) {
    try {
      yield parseBlock(bytes);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
    }
  }
}
