// An authority over real HTTP: every status of C2SP tlog-witness, and every lie an authority can see through. Whatever
// is sent, it never cosigns two histories, and what proves a fork is kept for anyone to check.
import { mkdtempSync, readdirSync, rmSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { authorityConfig } from '../../../ledger/authority/config.ts';
import { originHash } from '../../../ledger/authority/evidence-files.ts';
import { type RunningAuthority, startAuthority } from '../../../ledger/authority/server.ts';
import { authorityKeyPath } from '../../../ledger/authority/store.ts';
import { formatAddCheckpoint } from '../../../ledger/format/add-checkpoint.ts';
import {
  formatNote,
  openNote,
  parseNote,
  parseVerifierKey,
  verifierKey,
} from '../../../ledger/format/note.ts';
import { checkEvidence, parseEvidence } from '../../../ledger/verify/evidence.ts';
import { testKey } from '../format/native.ts';
import { MadeUpLog, ORIGIN } from './log.ts';

let dataDir: string;
let authority: RunningAuthority;
const quiet = { info: () => {}, warn: () => {}, error: () => {} };
const oldKey = new MadeUpLog({ key: testKey('gateway of last year') });

const configOf = (extra: object = {}) =>
  authorityConfig.parse({
    name: 'regulator.example.com/w1',
    dataDir,
    port: 0,
    gateways: [{ keys: [new MadeUpLog().verifierKey], revoked: [{ key: oldKey.verifierKey, notAfter: 5 }] }],
    ...extra,
  });

beforeEach(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'tidemark-authority-'));
  authority = await startAuthority(configOf(), quiet);
});
afterEach(async () => {
  await authority.close();
  rmSync(dataDir, { recursive: true, force: true });
});

async function submit(body: string | Uint8Array) {
  const response = await fetch(`${authority.url}/add-checkpoint`, { method: 'POST', body: body as string });
  return { status: response.status, type: response.headers.get('content-type'), body: await response.text() };
}

async function reopen(extra: object = {}): Promise<void> {
  await authority.close();
  authority = await startAuthority(configOf(extra), quiet);
}

const evidence = () => readdirSync(join(dataDir, 'evidence')).filter((name) => name.endsWith('.json'));

async function evidenceIsGood(log: MadeUpLog): Promise<void> {
  const names = (await (await fetch(`${authority.url}/evidence`)).json()) as string[];
  expect(names).toEqual(evidence());
  const text = await (await fetch(`${authority.url}/evidence/${names[0]}`)).text();
  expect(checkEvidence(parseEvidence(text), parseVerifierKey(log.verifierKey)).kind).toBe('fork');
  // It convinces only with the true key, and not once a byte of it is changed.
  const other = parseVerifierKey(new MadeUpLog({ key: testKey('someone else') }).verifierKey);
  expect(() => checkEvidence(parseEvidence(text), other)).toThrow('no known key signed');
  const file = parseEvidence(text);
  const twice = { ...file, second: file.first };
  expect(checkEvidence(twice, parseVerifierKey(log.verifierKey)).kind).toBe('no-fork');
}

