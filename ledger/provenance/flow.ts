// Everything that went through a gateway between two times: the blocks sealed then, what they declare, and their records
// re-hashed against them. Reads; changes nothing.
import type { BlockKind } from '../format/block.ts';
import { equalBytes } from '../format/hash.ts';
import { RefusalTally, saysRefusedOnly } from '../format/refusals.ts';
import type { TileReader } from '../format/tile.ts';
import { rootInPlace } from '../tiles/batchtree.ts';
import { type RecordsOf, readBlockLeaves } from '../tiles/blockrecords.ts';
import { BlockLog, readHead } from '../tiles/blocks.ts';
import type { FlowReport } from './answers.ts';

export interface FlowQuestion {
  readonly fromMs: number;
  /** Blocks sealed before it. */
  readonly toMs: number;
  /** Goes on from this height; a report's `nextHeight`. */
  readonly fromHeight?: number;
  /** Ends after about this many records. Default: all. */
  readonly maxRecords?: number;
}

const DECLARED_MAX = 1_000;
/** More devices are counted as this many. */
const DEVICES_MAX = 1_000_000;

export async function flowBetween(
  { tiles, records }: { readonly tiles: TileReader; readonly records: RecordsOf },
  { fromMs, toMs, fromHeight, maxRecords = Number.POSITIVE_INFINITY }: FlowQuestion,
): Promise<Omit<FlowReport, 'sinks'>> {
  const head = await readHead(tiles);
  const size = head?.checkpoint.size ?? 0;
  const blocks = new BlockLog(tiles, size);
  const kinds: Partial<Record<BlockKind, number>> = {};
  const declared: FlowReport['declared'][number][] = [];
  const refusals = new RefusalTally();
  const bySource: Record<string, number> = {};
  const devices = new Set<string>();
  const counts = { intact: 0, changed: 0, notHeld: 0, payloadBytes: 0 };
  const covered = { first: -1, last: -1 };
  const offsets = { first: 0, end: 0 };
  let criticalBlocks = 0;
  let height = fromHeight ?? (await firstSealedFrom(blocks, fromMs));
  let read = 0;
  for (; height < size && read < maxRecords; height += 1) {
    const { block } = await blocks.at(height);
    // A clock that went back may have sealed later blocks at earlier times: those are left to the range they claim.
    if (block.sealedMs >= toMs) break;
    if (block.sealedMs < fromMs) continue;
    if (covered.first < 0) {
      covered.first = height;
      offsets.first = block.first;
    }
    covered.last = height;
    offsets.end = block.first + block.count;
    kinds[block.kind] = (kinds[block.kind] ?? 0) + 1;
    const { kind, detail } = block;
    if (detail?.critical !== undefined) criticalBlocks += 1;
    refusals.add(block);
    const isDeclared = (kind === 'gap' || kind === 'prune') && !saysRefusedOnly(block);
    if (isDeclared && declared.length < DECLARED_MAX)
      declared.push({ height, kind, cause: String(detail?.cause ?? 'unknown'), count: block.count });
    if (kind !== 'data') continue;
    read += block.count;
    let held = 0;
    const leaves = await readBlockLeaves(block, records, (record) => {
      held += 1;
      bySource[record.source] = (bySource[record.source] ?? 0) + 1;
      counts.payloadBytes += record.payload.length;
      if (record.device !== '' && devices.size < DEVICES_MAX) devices.add(record.device);
    });
    counts.notHeld += block.count - held;
    if (!leaves) counts.notHeld += held;
    else if (equalBytes(rootInPlace(leaves, block.count), block.root)) counts.intact += held;
    else counts.changed += held;
  }
  const isOver = height >= size || (await blocks.at(height)).block.sealedMs >= toMs;
  return {
    fromMs,
    toMs,
    blocks: covered.first < 0 ? null : covered,
    kinds,
    criticalBlocks,
    declared,
    refusals: refusals.total,
    offsets,
    records: { ...counts, bySource, devices: devices.size },
    nextHeight: isOver ? null : height,
  };
}

/** The first block sealed at or after a time, where the clock never went back; near it otherwise. */
async function firstSealedFrom(blocks: BlockLog, fromMs: number): Promise<number> {
  let low = 0;
  let high = blocks.size;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if ((await blocks.at(middle)).block.sealedMs < fromMs) low = middle + 1;
    else high = middle;
  }
  return low;
}
