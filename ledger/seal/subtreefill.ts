// Makes subtree roots for blocks that have none or wrong ones: those sealed before there were any, restored from a backup, lost in
// a crash. Newest first, a little at a time beside the sealer, and only while that one has nothing to do. Judges nothing: a
// block whose records do not lead to its root is passed over.
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { leafSource } from '../../gateway/log/retention/leaf-files.ts';
import { LogError } from '../../gateway/log/types.ts';
import type { StageContext } from '../../gateway/stage/types.ts';
import type { Block } from '../format/block.ts';
import { offset } from '../format/brand.ts';
import { FormatError } from '../format/errors.ts';
import { equalBytes } from '../format/hash.ts';
import type { TileReader } from '../format/tile.ts';
import { type ReadLeaves, readBlockLeaves } from '../tiles/blockrecords.ts';
import { BlockLog, readHead } from '../tiles/blocks.ts';
import { directoryTiles } from '../tiles/source.ts';
import { directorySubtrees, type ReadSubtrees } from '../tiles/subtreefiles.ts';
import { rootOfSubtrees, SUBTREES_FROM, subtreesInPlace } from '../tiles/subtrees.ts';
import type { SubtreeSink } from './subtrees.ts';

/** Between two blocks at least so many times what the last one took: a twentieth of a core. */
const REST = 20;
const REST_MS_MIN = 50;
/** While there is something to seal it is asked so often whether there still is. */
const BUSY_MS = 250;
/** Of log at a time: some milliseconds of work, then the sealer has its turn. */
const PIECE_BYTES = 128 * 1024;

/** Blocks looked at before a rest. */
const LOOKS = 64;

type FillContext = Pick<StageContext<unknown>, 'dataDir' | 'reader' | 'signal' | 'log'>;

interface FillPorts extends Pick<FillContext, 'reader' | 'signal'> {
  readonly tiles: TileReader;
  readonly leaves: ReadLeaves;
  readonly stored: ReadSubtrees;
  readonly sink: Pick<SubtreeSink, 'add'>;
  readonly mayWork: () => boolean;
}

/** Nothing hangs on it: whatever goes wrong, proofs read whole blocks. */
export function startFilling(
  { dataDir, reader, signal, log }: FillContext,
  sink: Pick<SubtreeSink, 'add'>,
  mayWork: () => boolean,
): { stop(): Promise<void> } {
  const stop = new AbortController();
  const filled = fillSubtrees({
    reader,
    signal: AbortSignal.any([signal, stop.signal]),
    tiles: directoryTiles(join(dataDir, 'ledger')),
    leaves: leafSource(dataDir),
    stored: directorySubtrees(dataDir),
    sink,
    mayWork,
  }).then(
    (blocks) => {
      if (blocks > 0)
        log('info', 'subtree roots of older blocks were made: their proofs are quicker now', { blocks });
    },
    (error: unknown) =>
      log('warn', 'no more subtree roots of older blocks are made; their proofs read whole blocks', {
        reason: error instanceof Error ? error.message : String(error),
      }),
  );
  return {
    stop: () => {
      stop.abort();
      return filled;
    },
  };
}

/** Goes once through the blocks that are signed now; returns how many got roots. */
async function fillSubtrees(ports: FillPorts): Promise<number> {
  const { reader, tiles, stored, sink, mayWork, signal } = ports;
  const head = await readHead(tiles);
  if (!head) return 0;
  const blocks = new BlockLog(tiles, head.checkpoint.size);
  const rest = (ms: number) => sleep(ms, undefined, { signal }).catch(() => undefined);
  let made = 0;
  for (let height = head.checkpoint.size - 1; height >= 0 && !signal.aborted; ) {
    if (!mayWork()) {
      await rest(BUSY_MS);
      continue;
    }
    const began = performance.now();
    const start = await reader.start();
    for (let looks = 0; looks < LOOKS && height >= 0 && mayWork(); looks += 1) {
      const { block } = await blocks.at(height);
      if (block.first + block.count <= start) return made;
      height -= 1;
      if (block.kind !== 'data' || block.count < SUBTREES_FROM || isRight(stored(block), block)) continue;
      const roots = await rootsOf(block, ports);
      if (roots) {
        sink.add([{ height: block.height, first: block.first, roots }]);
        made += 1;
      }
      break;
    }
    await rest(Math.max(REST_MS_MIN, REST * (performance.now() - began)));
  }
  return made;
}

const isRight = (roots: Buffer | null, { root }: Block): boolean =>
  roots !== null && equalBytes(rootOfSubtrees(roots), root);

async function rootsOf(block: Block, { reader, leaves, signal }: FillPorts): Promise<Buffer | null> {
  const from = {
    records: async (first: number, count: number) =>
      signal.aborted ? [] : reader.fetch(offset(first), { maxRecords: count, maxBytes: PIECE_BYTES }),
    leaves,
  };
  try {
    const hashes = await readBlockLeaves(block, from, () => undefined);
    const roots = hashes && subtreesInPlace(hashes, block.count);
    return roots && isRight(roots, block) ? roots : null;
  } catch (error) {
    // Damage is for `fsck` to name.
    if (error instanceof LogError || error instanceof FormatError) return null;
    throw error;
  }
}
