// Takes the records of one sealed block, or of a part of it, from a log and hashes them. Fills the places of removed records
// with the hashes that were kept of them; judges nothing.
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
export function readBlockLeaves(
  block: Block,
  from: RecordsOf,
  each: (record: TelemetryRecord) => void,
): Promise<Buffer | null> {
  return readLeaves(block.first, block.first + block.count, from, each);
}

/** The same of records [first, end), all of one block. */
export async function readLeaves(
  first: number,
  end: number,
  from: RecordsOf,
  each: (record: TelemetryRecord) => void,
): Promise<Buffer | null> {
  const leaves = Buffer.alloc((end - first) * HASH_BYTES);
  let next = first;
  const hashRecord = createRecordHasher((data) => {
    sha256Into(data, leaves, (next - first) * HASH_BYTES);
    return leaves;
  });
  let removed: ReadonlyMap<number, Uint8Array> | null = null;
  /** Hashes of removed records up to `offset`; false where one is not known. */
  const fillTo = async (offset: number): Promise<boolean> => {
    if (next < offset) removed ??= (await from.leaves?.(first, end)) ?? new Map();
    for (; next < offset; next += 1) {
      const leaf = removed?.get(next);
      if (!leaf) return false;
      leaves.set(leaf, (next - first) * HASH_BYTES);
    }
    return true;
  };
  while (next < end) {
    const records = await from.records(next, end - next);
    const found = records[0]?.offset;
    if (found === undefined || found >= end) return (await fillTo(end)) ? leaves : null;
    for (const record of records) {
      if (record.offset >= end) break;
      if (record.offset < next || !(await fillTo(record.offset))) return null;
      hashRecord(record);
      next += 1;
      each(record);
    }
  }
  return leaves;
}
