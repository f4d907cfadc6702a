// Policies and keys change in the chain itself, signed by the old and the new: a change that lacks a signature is never
// appended, an auditor who trusts what came before trusts what follows, and a key that was given up signs nothing more.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseBlock } from '../../../ledger/format/block.ts';
import { checkSuccessor } from '../../../ledger/format/block-rules.ts';
import { parseCheckpoint } from '../../../ledger/format/checkpoint.ts';
import { NO_POLICY_HASH } from '../../../ledger/format/epochs.ts';
import {
  formatNote,
  formatSignatureLine,
  formatVerifierKey,
  parseNote,
  verifierKey,
} from '../../../ledger/format/note.ts';
import { describePolicy, parsePolicy } from '../../../ledger/format/policy.ts';
import { formatKeyStatement, formatPolicyStatement } from '../../../ledger/format/statements.ts';
import { readSignedHead, walkChain } from '../../../ledger/fsck/chainwalk.ts';
import { Findings } from '../../../ledger/fsck/findings.ts';
import { judgeSignatures } from '../../../ledger/fsck/signatures.ts';
import type { Sealer } from '../../../ledger/seal/sealer.ts';
import { directoryTiles } from '../../../ledger/tiles/source.ts';
import { readBlocks } from '../../../ledger/verify/chain.ts';
import { type Authority, authority, cosignLine, type Five, gatewayLine, quorumOf } from '../authorities.ts';
import { type TestKey, testKey } from '../format/native.ts';
import { ORIGIN, World } from './world.ts';

const encoder = new TextEncoder();
const [a, b, c, d, e] = ['a', 'b', 'c', 'd', 'e'].map((name) => authority(name)) as Five;

let world: World;
let sealer: Sealer;
beforeEach(async () => {
  world = new World();
  sealer = await world.open();
});
afterEach(() => world.close());

const ownLine = (text: string, key: TestKey = world.key) => gatewayLine(ORIGIN, text, key);

function policyNote(text: string, signers: readonly Authority[], changes: { epoch?: number } = {}): string {
  const { epoch, policy } = sealer.epochs.policy;
  const statement = formatPolicyStatement({
    origin: ORIGIN,
    epoch: changes.epoch ?? epoch + 1,
    previous: policy?.hash ?? NO_POLICY_HASH,
    text,
  });
  return `${statement}\n${ownLine(statement)}${signers.map((signer) => cosignLine(statement, signer)).join('')}`;
}

async function blocks() {
  const read = directoryTiles(world.ledgerDir);
  const { size } = parseCheckpoint(parseNote(world.state.loadCheckpoint()!.note).text);
  const found = [];
  for await (const { bytes } of readBlocks(read, { size })) found.push(parseBlock(bytes));
  return found;
}

function bring(note: string): void {
  sealer.changePolicy(note);
  sealer.commit();
}

async function judged(trusted: { policy?: string; key?: TestKey }) {
  const findings = new Findings();
  const read = directoryTiles(world.ledgerDir);
  const head = (await readSignedHead(read, findings, 'ledger/'))!;
  const chain = await walkChain({ read, checkpoint: head.checkpoint, findings, prefix: 'ledger/' });
  const policy = trusted.policy === undefined ? null : parsePolicy(trusted.policy);
  const given = trusted.key ? verifierKey(ORIGIN, trusted.key.publicKey) : null;
  const judgement = judgeSignatures(head, chain.epochs, policy, given, findings, 'ledger/');
  return { ...judgement, findings: findings.list.map(({ code, message }) => `${code}: ${message}`) };
}

