// External timestamps against a real authority (openssl): what verifies, what does not, and the stage that asks for them.
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { openReader } from '../../../gateway/log/reader.ts';
import type { StageFigures } from '../../../gateway/stage/types.ts';
import { StateStore } from '../../../gateway/state/state.ts';
import { parseCheckpoint } from '../../../ledger/format/checkpoint.ts';
import { formatNote, parseNote, parseVerifierKey } from '../../../ledger/format/note.ts';
import { loadGatewayKey } from '../../../ledger/seal/key.ts';
import { timestampSchema } from '../../../ledger/timestamp/config.ts';
import { timestampStage } from '../../../ledger/timestamp/stage.ts';
import { readTimestamp, storeTimestamp, timestampSizes } from '../../../ledger/timestamp/store.ts';
import {
  imprintOf,
  TimestampError,
  timestampRequest,
  verifyTimestamp,
} from '../../../ledger/timestamp/token.ts';
import { reading, startTestGateway } from '../../gateway/api/gateway.ts';
import { tidemark } from '../../support/processes.ts';
import { GatewayDir, inputs } from '../fsck/gateway.ts';
import { noOpenssl, startTsa, type Tsa } from './tsa.ts';

// openssl and our own commands are processes, and the machine may be busy.
vi.setConfig({ testTimeout: 120_000 });

