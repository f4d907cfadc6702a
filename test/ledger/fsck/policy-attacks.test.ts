// A gateway that puts a policy in force which its authorities did not ask for: it writes the block all the same, names the
// policy in every block after it, and has the checkpoint cosigned by the quorum it wished for. Its auditor holds the first.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Block, encodeBlock, parseBlock } from '../../../ledger/format/block.ts';
import { blockHeight, offset } from '../../../ledger/format/brand.ts';
import { NO_POLICY_HASH } from '../../../ledger/format/epochs.ts';
import { EMPTY_ROOT } from '../../../ledger/format/hash.ts';
import { formatSignatureLine, parseNote, verifierKey } from '../../../ledger/format/note.ts';
import { policyHash } from '../../../ledger/format/policy.ts';
import { formatPolicyStatement } from '../../../ledger/format/statements.ts';
import { type AuditReport, audit } from '../../../ledger/fsck/audit.ts';
import type { AuditState } from '../../../ledger/fsck/auditstate.ts';
import { loadGatewayKey } from '../../../ledger/seal/key.ts';
import { authority, cosignLine, quorumOf } from '../authorities.ts';
import { forge } from './forger.ts';
import { GatewayDir, inputs, ORIGIN } from './gateway.ts';

const honest = new GatewayDir();
beforeAll(() => honest.run(inputs(120), { ledger: { blockRecordsMax: 20 } }));
afterAll(() => honest.remove());

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'tidemark-attack-'));
  cpSync(honest.dataDir, dataDir, { recursive: true });
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

const encoder = new TextEncoder();
/** `sign`: the cosignature line under a text. */
const signer = (name: string) => {
  const one = authority(name);
  return { ...one, sign: (text: string) => cosignLine(text, one) };
};
type Authority = ReturnType<typeof signer>;
const [a, b, c, x, y] = ['a', 'b', 'c', 'x', 'y'].map(signer) as [
  Authority,
  Authority,
  Authority,
  Authority,
  Authority,
];
const policyOf = (members: readonly Authority[]) => quorumOf(members, 2);
const FIRST = policyOf([a, b, c]);
/** Two friends of the gateway's, and one of the old ones. */
const WANTED = policyOf([c, x, y]);

interface Change {
  readonly text: string;
  readonly signers: readonly Authority[];
  readonly epoch?: number;
  readonly previous?: string;
  readonly origin?: string;
  /** Not even a block says so: the blocks from here on name it, and that is all. */
  readonly silent?: boolean;
}

function noteOf({
  text,
  signers,
  epoch,
  previous,
  origin = ORIGIN,
}: Change & { readonly epoch: number }): string {
  const statement = formatPolicyStatement({
    ...{ origin, epoch, text },
    previous: previous === undefined ? NO_POLICY_HASH : policyHash(previous),
  });
  const key = loadGatewayKey(dataDir)!;
  const { name, keyId } = verifierKey(ORIGIN, key.publicKey);
  const own = formatSignatureLine({ name, keyId, signature: key.sign(encoder.encode(statement)) });
  return `${statement}\n${own}${signers.map(({ sign }) => sign(statement)).join('')}`;
}

/** The first policy below block 1; each change two blocks above the one before it; cosigned by the last one's quorum. */
async function bring(changes: readonly Change[]): Promise<void> {
  const all = [{ text: FIRST, signers: [] }, ...changes];
  await forge(dataDir, {
    edit: (texts) => {
      const before = texts.map((text) => parseBlock(encoder.encode(text)));
      const after: Block[] = [];
      let inForce: Change | null = null;
      let epoch = 0;
      for (const [at, block] of before.entries()) {
        const change: Change | undefined = at % 2 === 1 ? all[(at - 1) / 2] : undefined;
        const below = after.at(-1)!;
        if (change) {
          const previous = change.previous ?? inForce?.text;
          epoch = change.epoch ?? epoch + 1;
          const note = noteOf({ ...change, epoch, ...(previous !== undefined && { previous }) });
          inForce = change;
          if (!change.silent)
            after.push({
              ...below,
              ...{
                height: blockHeight(after.length),
                kind: 'policy',
                first: offset(below.first + below.count),
                count: 0,
              },
              ...{ root: EMPTY_ROOT, eventMinMs: 0, eventMaxMs: 0 },
              policyHash: policyHash(change.text),
              detail: { epoch, note },
            } satisfies Block);
        }
        after.push({
          ...block,
          height: blockHeight(after.length),
          policyHash: inForce ? policyHash(inForce.text) : block.policyHash,
        });
      }
      return after.map((block) => new TextDecoder().decode(encodeBlock(block)));
    },
  });
  const file = join(dataDir, 'ledger/checkpoint');
  const note = readFileSync(file, 'utf8');
  writeFileSync(file, `${note}${[c, x, y].map(({ sign }) => sign(parseNote(note).text)).join('')}`);
}

const rules = (report: AuditReport) =>
  report.findings.map(({ code, facts }) => `${code} ${facts.rule ?? ''}`.trimEnd());
const said = (report: AuditReport) => report.findings.map(({ message }) => message).join('\n');

