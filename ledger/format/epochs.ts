// Which policy and which gateway key are in force at each size of one chain, from its genesis, policy and key blocks; and
// whether each change was signed by those who had to. Reads no other blocks; fetches nothing.
import { fromBase64Sized } from './base64.ts';
import type { Block } from './block.ts';
import type { BlockRule, BlockViolation } from './block-rules.ts';
import { type VerifyEd25519, verifyEd25519 } from './ed25519.ts';
import { FormatError } from './errors.ts';
import { equalBytes } from './hash.ts';
import { checkSignatures, parseNote, type SignedNote, type VerifierKey, verifierKey } from './note.ts';
import { meetsQuorum, type Policy, parsePolicy, policyHash } from './policy.ts';
import {
  type KeyStatement,
  type PolicyStatement,
  parseKeyStatement,
  parsePolicyStatement,
} from './statements.ts';

export const NO_POLICY_HASH: Uint8Array = policyHash('');

export interface PolicyEpoch {
  /** 0: no policy yet. */
  readonly epoch: number;
  /** Null at epoch 0. */
  readonly policy: Policy | null;
  /** Block that brought it; the first size it is asked of is height + 1. 0 at epoch 0. */
  readonly height: number;
}

export interface KeyEpoch {
  readonly key: VerifierKey;
  /** Smallest and largest size of a checkpoint for which its signature counts. */
  readonly from: number;
  readonly notAfter: number;
}

export class ChainEpochs {
  readonly origin: string;
  readonly #verify: VerifyEd25519;
  readonly #keys: KeyEpoch[] = [];
  readonly #policies: PolicyEpoch[] = [{ epoch: 0, policy: null, height: 0 }];

  /** @throws FormatError when the genesis block names no usable key */
  constructor(genesis: Block, verify: VerifyEd25519 = verifyEd25519) {
    this.origin = genesis.origin;
    this.#verify = verify;
    const text = genesis.kind === 'genesis' ? genesis.detail?.publicKey : undefined;
    if (typeof text !== 'string') throw invalid('the genesis block names no public key');
    const key = verifierKey(genesis.origin, fromBase64Sized(text, 32, 'public key'));
    this.#keys.push({ key, from: 0, notAfter: Number.MAX_SAFE_INTEGER });
  }

  /** Oldest first. */
  get keys(): readonly KeyEpoch[] {
    return this.#keys;
  }

  get key(): VerifierKey {
    return this.#keys.at(-1)!.key;
  }

  get policy(): PolicyEpoch {
    return this.#policies.at(-1)!;
  }

  get policies(): readonly PolicyEpoch[] {
    return this.#policies;
  }

  /** Keys of which one must have signed a checkpoint of this size. */
  keysAt(size: number): VerifierKey[] {
    return this.#keys.filter(({ from, notAfter }) => size >= from && size <= notAfter).map(({ key }) => key);
  }

  /** The policy that decides whether a checkpoint of this size is final. */
  policyAt(size: number): PolicyEpoch {
    return this.#policies.findLast(({ epoch, height }) => epoch === 0 || height < size)!;
  }

  /** Takes the next policy or key block; others are none of its business. [] where the change is as it must be. */
  add(block: Block): BlockViolation[] {
    try {
      if (block.kind === 'policy') this.#addPolicy(block);
      if (block.kind === 'key') this.#addKey(block);
      return [];
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      const rule: BlockRule = block.kind === 'policy' ? 'policy-invalid' : 'key-invalid';
      return [{ rule, height: block.height, message: `block ${block.height}: ${error.message}` }];
    }
  }

  #addPolicy(block: Block): void {
    const statement = checkPolicyChange(noteOf(block), this, this.#verify);
    if (!equalBytes(block.policyHash, policyHash(statement.text)))
      throw invalid('the block names another policy than the one it brings');
    const policy = parsePolicy(statement.text, { allowNonIntersecting: true });
    this.#policies.push({ epoch: statement.epoch, policy, height: block.height });
  }

  #addKey(block: Block): void {
    const { next } = checkKeyChange(noteOf(block), this, this.#verify);
    // The checkpoint that holds this block is signed by both.
    const size = block.height + 1;
    this.#keys[this.#keys.length - 1] = { ...this.#keys.at(-1)!, notAfter: size };
    this.#keys.push({ key: next, from: size, notAfter: Number.MAX_SAFE_INTEGER });
  }
}

/** Who still has to sign a policy statement. */
export interface MissingQuorums {
  readonly old: boolean;
  readonly new: boolean;
}

/**
 * Whether the signed statement may follow on what is in force: epoch and previous hash, the gateway's signature, and
 * those of a quorum of the old and of a quorum of the new authorities. The first policy needs the gateway's alone: there
 * is nothing yet that it could weaken. Throws STATEMENT_INVALID, POLICY_INVALID, NOTE_INVALID, NOTE_SIGNATURE_INVALID.
 */
