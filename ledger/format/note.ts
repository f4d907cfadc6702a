// Signed notes and verifier keys (C2SP signed-note). Knows signature types 01 and 04; ignores others. Signs nothing.
import { fromBase64, toBase64 } from './base64.ts';
import { type Cosignature, cosignatureMessage, parseCosignature } from './cosignature.ts';
import {
  checkPublicKey,
  PUBLIC_KEY_BYTES,
  SIGNATURE_BYTES,
  type VerifyEd25519,
  verifyEd25519,
} from './ed25519.ts';
import { FormatError } from './errors.ts';
import { sha256, toHex } from './hash.ts';
import { fromUtf8, isKeyName, toUtf8 } from './text.ts';

/** Signature type bytes we verify. 06 (ML-DSA-44 cosignature) and others are ignored for now. */
export const SIGNATURE_TYPE = { ed25519: 0x01, cosignature: 0x04 } as const;

export interface NoteSignature {
  readonly name: string;
  /** First 4 bytes of the key id hash, big-endian, as a number. */
  readonly keyId: number;
  /** The bytes after the key id; what they mean depends on the key's type. */
  readonly signature: Uint8Array;
}

export interface SignedNote {
  /** Ends in LF; this is what a type 01 signature covers. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

export interface VerifierKey {
  readonly name: string;
  readonly keyId: number;
  /** SIGNATURE_TYPE; other values are kept but verify nothing. */
  readonly type: number;
  readonly publicKey: Uint8Array;
}

/*
 * note      = text LF signature+              text ends in LF; the last empty line divides
 * signature = "— " name " " base64(keyId[4] signature[n]) LF       U+2014; n ≥ 1
 * key       = name "+" hex(keyId[4]) "+" base64(type[1] key[n])
 * keyId     = SHA-256(name LF type[1] key[n]) [0..4)
 */
export const MAX_NOTE_BYTES = 256 * 1024;
export const MAX_SIGNATURES = 100;
const DASH = '\u2014 ';

function invalid(message: string, facts: Record<string, string | number> = {}): FormatError {
  return new FormatError('NOTE_INVALID', message, { facts });
}

function badKey(message: string, facts: Record<string, string | number> = {}): FormatError {
  return new FormatError('KEY_INVALID', message, { facts });
}

/** Reads a note strictly, from bytes or already decoded text. Throws NOTE_INVALID. Verifies nothing. */
export function parseNote(note: Uint8Array | string): SignedNote {
  const whole = typeof note === 'string' ? note : fromUtf8(note, 'note');
  if (toUtf8(whole, 'note').length > MAX_NOTE_BYTES)
    throw invalid(`a note has more than ${MAX_NOTE_BYTES} bytes`);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  if (/[\u0000-\u0009\u000b-\u001f]/.test(whole))
    throw invalid('a note has a control character other than LF');
  const divide = whole.lastIndexOf('\n\n');
  if (divide < 0) throw invalid('a note has no empty line between text and signatures');
  const block = whole.slice(divide + 2);
  if (!block.endsWith('\n')) throw invalid('a note does not end its last signature line with LF');
  const lines = block.slice(0, -1).split('\n');
  if (lines.length > MAX_SIGNATURES)
    throw invalid(`a note has ${lines.length} signatures`, { signatures: lines.length });
  return { text: whole.slice(0, divide + 1), signatures: lines.map(parseSignatureLine) };
}

/** Reads one signature line without its LF, as an authority returns them. Throws NOTE_INVALID. */
export function parseSignatureLine(line: string): NoteSignature {
  const parts = line.startsWith(DASH) ? line.slice(DASH.length).split(' ') : [];
  const [name, text] = parts;
  if (parts.length !== 2 || name === undefined || text === undefined || !isKeyName(name)) {
    throw invalid('a signature line is not "— name base64"', { line: line.slice(0, 100) });
  }
  const bytes = fromBase64(text, 'signature', 'NOTE_INVALID');
  if (bytes.length < 5) throw invalid('a signature has no bytes after its key id', { name });
  return { name, keyId: keyIdOf(bytes), signature: bytes.slice(4) };
}

/** One signature line, LF included. */
export function formatSignatureLine(signature: NoteSignature): string {
  const bytes = new Uint8Array(4 + signature.signature.length);
  new DataView(bytes.buffer).setUint32(0, signature.keyId);
  bytes.set(signature.signature, 4);
  return `${DASH}${signature.name} ${toBase64(bytes)}\n`;
}

/** Text of a note; what it returns parses. Throws NOTE_INVALID. */
export function formatNote(note: SignedNote): string {
  if (!note.text.endsWith('\n')) throw invalid('the text of a note does not end in LF');
  const text = `${note.text}\n${note.signatures.map(formatSignatureLine).join('')}`;
  parseNote(text);
  return text;
}

/** Key id of C2SP signed-note, as a number. */
export function keyId(name: string, type: number, publicKey: Uint8Array): number {
  const prefix = toUtf8(`${name}\n`, 'key name', 'KEY_INVALID');
  const bytes = new Uint8Array(prefix.length + 1 + publicKey.length);
  bytes.set(prefix);
  bytes[prefix.length] = type;
  bytes.set(publicKey, prefix.length + 1);
  return keyIdOf(sha256(bytes));
}

