// The verifier: each way a proof can be wrong fails at its step and says why; each way it can be right says how much.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatNote, formatVerifierKey, parseNote, verifierKey } from '../../../ledger/format/note.ts';
import { parsePolicy } from '../../../ledger/format/policy.ts';
import { type ProofFile, parseProofFile } from '../../../ledger/format/proof.ts';
import { STEP_NAMES, type StepName, type VerifyReport, verifyProof } from '../../../ledger/verify/index.ts';
import { testKey } from '../format/native.ts';
import {
  chain,
  checkpointNote,
  cosign,
  gatewayKey,
  gatewayKeyText,
  gatewayOnlyPolicyText,
  ORIGIN,
  policyText,
  START_MS,
  sampleChain,
  sampleProof,
  signCheckpoint,
} from './sample.ts';

const okOf = (report: VerifyReport) => report.steps.map((step) => step.ok);
const failed = (report: VerifyReport): StepName | undefined =>
  report.steps.find((step) => step.ok === false)?.name;
const change = (edit: (file: Mutable) => void, text = sampleProof(38, ['operator', 'vendor'])) => {
  const file = JSON.parse(text) as Mutable;
  edit(file);
  return JSON.stringify(file);
};
type Mutable = {
  -readonly [K in keyof ProofFile]: ProofFile[K] extends object ? Writable<ProofFile[K]> : ProofFile[K];
};
type Writable<T> = { -readonly [K in keyof T]: T[K] };
const byteChanged = (base64: string, at = 0) => {
  const bytes = Buffer.from(base64, 'base64');
  bytes[at % bytes.length]! ^= 1;
  return bytes.toString('base64');
};
const lineChanged = (text: string, from: RegExp, to: string) => {
  const changed = text.replace(from, to);
  expect(changed).not.toBe(text);
  return changed;
};

describe('what a sound proof is worth', () => {
  test('final: the quorum cosigned', () => {
    const report = verifyProof(sampleProof(38, ['vendor', 'operator']), { policy: policyText });
    expect(report).toMatchObject({ valid: true, status: 'final', trust: 'policy', problem: null });
    expect(report.steps.map((step) => step.name)).toEqual([...STEP_NAMES]);
    expect(okOf(report)).toEqual([true, true, true, true, true, true]);
    expect(report.steps[5]!.detail).toBe(
      '2 of 3 authorities cosigned (vendor, operator): quorum any-two met',
    );
    expect(report.record).toMatchObject({
      offset: 38,
      topic: 'plant/pump-2/vibration',
      device: 'pump-2',
      payloadBytes: 14,
    });
    expect(report.block).toMatchObject({ origin: ORIGIN, height: 6, kind: 'data', first: 35, count: 7 });
    expect(report.checkpoint).toMatchObject({ origin: ORIGIN, size: 13 });
    expect(report.times).toEqual({
      sealedMs: START_MS + 7000,
      existedByMs: START_MS + 60_000,
      cosigned: [
        { name: 'vendor', timeMs: START_MS + 60_000 },
        { name: 'operator', timeMs: START_MS + 61_000 },
      ],
    });
  });

  test('pending: one cosignature where two are asked', () => {
    const report = verifyProof(sampleProof(38, ['vendor']), { policy: parsePolicy(policyText) });
    expect(report).toMatchObject({ valid: true, status: 'pending', trust: 'policy' });
    expect(okOf(report)).toEqual([true, true, true, true, true, null]);
  });

  test('signed by the gateway only: a policy without quorum, or a key', () => {
    const byPolicy = verifyProof(sampleProof(), { policy: gatewayOnlyPolicyText });
    expect(byPolicy).toMatchObject({ valid: true, status: 'signed-by-gateway-only', trust: 'policy' });
    const byKey = verifyProof(sampleProof(), { gatewayKey: gatewayKeyText });
    expect(byKey).toMatchObject({ valid: true, status: 'signed-by-gateway-only', trust: 'gateway-key' });
    expect(verifyProof(sampleProof(), { gatewayKey })).toEqual(byKey);
    expect(okOf(byKey)).toEqual([true, true, true, true, true, null]);
  });

  test('integrity only: nothing trusted was given', () => {
    const report = verifyProof(sampleProof());
    expect(report).toMatchObject({ valid: true, status: 'integrity-only', trust: 'none' });
    expect(report.steps[4]).toEqual({
      name: 'gateway signature',
      ok: null,
      detail: 'not checked: no policy or gateway key given',
    });
    expect(report.times.existedByMs).toBeNull();
  });

  test('a policy that names no gateway takes the key that is given', () => {
    const policy = policyText.replace(/^log .*\n/, '');
    const proof = sampleProof(38, ['vendor', 'operator']);
    expect(verifyProof(proof, { policy, gatewayKey })).toMatchObject({
      status: 'final',
      trust: 'gateway-key',
    });
    expect(verifyProof(proof, { policy })).toMatchObject({ status: 'integrity-only', trust: 'none' });
  });

  test('a key that the policy gives up counts up to its last size and not beyond', () => {
    const key = /^log (\S+)/.exec(policyText)![1]!;
    const proof = sampleProof(38, ['vendor', 'operator']);
    const { size } = verifyProof(proof, { policy: policyText }).checkpoint!;
    const until = (last: number) =>
      policyText.replace(/^(log .*\n)/, `$1#tidemark not-after ${key} ${last}\n`);
    expect(verifyProof(proof, { policy: until(size) }).status).toBe('final');
    const late = verifyProof(proof, { policy: until(size - 1) });
    expect(late.status).toBe('invalid');
    expect(late.steps.find(({ ok }) => ok === false)?.detail).toContain('given up');
  });

  test('every record of the chain verifies', () => {
    for (let index = 0; index < 84; index += 5) {
      expect(verifyProof(sampleProof(index), { gatewayKey }).status).toBe('signed-by-gateway-only');
    }
  });
});

