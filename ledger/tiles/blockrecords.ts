// Takes the records of one sealed block from a log: leaf hashes of all, and the records of a span. Fills the places of
// removed records with the hashes that were kept of them; judges nothing.
import type { Block } from '../format/block.ts';
import { createRecordHasher, type TelemetryRecord } from '../format/record.ts';
import { HASH_BYTES } from './batchtree.ts';
import { sha256Into } from './hashing.ts';

/** Records [first, first + count) of the log: at least one where it holds `first`, fewer than asked are fine. */
export type ReadRecords = (first: number, count: number) => Promise<readonly TelemetryRecord[]>;

/** Leaf hashes of records in [first, end) that retention removed, by offset. */
export type ReadLeaves = (first: number, end: number) => Promise<ReadonlyMap<number, Uint8Array>>;

export interface RecordsOf {
  readonly records: ReadRecords;
  /** Without it blocks that lost some of their records cannot be proven. */
  readonly leaves?: ReadLeaves | undefined;
}

/** Hashes the records of a block in order, side by side; null where some are held nowhere. `each` sees every record held. */
export async function readBlockLeaves(
  block: Block,
  from: RecordsOf,
  each: (record: TelemetryRecord) => void,
): Promise<Buffer | null> {
  const leaves = Buffer.alloc(block.count * HASH_BYTES);
  const end = block.first + block.count;
  let count = 0;
  const hashRecord = createRecordHasher((data) => {
    sha256Into(data, leaves, count * HASH_BYTES);
    return leaves;
  });
  let removed: ReadonlyMap<number, Uint8Array> | null = null;
  /** Hashes of removed records up to `offset`; false where one is not known. */
  const fillTo = async (offset: number): Promise<boolean> => {
    if (block.first + count < offset) removed ??= (await from.leaves?.(block.first, end)) ?? new Map();
    for (; block.first + count < offset; count += 1) {
      const leaf = removed?.get(block.first + count);
      if (!leaf) return false;
      leaves.set(leaf, count * HASH_BYTES);
    }
    return true;
  };
  while (count < block.count) {
    const records = await from.records(block.first + count, block.count - count);
    const first = records[0]?.offset;
    if (first === undefined || first >= end) return (await fillTo(end)) ? leaves : null;
    for (const record of records) {
      if (record.offset >= end) break;
      if (record.offset < block.first + count || !(await fillTo(record.offset))) return null;
      hashRecord(record);
      count += 1;
      each(record);
    }
  }
  return leaves;
}

/** Records of [first, end) that are held, in order. */
export async function readSpan(
  { records }: RecordsOf,
  first: number,
  end: number,
): Promise<TelemetryRecord[]> {
  const found: TelemetryRecord[] = [];
  for (let next = first; next < end; ) {
    const piece = await records(next, end - next);
    for (const record of piece) if (record.offset >= next && record.offset < end) found.push(record);
    const last = piece.at(-1)?.offset;
    if (last === undefined || last < next) break;
    next = last + 1;
  }
  return found;
}