describe('policy', () => {
  const first = quorumOf([a, b, c], 2);
  const second = quorumOf([b, c, d, e], 3);

  test('the first needs the gateway alone; each block from it on names it', async () => {
    bring(policyNote(first, []));
    world.addRecords(3);
    world.sealAll(sealer);
    const [, policy, data] = await blocks();
    expect(policy).toMatchObject({
      kind: 'policy',
      detail: { epoch: 1 },
      policyHash: parsePolicy(first).hash,
    });
    expect(data!.policyHash).toEqual(policy!.policyHash);
    expect((await judged({ key: world.key })).findings).toEqual([]);
  });

  test('the next needs a quorum of the old and of the new', async () => {
    bring(policyNote(first, []));
    for (const [signers, why] of [
      [[], 'in force has not signed'],
      [[b], 'in force has not signed'],
      [[b, d, e], 'in force has not signed'],
      [[a, b], 'new authorities has not signed'],
      [[b, c], 'new authorities has not signed'],
    ] as const) {
      expect(() => bring(policyNote(second, signers))).toThrow(why);
    }
    expect(() => bring(policyNote(second, [b, c, d], { epoch: 3 }))).toThrow('epoch 3 where 2 is next');
    const forged = policyNote(second, [b, c, d]).split('\n');
    const other = policyNote(quorumOf([a, b, c, d, e], 4), [b])
      .split('\n')
      .at(-2)!;
    expect(() => bring([...forged.slice(0, -1), other, ''].join('\n'))).toThrow('does not fit');
    bring(policyNote(second, [b, c, d]));
    expect(sealer.epochs.policy.epoch).toBe(2);
    // Nothing of the refused ones is in the chain, and it opens again as it is.
    expect((await blocks()).map(({ kind }) => kind)).toEqual(['genesis', 'policy', 'policy']);
    sealer = await world.open();
    expect(sealer.epochs.policy).toMatchObject({ epoch: 2, height: 2 });
    expect(sealer.epochs.policyAt(2).epoch).toBe(1);
    expect(sealer.epochs.policyAt(3).epoch).toBe(2);
  });

  test('a checkpoint is final by the policy in force, for who trusts an earlier one too; a quorum of the old is not enough', async () => {
    bring(policyNote(first, []));
    bring(policyNote(second, [a, b, c, d]));
    const { text } = parseNote(world.state.loadCheckpoint()!.note);
    const serve = (signers: readonly Authority[]) =>
      sealer.serve(
        `${world.state.loadCheckpoint()!.note}${signers.map((one) => cosignLine(text, one)).join('')}`,
      );
    serve([a, b]);
    expect((await judged({ policy: first })).status).toBe('pending');
    serve([b, c, e]);
    expect((await judged({ policy: first })).status).toBe('final');
    expect((await judged({ policy: second })).status).toBe('final');
    // One that was never the chain's stands for itself.
    expect((await judged({ policy: quorumOf([a, b, c, d, e], 4) })).status).toBe('pending');
  });
});

describe('witnesses that sign nothing but checkpoints', () => {
  const holder = testKey('the operator of witness c');
  const policyKey = verifierKey('ops.example.com/policies', holder.publicKey);
  const holderLine = (text: string) =>
    formatSignatureLine({
      name: policyKey.name,
      keyId: policyKey.keyId,
      signature: holder.sign(encoder.encode(text)),
    });
  const line = (witness: string, key: string) => `#tidemark policy-key ${witness} ${key}\n`;
  const first = `${quorumOf([a, b, c], 2)}${line('c', formatVerifierKey(policyKey))}`;
  const second = quorumOf([a, b], 2);

  test('the holder of its policy key signs for it; its own key counts for checkpoints only', () => {
    bring(policyNote(first, []));
    const note = (signers: readonly Authority[]) => policyNote(second, signers);
    const statement = parseNote(note([])).text;
    // Its cosigning key on the statement: somebody had it sign something that is no checkpoint.
    expect(() => bring(note([a, c]))).toThrow('in force has not signed');
    expect(() => bring(`${note([a])}${holderLine(statement)}`)).toThrow('new authorities has not signed');
    bring(`${note([a, b])}${holderLine(statement)}`);
    expect(sealer.epochs.policy.epoch).toBe(2);
  });

  test('with it a quorum of which one is foreign can be replaced', async () => {
    bring(policyNote(first, []));
    const next = `${quorumOf([b, c, d], 2)}${line('c', formatVerifierKey(policyKey))}`;
    const statement = parseNote(policyNote(next, [])).text;
    expect(() => bring(policyNote(next, [b]))).toThrow('in force has not signed');
    bring(`${policyNote(next, [b])}${holderLine(statement)}`);
    // Checkpoints are cosigned with its own key, as before.
    const { text } = parseNote(world.state.loadCheckpoint()!.note);
    sealer.serve(
      `${world.state.loadCheckpoint()!.note}${[b, c].map((one) => cosignLine(text, one)).join('')}`,
    );
    expect((await judged({ policy: first })).status).toBe('final');
    sealer.serve(`${world.state.loadCheckpoint()!.note}${cosignLine(text, b)}${holderLine(text)}`);
    expect((await judged({ policy: first })).status).toBe('pending');
  });

  test('a policy that could never be replaced is refused, and the loader says who signs', () => {
    const nobody = (...names: string[]) => names.map((name) => line(name, 'none')).join('');
    expect(describePolicy(parsePolicy(`${quorumOf([a, b, c], 2)}${nobody('b')}`))).toContain(
      'policies are signed for a, b by nobody, c',
    );
    expect(describePolicy(parsePolicy(first))).toContain('c by ops.example.com/policies');
    expect(() => parsePolicy(`${quorumOf([a, b, c], 2)}${nobody('b', 'c')}`)).toThrow(
      'no quorum could ever sign the next policy',
    );
    for (const [lines, why] of [
      [line('x', 'none'), 'names x, which is not defined above'],
      [nobody('a') + line('a', 'none'), 'names a again'],
      [line('a', formatVerifierKey(b.verifier)), 'has a key of type 4, not 1'],
      [
        line('a', formatVerifierKey(policyKey)) + line('b', formatVerifierKey(policyKey)),
        'has a key that is there already',
      ],
      [line('a', formatVerifierKey(verifierKey('x', b.key.publicKey))), 'has a key that is there already'],
      // Whatever the order: one holder would count twice.
      [
        `${line('a', formatVerifierKey(verifierKey('x', d.key.publicKey)))}witness d ${formatVerifierKey(d.verifier)}\n`,
        'has a key that is there already',
      ],
      [
        `${line('a', formatVerifierKey(policyKey))}log ${formatVerifierKey(policyKey)}\n`,
        'has a key that is there already',
      ],
      ['#tidemark constructor a b\n', 'is not "#tidemark not-after'],
      ['#tidemark __proto__ a b\n', 'is not "#tidemark not-after'],
      ['#tidemark policy-key a\n', 'is not "#tidemark not-after'],
      ['#tidemark other a\n', 'or "#tidemark policy-key'],
    ] as const)
      expect(() => parsePolicy(`${quorumOf([a, b, c], 2)}${lines}`), lines).toThrow(why);
  });
});

