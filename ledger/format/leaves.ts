// Leaf hashes that stay behind when retention removes records of a block of which others are kept: with them the kept
// ones can still be proven. A salted record's hash tells nothing of it. Touches no file.
import { FormatError } from './errors.ts';
import { HASH_BYTES } from './hash.ts';

/** Hashes of records with consecutive offsets from `first` on, side by side. */
export interface LeafRun {
  readonly first: number;
  /** 32 bytes a record. */
  readonly hashes: Uint8Array;
}

/*
 * file = "tidemark/leaves/v1" LF, then runs, ascending and apart from each other:
 * run  = first offset u64 · count u32 · count × 32 bytes SHA-256(0x00 ‖ record bytes)        big-endian
 */
const HEAD = new TextEncoder().encode('tidemark/leaves/v1\n');
const RUN_HEAD_BYTES = 12;

export const runEnd = (run: LeafRun): number => run.first + run.hashes.length / HASH_BYTES;

/** Collects hashes in order of their offsets; of two for one offset the first stays. */
export class LeafRuns {
  readonly #runs: { first: number; hashes: Uint8Array[] }[] = [];
  #next = 0;

  add(offset: number, hash: Uint8Array): void {
    if (offset < this.#next) return;
    const last = this.#runs.at(-1);
    if (last && this.#next === offset) last.hashes.push(hash);
    else this.#runs.push({ first: offset, hashes: [hash] });
    this.#next = offset + 1;
  }

  get runs(): LeafRun[] {
    return this.#runs.map(({ first, hashes }) => {
      const joined = new Uint8Array(hashes.length * HASH_BYTES);
      hashes.forEach((hash, index) => {
        joined.set(hash, index * HASH_BYTES);
      });
      return { first, hashes: joined };
    });
  }
}

/** Each hash of the runs with its offset, in order, within [from, to). */
export function* leavesOf(
  runs: readonly LeafRun[],
  from = 0,
  to = Number.MAX_SAFE_INTEGER,
): Generator<{ readonly offset: number; readonly hash: Uint8Array }> {
  for (const run of runs) {
    const end = Math.min(runEnd(run), to);
    for (let offset = Math.max(run.first, from); offset < end; offset++) {
      const at = (offset - run.first) * HASH_BYTES;
      yield { offset, hash: run.hashes.subarray(at, at + HASH_BYTES) };
    }
  }
}

/** Two ascending lists as one; where both have an offset the hash of `a` is taken. */
export function mergeLeaves(a: readonly LeafRun[], b: readonly LeafRun[]): LeafRun[] {
  const merged = new LeafRuns();
  const left = leavesOf(a);
  const right = leavesOf(b);
  let l = left.next();
  let r = right.next();
  while (!l.done || !r.done) {
    if (r.done || (!l.done && l.value.offset <= r.value.offset)) {
      merged.add(l.value!.offset, l.value!.hash);
      l = left.next();
    } else {
      merged.add(r.value.offset, r.value.hash);
      r = right.next();
    }
  }
  return merged.runs;
}

export function encodeLeaves(runs: readonly LeafRun[]): Uint8Array {
  const size = runs.reduce((sum, run) => sum + RUN_HEAD_BYTES + run.hashes.length, HEAD.length);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  bytes.set(HEAD);
  let at = HEAD.length;
  for (const { first, hashes } of runs) {
    view.setBigUint64(at, BigInt(first));
    view.setUint32(at + 8, hashes.length / HASH_BYTES);
    bytes.set(hashes, at + RUN_HEAD_BYTES);
    at += RUN_HEAD_BYTES + hashes.length;
  }
  return bytes;
}

/** Strict; throws LEAVES_INVALID. The hashes are views of `bytes`. */
export function decodeLeaves(bytes: Uint8Array): LeafRun[] {
  if (bytes.length < HEAD.length || HEAD.some((byte, at) => bytes[at] !== byte))
    throw new FormatError('LEAVES_INVALID', 'not a file of leaf hashes');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const runs: LeafRun[] = [];
  let next = 0;
  let at = HEAD.length;
  while (at < bytes.length) {
    if (bytes.length - at < RUN_HEAD_BYTES) throw new FormatError('LEAVES_INVALID', 'a run is cut short');
    const first = Number(view.getBigUint64(at));
    const size = view.getUint32(at + 8) * HASH_BYTES;
    at += RUN_HEAD_BYTES;
    if (!Number.isSafeInteger(first) || first < next || size === 0 || size > bytes.length - at)
      throw new FormatError(
        'LEAVES_INVALID',
        `a run at byte ${at - RUN_HEAD_BYTES} is out of order or cut short`,
      );
    const run = { first, hashes: bytes.subarray(at, at + size) };
    runs.push(run);
    next = runEnd(run) + 1;
    at += size;
  }
  return runs;
}
