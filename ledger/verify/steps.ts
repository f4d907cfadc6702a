// The steps of a verification, each a sentence that says what holds or which part does not fit. Reads no JSON.

import { type Block, blockHash, parseBlock } from '../format/block.ts';
import { checkBlock } from '../format/block-rules.ts';
import { type Checkpoint, parseCheckpoint } from '../format/checkpoint.ts';
import { FormatError } from '../format/errors.ts';
import { equalBytes, toHex } from '../format/hash.ts';
import { rootFromInclusion } from '../format/merkle.ts';
import { parseNote, type SignedNote } from '../format/note.ts';
import type { Policy } from '../format/policy.ts';
import type { Proof } from '../format/proof.ts';
import { recordLeafHash, type TelemetryRecord } from '../format/record.ts';
import { toUtf8 } from '../format/text.ts';
import { broken, holds, type Outcome, undecided } from './outcome.ts';
import type {
  RangeSummary,
  RecordSummary,
  StepName,
  VerifyReport,
  VerifyStatus,
  VerifyStep,
} from './report.ts';
import {
  cosignatureStep,
  cosignatures,
  gatewayKeys,
  gatewayStep,
  type TrustedInput,
  timesOf,
} from './signed.ts';

export type CheckedProof = Omit<VerifyReport, 'valid' | 'problem'>;

const misled = (from: string, to: string, leaf: string, end: string) =>
  broken(
    `${from} does not lead to the ${to}: the ${leaf} was changed since it was sealed, or its path or the ${end} was`,
  );

export interface ReadBlock {
  readonly block: Block;
  readonly hash: Uint8Array;
}
export interface ReadCheckpoint {
  readonly note: SignedNote;
  readonly checkpoint: Checkpoint;
}
/** Text read strictly, or why it could not be. */
export type Read<T> =
  | { readonly value: T; readonly error: null }
  | { readonly value: null; readonly error: string };

/** What differs between a proof of one record and of a range; the rest is judged alike. */
export interface Claim {
  readonly hash: () => Outcome;
  readonly batch: () => Outcome;
  readonly block: (head: Read<ReadCheckpoint>) => Outcome;
  /** The block that the report shows: of a range the last. */
  readonly shown: Read<ReadBlock>;
  readonly checkpoint: string;
  readonly record: RecordSummary | null;
  readonly range: RangeSummary | null;
}

/** Checks a proof that was read. Every step of VerifyReport, stopping to judge after the first that fails. */
export function checkProof(proof: Proof, trusted: TrustedInput): CheckedProof {
  const leaf = recordLeafHash(proof.record);
  const shown = read(() => readBlock(proof.block));
  return judge(
    {
      hash: () => holds(`SHA-256 of the record's bytes is ${toHex(leaf)}`),
      batch: () => batchRootStep(proof, leaf, shown),
      block: (head) => blockStep(proof, shown, head),
      shown,
      checkpoint: proof.checkpoint,
      record: summaryOf(proof.record, leaf),
      range: null,
    },
    trusted,
  );
}

export function judge(claim: Claim, trusted: TrustedInput): CheckedProof {
  const { shown } = claim;
  const checkpoint = read(() => readCheckpoint(claim.checkpoint));
  const keys = gatewayKeys(trusted, checkpoint.value?.checkpoint);
  const cosigned = cosignatures(trusted.policy, checkpoint.value?.note);

  const run = new StepRun();
  run.step('record hash', claim.hash);
  run.step('batch root', claim.batch);
  run.step('block', () => claim.block(checkpoint));
  run.step('checkpoint', () => checkpointStep(shown, checkpoint));
  run.step('gateway signature', () => gatewayStep(keys, checkpoint.value!));
  run.step('cosignatures', () => cosignatureStep(trusted.policy, cosigned));

  const signed = run.outcome('gateway signature') === true;
  const status = statusOf(run, signed, trusted.policy);
  return {
    status,
    trust: keys.trust,
    steps: run.steps,
    record: claim.record,
    range: claim.range,
    block: shown.value && blockSummary(shown.value),
    checkpoint: checkpoint.value && checkpointSummary(checkpoint.value.checkpoint),
    times: timesOf(
      shown.value?.block.sealedMs ?? null,
      status === 'invalid' || !signed ? null : trusted.policy,
      cosigned,
    ),
  };
}

class StepRun {
  readonly steps: VerifyStep[] = [];