export function checkPolicyChange(
  note: SignedNote,
  inForce: Pick<ChainEpochs, 'origin' | 'key' | 'policy'>,
  verify: VerifyEd25519 = verifyEd25519,
): PolicyStatement {
  const statement = policyStatementFor(note, inForce, verify);
  const missing = missingQuorums(note, inForce, verify);
  if (missing.old) throw invalid('a quorum of the authorities in force has not signed the new policy');
  if (missing.new) throw invalid('a quorum of the new authorities has not signed the new policy');
  return statement;
}

/** The statement of a note, held against what is in force; the authorities' signatures are not asked for. */
export function policyStatementFor(
  note: SignedNote,
  inForce: Pick<ChainEpochs, 'origin' | 'key' | 'policy'>,
  verify: VerifyEd25519 = verifyEd25519,
): PolicyStatement {
  const statement = parsePolicyStatement(note.text);
  const before = inForce.policy;
  if (statement.origin !== inForce.origin) throw invalid(`the policy is for ${statement.origin}`);
  if (statement.epoch !== before.epoch + 1)
    throw invalid(`epoch ${statement.epoch} where ${before.epoch + 1} is next`);
  if (!equalBytes(statement.previous, before.policy?.hash ?? NO_POLICY_HASH))
    throw invalid('the policy follows on another one than the one in force');
  const policy = parsePolicy(statement.text, { allowNonIntersecting: true });
  if (policy.logs.length > 0 && !policy.logs.some(({ key }) => isSame(key, inForce.key)))
    throw invalid('the policy names gateways, but not this one with its key');
  if (!isSignedBy(note, inForce.key, verify)) throw invalid('the gateway has not signed the new policy');
  return statement;
}

export function missingQuorums(
  note: SignedNote,
  inForce: Pick<ChainEpochs, 'policy'>,
  verify: VerifyEd25519 = verifyEd25519,
): MissingQuorums {
  const before = inForce.policy;
  if (before.policy === null) return { old: false, new: false };
  const next = parsePolicy(parsePolicyStatement(note.text).text, { allowNonIntersecting: true });
  return {
    old: !meetsQuorum(before.policy, signersOf(note, before.policy, 'policyKey', verify)),
    new: !meetsQuorum(next, signersOf(note, next, 'policyKey', verify)),
  };
}

/** Names, in this policy, of the authorities whose cosignature stands on the note. Throws for one that does not fit. */
export function cosigners(
  note: SignedNote,
  policy: Policy,
  verify: VerifyEd25519 = verifyEd25519,
): Set<string> {
  return signersOf(note, policy, 'key', verify);
}

/** By the keys they cosign with, or by those that sign policies for them. */
function signersOf(
  note: SignedNote,
  { authorities }: Policy,
  by: 'key' | 'policyKey',
  verify: VerifyEd25519,
): Set<string> {
  const names = new Set<string>();
  const keys = authorities.flatMap((authority) => authority[by] ?? []);
  for (const { key, ok } of checkSignatures(note, keys, verify)) {
    const { name } = authorities.find((authority) => authority[by] === key)!;
    if (!ok)
      throw new FormatError('NOTE_SIGNATURE_INVALID', `the signature of ${name} does not fit`, {
        facts: { name },
      });
    names.add(name);
  }
  return names;
}

/** A key statement signed by the key in force and by the next. Throws STATEMENT_INVALID, NOTE_INVALID. */
export function checkKeyChange(
  note: SignedNote,
  inForce: Pick<ChainEpochs, 'origin' | 'key'>,
  verify: VerifyEd25519 = verifyEd25519,
): KeyStatement {
  const statement = parseKeyStatement(note.text);
  if (statement.origin !== inForce.origin || !isSame(statement.previous, inForce.key))
    throw invalid('the key statement does not follow on the key in force');
  for (const key of [statement.previous, statement.next])
    if (!isSignedBy(note, key, verify)) throw invalid('the key statement is not signed by both keys');
  return statement;
}

function isSignedBy(note: SignedNote, key: VerifierKey, verify: VerifyEd25519): boolean {
  const checked = checkSignatures(note, [key], verify);
  return checked.length > 0 && checked.every(({ ok }) => ok);
}

const isSame = (one: VerifierKey, other: VerifierKey) =>
  one.name === other.name && equalBytes(one.publicKey, other.publicKey);

function noteOf(block: Block): SignedNote {
  const note = block.detail?.note;
  if (typeof note !== 'string') throw invalid('its detail has no note');
  return parseNote(note);
}

function invalid(message: string): FormatError {
  return new FormatError('STATEMENT_INVALID', message);
}