describe.skipIf(noOpenssl !== null)('timestamps', () => {
  let tsa: Tsa;
  beforeAll(async () => {
    tsa = await startTsa();
  });
  afterAll(() => tsa.close());

  const imprint = imprintOf('plant7.example.com/gw-3\n7\nroot\n');
  const nonce = Buffer.from('00ff00ff00ff00ff', 'hex');

  test('what openssl signs verifies, with RSA and with ECDSA, and leads to the root that is trusted', () => {
    for (const signer of ['rsa', 'ec']) {
      const token = tsa.reply(timestampRequest(imprint, nonce), { signer });
      const found = verifyTimestamp(token, { imprint, nonce, trusted: tsa.ca });
      expect(found).toMatchObject({ trusted: true, authority: `CN=Test TSA ${signer}`, policy: '1.2.3.4.1' });
      expect(Math.abs(found.timeMs - Date.now())).toBeLessThan(3_600_000);
      expect(verifyTimestamp(token, { imprint }).trusted).toBe(false);
    }
  });

  test('any nonce is asked and answered', () => {
    for (const bytes of [Buffer.from([0]), Buffer.from([0x80]), Buffer.alloc(8, 0), randomBytes(8)]) {
      const token = tsa.reply(timestampRequest(imprint, bytes));
      expect(verifyTimestamp(token, { imprint, nonce: bytes, trusted: tsa.ca }).trusted).toBe(true);
    }
  });

  test('of something else, to another request, of another authority: refused, and why', async () => {
    const token = tsa.reply(timestampRequest(imprint, nonce));
    const refusal = (options: Parameters<typeof verifyTimestamp>[1], bytes: Uint8Array = token) => {
      try {
        verifyTimestamp(bytes, options);
      } catch (error) {
        expect(error).toBeInstanceOf(TimestampError);
        return (error as Error).message;
      }
      return null;
    };
    expect(refusal({ imprint: imprintOf('other') })).toMatch(/something else/);
    expect(refusal({ imprint, nonce: randomBytes(8) })).toMatch(/does not answer this request/);
    const other = await startTsa();
    onTestFinished(() => other.close());
    expect(refusal({ imprint, trusted: other.ca })).toMatch(/does not lead to one that is trusted/);
    expect(refusal({ imprint, trusted: 'nothing' })).toMatch(/no certificate to trust/);
    expect(refusal({ imprint }, Buffer.from('30053003020102', 'hex'))).toMatch(/refused the request/);
  });

  test('no byte of the token can be changed without notice, except in what it does not sign', () => {
    const token = tsa.reply(timestampRequest(imprint, nonce));
    const sound = verifyTimestamp(token, { imprint, nonce, trusted: tsa.ca });
    fc.assert(
      fc.property(fc.nat({ max: token.length - 1 }), fc.integer({ min: 1, max: 255 }), (at, bits) => {
        const changed = Buffer.from(token);
        changed[at]! ^= bits;
        try {
          // Where it still verifies, it must say exactly the same.
          expect(verifyTimestamp(changed, { imprint, nonce, trusted: tsa.ca })).toEqual(sound);
        } catch (error) {
          expect(error).toBeInstanceOf(TimestampError);
        }
      }),
      { numRuns: 300 },
    );
    for (let length = 0; length < token.length; length += 13)
      expect(() => verifyTimestamp(token.subarray(0, length), { imprint })).toThrow(TimestampError);
  });

  test('the stage stamps the newest checkpoint, and tries again where the authority fails; proofs carry it', async () => {
    const dir = new GatewayDir();
    onTestFinished(() => dir.remove());
    await dir.run(inputs(250));
    const state = new StateStore(dir.dataDir);
    const reader = await openReader({ dataDir: dir.dataDir });
    const stop = new AbortController();
    const figures: StageFigures = {};
    let failing = 2;
    tsa.spoil = (answer) => {
      failing -= 1;
      if (failing === 1) return null;
      if (failing === 0) return answer.subarray(0, 100);
      return answer;
    };
    const stage = timestampStage({
      name: 'timestamp',
      config: timestampSchema.parse({ url: tsa.url, caFile: tsa.caFile }),
      dataDir: dir.dataDir,
      reader,
      appender: { appendAll: () => Promise.reject(new Error('it appends nothing')) },
      state,
      signal: stop.signal,
      report: (latest) => void Object.assign(figures, latest),
      log: () => undefined,
    });
    while (!(Number(figures.stamped) > 0)) await new Promise((done) => setTimeout(done, 20));
    stop.abort();
    await stage;
    tsa.spoil = null;
    await reader.close();
    state.close();
    expect(figures.stampFailures).toBe(2);
    const [size] = timestampSizes(dir.dataDir);
    expect(readTimestamp(dir.dataDir, size!).note).toBe(
      readFileSync(join(dir.dataDir, 'ledger/checkpoint'), 'utf8'),
    );

    // More is sealed after it; the proof still leads to the checkpoint that was stamped.
    await dir.run(inputs(150, 250), { bootId: '00000000000000bb' });
    const entry = resolve(import.meta.dirname, '../../../bin/tidemark.ts');
    const out = join(dir.dataDir, 'p.json');
    const cli = (...args: string[]) => spawnSync(process.execPath, [entry, ...args], { encoding: 'utf8' });
    const made = cli('prove', '-o', '42', '--timestamped', '--data-dir', dir.dataDir, '--out', out);
    expect(made.stderr).toBe('');
    const verify = (...more: string[]) =>
      cli(
        'verify',
        out,
        '--key',
        dir.verifierKey,
        '--timestamp',
        `${out}.tsr`,
        '--tsa-ca',
        tsa.caFile,
        ...more,
      );
    const good = verify();
    expect(good.stdout).toMatch(/^ok {3}timestamp +the checkpoint existed at .*, says CN=Test TSA rsa\n/);
    expect(good.status).toBe(0);
    expect(JSON.parse(verify('--json').stdout).timestamp).toMatchObject({ trusted: true });
    const late = cli('prove', '-o', '390', '--timestamped', '--data-dir', dir.dataDir, '--out', out);
    expect(late.stderr).toContain('no timestamp covers block');
    writeFileSync(`${out}.tsr`, tsa.reply(timestampRequest(imprintOf('another'), nonce)));
    const bad = verify();
    expect(bad.stdout).toContain('FAIL timestamp');
    expect(bad.status).toBe(1);
  });

  test('an audit checks every stored timestamp, names the newest, and finds what does not fit', async () => {
    const early = new GatewayDir();
    const dir = new GatewayDir();
    const forked = new GatewayDir();
    onTestFinished(() => [early, dir, forked].forEach((one) => void one.remove()));
    await early.run(inputs(100), { ledger: { blockRecordsMax: 20 } });
    for (const one of [dir, forked]) cpSync(early.dataDir, one.dataDir, { recursive: true });
    const stamp = (one: GatewayDir, into: GatewayDir, signer = 'rsa') => {
      const note = readFileSync(join(one.dataDir, 'ledger/checkpoint'), 'utf8');
      const { text } = parseNote(note);
      const { size } = parseCheckpoint(text);
      const token = tsa.reply(timestampRequest(imprintOf(text), nonce), { signer });
      storeTimestamp(into.dataDir, { size, note, token });
      return join(into.dataDir, 'timestamps', `${size}`);
    };
    stamp(early, dir);
    const later = { bootId: '00000000000000bb', ledger: { blockRecordsMax: 20 } };
    await dir.run(inputs(100, 100), later);
    await forked.run(
      inputs(140, 100).map((record) => ({ ...record, topic: 'another' })),
      later,
    );
    const newest = stamp(dir, dir, 'ec');
    const size = Number(newest.split('/').at(-1));
    const entry = resolve(import.meta.dirname, '../../../bin/tidemark.ts');
    const audit = (source: GatewayDir, ...more: string[]) => {
      const { stdout, stderr, status } = spawnSync(
        process.execPath,
        [entry, 'audit', source.dataDir, '--key', dir.verifierKey, ...more],
        { encoding: 'utf8' },
      );
      expect(stderr).toBe('');
      const codes = [...stdout.matchAll(/^error +([A-Z_]+)/gm)].map(([, code]) => code);
      return { status, stdout, codes };
    };
    const good = audit(dir, '--tsa-ca', tsa.caFile);
    expect(good).toMatchObject({ status: 0, codes: [] });
    expect(good.stdout).toContain(`2 of 2 sound; the newest: ${size} blocks existed at`);
    expect(good.stdout).toContain('says CN=Test TSA ec\n');
    expect(audit(dir).stdout).toContain('its certificate was not checked');

    // Whoever keeps the timestamps elsewhere sees a directory that went back, and one that was replaced.
    const kept = ['--timestamps', join(dir.dataDir, 'timestamps')];
    expect(audit(early, ...kept).codes).toEqual(['ROLLED_BACK']);
    expect(audit(forked, ...kept).codes).toEqual(['FORKED']);

    const token = readFileSync(`${newest}.tsr`);
    const note = readFileSync(`${newest}.checkpoint`);
    const tampered: [string, () => void][] = [
      [
        'another size in the checkpoint',
        () => writeFileSync(`${newest}.checkpoint`, String(note).replace(/\n\d+\n/, '\n9\n')),
      ],
      ['no checkpoint', () => rmSync(`${newest}.checkpoint`)],
      ['half a token', () => writeFileSync(`${newest}.tsr`, token.subarray(0, 200))],
      [
        'the token of the other one',
        () =>
          cpSync(join(dir.dataDir, 'timestamps', `${timestampSizes(dir.dataDir)[0]}.tsr`), `${newest}.tsr`),
      ],
      [
        'a token of a checkpoint that the gateway never signed',
        () => {
          const text = String(note).replace(/\n\d+\n/, '\n9\n');
          writeFileSync(`${newest}.checkpoint`, text);
          writeFileSync(`${newest}.tsr`, tsa.reply(timestampRequest(imprintOf(parseNote(text).text), nonce)));
        },
      ],
    ];
    for (const [what, tamper] of tampered) {
      tamper();
      const found = audit(dir);
      expect(found.codes, what).toEqual(['TIMESTAMP_WRONG']);
      expect(found.status).toBe(1);
      expect(found.stdout).toContain('1 of 2 sound');
      writeFileSync(`${newest}.tsr`, token);
      writeFileSync(`${newest}.checkpoint`, note);
    }
    const other = await startTsa();
    onTestFinished(() => other.close());
    expect(audit(dir, '--tsa-ca', other.caFile).codes).toEqual(['TIMESTAMP_WRONG', 'TIMESTAMP_WRONG']);
  });

  test('an audit over HTTP is shown all of them, and believes none: what does not fit is found', async () => {
    const gateway = await startTestGateway({
      seal: true,
      before: [reading('pump-1', 1), reading('pump-1', 2)],
    });
    onTestFinished(() => gateway.close());
    const { dataDir, publicKey, url } = gateway;
    const checkpoint = join(dataDir, 'ledger/checkpoint');
    const sealed = (more: number) =>
      vi.waitFor(
        async () => {
          const { ledger } = (await (await fetch(`${url}/api/v1/status`)).json()) as {
            ledger: { sealed: number };
          };
          expect(ledger.sealed).toBe(more);
        },
        { timeout: 30_000, interval: 50 },
      );
    const stamp = (note: string) => {
      const { text } = parseNote(note);
      const { size } = parseCheckpoint(text);
      storeTimestamp(dataDir, { size, note, token: tsa.reply(timestampRequest(imprintOf(text), nonce)) });
      return size;
    };
    const state = join(dataDir, 'audit.state');
    const audit = async (...more: string[]) => {
      const { stdout, stderr, code } = await tidemark(['audit', url, '--key', publicKey, ...more]);
      const codes = [...stdout.matchAll(/^error +([A-Z_]+)/gm)].map(([, found]) => found);
      return { code, stdout, stderr, codes };
    };
    await sealed(2);
    expect((await audit('--tsa-ca', tsa.caFile)).stdout).not.toContain('sound');
    const first = stamp(readFileSync(checkpoint, 'utf8'));
    await gateway.appendDerived([reading('pump-1', 3)]);
    await sealed(3);
    const size = stamp(readFileSync(checkpoint, 'utf8'));
    const good = await audit('--tsa-ca', tsa.caFile, '--state', state);
    expect(good.stdout).toContain(`2 of 2 sound; the newest: ${size} blocks existed at`);
    expect(good).toMatchObject({ code: 0, codes: [], stderr: '' });
    // Those that came meanwhile may be of blocks that were audited before.
    expect((await audit('--state', state)).stdout).toContain('2 of 2 sound');

    // A proof against the oldest timestamp that has the record, made from what the gateway serves.
    for (const [offset, covering] of [
      [0, first],
      [1, first],
      [2, size],
    ] as const) {
      const out = join(dataDir, `p-${offset}.json`);
      const made = await tidemark(['prove', '-o', `${offset}`, '--url', url, '--timestamped', '--out', out]);
      expect(made).toMatchObject({ code: 0, stderr: '' });
      const trust = ['--key', publicKey, '--timestamp', `${out}.tsr`, '--tsa-ca', tsa.caFile, '--json'];
      const { stdout, code } = await tidemark(['verify', out, ...trust]);
      expect(code).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({
        ...{ valid: true, timestamp: { trusted: true }, checkpoint: { size: covering } },
      });
    }

    // A history that is shorter than what was stamped, by the gateway's own key.
    const { text } = parseNote(readFileSync(checkpoint, 'utf8'));
    const later = text.replace(/\n\d+\n/, `\n${size + 100}\n`);
    const { name, keyId } = parseVerifierKey(publicKey);
    const signature = loadGatewayKey(dataDir)!.sign(Buffer.from(later));
    stamp(formatNote({ text: later, signatures: [{ name, keyId, signature }] }));
    expect((await audit()).codes).toEqual(['ROLLED_BACK']);
    rmSync(join(dataDir, 'timestamps', `${size + 100}.tsr`));

    // More than one answer holds, each beside the wrong checkpoint; and one that is no token at all.
    const found = readTimestamp(dataDir, size);
    for (let other = 0; other < 60; other += 1)
      storeTimestamp(dataDir, { ...found, size: size + 1 + other, note: text });
    storeTimestamp(dataDir, { ...found, token: randomBytes(70_000) });
    const bad = await audit();
    expect(new Set(bad.codes)).toEqual(new Set(['TIMESTAMP_WRONG']));
    expect(bad.stdout).toContain('1 of 62 sound');
    expect(bad.code).toBe(1);
  });
});