  step(name: StepName, decide: () => Outcome): void {
    const failed = this.steps.find((step) => step.ok === false);
    this.steps.push({ name, ...(failed ? undecided(`not reached: ${failed.name} failed`) : decide()) });
  }

  outcome(name: StepName): boolean | null | undefined {
    return this.steps.find((step) => step.name === name)?.ok;
  }

  get failed(): boolean {
    return this.steps.some((step) => step.ok === false);
  }
}

function statusOf(run: StepRun, signed: boolean, policy: Policy | null): VerifyStatus {
  if (run.failed) return 'invalid';
  if (!signed) return 'integrity-only';
  if (!policy || policy.quorum === null) return 'signed-by-gateway-only';
  return run.outcome('cosignatures') === true ? 'final' : 'pending';
}

export function read<T>(parse: () => T): Read<T> {
  try {
    return { value: parse(), error: null };
  } catch (error) {
    if (error instanceof FormatError) return { value: null, error: error.message };
    throw error;
  }
}

export function readBlock(text: string): ReadBlock {
  const bytes = toUtf8(text, 'block', 'BLOCK_INVALID');
  return { block: parseBlock(bytes), hash: blockHash(bytes) };
}

function readCheckpoint(text: string): ReadCheckpoint {
  const note = parseNote(text);
  return { note, checkpoint: parseCheckpoint(note.text) };
}

function batchRootStep(proof: Proof, leaf: Uint8Array, read: Read<ReadBlock>): Outcome {
  // An unreadable block is the next step's failure: there is no batch root to compare with.
  if (!read.value) return undecided('not reached: the block cannot be read');
  const { block } = read.value;
  const { offset } = proof.record;
  const index = offset - block.first;
  if (index < 0 || index >= block.count) {
    const covers =
      block.count === 0 ? 'no records' : `offsets ${block.first} to ${block.first + block.count - 1}`;
    return broken(`the record's offset ${offset} is not in block ${block.height}, which covers ${covers}`);
  }
  const found = rootFromInclusion(leaf, index, block.count, proof.batchPath);
  if (!found)
    return broken(
      `the batch path has ${proof.batchPath.length} hashes, which record ${index} of ${block.count} cannot have`,
    );
  if (!equalBytes(found, block.root)) {
    return misled('the record', `batch root of block ${block.height}`, 'record', 'batch root in the block');
  }
  return holds(`record ${index} of ${block.count} leads to the batch root of block ${block.height}`);
}

function blockStep(proof: Proof, read: Read<ReadBlock>, head: Read<ReadCheckpoint>): Outcome {
  if (!read.value) return broken(`the block cannot be read: ${read.error}`);
  const { block, hash } = read.value;
  const [violation] = checkBlock(block);
  if (violation) return broken(violation.message);
  if (!head.value) return undecided('not reached: the checkpoint cannot be read');
  const { size, root } = head.value.checkpoint;
  const found = rootFromInclusion(hash, block.height, size, proof.blockPath);
  if (!found)
    return broken(
      `the block path has ${proof.blockPath.length} hashes, which block ${block.height} of ${size} cannot have`,
    );
  if (!equalBytes(found, root)) {
    return misled(`block ${block.height}`, `root of the checkpoint of ${size} blocks`, 'block', 'checkpoint');
  }
  return holds(`block ${block.height} is in the tree of ${size} blocks that the checkpoint names`);
}

function checkpointStep(read: Read<ReadBlock>, head: Read<ReadCheckpoint>): Outcome {
  if (!head.value) return broken(`the checkpoint cannot be read: ${head.error}`);
  const { origin, size } = head.value.checkpoint;
  const claimed = read.value?.block.origin;
  if (claimed !== origin) return broken(`the checkpoint is of ${origin}, the block of ${claimed}`);
  return holds(`${origin}, ${size} blocks`);
}

function summaryOf(record: TelemetryRecord, leaf: Uint8Array): RecordSummary {
  const { offset, topic, device, sequence, source, contentType, eventMs, receivedMs } = record;
  return {
    ...{ offset, topic, device, sequence, source, contentType, eventMs, receivedMs },
    payloadBytes: record.payload.length,
    hash: toHex(leaf),
  };
}

function blockSummary({ block, hash }: ReadBlock) {
  const { origin, height, kind, first, count } = block;
  return { origin, height, kind, first, count, hash: toHex(hash), policyHash: toHex(block.policyHash) };
}

function checkpointSummary({ origin, size, root }: Checkpoint) {
  return { origin, size, root: toHex(root) };
}
