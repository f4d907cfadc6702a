// The attack suite for `audit`: what a gateway, its operator, or whoever stands between could try, each found and named.
import { hash } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { cosignatureMessage, formatCosignature } from '../../../ledger/format/cosignature.ts';
import { formatNote, formatVerifierKey, parseNote, verifierKey } from '../../../ledger/format/note.ts';
import type { RecordInput } from '../../../ledger/format/record.ts';
import { type AuditReport, audit } from '../../../ledger/fsck/audit.ts';
import { type AuditState, formatAuditState, parseAuditState } from '../../../ledger/fsck/auditstate.ts';
import { formatHtmlReport } from '../../../ledger/fsck/htmlreport.ts';
import { formatReport } from '../../../ledger/fsck/report.ts';
import { startTestGateway } from '../../gateway/api/gateway.ts';
import { testKey } from '../format/native.ts';
import { forge } from './forger.ts';
import { GatewayDir, input, inputs, ORIGIN } from './gateway.ts';

const RUN = { group: 20, ledger: { blockRecordsMax: 50 } };
const EARLY = 200;
const ALL = 400;
/** The honest gateway after half of its records, and after all; one that signed another second half with the same key. */
const early = new GatewayDir();
const late = new GatewayDir();
const forked = new GatewayDir();
const numbered = (count: number, from = 0): RecordInput[] =>
  inputs(count, from).map((record, i) => ({ ...record, device: 'pump-1', sequence: from + i + 1 }));

beforeAll(async () => {
  await early.run(numbered(EARLY), RUN);
  for (const next of [late, forked]) cpSync(early.dataDir, next.dataDir, { recursive: true });
  await late.run(numbered(ALL - EARLY, EARLY), { ...RUN, bootId: '00000000000000bb' });
  await forked.run(
    numbered(ALL - EARLY, EARLY).map((record) => ({ ...record, payload: new Uint8Array([123, 125]) })),
    { ...RUN, bootId: '00000000000000bb' },
  );
});
afterAll(() => {
  for (const dir of [early, late, forked]) dir.remove();
});

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'tidemark-attack-'));
  cpSync(late.dataDir, dataDir, { recursive: true });
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

const gatewayKey = () => late.verifierKey;
const codes = (report: AuditReport) => [...new Set(report.findings.map(({ code }) => code))];
async function stateOf(folder: string): Promise<AuditState> {
  let state: AuditState | undefined;
  await audit(folder, { gatewayKey: gatewayKey(), onState: (next) => (state = next) });
  return parseAuditState(formatAuditState(state!));
}

describe('against an auditor who remembers', () => {
  test('an honest gateway goes on: only what is new is read', async () => {
    const state = await stateOf(early.dataDir);
    let next: AuditState | undefined;
    const report = await audit(dataDir, { gatewayKey: gatewayKey(), state, onState: (at) => (next = at) });
    expect(report).toMatchObject({ verdict: 'clean', findings: [], since: state.position.size });
    expect(report.records.recordsMatching).toBe(ALL - EARLY);
    expect(next!.position.size).toBe(report.checkpoint!.size);
    const again = await audit(dataDir, { gatewayKey: gatewayKey(), state: next });
    expect(again).toMatchObject({ verdict: 'clean', records: { recordsMatching: 0 } });
  });

  test('the whole data directory rolled back: ROLLED_BACK', async () => {
    const report = await audit(early.dataDir, {
      gatewayKey: gatewayKey(),
      state: await stateOf(late.dataDir),
    });
    expect(report.verdict).toBe('problems');
    expect(codes(report)).toEqual(['ROLLED_BACK']);
  });

  test('an old checkpoint replayed over new tiles: ROLLED_BACK', async () => {
    const state = await stateOf(dataDir);
    cpSync(join(early.dataDir, 'ledger/checkpoint'), join(dataDir, 'ledger/checkpoint'));
    expect(codes(await audit(dataDir, { gatewayKey: gatewayKey(), state }))).toContain('ROLLED_BACK');
  });

  test('another history of the same size, signed with the same key: FORKED', async () => {
    const report = await audit(forked.dataDir, {
      gatewayKey: gatewayKey(),
      state: await stateOf(late.dataDir),
    });
    expect(codes(report)).toEqual(['FORKED']);
  });

  test('a longer history that replaces what was audited, signed with the same key: HISTORY_CHANGED', async () => {
    const state = await stateOf(late.dataDir);
    const longer = mkdtempSync(join(tmpdir(), 'tidemark-attack-'));
    onTestFinished(() => rmSync(longer, { recursive: true }));
    cpSync(forked.dataDir, longer, { recursive: true });
    await new GatewayDir(longer).run(numbered(60, ALL), { ...RUN, bootId: '00000000000000cc' });
    expect(codes(await audit(longer, { gatewayKey: gatewayKey(), state }))).toContain('HISTORY_CHANGED');
    expect((await audit(longer, { gatewayKey: gatewayKey() })).verdict).toBe('clean');
  });

  test('another gateway under the address: ORIGIN_CHANGED', async () => {
    const state = { ...(await stateOf(early.dataDir)), origin: 'plant7.example.com/gw-4' };
    expect(codes(await audit(dataDir, { gatewayKey: gatewayKey(), state }))).toContain('ORIGIN_CHANGED');
  });

  test('a state file that was edited or cut is refused', async () => {
    const text = formatAuditState(await stateOf(early.dataDir));
    const value = JSON.parse(text) as Record<string, unknown>;
    for (const bad of [
      '',
      text.slice(0, 200),
      JSON.stringify({ ...value, size: 3 }),
      JSON.stringify({ ...value, nodes: [] }),
      JSON.stringify({ ...value, root: Buffer.alloc(32).toString('base64') }),
      JSON.stringify({ ...value, format: 'v2' }),
      JSON.stringify({ ...value, epochBlocks: [] }),
      JSON.stringify({ ...value, epochBlocks: ['AAAA'] }),
    ])
      expect(() => parseAuditState(bad), bad).toThrow(expect.objectContaining({ code: 'STATE_INVALID' }));
  });
});