describe('what is wrong is named', () => {
  const block = (file: Mutable, from: RegExp, to: string) => {
    file.block = lineChanged(file.block, from, to);
  };
  const note = (file: Mutable, edit: (lines: string[]) => void) => {
    const lines = file.checkpoint.split('\n');
    edit(lines);
    file.checkpoint = lines.join('\n');
  };
  const mutations: [string, (file: Mutable) => void, StepName][] = [
    ['one payload byte', (f) => (f.record.payload = byteChanged(f.record.payload)), 'batch root'],
    ['the topic', (f) => (f.record.topic = 'plant/pump-1/vibration'), 'batch root'],
    ['the device', (f) => (f.record.device = ''), 'batch root'],
    ['the event time', (f) => (f.record.eventMs -= 1), 'batch root'],
    ['the sequence left out', (f) => (f.record.sequence = null), 'batch root'],
    ['the source', (f) => (f.record.source = 3), 'batch root'],
    ['a header added', (f) => (f.record.headers = [['a', '']]), 'batch root'],
    ['a salt added', (f) => (f.record.salt = 'AAAAAAAAAAAAAAAAAAAAAA=='), 'batch root'],
    ['another offset of the block', (f) => ((f.record.offset as number) = 39), 'batch root'],
    ['an offset of another block', (f) => ((f.record.offset as number) = 42), 'batch root'],
    ['an offset before the block', (f) => ((f.record.offset as number) = 34), 'batch root'],
    ['the batch path changed', (f) => (f.batch.path = f.batch.path.map((h) => byteChanged(h))), 'batch root'],
    ['the batch path cut', (f) => (f.batch.path = f.batch.path.slice(1)), 'batch root'],
    ['the batch path empty', (f) => (f.batch.path = []), 'batch root'],
    [
      'the batch root',
      (f) => block(f, /root .*/, `root ${Buffer.alloc(32).toString('base64')}`),
      'batch root',
    ],
    ['the count', (f) => block(f, /count 7/, 'count 3'), 'batch root'],
    ['the seal time', (f) => block(f, /sealed .*/, 'sealed 1'), 'block'],
    [
      'the previous hash',
      (f) => block(f, /previous .*/, `previous ${Buffer.alloc(32).toString('base64')}`),
      'block',
    ],
    [
      'the policy hash',
      (f) => block(f, /policy .*/, `policy ${Buffer.alloc(32).toString('base64')}`),
      'block',
    ],
    ['the height', (f) => block(f, /height 6/, 'height 7'), 'block'],
    ['a height beyond the checkpoint', (f) => block(f, /height 6/, 'height 13'), 'block'],
    ['the kind', (f) => block(f, /kind data/, 'kind gap'), 'block'],
    ['the origin in the block', (f) => block(f, /origin .*/, 'origin other'), 'block'],
    ['a line added to the block', (f) => (f.block += 'x y\n'), 'block'],
    ['the last LF of the block', (f) => (f.block = f.block.slice(0, -1)), 'block'],
    ['a lone surrogate in the block', (f) => (f.block += '\ud800'), 'block'],
    ['the block path changed', (f) => (f.blockPath = f.blockPath.map((h) => byteChanged(h))), 'block'],
    ['the block path cut', (f) => (f.blockPath = f.blockPath.slice(1)), 'block'],
    // A root binds no size: 6 of 13 is also 6 of 14. Only the signature tells.
    ['the checkpoint size', (f) => note(f, (l) => (l[1] = '14')), 'gateway signature'],
    ['the checkpoint root', (f) => note(f, (l) => (l[2] = byteChanged(l[2]!))), 'block'],
    ['the checkpoint origin', (f) => note(f, (l) => (l[0] = 'other')), 'checkpoint'],
    ['an extension line', (f) => note(f, (l) => l.splice(3, 0, 'more')), 'checkpoint'],
    ['the signatures gone', (f) => note(f, (l) => l.splice(3)), 'checkpoint'],
    ['CRLF in the checkpoint', (f) => (f.checkpoint = f.checkpoint.replaceAll('\n', '\r\n')), 'checkpoint'],
    ['a checkpoint size of 2^53', (f) => note(f, (l) => (l[1] = '9007199254740992')), 'checkpoint'],
    ['the gateway signature gone', (f) => note(f, (l) => l.splice(4, 1)), 'gateway signature'],
    [
      'the gateway signature changed',
      (f) => note(f, (l) => (l[4] = signatureChanged(l[4]!))),
      'gateway signature',
    ],
    ['a cosignature changed', (f) => note(f, (l) => (l[5] = signatureChanged(l[5]!))), 'cosignatures'],
    [
      'a cosignature time changed',
      (f) => note(f, (l) => (l[6] = signatureChanged(l[6]!, 11))),
      'cosignatures',
    ],
    ['a cosignature of another checkpoint', (f) => (f.checkpoint = replayed(f.checkpoint)), 'cosignatures'],
  ];
  /** Flips a bit of the base64 after name and dash, by default in the last byte. */
  const signatureChanged = (line: string, at = -1) => {
    const [dash, name, base64] = line.split(' ');
    const length = Buffer.from(base64!, 'base64').length;
    return `${dash} ${name} ${byteChanged(base64!, at < 0 ? length + at : at)}`;
  };
  const replayed = (text: string) => {
    const parsed = parseNote(text);
    const other = checkpointNote(sampleChain(3, 2));
    const signatures = [parsed.signatures[0]!, cosign(parseNote(other).text, 'operator', START_MS / 1000)];
    return formatNote({ ...parsed, signatures });
  };

  test.each(mutations)('%s', (_, edit, step) => {
    const report = verifyProof(change(edit), { policy: policyText });
    expect(failed(report)).toBe(step);
    expect(report).toMatchObject({ valid: false, status: 'invalid', problem: null });
    expect(report.times.existedByMs).toBeNull();
    const at = STEP_NAMES.indexOf(step);
    for (const after of report.steps.slice(at + 1)) {
      expect(after).toMatchObject({ ok: null, detail: `not reached: ${step} failed` });
    }
  });

  test('a changed payload says so', () => {
    const report = verifyProof(
      change((f) => (f.record.payload = byteChanged(f.record.payload))),
      { policy: policyText },
    );
    expect(report.steps[0]!.ok).toBe(true);
    expect(report.steps[1]!.detail).toContain('the record was changed since it was sealed');
  });

  test('integrity is checked without any key too', () => {
    for (const [name, edit, step] of mutations) {
      if (step === 'gateway signature' || step === 'cosignatures') continue;
      expect(failed(verifyProof(change(edit))), name).toBe(step);
    }
  });

  test('another gateway: by key, by policy, and one that took its name', () => {
    const otherKey = verifierKey(ORIGIN, testKey('impostor').publicKey);
    const elsewhere = verifierKey('plant8.example.com/gw-1', testKey('gateway').publicKey);
    expect(failed(verifyProof(sampleProof(), { gatewayKey: otherKey }))).toBe('gateway signature');
    expect(failed(verifyProof(sampleProof(), { gatewayKey: elsewhere }))).toBe('gateway signature');
    const policy = `log ${formatVerifierKey(elsewhere)}\nquorum none\n`;
    expect(failed(verifyProof(sampleProof(), { policy, gatewayKey }))).toBe('gateway signature');
    const { text } = parseNote(checkpointNote(chain));
    const forged = formatNote({ text, signatures: [signCheckpoint(text, testKey('impostor'))] });
    expect(
      failed(
        verifyProof(
          change((f) => (f.checkpoint = forged)),
          { gatewayKey },
        ),
      ),
    ).toBe('gateway signature');
  });

  test('one authority that signs twice is one authority', () => {
    const { text } = parseNote(checkpointNote(chain));
    const twice = [signCheckpoint(text), cosign(text, 'vendor', 100), cosign(text, 'vendor', 200)];
    const report = verifyProof(
      change((f) => (f.checkpoint = formatNote({ text, signatures: twice }))),
      { policy: policyText },
    );
    expect(report.status).toBe('pending');
  });

  test('any flipped bit of any value is invalid or unusable, never final', () => {
    const text = sampleProof(38, ['operator', 'vendor']);
    fc.assert(
      fc.property(fc.nat({ max: text.length - 1 }), fc.integer({ min: 0, max: 6 }), (at, bit) => {
        const changed =
          text.slice(0, at) + String.fromCharCode(text.charCodeAt(at) ^ (1 << bit)) + text.slice(at + 1);
        const report = verifyProof(changed, { policy: policyText });
        // White space may change; a name or key id that changes makes a cosignature unknown.
        if (report.valid) {
          const same = sameJson(changed, text) || report.status === 'pending';
          if (!same) expect.fail(`bit ${bit} of character ${at} went unnoticed`);
        }
      }),
      { numRuns: 500 },
    );
  });
  const sameJson = (a: string, b: string) => JSON.stringify(JSON.parse(a)) === JSON.stringify(JSON.parse(b));
});

