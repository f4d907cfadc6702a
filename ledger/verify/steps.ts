// The steps of a verification, each a sentence that says what holds or which part does not fit. Reads no JSON.

import { type Block, blockHash, parseBlock } from '../format/block.ts';
import { checkBlock } from '../format/block-rules.ts';
import { type Checkpoint, parseCheckpoint } from '../format/checkpoint.ts';
import { FormatError } from '../format/errors.ts';
import { equalBytes, toHex } from '../format/hash.ts';
import { rootFromInclusion } from '../format/merkle.ts';
import { checkSignatures, keyIdHex, parseNote, type SignedNote, type VerifierKey } from '../format/note.ts';
import { meetsQuorum, type Policy, quorumAuthorities } from '../format/policy.ts';
import type { Proof } from '../format/proof.ts';
import { recordLeafHash, type TelemetryRecord } from '../format/record.ts';
import { toUtf8 } from '../format/text.ts';
import type {
  RangeSummary,
  RecordSummary,
  StepName,
  VerifyReport,
  VerifyStatus,
  VerifyStep,
  VerifyTimes,
  VerifyTrust,
} from './report.ts';

export type CheckedProof = Omit<VerifyReport, 'valid' | 'problem'>;

export interface TrustedInput {
  readonly policy: Policy | null;
  readonly gatewayKey: VerifierKey | null;
}

export interface Outcome {
  readonly ok: boolean | null;
  readonly detail: string;
}
export const holds = (detail: string): Outcome => ({ ok: true, detail });
export const broken = (detail: string): Outcome => ({ ok: false, detail });
export const undecided = (detail: string): Outcome => ({ ok: null, detail });

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
    times: timesOf(shown.value, status === 'invalid' || !signed ? null : trusted.policy, cosigned),
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

interface GatewayKeys {
  readonly trust: VerifyTrust;
  readonly keys: readonly VerifierKey[];
  /** Why there is no key, where there is none. */
  readonly missing: Outcome | null;
}

/** The policy's key for this origin; else, where the policy names no gateway, the key that was given. */
function gatewayKeys({ policy, gatewayKey }: TrustedInput, head: Checkpoint | undefined): GatewayKeys {
  const origin = head?.origin;
  if (policy && policy.logs.length > 0) {
    const logs = policy.logs.filter(({ key }) => key.name === origin);
    const keys = logs.filter((log) => !(head!.size > (log.notAfter ?? Infinity))).map(({ key }) => key);
    const missing =
      keys.length > 0
        ? null
        : broken(
            logs.length > 0
              ? `the key of ${origin} was given up before ${head!.size} blocks`
              : `the policy knows no gateway named ${origin}`,
          );
    return { trust: 'policy', keys, missing };
  }
  if (gatewayKey) {
    const named = gatewayKey.name === origin;
    const missing = named
      ? null
      : broken(`the checkpoint is of ${origin}, the gateway key given of ${gatewayKey.name}`);
    return { trust: 'gateway-key', keys: [gatewayKey], missing };
  }
  const why = policy
    ? 'the policy names no gateway and no gateway key was given'
    : 'no policy or gateway key given';
  return { trust: 'none', keys: [], missing: undecided(`not checked: ${why}`) };
}

function gatewayStep(gateway: GatewayKeys, head: ReadCheckpoint): Outcome {
  if (gateway.missing) return gateway.missing;
  const checked = checkSignatures(head.note, gateway.keys);
  const names = gateway.keys.map((key) => `${key.name}+${keyIdHex(key.keyId)}`).join(' or ');
  if (checked.length === 0) return broken(`the checkpoint is not signed by ${names}`);
  const bad = checked.find((signature) => !signature.ok);
  if (bad)
    return broken(`the signature of ${bad.key.name}+${keyIdHex(bad.key.keyId)} does not fit the checkpoint`);
  return holds(`signed by ${names}, key from the ${gateway.trust === 'policy' ? 'policy' : 'caller'}`);
}

interface Cosigned {
  /** Policy name of the authority. */
  readonly name: string;
  readonly ok: boolean;
  readonly timeMs: number;
}

/** Signatures by authorities that the quorum counts. */
function cosignatures(policy: Policy | null, note: SignedNote | undefined): Cosigned[] {
  if (!policy || !note) return [];
  const counted = quorumAuthorities(policy);
  const authorities = policy.authorities.filter((authority) => counted.has(authority.name));
  const keys = authorities.map((authority) => authority.key);
  return checkSignatures(note, keys).map(({ key, ok, cosignature }) => ({
    name: authorities.find((authority) => authority.key === key)!.name,
    ok,
    timeMs: (cosignature?.timeSeconds ?? 0) * 1000,
  }));
}

function cosignatureStep(policy: Policy | null, cosigned: readonly Cosigned[]): Outcome {
  if (!policy) return undecided('not checked: no policy given');
  if (!policy.figures) return undecided('none asked: the policy has no quorum');
  const bad = cosigned.find((cosignature) => !cosignature.ok);
  if (bad) return broken(`the cosignature of ${bad.name} does not fit the checkpoint`);
  const names = new Set(cosigned.map((cosignature) => cosignature.name));
  const listed = names.size > 0 ? ` (${[...names].join(', ')})` : '';
  const count = `${names.size} of ${policy.figures.authorities} authorities cosigned${listed}`;
  return meetsQuorum(policy, names)
    ? holds(`${count}: quorum ${policy.quorum} met`)
    : undecided(`${count}: quorum ${policy.quorum} not met yet`);
}

/** `policy` null where nothing may be concluded from the cosignatures. */
function timesOf(read: ReadBlock | null, policy: Policy | null, cosigned: readonly Cosigned[]): VerifyTimes {
  const good = policy?.figures ? cosigned.filter((cosignature) => cosignature.ok) : [];
  // One time per authority, its earliest. With at most f liars, one of the f + 1 earliest is honest, so the last
  // of those bounds the age. Time 0 makes no statement.
  const earliest = new Map<string, number>();
  for (const { name, timeMs } of good) {
    if (timeMs > 0) earliest.set(name, Math.min(timeMs, earliest.get(name) ?? timeMs));
  }
  const sorted = [...earliest.values()].sort((a, b) => a - b);
  return {
    sealedMs: read?.block.sealedMs ?? null,
    existedByMs: sorted[policy?.figures?.mayLie ?? 0] ?? null,
    cosigned: good.map(({ name, timeMs }) => ({ name, timeMs })),
  };
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