describe('a policy put in force against its authorities', () => {
  test('with both quorums it is no attack: clean, and final by the new one', async () => {
    await bring([{ text: WANTED, signers: [a, c, x] }]);
    expect(await audit(dataDir, { policy: FIRST })).toMatchObject({
      ...{ verdict: 'clean', findings: [], status: 'final', blocks: { policy: 2 } },
    });
  });

  const attacks: Record<string, { changes: Change[]; rule: string; says: string }> = {
    'by the gateway alone': {
      changes: [{ text: WANTED, signers: [] }],
      ...{ rule: 'policy-invalid', says: 'a quorum of the authorities in force has not signed' },
    },
    'by a quorum of the new ones alone': {
      changes: [{ text: WANTED, signers: [c, x, y] }],
      ...{ rule: 'policy-invalid', says: 'a quorum of the authorities in force has not signed' },
    },
    'by a quorum of the old ones alone': {
      changes: [{ text: WANTED, signers: [a, b] }],
      ...{ rule: 'policy-invalid', says: 'a quorum of the new authorities has not signed' },
    },
    'one old authority twice': {
      changes: [{ text: WANTED, signers: [c, c, x, y] }],
      ...{ rule: 'policy-invalid', says: 'a quorum of the authorities in force has not signed' },
    },
    'signatures of another statement': {
      changes: [
        {
          text: WANTED,
          signers: [{ ...a, sign: () => a.sign('something else') }, c, x, y],
        },
      ],
      ...{ rule: 'policy-invalid', says: 'the signature of a does not fit' },
    },
    'on a policy that was never in force': {
      changes: [{ text: WANTED, signers: [a, b, c, x, y], previous: policyOf([x, y, a]) }],
      ...{ rule: 'policy-invalid', says: 'follows on another one than the one in force' },
    },
    'two epochs at once': {
      changes: [{ text: WANTED, signers: [a, b, c, x, y], epoch: 3 }],
      ...{ rule: 'policy-invalid', says: 'epoch 3 where 2 is next' },
    },
    'signed for another gateway': {
      changes: [{ text: WANTED, signers: [a, b, c, x, y], origin: 'plant7.example.com/gw-4' }],
      ...{ rule: 'policy-invalid', says: 'the policy is for plant7.example.com/gw-4' },
    },
    'without a block that says so': {
      changes: [{ text: WANTED, signers: [], silent: true }],
      ...{ rule: 'policy-changed', says: 'names another policy than the block below it' },
    },
    'and then a third by the quorum of the second': {
      changes: [
        { text: WANTED, signers: [] },
        { text: policyOf([x, y]), signers: [x, y] },
      ],
      ...{ rule: 'policy-invalid', says: 'epoch 3 where 2 is next' },
    },
  };
  for (const [name, { changes, rule, says }] of Object.entries(attacks))
    test(`${name}: BLOCK_RULE, and the wished-for quorum makes nothing final`, async () => {
      await bring(changes);
      const report = await audit(dataDir, { policy: FIRST });
      expect(report).toMatchObject({ verdict: 'problems', status: 'pending' });
      expect(new Set(rules(report))).toEqual(new Set([`BLOCK_RULE ${rule}`]));
      expect(said(report)).toContain(says);
      // Who was brought to trust the new one sees its quorum, and the same finding.
      expect(rules(await audit(dataDir, { policy: WANTED }))).toEqual(rules(report));
      const byKey = await audit(dataDir, { gatewayKey: honest.verifierKey });
      expect(rules(byKey)).toEqual(rules(report));
    });

  test('after an audit that was clean: named from its state, which stays as it was', async () => {
    const states: AuditState[] = [];
    const onState = (state: AuditState) => void states.push(state);
    await bring([]);
    const early = join(dataDir, 'ledger/checkpoint');
    expect((await audit(dataDir, { policy: FIRST, onState })).verdict).toBe('clean');
    expect(states).toHaveLength(1);
    const { size } = states[0]!.position;
    expect(readFileSync(early, 'utf8')).toContain(`\n${size}\n`);
    // The same blocks, and one more at their end.
    await forge(dataDir, {
      edit: (texts) => {
        const last = parseBlock(encoder.encode(texts.at(-1)!));
        const note = noteOf({ text: WANTED, signers: [c, x, y], epoch: 2, previous: FIRST });
        const rogue = {
          ...last,
          ...{
            height: blockHeight(texts.length),
            kind: 'policy',
            first: offset(last.first + last.count),
            count: 0,
          },
          ...{ root: EMPTY_ROOT, eventMinMs: 0, eventMaxMs: 0, policyHash: policyHash(WANTED) },
          detail: { epoch: 2, note },
        } satisfies Block;
        return [...texts, new TextDecoder().decode(encodeBlock(rogue))];
      },
    });
    const report = await audit(dataDir, { policy: FIRST, state: states[0], onState });
    expect(report).toMatchObject({ since: size, verdict: 'problems' });
    expect(rules(report)).toEqual(['BLOCK_RULE policy-invalid']);
    expect(states).toHaveLength(1);
  });
});
