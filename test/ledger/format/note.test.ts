// Signed notes, verifier keys, checkpoints and cosignatures: published examples, strict reading, tricks refused.
import { describe, expect, test } from 'vitest';
import { treeSize } from '../../../ledger/format/brand.ts';
import { formatCheckpoint, parseCheckpoint } from '../../../ledger/format/checkpoint.ts';
import {
  cosignatureMessage,
  formatCosignature,
  parseCosignature,
} from '../../../ledger/format/cosignature.ts';
import { EMPTY_ROOT } from '../../../ledger/format/hash.ts';
import {
  checkSignatures,
  formatNote,
  formatVerifierKey,
  keyId,
  keyIdHex,
  openNote,
  parseNote,
  parseSignatureLine,
  parseVerifierKey,
  SIGNATURE_TYPE,
  type SignedNote,
  verifierKey,
} from '../../../ledger/format/note.ts';
import { nativeVerify, testKey } from './native.ts';

const code = (expected: string) => expect.objectContaining({ code: expected });
const utf8 = (text: string) => new TextEncoder().encode(text);

const origin = 'plant7.example.com/gw-3';
const gateway = testKey('gateway');
const gatewayKey = verifierKey(origin, gateway.publicKey);
const authority = testKey('operator');
const authorityKey = verifierKey('ops.example.com/w1', authority.publicKey, SIGNATURE_TYPE.cosignature);
const text = formatCheckpoint({ origin, size: treeSize(0), root: EMPTY_ROOT });

function gatewaySignature(signed = text) {
  return { name: gatewayKey.name, keyId: gatewayKey.keyId, signature: gateway.sign(utf8(signed)) };
}
function cosignature(timeSeconds: number, signed = text) {
  const signature = authority.sign(cosignatureMessage(signed, timeSeconds));
  return {
    name: authorityKey.name,
    keyId: authorityKey.keyId,
    signature: formatCosignature({ timeSeconds, signature }),
  };
}
const note: SignedNote = { text, signatures: [gatewaySignature(), cosignature(1763600000)] };

describe('published examples', () => {
  test('the note in the documentation of golang.org/x/mod/sumdb/note', () => {
    const key = parseVerifierKey('PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW');
    const published =
      'If you think cryptography is the answer to your problem,\n' +
      "then you don't know what your problem is.\n\n" +
      '— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n';
    const parsed = parseNote(published);
    expect(openNote(parsed, [key])).toMatchObject([{ ok: true }]);
    expect(formatNote(parsed)).toBe(published);
    expect(formatVerifierKey(key)).toBe('PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW');
  });

  test('the checkpoint in C2SP tlog-cosignature reads and writes back', () => {
    const published =
      'example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n' +
      '— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n' +
      '— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n';
    const parsed = parseNote(utf8(published));
    expect(formatNote(parsed)).toBe(published);
    const checkpoint = parseCheckpoint(parsed.text);
    expect(checkpoint).toMatchObject({ origin: 'example.com/behind-the-sofa', size: 20852163 });
    expect(formatCheckpoint(checkpoint)).toBe(parsed.text);
    expect(parseCosignature(parsed.signatures[1]!.signature).timeSeconds).toBe(1679315147);
    expect(() => openNote(parsed, [gatewayKey])).toThrow(code('NOTE_NOT_SIGNED'));
  });
});

