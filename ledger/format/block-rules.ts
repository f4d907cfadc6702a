// The rules every block must obey, alone and after the one before it. Names what is broken; repairs nothing.
import { type Block, MAX_BLOCK_RECORDS } from './block.ts';
import { EMPTY_ROOT, equalBytes, HASH_BYTES } from './hash.ts';

export type BlockRule =
  | 'block-malformed' // the bytes are not a block: nothing else can be said of it
  | 'origin-changed'
  | 'height-not-next'
  | 'previous-mismatch'
  | 'genesis-misplaced' // genesis is at height 0, and only there
  | 'first-not-next' // offsets left out or covered twice
  | 'count-out-of-range'
  | 'root-without-records' // no records, so the root must be that of the empty tree
  | 'event-times-invalid'
  | 'monotonic-backwards' // within one boot
  | 'policy-changed' // another policy in force, and no policy block
  | 'policy-invalid' // a policy block without the signatures it needs: see epochs.ts
  | 'key-invalid' // a key block without the signatures it needs: see epochs.ts
  | 'sealed-backwards'; // within one boot, and not declared by a gap block for a clock step

export interface BlockViolation {
  readonly rule: BlockRule;
  readonly height: number;
  /** One sentence for people. */
  readonly message: string;
}

/** Cause in the detail of a gap block that allows `sealed` to run backwards. */
export const CLOCK_STEP_CAUSE = 'clock-step';

const NO_PREVIOUS = new Uint8Array(HASH_BYTES);

/** Rules that need no other block. */
export function checkBlock(block: Block): BlockViolation[] {
  const found: BlockViolation[] = [];
  const say = reporter(found, block);
  const { kind, count, height } = block;
  if ((kind === 'genesis') !== (height === 0))
    say('genesis-misplaced', `kind is ${kind} at height ${height}`);
  if (kind === 'data' ? count < 1 || count > MAX_BLOCK_RECORDS : kind !== 'gap' && count !== 0) {
    say('count-out-of-range', `a ${kind} block covers ${count} records`);
  }
  // A gap may cover offsets that were lost before they were sealed: there is no tree over those.
  if (kind !== 'data' && !equalBytes(block.root, EMPTY_ROOT)) {
    say('root-without-records', `a ${kind} block has a batch root other than that of the empty tree`);
  }
  const timed = block.eventMinMs !== 0 || block.eventMaxMs !== 0;
  if (block.eventMinMs > block.eventMaxMs || (kind !== 'data' && timed)) {
    say('event-times-invalid', `event times ${block.eventMinMs} to ${block.eventMaxMs} in a ${kind} block`);
  }
  return found;
}

/**
 * Rules between a block and the one before it, `previous` null at height 0. `previousHash` is blockHash of
 * the previous block's bytes. Together with checkBlock these are all rules of the chain; [] when all hold.
 */
export function checkSuccessor(
  previous: Block | null,
  previousHash: Uint8Array | null,
  block: Block,
): BlockViolation[] {
  const found = checkBlock(block);
  const say = reporter(found, block);
  const height = previous ? previous.height + 1 : 0;
  const first = previous ? previous.first + previous.count : 0;
  if (block.height !== height) say('height-not-next', `height ${block.height} where ${height} is next`);
  if (!equalBytes(block.previous, previousHash ?? NO_PREVIOUS)) {
    say('previous-mismatch', `previous is not the hash of block ${height - 1}`);
  }
  if (block.first !== first) say('first-not-next', `first is offset ${block.first} where ${first} is next`);
  if (!previous) return found;
  if (block.origin !== previous.origin)
    say('origin-changed', `origin ${block.origin} after ${previous.origin}`);
  if (block.kind !== 'policy' && !equalBytes(block.policyHash, previous.policyHash)) {
    say('policy-changed', 'names another policy than the block below it, and is no policy block');
  }
  if (block.bootId !== previous.bootId) return found;
  if (block.monotonicMs < previous.monotonicMs) {
    say(
      'monotonic-backwards',
      `monotonic clock ${block.monotonicMs} ms after ${previous.monotonicMs} ms of one boot`,
    );
  }
  if (block.sealedMs < previous.sealedMs && !declaresClockStep(block)) {
    say(
      'sealed-backwards',
      `sealed ${previous.sealedMs - block.sealedMs} ms before the block below it, in one boot`,
    );
  }
  return found;
}

function declaresClockStep(block: Block): boolean {
  return block.kind === 'gap' && block.detail?.cause === CLOCK_STEP_CAUSE;
}

function reporter(found: BlockViolation[], block: Block): (rule: BlockRule, message: string) => void {
  return (rule, message) =>
    found.push({ rule, height: block.height, message: `block ${block.height}: ${message}` });
}
