// A proof made under one epoch and verified epochs later, or after the gateway's key has changed: judged by what was in force at
// the size of its checkpoint, by the chain that an audit followed; and by nothing else.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodeBlock, parseBlock } from '../../../ledger/format/block.ts';
import { parseCheckpoint } from '../../../ledger/format/checkpoint.ts';
import { NO_POLICY_HASH } from '../../../ledger/format/epochs.ts';
import {
  formatSignatureLine,
  formatVerifierKey,
  parseNote,
  verifierKey,
} from '../../../ledger/format/note.ts';
import { type Policy, parsePolicy } from '../../../ledger/format/policy.ts';
import { formatProofFile } from '../../../ledger/format/proof.ts';
import { formatKeyStatement, formatPolicyStatement } from '../../../ledger/format/statements.ts';
import { type AuditState, formatAuditState, parseAuditState } from '../../../ledger/fsck/auditstate.ts';
import { readSignedHead, walkChain } from '../../../ledger/fsck/chainwalk.ts';
import { Findings } from '../../../ledger/fsck/findings.ts';
import { trustAt } from '../../../ledger/fsck/trustat.ts';
import type { Sealer } from '../../../ledger/seal/sealer.ts';
import { Prover } from '../../../ledger/tiles/prove.ts';
import { directoryTiles } from '../../../ledger/tiles/source.ts';
import { readBlocks } from '../../../ledger/verify/chain.ts';
import { verifyProof } from '../../../ledger/verify/index.ts';
import { type Authority, authority, cosignLine, type Five, gatewayLine, quorumOf } from '../authorities.ts';
import { testKey } from '../format/native.ts';
import { ORIGIN, World } from '../seal/world.ts';

const [a, b, c, d, e] = ['a', 'b', 'c', 'd', 'e'].map((name) => authority(name, name)) as Five;

const world = new World();
let sealer: Sealer;
const next = testKey('the next key');
const textOf = (members: readonly Authority[], gateway = world.key.publicKey) =>
  `log ${formatVerifierKey(verifierKey(ORIGIN, gateway))}\n${quorumOf(members, 2)}`;
/** Each shares authorities with the one before; the first and the third none at all. */
const POLICIES = [textOf([a, b]), textOf([b, c, a]), textOf([c, d, e])];

const ownLine = (text: string, key = world.key) => gatewayLine(ORIGIN, text, key);
const signedOf = () => world.state.loadCheckpoint()!.note;

function bring(text: string, signers: readonly Authority[]): void {
  const { epoch, policy } = sealer.epochs.policy;
  const statement = formatPolicyStatement({
    origin: ORIGIN,
    epoch: epoch + 1,
    previous: policy?.hash ?? NO_POLICY_HASH,
    text,
  });
  sealer.changePolicy(
    `${statement}\n${ownLine(statement)}${signers.map((one) => cosignLine(statement, one)).join('')}`,
  );
  sealer.commit();
}

/** Seals three more records, has the checkpoint cosigned, and proves the last record against it. */
async function sealedBy(signers: readonly Authority[]): Promise<string> {
  world.addRecords(3);
  world.sealAll(sealer);
  const { text } = parseNote(signedOf());
  sealer.serve(`${signedOf()}${signers.map((one) => cosignLine(text, one)).join('')}`);
  const prover = new Prover({ tiles: directoryTiles(world.ledgerDir), records: world.readRecords });
  const result = await prover.prove(world.records.length - 1);
  if (result.kind !== 'proof') throw new Error(result.kind);
  return formatProofFile(result.proof);
}

async function stateNow(): Promise<AuditState> {
  const findings = new Findings();
  const read = directoryTiles(world.ledgerDir);
  const { checkpoint } = (await readSignedHead(read, findings, 'ledger/'))!;
  const { position } = await walkChain({ read, checkpoint, findings, prefix: 'ledger/' });
  const epochBlocks: Uint8Array[] = [];
  for await (const { bytes } of readBlocks(read, { size: checkpoint.size }))
    if (['genesis', 'policy', 'key'].includes(parseBlock(bytes).kind)) epochBlocks.push(bytes);
  return parseAuditState(
    formatAuditState({ origin: ORIGIN, position, root: checkpoint.root, epochBlocks, auditedMs: 1 }),
  );
}