describe('what is cosigned', () => {
  test('a first checkpoint, a later one, the same again: 200 with a cosignature that opens the note', async () => {
    const log = new MadeUpLog({ size: 11 });
    for (const [old, size] of [
      [0, 3],
      [3, 11],
      [11, 11],
    ] as const) {
      const answer = await submit(log.submission(old, size));
      expect(answer.status).toBe(200);
      const note = parseNote(log.note(size) + answer.body);
      const opened = openNote(note, [
        parseVerifierKey(authority.verifierKey),
        parseVerifierKey(log.verifierKey),
      ]);
      expect(opened.map(({ key }) => key.name)).toEqual([ORIGIN, 'regulator.example.com/w1']);
      expect(opened[1]!.cosignature!.timeSeconds).toBeGreaterThan(1_700_000_000);
    }
    const view = await fetch(`${authority.url}/${originHash(ORIGIN)}/checkpoint`);
    expect(parseNote(await view.text()).text).toBe(log.text(11));
  });

  test('an empty tree, then one with blocks', async () => {
    const log = new MadeUpLog();
    expect((await submit(log.submission(0, 0))).status).toBe(200);
    expect((await submit(log.grow(4).submission(0))).status).toBe(200);
  });

  test('ten thousand blocks later, in one request', async () => {
    const log = new MadeUpLog({ size: 7 });
    expect((await submit(log.submission(0))).status).toBe(200);
    log.grow(10_000);
    const body = log.submission(7);
    expect(body.length).toBeLessThan(4_096);
    expect((await submit(body)).status).toBe(200);
  });

  test('it remembers across a restart, and of a gateway it served before too', async () => {
    const log = new MadeUpLog({ size: 9 });
    await submit(log.submission(0, 5));
    await reopen();
    expect(await submit(log.submission(0, 9))).toMatchObject({ status: 409, body: '5\n' });
    expect((await submit(log.submission(5, 9))).status).toBe(200);
  });

  test('signatures of unknown keys beside the right one do not matter', async () => {
    const log = new MadeUpLog({ size: 2 });
    const note = log.note(2, [testKey('a stranger'), log.key]);
    expect((await submit(formatAddCheckpoint({ oldSize: 0, proof: [], note }))).status).toBe(200);
  });

  test('a revoked key up to its last size, and not beyond', async () => {
    const log = new MadeUpLog({ key: testKey('gateway of last year'), size: 6 });
    expect((await submit(log.submission(0, 5))).status).toBe(200);
    expect((await submit(log.submission(5, 6))).status).toBe(403);
    const renewed = new MadeUpLog({ from: log });
    expect((await submit(renewed.submission(5, 6))).status).toBe(200);
  });
});

