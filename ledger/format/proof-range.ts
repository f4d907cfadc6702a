// The proof file of consecutive records, tidemark-proofs/v1: paths shared, one checkpoint. Its form, strictly; whether it
// proves anything is ledger/verify's work.
import { fromBase64Sized, toBase64 } from './base64.ts';
import { HASH_BYTES } from './hash.ts';
import { checkSpelling, invalidProof, membersOf, pathOf, textOf } from './proof.ts';
import { RECORD_JSON_KEYS, type RecordJson, recordFromJson, recordToJson } from './record-json.ts';
import type { TelemetryRecord } from './record-types.ts';

export const RANGE_FORMAT = 'tidemark-proofs/v1';
/** More records than this go into several files. */
export const MAX_RANGE_RECORDS = 65_536;
/** Blocks between the first and the last record, those of silence included. */
const MAX_RANGE_BLOCKS = 65_536;

/** A record that retention removed: its leaf hash stands for it. */
export interface RemovedRecord {
  readonly offset: number;
  readonly hash: Uint8Array;
}

/** All records of offsets first..last: held, or removed and known by their hash, or in a gap block that declares them lost. */
export interface RangeProof {
  readonly first: number;
  readonly last: number;
  /** Ascending. */
  readonly records: readonly TelemetryRecord[];
  /** Ascending. */
  readonly removed: readonly RemovedRecord[];
  /** For each data block that holds some of the range, in order: hashes of spanRanges from its leaves to its root. */
  readonly batchPaths: readonly (readonly Uint8Array[])[];
  /** Texts of consecutive blocks, exactly. */
  readonly blocks: readonly string[];
  /** Hashes of spanRanges from those blocks to the checkpoint's root. */
  readonly blockPath: readonly Uint8Array[];
  readonly checkpoint: string;
}

/** The JSON of a range's proof file. All hashes are standard base64. */
export interface RangeFile {
  readonly format: typeof RANGE_FORMAT;
  readonly first: number;
  readonly last: number;
  readonly records: readonly RecordJson[];
  readonly removed: readonly { readonly offset: number; readonly hash: string }[];
  readonly batchPaths: readonly (readonly string[])[];
  readonly blocks: readonly string[];
  readonly blockPath: readonly string[];
  readonly checkpoint: string;
}

const KEYS = [
  'format',
  'first',
  'last',
  'records',
  'removed',
  'batchPaths',
  'blocks',
  'blockPath',
  'checkpoint',
] as const satisfies readonly (keyof RangeFile)[];
const REMOVED_KEYS = ['offset', 'hash'] as const;

/** Text of the file: one record, block or path a line, so that people and diffs can read it. */
export function formatRangeFile(proof: RangeProof): string {
  const lines = (items: readonly unknown[]) =>
    items.length === 0 ? '[]' : `[\n${items.map((item) => `    ${JSON.stringify(item)}`).join(',\n')}\n  ]`;
  const members: Record<keyof RangeFile, string> = {
    format: JSON.stringify(RANGE_FORMAT),
    first: String(proof.first),
    last: String(proof.last),
    records: lines(proof.records.map(recordToJson)),
    removed: lines(proof.removed.map(({ offset, hash }) => ({ offset, hash: toBase64(hash) }))),
    batchPaths: lines(proof.batchPaths.map((path) => path.map(toBase64))),
    blocks: lines(proof.blocks),
    blockPath: lines(proof.blockPath.map(toBase64)),
    checkpoint: JSON.stringify(proof.checkpoint),
  };
  return `{\n${KEYS.map((key) => `  "${key}": ${members[key]}`).join(',\n')}\n}\n`;
}

/** As strict as parseProofFile; `text` is what `value` was read from. Throws PROOF_INVALID, RECORD_INVALID, BASE64_INVALID. */
export function rangeFromJson(value: unknown, text: string): RangeProof {
  const file = membersOf(value, KEYS, 'the proof file');
  const removed = listOf(file.removed, MAX_RANGE_RECORDS, 'removed').map((item) => {
    const { offset, hash } = membersOf(item, REMOVED_KEYS, 'removed');
    return {
      offset: wholeOf(offset, 'offset'),
      hash: fromBase64Sized(textOf(hash, 'hash'), HASH_BYTES, 'hash'),
    };
  });
  const proof: RangeProof = {
    first: wholeOf(file.first, 'first'),
    last: wholeOf(file.last, 'last'),
    records: listOf(file.records, MAX_RANGE_RECORDS, 'records').map(recordFromJson),
    removed,
    // A span has a path on both sides.
    batchPaths: listOf(file.batchPaths, MAX_RANGE_BLOCKS, 'batchPaths').map((path) =>
      pathOf(path, 'batch path', 2),
    ),
    blocks: listOf(file.blocks, MAX_RANGE_BLOCKS, 'blocks').map((block) => textOf(block, 'block')),
    blockPath: pathOf(file.blockPath, 'block path', 2),
    checkpoint: textOf(file.checkpoint, 'checkpoint'),
  };
  if (proof.last < proof.first || proof.blocks.length === 0) throw invalidProof('the range is empty');
  checkSpelling(
    text,
    KEYS.length + proof.records.length * RECORD_JSON_KEYS.length + removed.length * REMOVED_KEYS.length,
  );
  return proof;
}

function listOf(value: unknown, max: number, what: string): unknown[] {
  if (!Array.isArray(value) || value.length > max)
    throw invalidProof(`${what} is not an array of at most ${max}`);
  return value;
}

function wholeOf(value: unknown, what: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0)
    throw invalidProof(`${what} is not a whole number from 0 to 2^53-1`);
  return value as number;
}