test('blocks cut away under the checkpoint: TILE_MISSING', async () => {
  for (const name of readdirSync(join(dataDir, 'ledger/tile/entries'))) {
    const from = join(early.dataDir, 'ledger/tile/entries', name);
    rmSync(join(dataDir, 'ledger/tile/entries', name), { recursive: true });
    if (existsSync(from)) cpSync(from, join(dataDir, 'ledger/tile/entries', name), { recursive: true });
  }
  const report = await audit(dataDir, { gatewayKey: gatewayKey() });
  expect(report.verdict).toBe('problems');
  expect(codes(report)).toContain('TILE_MISSING');
});

describe('against an auditor who asks the authorities', () => {
  /** An authority that has seen the checkpoint of this directory; `serve` may change what it says. */
  async function policyWith(seen: string | null, serve = (note: string) => note): Promise<string> {
    const path = `/${hash('sha256', ORIGIN)}/checkpoint`;
    const server = createServer((request, response) => {
      const known = request.url === path && seen !== null;
      response.writeHead(known ? 200 : 404);
      response.end(known ? serve(readFileSync(join(seen, 'ledger/checkpoint'), 'utf8')) : '');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const key = formatVerifierKey(verifierKey('witness.example', testKey('witness').publicKey, 4));
    const { port } = server.address() as AddressInfo;
    return `log ${gatewayKey()}\nwitness w ${key} http://127.0.0.1:${port}\nquorum w\n`;
  }

  test('who has seen the same, or less of the same: nothing to say', async () => {
    for (const seen of [dataDir, early.dataDir]) {
      const report = await audit(dataDir, { policy: await policyWith(seen) });
      expect(report.findings).toEqual([]);
      expect(report.authorities).toMatchObject([{ name: 'w', verdict: 'agrees' }]);
    }
    expect((await audit(dataDir, { policy: await policyWith(null) })).authorities).toMatchObject([
      { verdict: 'knows-nothing', size: null },
    ]);
  });

  test('a rolled-back directory: ROLLED_BACK', async () => {
    const report = await audit(early.dataDir, { policy: await policyWith(late.dataDir) });
    expect(codes(report)).toEqual(['ROLLED_BACK']);
    expect(report.authorities).toMatchObject([{ verdict: 'ahead' }]);
    expect(formatReport(report)).toContain('HAS SEEN MORE than is shown here');
  });

  test('another history shown to the authority, of the same size or a smaller one: FORKED', async () => {
    expect(codes(await audit(late.dataDir, { policy: await policyWith(forked.dataDir) }))).toEqual([
      'FORKED',
    ]);
    const longer = mkdtempSync(join(tmpdir(), 'tidemark-attack-'));
    onTestFinished(() => rmSync(longer, { recursive: true }));
    cpSync(late.dataDir, longer, { recursive: true });
    await new GatewayDir(longer).run(numbered(60, ALL), { ...RUN, bootId: '00000000000000cc' });
    expect(codes(await audit(longer, { policy: await policyWith(forked.dataDir) }))).toEqual(['FORKED']);
  });

  test('an authority that lies with a checkpoint the gateway never signed is not believed', async () => {
    const lie = (note: string) => note.replace(/\n\d+\n/, '\n999\n');
    const report = await audit(dataDir, { policy: await policyWith(dataDir, lie) });
    expect(report.verdict).toBe('clean');
    expect(codes(report)).toEqual(['AUTHORITY_SILENT']);
  });
});

describe('by a gateway that signs what it should not', () => {
  const replaceIn = (height: number, from: RegExp, to: string) => (blocks: string[]) =>
    blocks.map((block, i) => {
      if (i !== height) return block;
      const changed = block.replace(from, to);
      expect(changed).not.toBe(block);
      return changed;
    });
  const attacks: Record<string, { edit: (blocks: string[]) => string[]; chain?: boolean; code: string }> = {
    'records left out between two blocks': {
      edit: replaceIn(3, /^first \d+$/m, 'first 130'),
      code: 'BLOCK_RULE',
    },
    'a block left out': { edit: (blocks) => blocks.filter((_, i) => i !== 3), code: 'BLOCK_RULE' },
    'two blocks in another order': {
      edit: (blocks) => [...blocks.slice(0, 2), blocks[3]!, blocks[2]!, ...blocks.slice(4)],
      code: 'BLOCK_RULE',
    },
    'a block that does not follow the one below it': {
      edit: replaceIn(3, /^sealed \d+$/m, 'sealed 1'),
      chain: false,
      code: 'BLOCK_RULE',
    },
    'a batch root of other records': {
      edit: replaceIn(3, /^root .*$/m, `root ${Buffer.alloc(32, 7).toString('base64')}`),
      code: 'RECORDS_CHANGED',
    },
    'a clock set back within a run': { edit: replaceIn(3, /^sealed \d+$/m, 'sealed 1'), code: 'BLOCK_RULE' },
    'a device summary of other numbers': {
      edit: replaceIn(
        3,
        /^detail .*$/m,
        `detail ${Buffer.from(JSON.stringify({ devices: 1, devicesRoot: Buffer.alloc(32).toString('base64') })).toString('base64url')}`,
      ),
      code: 'DEVICES_WRONG',
    },
    'records beyond the end of the log': {
      edit: (blocks) => replaceIn(blocks.length - 1, /^count \d+$/m, 'count 60')(blocks),
      code: 'RECORDS_MISSING',
    },
    'a second genesis': {
      edit: (blocks) => [...blocks, blocks[0]!.replace(/^height 0$/m, `height ${blocks.length}`)],
      code: 'BLOCK_RULE',
    },
  };
  for (const [name, { edit, chain, code }] of Object.entries(attacks))
    test(`${name}: ${code}`, async () => {
      await forge(dataDir, chain === undefined ? { edit } : { edit, chain });
      const report = await audit(dataDir, { gatewayKey: gatewayKey() });
      expect(report.verdict).toBe('problems');
      expect(codes(report)).toContain(code);
    });

  test('a number above 2^53 in a block: BLOCK_RULE', async () => {
    for (const number of ['9007199254740992', '18446744073709551615']) {
      const folder = mkdtempSync(join(tmpdir(), 'tidemark-attack-'));
      onTestFinished(() => rmSync(folder, { recursive: true }));
      cpSync(late.dataDir, folder, { recursive: true });
      await forge(folder, { edit: replaceIn(4, /^count \d+$/m, `count ${number}`), chain: false });
      expect(codes(await audit(folder, { gatewayKey: gatewayKey() }))).toContain('BLOCK_RULE');
    }
  });
});

describe('on the checkpoint', () => {
  const rewrite = async (edit: (note: string) => string) => {
    const file = join(dataDir, 'ledger/checkpoint');
    const note = readFileSync(file, 'utf8');
    const changed = edit(note);
    expect(changed).not.toBe(note);
    writeFileSync(file, changed);
    const report = await audit(dataDir, { gatewayKey: gatewayKey() });
    expect(report.verdict).toBe('problems');
    return codes(report);
  };
  const lines = (edit: (parts: string[]) => void) => (note: string) => {
    const parts = note.split('\n');
    edit(parts);
    return parts.join('\n');
  };
  const signatureOf = (note: string) => parseNote(note).signatures[0]!;
  const resigned = (key: ReturnType<typeof testKey>, keyId?: number) => (note: string) => {
    const { text } = parseNote(note);
    const verifier = verifierKey(ORIGIN, key.publicKey);
    const signature = key.sign(new TextEncoder().encode(text));
    return formatNote({ text, signatures: [{ name: ORIGIN, keyId: keyId ?? verifier.keyId, signature }] });
  };

  const unsigned: Record<string, (note: string) => string> = {
    'signed by another key under the same name': resigned(testKey('mallory')),
    'signed by another key under the right key id': (note) =>
      resigned(testKey('mallory'), signatureOf(note).keyId)(note),
    'the right signature under a wrong key id': (note) => {
      const { text, signatures } = parseNote(note);
      return formatNote({ text, signatures: [{ ...signatures[0]!, keyId: signatures[0]!.keyId ^ 1 }] });
    },
    'the signature of another name': (note) => note.replace(`— ${ORIGIN} `, '— plant7.example.com/gw-4 '),
    'a flipped bit in the signature': (note) => {
      const { text, signatures } = parseNote(note);
      const signature = signatures[0]!.signature.slice();
      signature[10]! ^= 4;
      return formatNote({ text, signatures: [{ ...signatures[0]!, signature }] });
    },
    'another size under the signature': (note) =>
      note.replace(/\n(\d+)\n/, (_, size) => `\n${Number(size) - 1}\n`),
    'another root under the signature': lines((parts) => {
      parts[2] = Buffer.alloc(32, 1).toString('base64');
    }),
    'a swapped origin': lines((parts) => {
      parts[0] = 'plant7.example.com/gw-4';
    }),
  };
  for (const [name, edit] of Object.entries(unsigned))
    test(`${name}: CHECKPOINT_UNSIGNED`, async () =>
      expect(await rewrite(edit)).toContain('CHECKPOINT_UNSIGNED'));

  const witness = testKey('witness');
  const cosigner = verifierKey('witness.example', witness.publicKey, 4);
  const cosigned = (note: string, signer: typeof witness, timeSeconds = 1_763_600_000) => {
    const { text, signatures } = parseNote(note);
    const signature = formatCosignature({
      timeSeconds,
      signature: signer.sign(cosignatureMessage(text, 1_763_600_000)),
    });
    const { name, keyId } = cosigner;
    return formatNote({ text, signatures: [...signatures, { name, keyId, signature }] });
  };
  test('a forged cosignature: CHECKPOINT_UNSIGNED; a quorum of one is what it is', async () => {
    const policy = `log ${gatewayKey()}\nwitness w ${formatVerifierKey(cosigner)}\nquorum w\n`;
    const file = join(dataDir, 'ledger/checkpoint');
    const note = readFileSync(file, 'utf8');
    const audited = async (served: string, trusted = policy) => {
      writeFileSync(file, served);
      return audit(dataDir, { policy: trusted });
    };
    expect(await audited(cosigned(note, witness))).toMatchObject({ verdict: 'clean', status: 'final' });
    for (const forged of [cosigned(note, testKey('mallory')), cosigned(note, witness, 1_763_600_001)]) {
      const report = await audited(forged);
      expect(codes(report)).toContain('CHECKPOINT_UNSIGNED');
      expect(report.status).toBe('pending');
    }
    const other = formatVerifierKey(verifierKey('other.example', testKey('other').publicKey, 4));
    const one = policy.replace(/quorum w\n$/, `witness o ${other}\ngroup g 1 w o\nquorum g\n`);
    await expect(audited(note, one)).rejects.toMatchObject({ code: 'POLICY_NOT_INTERSECTING' });
  });

  const malformed: Record<string, (note: string) => string> = {
    'CR LF': (note) => note.replaceAll('\n', '\r\n'),
    'no final LF': (note) => note.slice(0, -1),
    'a byte order mark': (note) => `\uFEFF${note}`,
    'a hyphen for the dash': (note) => note.replace('\n— ', '\n- '),
    'an en dash': (note) => note.replace('\n— ', '\n– '),
    'two spaces after the name': (note) => note.replace(`— ${ORIGIN} `, `— ${ORIGIN}  `),
    'a space at the end of a line': (note) => note.replace(`${ORIGIN}\n`, `${ORIGIN} \n`),
    'a no-break space in the origin': (note) => note.replace('plant7.', 'plant7.\u00a0'),
    'a zero byte in the origin': (note) => note.replace('plant7.', 'plant7.\0'),
    'a leading zero in the size': (note) => note.replace(/\n(\d+)\n/, '\n0$1\n'),
    'a plus before the size': (note) => note.replace(/\n(\d+)\n/, '\n+$1\n'),
    'digits of another script': (note) => note.replace(/\n(\d+)\n/, '\n\u0661\u0662\n'),
    'a size above 2^53': (note) => note.replace(/\n(\d+)\n/, '\n9007199254740993\n'),
    'a size of 2^64-1': (note) => note.replace(/\n(\d+)\n/, '\n18446744073709551615\n'),
    'an exponent': (note) => note.replace(/\n(\d+)\n/, '\n1e3\n'),
    'an extension line': (note) => note.replace('\n\n', '\nextra\n\n'),
    'base64url for the root': lines((parts) => {
      parts[2] = Buffer.alloc(32, 0xfb).toString('base64url');
    }),
    'base64 without padding': lines((parts) => {
      parts[2] = parts[2]!.replace(/=$/, '');
    }),
    'no signature': (note) => note.slice(0, note.indexOf('\n\n') + 2),
  };
  for (const [name, edit] of Object.entries(malformed))
    test(`${name}: refused`, async () => {
      const found = await rewrite(edit);
      expect(found.some((code) => code === 'CHECKPOINT_INVALID' || code === 'CHECKPOINT_UNSIGNED')).toBe(
        true,
      );
    });
});

describe('withheld from a device', () => {
  test('all numbers are here, read from the records or proven by the summaries', async () => {
    const report = await audit(dataDir, { gatewayKey: gatewayKey(), device: 'pump-1' });
    expect(report.device).toMatchObject({ records: ALL, numbered: ALL, first: 1, last: ALL, complete: true });
    expect(formatReport(report)).toContain('all are here');
    const other = await audit(dataDir, { gatewayKey: gatewayKey(), device: 'pump-2' });
    expect(other.device).toMatchObject({ records: 0, first: null, complete: true });
  });

  test('numbers that the gateway never took in are named', async () => {
    const folder = new GatewayDir();
    onTestFinished(() => folder.remove());
    await folder.run(
      numbered(ALL).filter((_, i) => i !== 76 && (i < 200 || i > 219)),
      RUN,
    );
    const report = await audit(folder.dataDir, { device: 'pump-1' });
    expect(report.device).toMatchObject({
      missingCount: 21,
      missing: [
        { first: 77, last: 77 },
        { first: 201, last: 220 },
      ],
      complete: false,
    });
    expect(codes(report)).toEqual(['SEQUENCE_MISSING']);
  });

  test('over HTTP, by the summaries alone', async () => {
    const gateway = await startTestGateway({
      seal: true,
      before: [
        ...numbered(300),
        ...inputs(50, 300).map((record) => ({ ...record, device: `q-${record.sequence}` })),
      ],
    });
    onTestFinished(() => gateway.close());
    let report: AuditReport;
    do {
      report = await audit(gateway.url, {
        gatewayKey: gateway.publicKey,
        device: 'pump-1',
        records: 'sample',
        sampleBlocks: 0,
      });
    } while (report.sealedEnd < 350);
    expect(report).toMatchObject({ verdict: 'clean', records: { blocksChecked: 0 } });
    expect(report.device).toMatchObject({ records: 300, numbered: 300, first: 1, last: 300, complete: true });
    expect(report.device!.blocksBySummary).toBeGreaterThan(0);
    expect(report.device!.blocksUnknown).toBe(0);
  });
});

test('the page of a report shows what was found and runs nothing that a name could carry', async () => {
  const report = await audit(dataDir, { device: '<script>alert(1)</script>' });
  const page = formatHtmlReport(report, 0);
  expect(page).toContain('1970-01-01T00:00:00.000Z');
  expect(page).toContain('&#60;script&#62;');
  expect(page).not.toMatch(/<script|src=|href=/);
  expect(page).toContain('A gateway alone proves little');
  const changed = await audit(early.dataDir, {
    gatewayKey: gatewayKey(),
    state: await stateOf(late.dataDir),
  });
  expect(formatHtmlReport(changed, 0)).toContain('ROLLED_BACK');
});

test('an edited payload, a removed, an inserted and a swapped record', async () => {
  const records = numbered(ALL);
  const attacks: Record<string, RecordInput[]> = {
    edited: records.map((record, i) => (i === 77 ? input(77, '{"value":0}') : record)),
    removed: records.filter((_, i) => i !== 77),
    inserted: [...records.slice(0, 77), input(9_999), ...records.slice(77)],
    swapped: records.with(77, records[78]!).with(78, records[77]!),
  };
  for (const [name, forgery] of Object.entries(attacks)) {
    const forger = new GatewayDir();
    await forger.run(forgery, RUN);
    rmSync(join(dataDir, 'log'), { recursive: true });
    cpSync(join(forger.dataDir, 'log'), join(dataDir, 'log'), { recursive: true });
    forger.remove();
    expect(codes(await audit(dataDir, { gatewayKey: gatewayKey() })), name).toContain('RECORDS_CHANGED');
  }
});