describe('what is refused', () => {
  const log = new MadeUpLog({ size: 12 });
  const good = log.submission(0, 3);

  test.each([
    ['nothing', ''],
    ['no old line', good.replace('old 0\n', '')],
    ['a leading zero', good.replace('old 0', 'old 00')],
    ['a plus sign', good.replace('old 0', 'old +0')],
    ['2^53', good.replace('old 0', 'old 9007199254740992')],
    ['2^64', good.replace('old 0', 'old 18446744073709551616')],
    ['a size beyond 2^53 in the checkpoint', good.replace('\n3\n', '\n9007199254740993\n')],
    ['no empty line', good.replace('\n\n', '\n')],
    ['64 proof lines', good.replace('old 0\n', `old 1\n${`${'A'.repeat(43)}=\n`.repeat(64)}`)],
    ['a proof line that is not 32 bytes', good.replace('old 0\n', 'old 1\nAAAA\n')],
    ['base64 with a spare bit', good.replace('old 0\n', `old 1\n${'A'.repeat(42)}B=\n`)],
    ['carriage returns', good.replaceAll('\n', '\r\n')],
    ['a byte order mark', `\ufeff${good}`],
    ['a no-break space for the space', good.replace('old 0', 'old\u00a00')],
    ['full-width digits', good.replace('old 0', 'old \uff10')],
    ['a hyphen for the dash', good.replace('\u2014', '-')],
    ['a tab in the checkpoint', good.replace(`\n3\n`, `\n3\t\n`)],
    ['an extension line', good.replace(/\n3\n(.*)\n/, '\n3\n$1\nmore\n')],
    ['a lone byte that is not UTF-8', Buffer.concat([Buffer.from(good), Buffer.from([0xff])])],
    ['an old size beyond the checkpoint', log.submission(0, 3).replace('old 0', 'old 4')],
  ])('400: %s', async (_what, body) => {
    expect((await submit(body)).status).toBe(400);
    // Nothing came of it.
    expect((await submit(good)).status).toBe(200);
  });

  test('404: another origin, or ours in another spelling', async () => {
    for (const origin of [
      'other.example.com/gw',
      `${ORIGIN}/`,
      ORIGIN.toUpperCase(),
      ORIGIN.replace('e', '\u0435'),
    ])
      expect((await submit(new MadeUpLog({ origin, size: 3 }).submission(0))).status).toBe(404);
  });

  test('403: swapped origin, wrong key, wrong key id, forged, unsigned', async () => {
    const stranger = new MadeUpLog({ key: testKey('a stranger'), size: 3 });
    expect((await submit(stranger.submission(0))).status).toBe(403);
    // The signature of another gateway's checkpoint under this gateway's name.
    const other = new MadeUpLog({ origin: 'other.example.com/gw', size: 3 });
    const swapped = other.note().replaceAll('other.example.com/gw', ORIGIN);
    expect((await submit(formatAddCheckpoint({ oldSize: 0, proof: [], note: swapped }))).status).toBe(403);
    // A known key's line whose signature is of another size: it spoils the note even beside a good one.
    const line = log.note(4).split('\n').at(-2);
    expect((await submit(`${good}${line}\n`)).status).toBe(403);
    const note = log.note(3);
    const last = parseNote(note).signatures[0]!;
    const bent = Uint8Array.from(last.signature);
    bent[40] = bent[40]! ^ 1;
    const text = log.text(3);
    const wrong = formatNote({ text, signatures: [{ ...last, signature: bent }] });
    expect((await submit(formatAddCheckpoint({ oldSize: 0, proof: [], note: wrong }))).status).toBe(403);
    const wrongId = formatNote({ text, signatures: [{ ...last, keyId: last.keyId ^ 1 }] });
    expect((await submit(formatAddCheckpoint({ oldSize: 0, proof: [], note: wrongId }))).status).toBe(403);
    expect((await submit(good)).status).toBe(200);
  });

  test('409 with the size it holds, as text/x.tlog.size: any other old size, replays included', async () => {
    await submit(log.submission(0, 8));
    for (const [old, size] of [
      [0, 12],
      [3, 12],
      [9, 12],
      [0, 8],
      [0, 3],
      [3, 5],
    ] as const) {
      expect(await submit(log.submission(old, size))).toEqual({
        status: 409,
        type: 'text/x.tlog.size',
        body: '8\n',
      });
    }
    expect(evidence()).toEqual([]);
  });

  test('422: a proof that is missing, too long, cut, bent, or of another size; a proof from nothing; a false empty root', async () => {
    await submit(log.submission(0, 5));
    const proof = log.proof(5, 12);
    const note = log.note(12);
    const bent = proof.map((hash) => Uint8Array.from(hash));
    bent[1]![7] = bent[1]![7]! ^ 1;
    for (const wrong of [[], proof.slice(1), [...proof, proof[0]!], bent, log.proof(5, 11), log.proof(6, 12)])
      expect((await submit(formatAddCheckpoint({ oldSize: 5, proof: wrong, note }))).status).toBe(422);
    expect((await submit(formatAddCheckpoint({ oldSize: 5, proof, note }))).status).toBe(200);
    expect(evidence()).toEqual([]);
  });

  test('422: a proof from a tree of nothing, and an empty tree with blocks’ root', async () => {
    expect(
      (await submit(formatAddCheckpoint({ oldSize: 0, proof: log.proof(5, 12), note: log.note(12) }))).status,
    ).toBe(422);
    const text = log.text(3).replace('\n3\n', '\n0\n');
    const { name, keyId } = verifierKey(ORIGIN, log.key.publicKey);
    const note = formatNote({
      text,
      signatures: [{ name, keyId, signature: log.key.sign(Buffer.from(text)) }],
    });
    expect((await submit(formatAddCheckpoint({ oldSize: 0, proof: [], note }))).status).toBe(422);
    expect((await submit(good)).status).toBe(200);
  });

  test('405, 413, 404 for the rest of the world', async () => {
    expect((await fetch(`${authority.url}/add-checkpoint`, { method: 'PUT', body: good })).status).toBe(405);
    expect((await fetch(`${authority.url}/nothing`)).status).toBe(404);
    expect((await fetch(`${authority.url}/${originHash('unknown')}/checkpoint`)).status).toBe(404);
    expect((await fetch(`${authority.url}/${originHash(ORIGIN)}/checkpoint`)).status).toBe(404);
    expect((await fetch(`${authority.url}/evidence/..%2fauthority.key`)).status).toBe(404);
    const long = await submit('x'.repeat(70_000)).catch(() => ({ status: 413 }));
    expect(long.status).toBe(413);
    expect((await fetch(`${authority.url}/healthz`)).status).toBe(200);
  });

  test('an address that is not on the access list: 403, though it may read', async () => {
    await reopen({ allow: ['10.0.0.0/8', 'fd00::/8'] });
    expect((await submit(good)).status).toBe(403);
    expect((await fetch(`${authority.url}/healthz`)).status).toBe(200);
    await reopen({ allow: ['127.0.0.0/8'] });
    expect((await submit(good)).status).toBe(200);
    const metrics = await (await fetch(`${authority.url}/metrics`)).text();
    expect(metrics).toContain('tidemark_authority_submissions_total{status="200"} 1');
    expect(metrics).toContain(`tidemark_authority_cosigned_size_blocks{origin="${ORIGIN}"} 3`);
  });
});

