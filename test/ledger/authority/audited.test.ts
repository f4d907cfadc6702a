// An audit that asks three running authorities, of which one was shown another history: it is named, and so is what it knows.
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { formatAddCheckpoint } from '../../../ledger/format/add-checkpoint.ts';
import { parseCheckpoint } from '../../../ledger/format/checkpoint.ts';
import { parseNote } from '../../../ledger/format/note.ts';
import { AuthorityProcess } from '../../support/authority.ts';
import { tidemark } from '../../support/processes.ts';
import { GatewayDir, inputs } from '../fsck/gateway.ts';

const RUN = { ledger: { blockRecordsMax: 50 } };
const LATER = { ...RUN, bootId: '00000000000000bb' };
/** The honest gateway after half of its records, and after all; one that signed another second half with the same key. */
const early = new GatewayDir();
const late = new GatewayDir();
const forked = new GatewayDir();
let folder: string;
let policy: string;
let authorities: AuthorityProcess[];

const noteOf = ({ dataDir }: GatewayDir) => readFileSync(join(dataDir, 'ledger/checkpoint'), 'utf8');

async function show(authority: AuthorityProcess, dir: GatewayDir, oldSize = 0): Promise<number> {
  const body = formatAddCheckpoint({ oldSize, proof: [], note: noteOf(dir) });
  return (await fetch(`${authority.url}/add-checkpoint`, { method: 'POST', body })).status;
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'tidemark-audited-'));
  await early.run(inputs(200), RUN);
  for (const next of [late, forked]) cpSync(early.dataDir, next.dataDir, { recursive: true });
  await late.run(inputs(200, 200), LATER);
  await forked.run(
    inputs(200, 200).map((record) => ({ ...record, payload: new Uint8Array([123, 125]) })),
    LATER,
  );
  const serves = [{ key: late.verifierKey, mirror: null }];
  authorities = await Promise.all(
    ['operator', 'regulator', 'vendor'].map((name) => AuthorityProcess.make(folder, name, serves)),
  );
  await Promise.all(authorities.map((authority) => authority.start()));
  policy = join(folder, 'policy.txt');
  writeFileSync(
    policy,
    `log ${late.verifierKey}\n${authorities.map(({ name, key, url }) => `witness ${name} ${key} ${url}\n`).join('')}group any-two 2 operator regulator vendor\nquorum any-two\n`,
  );
}, 120_000);
afterAll(async () => {
  for (const authority of authorities ?? []) await authority.end('SIGKILL');
  for (const dir of [early, late, forked]) dir.remove();
  rmSync(folder, { recursive: true, force: true });
});

test('a fork shown to one of three, and a directory that went back: named by audit, and by an authority that sees both', async () => {
  const [operator, regulator, vendor] = authorities as [AuthorityProcess, AuthorityProcess, AuthorityProcess];
  expect(await show(operator, late)).toBe(200);
  expect(await show(regulator, forked)).toBe(200);
  expect(await show(vendor, early)).toBe(200);

  const audited = async (dir: GatewayDir) => {
    const { code, stdout } = await tidemark(['audit', dir.dataDir, '--policy', policy, '--json']);
    const { authorities: views, findings } = JSON.parse(stdout) as {
      authorities: { name: string; verdict: string }[];
      findings: { code: string; facts: { authority: string } }[];
    };
    return {
      code,
      views: Object.fromEntries(views.map(({ name, verdict }) => [name, verdict])),
      found: findings.map((finding) => [finding.code, finding.facts.authority]),
    };
  };
  expect(await audited(late)).toEqual({
    code: 1,
    views: { operator: 'agrees', regulator: 'fork', vendor: 'agrees' },
    found: [['FORKED', 'regulator']],
  });
  expect(await audited(early)).toEqual({
    code: 1,
    views: { operator: 'ahead', regulator: 'ahead', vendor: 'agrees' },
    found: [
      ['ROLLED_BACK', 'operator'],
      ['ROLLED_BACK', 'regulator'],
    ],
  });

  // Shown both, an authority cosigns neither again, and what it keeps convinces anyone who has the gateway's key.
  const { size } = parseCheckpoint(parseNote(noteOf(late)).text);
  expect(await show(operator, forked, size)).toBe(422);
  const [name] = (await (await fetch(`${operator.url}/evidence`)).json()) as string[];
  const evidence = join(folder, 'evidence.json');
  writeFileSync(evidence, await (await fetch(`${operator.url}/evidence/${name}`)).text());
  const proven = await tidemark(['verify', evidence, '--policy', policy]);
  expect(proven).toMatchObject({ code: 0, stdout: expect.stringContaining('FORK PROVEN') });
}, 300_000);