const proofs: string[] = [];
let state: AuditState;
let early: AuditState;
beforeAll(async () => {
  sealer = await world.open();
  bring(POLICIES[0]!, []);
  proofs.push(await sealedBy([a, b]));
  early = await stateNow();
  bring(POLICIES[1]!, [a, b, c]);
  proofs.push(await sealedBy([b, c]));
  bring(POLICIES[2]!, [a, b, c, d]);
  proofs.push(await sealedBy([d, e]));
  const text = formatKeyStatement({
    origin: ORIGIN,
    previous: verifierKey(ORIGIN, world.key.publicKey),
    next: verifierKey(ORIGIN, next.publicKey),
  });
  sealer.changeKey(`${text}\n${ownLine(text)}${ownLine(text, next)}`, next);
  sealer.commit();
  proofs.push(await sealedBy([c, e]));
  state = await stateNow();
});
afterAll(() => world.close());

const headOf = (proof: string) =>
  parseCheckpoint(parseNote((JSON.parse(proof) as { checkpoint: string }).checkpoint).text);

function judged(proof: string, trusted: string, known: AuditState) {
  const found = trustAt(known, headOf(proof), { policy: parsePolicy(trusted), gatewayKey: null });
  const logs = found.keys.map((key) => ({ key, url: null, notAfter: null }));
  const policy: Policy = { ...found.policy!, logs };
  return { status: verifyProof(proof, { policy }).status, epoch: found.epoch?.epoch ?? null };
}

test('whoever trusts any policy of the chain finds every proof final, under the epoch of its checkpoint', () => {
  for (const trusted of POLICIES)
    expect(proofs.map((proof) => judged(proof, trusted, state))).toEqual([
      { status: 'final', epoch: 1 },
      { status: 'final', epoch: 2 },
      { status: 'final', epoch: 3 },
      { status: 'final', epoch: 3 },
    ]);
});

test('without the chain a policy judges by itself: other authorities, other keys', () => {
  const alone = (proof: string, trusted: string) => verifyProof(proof, { policy: trusted }).status;
  expect(POLICIES.map((policy) => alone(proofs[0]!, policy))).toEqual(['final', 'final', 'pending']);
  expect(alone(proofs[3]!, POLICIES[2]!)).toBe('invalid');
});

describe('what the chain does not bear out', () => {
  test('a policy that was never the chain’s stands for itself', () => {
    expect(judged(proofs[0]!, textOf([a, e, d]), state)).toEqual({ status: 'pending', epoch: null });
    // Its gateway key is the chain's, so that key's successors count.
    expect(judged(proofs[3]!, textOf([c, e]), state)).toEqual({ status: 'final', epoch: null });
    expect(judged(proofs[3]!, textOf([c, e], testKey('mallory').publicKey), state).status).toBe('invalid');
  });

  test('a quorum of an epoch that is over makes nothing final', () => {
    const proof = JSON.parse(proofs[2]!) as { checkpoint: string };
    const { text, signatures } = parseNote(proof.checkpoint);
    const own = formatSignatureLine(signatures[0]!);
    proof.checkpoint = `${text}\n${own}${[a, b].map((one) => cosignLine(text, one)).join('')}`;
    expect(judged(JSON.stringify(proof), POLICIES[0]!, state)).toEqual({ status: 'pending', epoch: 3 });
  });

  test('an audit that ended earlier knows only what was in force then', () => {
    const { audited } = trustAt(early, headOf(proofs[2]!), {
      policy: parsePolicy(POLICIES[0]!),
      gatewayKey: null,
    });
    expect(audited).toBeLessThan(headOf(proofs[2]!).size);
    expect(judged(proofs[2]!, POLICIES[0]!, early)).toEqual({ status: 'pending', epoch: 1 });
  });

  test('a state of another gateway, or with a change that nobody signed, is refused', () => {
    const trusted = { policy: parsePolicy(POLICIES[0]!), gatewayKey: null };
    const head = headOf(proofs[0]!);
    expect(() => trustAt({ ...state, origin: 'other.example.com' }, head, trusted)).toThrow(
      'the state is of',
    );
    const [genesis, , second] = state.epochBlocks.map((bytes) => parseBlock(bytes));
    const cut = { ...state, epochBlocks: [encodeBlock(genesis!), encodeBlock(second!)] };
    expect(() => trustAt(cut, head, trusted)).toThrow('epoch 2 where 1 is next');
  });
});