describe('a gateway with two histories', () => {
  test('the same size with another root: 422, and evidence', async () => {
    const log = new MadeUpLog({ size: 6 });
    const other = new MadeUpLog({ from: new MadeUpLog({ size: 4 }), size: 2, history: 'another' });
    await submit(log.submission(0));
    expect((await submit(formatAddCheckpoint({ oldSize: 6, proof: [], note: other.note() }))).status).toBe(
      422,
    );
    await evidenceIsGood(log);
  });

  test('a larger one that extends another tree of the cosigned size: 422, and evidence', async () => {
    const log = new MadeUpLog({ size: 6 });
    const other = new MadeUpLog({ from: new MadeUpLog({ size: 4 }), size: 9, history: 'another' });
    await submit(log.submission(0));
    expect((await submit(other.submission(6))).status).toBe(422);
    await evidenceIsGood(log);
  });

  test('an older size it cosigned once, with another root: 409 as for any, and evidence', async () => {
    const log = new MadeUpLog({ size: 9 });
    const other = new MadeUpLog({ from: new MadeUpLog({ size: 2 }), size: 3, history: 'another' });
    await submit(log.submission(0, 5));
    await submit(log.submission(5, 9));
    expect((await submit(other.submission(0))).status).toBe(409);
    await evidenceIsGood(log);
  });

  test('shown to many callers at once, only one history is cosigned', async () => {
    const log = new MadeUpLog({ size: 8 });
    const other = new MadeUpLog({ size: 8, history: 'another' });
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, i) => submit((i % 2 === 0 ? log : other).submission(0))),
    );
    const signed = answers.filter(({ status }) => status === 200);
    expect(signed).toHaveLength(1);
    expect(evidence()).toHaveLength(1);
  });

  test('evidence is bounded', async () => {
    await reopen({ evidenceMax: 3 });
    await submit(new MadeUpLog({ size: 6 }).submission(0));
    for (let i = 0; i < 10; i += 1)
      await submit(new MadeUpLog({ size: 6, history: `history ${i}` }).submission(6));
    expect(evidence()).toHaveLength(3);
  });
});

describe('its key and its memory', () => {
  test('a key whose memory is gone is refused: it could cosign a second history', async () => {
    await authority.close();
    for (const name of readdirSync(dataDir))
      if (name.startsWith('authority.db')) unlinkSync(join(dataDir, name));
    await expect(startAuthority(configOf(), quiet)).rejects.toMatchObject({ code: 'KEY_ORPHANED' });
    unlinkSync(authorityKeyPath(dataDir));
    const before = authority.verifierKey;
    authority = await startAuthority(configOf(), quiet);
    expect(authority.verifierKey).not.toBe(before);
  });

  test('a memory whose key is gone is refused', async () => {
    await submit(new MadeUpLog({ size: 2 }).submission(0));
    await authority.close();
    unlinkSync(authorityKeyPath(dataDir));
    await expect(startAuthority(configOf(), quiet)).rejects.toMatchObject({ code: 'KEY_MISSING' });
    rmSync(dataDir, { recursive: true });
    authority = await startAuthority(configOf(), quiet);
  });
});

test('another configuration while it runs: gateways and access are taken, the rest is named; what was cosigned stays', async () => {
  const log = new MadeUpLog({ size: 3 });
  expect((await submit(log.submission(0))).status).toBe(200);
  const later = new MadeUpLog({ key: testKey('the next key of the gateway'), from: log, size: 2 });
  expect((await submit(later.submission(3))).status).toBe(403);
  const gateways = [{ keys: [log.verifierKey, later.verifierKey] }];
  expect(authority.reload(configOf({ gateways, historyKept: 7 }))).toEqual(['historyKept']);
  expect((await submit(later.submission(3))).status).toBe(200);
  expect((await submit(later.submission(3))).status).toBe(409);
  const other = new MadeUpLog({ origin: 'plant8.example.com/gw-1', size: 1 });
  expect((await submit(other.submission(0))).status).toBe(404);
  authority.reload(configOf({ gateways: [...gateways, { keys: [other.verifierKey] }] }));
  expect((await submit(other.submission(0))).status).toBe(200);
  authority.reload(configOf({ gateways, allow: ['10.0.0.0/8'] }));
  expect((await submit(later.submission(5))).status).toBe(403);
});