describe('reading', () => {
  test('what is written reads back; text may hold empty lines: the last one divides', () => {
    expect(parseNote(formatNote(note))).toEqual(note);
    const withLines = { text: 'a\n\nb\n\n', signatures: note.signatures };
    expect(parseNote(formatNote(withLines))).toEqual(withLines);
  });

  const good = formatNote(note);
  test.each<[string, string]>([
    ['nothing', ''],
    ['no signature', `${text}\n`],
    ['no empty line', text + good.slice(text.length + 1)],
    ['no last LF', good.slice(0, -1)],
    ['an empty line at the end', `${good}\n`],
    ['CRLF', good.replaceAll('\n', '\r\n')],
    ['a tab', good.replace(' ', '\t')],
    ['NUL in the text', `a\0${good}`],
    ['a hyphen for the dash', good.replaceAll('—', '-')],
    ['two spaces', good.replace('— ', '—  ')],
    ['a no-break space', good.replace('— ', '—\u00a0')],
    ['a space at the end of a signature', good.replace(/\n$/, ' \n')],
    ['a plus in a name', good.replace('w1', 'w+1')],
    ['base64url', `${text}\n— a AAAA_AAA\n`],
    ['spare bits', `${text}\n— a AAAAAAB=\n`],
    ['a key id alone', `${text}\n— a AAAAAA==\n`],
    ['101 signatures', `${text}\n${'— a AAAAAAA=\n'.repeat(101)}`],
    ['a lone surrogate', `\ud800${good}`],
    ['300,000 bytes', `${'a'.repeat(300_000)}\n${good}`],
  ])('refuses %s', (_, changed) => {
    expect(() => parseNote(changed)).toThrow(code('NOTE_INVALID'));
  });
  test('refuses bytes that are not UTF-8', () => {
    expect(() => parseNote(Uint8Array.of(...utf8('a'), 0xff, ...utf8(good)))).toThrow(code('NOTE_INVALID'));
  });
  test('accepts 100 signatures, and lines as an authority returns them', () => {
    expect(parseNote(`${text}\n${'— a AAAAAAA=\n'.repeat(100)}`).signatures.length).toBe(100);
    expect(parseSignatureLine('— a AAAAAQI=')).toEqual({ name: 'a', keyId: 1, signature: Uint8Array.of(2) });
  });
});

describe('signatures', () => {
  const keys = [gatewayKey, authorityKey];

  test('gateway and cosigner verify, noble and node:crypto alike', () => {
    for (const verify of [undefined, nativeVerify]) {
      const checked = openNote(note, keys, verify);
      expect(checked.map(({ ok }) => ok)).toEqual([true, true]);
      expect(checked[1]!.cosignature?.timeSeconds).toBe(1763600000);
    }
  });

  test('unknown keys are ignored, even with a known name or a known id', () => {
    const other = { ...gatewaySignature(), signature: new Uint8Array(64) };
    const signatures = [{ ...other, keyId: 1 }, { ...other, name: 'other' }, ...note.signatures];
    expect(openNote({ text, signatures }, keys).length).toBe(2);
    expect(() => openNote({ text, signatures: signatures.slice(0, 2) }, keys)).toThrow(
      code('NOTE_NOT_SIGNED'),
    );
  });

  test.each<[string, SignedNote]>([
    ['a changed text', { ...note, text: text.replace('0', '1') }],
    [
      'one bad signature beside a good one',
      { text, signatures: [gatewaySignature(), { ...gatewaySignature(), signature: new Uint8Array(64) }] },
    ],
    [
      'a signature of 63 bytes',
      { text, signatures: [{ ...gatewaySignature(), signature: new Uint8Array(63) }] },
    ],
    [
      'a cosignature without its time',
      { text, signatures: [{ ...cosignature(5), signature: cosignature(5).signature.slice(8) }] },
    ],
    [
      'a plain signature by a cosigner',
      { text, signatures: [{ ...cosignature(5), signature: authority.sign(utf8(text)) }] },
    ],
    [
      'a cosignature with another time',
      {
        text,
        signatures: [
          {
            ...cosignature(5),
            signature: formatCosignature({ timeSeconds: 6, signature: cosignature(5).signature.slice(8) }),
          },
        ],
      },
    ],
  ])('%s rejects the note', (_, bad) => {
    expect(() => openNote(bad, keys)).toThrow(code('NOTE_SIGNATURE_INVALID'));
    expect(checkSignatures(bad, keys).some(({ ok }) => !ok)).toBe(true);
  });

  test('a cosignature time beyond 2^53-1 is refused', () => {
    const bytes = formatCosignature({ timeSeconds: 1, signature: new Uint8Array(64) });
    bytes[0] = 0x80;
    expect(() => parseCosignature(bytes)).toThrow(code('COSIGNATURE_INVALID'));
    expect(() => parseCosignature(bytes.slice(1))).toThrow(code('COSIGNATURE_INVALID'));
    expect(() => formatCosignature({ timeSeconds: -1, signature: new Uint8Array(64) })).toThrow(
      code('COSIGNATURE_INVALID'),
    );
  });
});