describe('time bound', () => {
  test('with f liars tolerated it is the (f+1)-th earliest cosignature', () => {
    const all = policyText.replace('any-two 2', 'any-two 3');
    const report = verifyProof(sampleProof(38, ['vendor', 'operator', 'regulator']), { policy: all });
    // Three of three share three: two may lie.
    expect(report.times.existedByMs).toBe(START_MS + 62_000);
  });
});

describe('unusable input', () => {
  const good = sampleProof();
  test.each<[string, string, string]>([
    ['nothing', '', 'PROOF_INVALID'],
    ['null', 'null', 'PROOF_INVALID'],
    ['an array', '[]', 'PROOF_INVALID'],
    ['not JSON', good.slice(0, -3), 'PROOF_INVALID'],
    ['another format', good.replace('proof/v1', 'proof/v2'), 'PROOF_INVALID'],
    ['an unknown member', good.replace('{', '{"note":1,'), 'PROOF_INVALID'],
    ['__proto__ as a member', good.replace('{', '{"__proto__":{},'), 'PROOF_INVALID'],
    ['a missing member', change((f) => delete (f as Partial<Mutable>).blockPath), 'PROOF_INVALID'],
    ['a member twice', good.replace('"payload"', '"payload": "AAAA", "payload"'), 'PROOF_INVALID'],
    [
      'a member twice, one spelt with an escape',
      good.replace('"payload"', '"p\\u0061yload": "AAAA", "payload"'),
      'PROOF_INVALID',
    ],
    ['a path that is text', change((f) => ((f.blockPath as unknown) = 'x')), 'PROOF_INVALID'],
    [
      'a path of 54 hashes',
      change((f) => (f.blockPath = new Array(54).fill(f.blockPath[0]))),
      'PROOF_INVALID',
    ],
    [
      'a hash of 31 bytes',
      change((f) => (f.blockPath = [Buffer.alloc(31).toString('base64')])),
      'BASE64_INVALID',
    ],
    ['spare bits in a hash', good.replace(/("path": \[\s*"[^"]*)[A-Za-z0-9+/]="/, '$1B="'), 'BASE64_INVALID'],
    ['an unknown member of the record', good.replace('"offset"', '"extra": 1, "offset"'), 'RECORD_INVALID'],
    ['an offset as text', good.replace('"offset": 38', '"offset": "38"'), 'RECORD_INVALID'],
    ['an offset of 2^53', good.replace('"offset": 38', '"offset": 9007199254740992'), 'RECORD_INVALID'],
    ['an offset as 38.0', good.replace('"offset": 38', '"offset": 38.0'), 'PROOF_INVALID'],
    ['an offset as 3.8e1', good.replace('"offset": 38', '"offset": 3.8e1'), 'PROOF_INVALID'],
    [
      'a number that rounds to a whole one',
      good.replace('"sequence": 12', '"sequence": 12.00000000000000001'),
      'PROOF_INVALID',
    ],
    ['minus zero', good.replace('"sequence": 12', '"sequence": -0'), 'RECORD_INVALID'],
  ])('%s', (_, text, code) => {
    expect(text).not.toBe(good);
    const report = verifyProof(text, { policy: policyText });
    expect(report).toMatchObject({ valid: false, status: 'unusable', problem: { code } });
    expect(okOf(report)).toEqual([null, null, null, null, null, null]);
  });

  test('a policy or key that cannot be read', () => {
    expect(verifyProof(good, { policy: 'x\n' })).toMatchObject({
      status: 'unusable',
      problem: { code: 'POLICY_INVALID' },
    });
    expect(verifyProof(good, { policy: '' })).toMatchObject({
      status: 'unusable',
      problem: { code: 'POLICY_INVALID' },
    });
    expect(verifyProof(good, { gatewayKey: 'x' })).toMatchObject({
      status: 'unusable',
      problem: { code: 'KEY_INVALID' },
    });
  });

  test('quotes, escapes and number-like text inside strings are text', () => {
    const odd = change((f) => {
      f.record.topic = 'a"b\\":1.5e3,-0 \\\\';
      f.record.device = '"payload":';
    });
    expect(parseProofFile(odd).record.topic).toBe('a"b\\":1.5e3,-0 \\\\');
    expect(failed(verifyProof(odd))).toBe('batch root');
  });

  test('a payload of 20 MB is read and judged', () => {
    const large = change((f) => (f.record.payload = Buffer.alloc(20_000_000, 7).toString('base64')));
    expect(failed(verifyProof(large))).toBe('batch root');
  });
});

describe('own vectors', () => {
  const folder = join(import.meta.dirname, '../../vectors/proof');
  const files = readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .sort();
  test.each(files)('%s', (name) => {
    const vector = JSON.parse(readFileSync(join(folder, name), 'utf8')) as {
      proof: unknown;
      policy?: string;
      gatewayKey?: string;
      expect: { status: string; failedStep: string | null; code: string | null };
    };
    const report = verifyProof(JSON.stringify(vector.proof), vector);
    expect({
      status: report.status,
      failedStep: failed(report) ?? null,
      code: report.problem?.code ?? null,
    }).toEqual(vector.expect);
  });
  test('are there', () => expect(files.length).toBeGreaterThan(10));
});