/** 8 lower-case hex digits. */
export function keyIdHex(id: number): string {
  return id.toString(16).padStart(8, '0');
}

function keyIdOf(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
}

/** A key of our types from its raw 32 bytes. Throws KEY_INVALID for a bad name or an unsafe key. */
export function verifierKey(
  name: string,
  publicKey: Uint8Array,
  type: (typeof SIGNATURE_TYPE)[keyof typeof SIGNATURE_TYPE] = SIGNATURE_TYPE.ed25519,
): VerifierKey {
  if (!isKeyName(name)) throw badKey('a key name is empty, or has a space or a plus', { name });
  checkPublicKey(publicKey);
  return { name, keyId: keyId(name, type, publicKey), type, publicKey };
}

/** Verifier key text, `name+keyid+base64`. */
export function formatVerifierKey(key: VerifierKey): string {
  const bytes = new Uint8Array(1 + key.publicKey.length);
  bytes[0] = key.type;
  bytes.set(key.publicKey, 1);
  return `${key.name}+${keyIdHex(key.keyId)}+${toBase64(bytes)}`;
}

/** Reads verifier key text, types 01 and 04 only. Throws KEY_INVALID, also for low-order or non-canonical keys. */
export function parseVerifierKey(text: string): VerifierKey {
  // Base64 may hold a plus, so only the first two divide.
  const first = text.indexOf('+');
  const second = text.indexOf('+', first + 1);
  if (first < 0 || second < 0)
    throw badKey('a verifier key is not "name+keyid+base64"', { text: text.slice(0, 100) });
  const bytes = fromBase64(text.slice(second + 1), 'verifier key', 'KEY_INVALID');
  const type = bytes[0];
  if (type !== SIGNATURE_TYPE.ed25519 && type !== SIGNATURE_TYPE.cosignature) {
    throw badKey(`a verifier key has the unknown type ${type}`, { text: text.slice(0, 100) });
  }
  if (bytes.length !== 1 + PUBLIC_KEY_BYTES)
    throw badKey(`a verifier key has ${bytes.length - 1} bytes, not 32`);
  const key = verifierKey(text.slice(0, first), bytes.slice(1), type);
  if (text.slice(first + 1, second) !== keyIdHex(key.keyId)) {
    throw badKey(`the key id of ${key.name} is not ${keyIdHex(key.keyId)}`, { text: text.slice(0, 100) });
  }
  return key;
}

/** Whether two keys are the same signer: name and key id, as verifiers match them. */
export function signedBy(signature: NoteSignature, key: VerifierKey): boolean {
  return signature.name === key.name && signature.keyId === key.keyId;
}

export interface CheckedSignature {
  readonly key: VerifierKey;
  readonly ok: boolean;
  /** Present for type 04 that could be read. */
  readonly cosignature: Cosignature | null;
}

/** Checks every signature of a known key, in note order; signatures of unknown keys are left out. */
export function checkSignatures(
  note: SignedNote,
  keys: readonly VerifierKey[],
  verify: VerifyEd25519 = verifyEd25519,
): CheckedSignature[] {
  const message = toUtf8(note.text, 'note');
  const checked: CheckedSignature[] = [];
  for (const signature of note.signatures) {
    const key = keys.find((known) => signedBy(signature, known));
    if (!key) continue;
    if (key.type === SIGNATURE_TYPE.cosignature) {
      const cosignature = readCosignature(signature.signature);
      const signed = cosignature && cosignatureMessage(note.text, cosignature.timeSeconds);
      const ok = signed !== null && verify(key.publicKey, signed, cosignature!.signature);
      checked.push({ key, ok, cosignature });
    } else {
      const sized = key.type === SIGNATURE_TYPE.ed25519 && signature.signature.length === SIGNATURE_BYTES;
      checked.push({
        key,
        ok: sized && verify(key.publicKey, message, signature.signature),
        cosignature: null,
      });
    }
  }
  return checked;
}

/**
 * Opens a note: throws NOTE_SIGNATURE_INVALID when any known key's signature is wrong, NOTE_NOT_SIGNED when
 * no known key signed. Returns the verified signatures.
 */
export function openNote(
  note: SignedNote,
  keys: readonly VerifierKey[],
  verify: VerifyEd25519 = verifyEd25519,
): CheckedSignature[] {
  const checked = checkSignatures(note, keys, verify);
  const bad = checked.find((signature) => !signature.ok);
  if (bad) {
    throw new FormatError(
      'NOTE_SIGNATURE_INVALID',
      `the signature of ${bad.key.name} does not fit the text`,
      {
        facts: { name: bad.key.name, keyId: keyIdHex(bad.key.keyId) },
      },
    );
  }
  if (checked.length === 0) throw new FormatError('NOTE_NOT_SIGNED', 'no known key signed this note');
  return checked;
}

function readCosignature(payload: Uint8Array): Cosignature | null {
  try {
    return parseCosignature(payload);
  } catch {
    return null;
  }
}

/** Short fingerprint of a key for people: hex of SHA-256 of its 32 bytes. */
export function fingerprint(publicKey: Uint8Array): string {
  return toHex(sha256(publicKey));
}