describe('key', () => {
  const next = testKey('the next key');
  const keyNote = (signers: readonly TestKey[], to: TestKey = next) => {
    const text = formatKeyStatement({
      origin: ORIGIN,
      previous: verifierKey(ORIGIN, world.key.publicKey),
      next: verifierKey(ORIGIN, to.publicKey),
    });
    return `${text}\n${signers.map((key) => ownLine(text, key)).join('')}`;
  };
  const rotate = (note: string, key: TestKey = next) => {
    sealer.changeKey(note, key);
    sealer.commit();
  };

  test('needs both signatures, and the key itself', () => {
    expect(() => rotate(keyNote([world.key]))).toThrow('not signed by both');
    expect(() => rotate(keyNote([next]))).toThrow('not signed by both');
    expect(() => rotate(keyNote([world.key, next]), testKey('another'))).toThrow(
      'another key than the one held',
    );
    expect(() => rotate(keyNote([world.key, world.key], world.key))).toThrow('is the one before');
  });

  test('the checkpoint that holds the change is signed by both, the next by the new key alone', async () => {
    rotate(keyNote([world.key, next]));
    const names = () => parseNote(world.state.loadCheckpoint()!.note).signatures.map(({ keyId }) => keyId);
    const ids = [world.key, next].map((key) => verifierKey(ORIGIN, key.publicKey).keyId);
    expect(names()).toEqual(ids);
    sealer.heartbeat();
    sealer.commit();
    expect(names()).toEqual(ids.slice(1));
    for (const key of [world.key, next]) {
      expect(await judged({ key })).toMatchObject({ status: 'signed-by-gateway-only', findings: [] });
    }
    const stranger = await judged({ key: testKey('a stranger') });
    expect(stranger).toMatchObject({ status: 'unsigned' });
  });

  test('after revocation the old key signs nothing: named as given up, and the gateway refuses to go on with it', async () => {
    rotate(keyNote([world.key, next]));
    sealer.heartbeat();
    sealer.commit();
    const { text } = parseNote(world.state.loadCheckpoint()!.note);
    const { name, keyId } = verifierKey(ORIGIN, world.key.publicKey);
    const signature = world.key.sign(encoder.encode(text));
    sealer.serve(formatNote({ text, signatures: [{ name, keyId, signature }] }));
    const { status, findings } = await judged({ key: world.key });
    expect(status).toBe('unsigned');
    expect(findings).toEqual([expect.stringMatching(/^CHECKPOINT_UNSIGNED: .*given up at 2 blocks/)]);
    expect(await world.tryOpen()).toMatchObject({ kind: 'refused', reason: 'other-key' });
  });

  test('the policy of an auditor can give a key up at a size too', async () => {
    const old = formatVerifierKey(verifierKey(ORIGIN, world.key.publicKey));
    sealer.heartbeat();
    sealer.commit();
    const policy = (size: number) => `log ${old}\n#tidemark not-after ${old} ${size}\nquorum none\n`;
    expect((await judged({ policy: policy(2) })).status).toBe('signed-by-gateway-only');
    expect((await judged({ policy: policy(1) })).status).toBe('unsigned');
    expect(() => parsePolicy(`#tidemark not-after ${old} 1\nquorum none\n`)).toThrow(
      'which is not defined above',
    );
  });
});

test('a block that names another policy without a policy block is found', async () => {
  const [first] = await blocks();
  const second = {
    ...first!,
    height: 1 as never,
    kind: 'heartbeat' as const,
    policyHash: new Uint8Array(32),
    detail: null,
  };
  expect(checkSuccessor(first!, second.previous, second).map(({ rule }) => rule)).toContain('policy-changed');
});