describe('verifier keys', () => {
  const good = formatVerifierKey(gatewayKey);

  test('read back, also with a plus in their base64', () => {
    expect(parseVerifierKey(good)).toEqual(gatewayKey);
    expect(parseVerifierKey(formatVerifierKey(authorityKey))).toEqual(authorityKey);
    const plus = Array.from({ length: 50 }, (_, i) => verifierKey('k', testKey(`plus ${i}`).publicKey)).map(
      formatVerifierKey,
    );
    expect(plus.filter((key) => key.split('+').length > 3).length).toBeGreaterThan(0);
    for (const key of plus) expect(formatVerifierKey(parseVerifierKey(key))).toBe(key);
  });

  const zeros = new Uint8Array(32);
  const lowOrder = `k+${keyIdHex(keyId('k', 1, zeros))}+${Buffer.from([1, ...zeros]).toString('base64')}`;
  test.each<[string, string]>([
    ['nothing', ''],
    ['one plus', 'a+12345678'],
    ['another key id', good.replace(/\+[0-9a-f]{8}\+/, '+00000000+')],
    ['an upper-case key id', good.replace(/\+[0-9a-f]{8}\+/, (id) => id.toUpperCase())],
    ['another name', `x${good}`],
    ['no name', good.slice(origin.length)],
    ['an unknown type', `a+12345678+${Buffer.from([2, ...gateway.publicKey]).toString('base64')}`],
    ['a key of 31 bytes', `a+12345678+${Buffer.from([1, ...gateway.publicKey.slice(1)]).toString('base64')}`],
    ['a low-order key', lowOrder],
    ['a space at the end', `${good} `],
  ])('refuses %s', (_, key) => {
    expect(() => parseVerifierKey(key)).toThrow(code('KEY_INVALID'));
  });
});

describe('checkpoint text', () => {
  const root = 'CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=';
  test.each<[string, string]>([
    ['an extension line', `a\n1\n${root}\nmore\n`],
    ['two lines', 'a\n1\n'],
    ['no last LF', `a\n1\n${root}`],
    ['an empty origin', `\n1\n${root}\n`],
    ['an origin with a space', `a b\n1\n${root}\n`],
    ['a leading zero', `a\n01\n${root}\n`],
    ['a size of 2^53', `a\n9007199254740992\n${root}\n`],
    ['a size of 2^64-1', `a\n18446744073709551615\n${root}\n`],
    ['a root of 31 bytes', `a\n1\n${Buffer.alloc(31).toString('base64')}\n`],
    ['spare bits in the root', `a\n1\n${root.replace('I=', 'J=')}\n`],
    ['an empty tree with another root', `a\n0\n${root}\n`],
  ])('refuses %s', (_, changed) => {
    expect(() => parseCheckpoint(changed)).toThrow(code('CHECKPOINT_INVALID'));
  });
  test('refuses to write what it would not read', () => {
    expect(() => formatCheckpoint({ origin: 'a b', size: treeSize(0), root: EMPTY_ROOT })).toThrow(
      code('CHECKPOINT_INVALID'),
    );
    expect(() => formatCheckpoint({ origin, size: treeSize(0), root: new Uint8Array(31) })).toThrow(
      code('CHECKPOINT_INVALID'),
    );
  });
});
