// Reads the block log back from its entry bundles and says how it stands to the signed checkpoint. Trusts no
// stored hash: every one is recomputed. Writes nothing.
import { type Block, parseBlock } from '../format/block.ts';
import { checkSuccessor } from '../format/block-rules.ts';
import type { Checkpoint } from '../format/checkpoint.ts';
import { ChainEpochs } from '../format/epochs.ts';
import { FormatError } from '../format/errors.ts';
import { equalBytes } from '../format/hash.ts';
import type { TelemetryRecord } from '../format/record.ts';
import { decodeEntryBundle, TILE_WIDTH, tilePath } from '../format/tile.ts';
import { nodeEd25519 } from '../keys/ed25519.ts';
import { Batch } from './batch.ts';
import { type TileFile, TreeEdge } from './edge.ts';
import type { TileFiles } from './tilefiles.ts';

/** Records [first, first + count) from the log; fewer when it does not hold them all. */
export type ReadRecords = (first: number, count: number) => Promise<readonly TelemetryRecord[]>;

/** Whether a removal noted in state.db covers the offset. */
export type IsDropped = (offset: number) => boolean;

export interface LastBlock {
  readonly block: Block;
  readonly hash: Uint8Array;
}

export type StoredTree =
  | {
      readonly kind: 'sound';
      readonly edge: TreeEdge;
      readonly genesis: Block | null;
      /** Policies and keys of the chain; null without a genesis block. */
      readonly epochs: ChainEpochs | null;
      readonly last: LastBlock | null;
      /** Tiles and bundles that are missing or do not hold what the entries say. */
      readonly repairs: readonly TileFile[];
    }
  | { readonly kind: 'behind'; readonly size: number }
  | { readonly kind: 'other-root'; readonly size: number }
  | { readonly kind: 'damaged'; readonly file: string; readonly height: number; readonly reason: string };

/** Reads at most this many records at a time to check a block; bounds memory. */
const RECORDS_PER_READ = 4_096;

/**
 * Replays every block. `signed` is the checkpoint of state.db, null when none was ever stored. Blocks beyond it
 * (written, then a crash before they were signed) are checked against the chain's rules and the log's records.
 */
export async function loadStoredTree(
  files: TileFiles,
  signed: Checkpoint | null,
  readRecords: ReadRecords,
  isDropped: IsDropped = () => false,
): Promise<StoredTree> {
  const signedSize = signed?.size ?? 0;
  const edge = new TreeEdge();
  const repairs: TileFile[] = [];
  const matches = (file: TileFile) => {
    const stored = files.read(file.path);
    return stored !== null && equalBytes(stored, file.bytes);
  };
  let genesis: Block | null = null;
  let epochs: ChainEpochs | null = null;
  let last: LastBlock | null = null;
  let rootAgrees = signedSize === 0;

  for (let index = 0; ; index += 1) {
    const bundle = readBundle(files, index);
    if (bundle.kind === 'damaged') return { ...bundle, height: edge.size };
    for (const bytes of bundle.entries) {
      const height = edge.size;
      const isAhead = height >= signedSize;
      // Blocks under a signed root were checked when they were signed; only the edge is needed of them.
      if (isAhead || height === 0 || height === signedSize - 1 || beginsEpoch(bytes)) {
        const checked = await checkStoredBlock(bytes, isAhead, last, readRecords, isDropped);
        if (typeof checked === 'string')
          return { kind: 'damaged', file: bundle.path, height, reason: checked };
        genesis ??= checked;
        const unsound = epochs ? epochs.add(checked)[0]?.message : null;
        if (unsound) return { kind: 'damaged', file: bundle.path, height, reason: unsound };
        try {
          epochs ??= new ChainEpochs(checked, nodeEd25519);
        } catch (error) {
          if (!(error instanceof FormatError)) throw error;
          return { kind: 'damaged', file: bundle.path, height, reason: error.message };
        }
        last = { block: checked, hash: edge.append(bytes) };
      } else {
        edge.append(bytes);
      }
      if (edge.size === signedSize) rootAgrees = equalBytes(edge.root(), signed!.root);
    }
    if (bundle.entries.length < TILE_WIDTH) break;
    repairs.push(...edge.unsaved().filter((file) => file.tile.width === TILE_WIDTH && !matches(file)));
    edge.saved();
  }
  if (edge.size < signedSize) return { kind: 'behind', size: edge.size };
  if (!rootAgrees) return { kind: 'other-root', size: signedSize };
  repairs.push(...edge.partials().filter((file) => !matches(file)));
  edge.saved();
  return { kind: 'sound', edge, genesis, epochs, last, repairs };
}

const EPOCH_LINES = ['\nkind policy\n', '\nkind key\n'];

/** No other line of a block can read so: only these few of a long chain need parsing. */
function beginsEpoch(bytes: Uint8Array): boolean {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return EPOCH_LINES.some((line) => view.includes(line));
}

type Bundle =
  | { readonly kind: 'bundle'; readonly path: string; readonly entries: Uint8Array[] }
  | { readonly kind: 'damaged'; readonly file: string; readonly reason: string };

/** The bundle at `index` as wide as it is on disk: full, else the widest partial, else without entries. */
function readBundle(files: TileFiles, index: number): Bundle {
  for (const width of [TILE_WIDTH, ...files.partialWidths('entries', index).reverse()]) {
    const path = tilePath({ level: 'entries', index, width });
    const bytes = files.read(path);
    if (bytes === null) continue;
    try {
      return { kind: 'bundle', path, entries: decodeEntryBundle(bytes, width) };
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      return { kind: 'damaged', file: path, reason: error.message };
    }
  }
  return { kind: 'bundle', path: tilePath({ level: 'entries', index, width: 1 }), entries: [] };
}

/** The parsed block, or why it cannot stand. */
async function checkStoredBlock(
  bytes: Uint8Array,
  isAhead: boolean,
  last: LastBlock | null,
  readRecords: ReadRecords,
  isDropped: IsDropped,
): Promise<Block | string> {
  let block: Block;
  try {
    block = parseBlock(bytes);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return error.message;
  }
  if (!isAhead) return block;
  const violation = checkSuccessor(last?.block ?? null, last?.hash ?? null, block)[0];
  if (violation) return violation.message;
  // Dropped on a full disk after its block was written and before it was signed: there is nothing to hold it against.
  if (block.kind === 'data' && isDropped(block.first)) return block;
  return block.kind === 'data' && !(await matchesLog(block, readRecords))
    ? `block ${block.height} does not match the log's records ${block.first} to ${block.first + block.count - 1}`
    : block;
}

async function matchesLog(block: Block, readRecords: ReadRecords): Promise<boolean> {
  const batch = new Batch(block.first, block.count);
  while (!batch.full) {
    const records = await readRecords(batch.next, Math.min(RECORDS_PER_READ, block.count - batch.count));
    if (records.length === 0 || records[0]!.offset !== batch.next) return false;
    for (const record of records) batch.add(record);
  }
  const cut = batch.cut();
  return (
    equalBytes(cut.root, block.root) &&
    cut.eventMinMs === block.eventMinMs &&
    cut.eventMaxMs === block.eventMaxMs
  );
}
