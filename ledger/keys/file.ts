// Ed25519 private keys in PEM files: creates one whole and durable, loads it, signs with it. Refuses to hand the private
// key out, and a file that every user of the machine may read.
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { CodedError } from '../format/errors.ts';

export interface SigningKey {
  /** Ed25519 public key, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** Ed25519 signature, 64 bytes; deterministic. */
  sign(message: Uint8Array): Uint8Array;
}

export type KeyErrorCode =
  | 'KEY_MISSING' // there is a history, but no key that could go on with it
  | 'KEY_UNREADABLE' // the file is not a PEM PKCS#8 Ed25519 private key
  | 'KEY_EXPOSED' // other users of the machine may read it
  | 'KEY_ORPHANED'; // a key without the record of what it signed

export class KeyError extends CodedError<KeyErrorCode> {
  override name = 'KeyError';
}

/** SubjectPublicKeyInfo of an Ed25519 key is 12 fixed bytes and the key (RFC 8410 §4). */
const SPKI_PREFIX_BYTES = 12;

function fromPrivateKey(privateKey: KeyObject): SigningKey {
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  return {
    publicKey: new Uint8Array(spki.subarray(SPKI_PREFIX_BYTES)),
    sign: (message) => new Uint8Array(sign(null, message, privateKey)),
  };
}

/**
 * The key of this file, or null when there is none.
 * @throws KeyError KEY_UNREADABLE, KEY_EXPOSED
 */
export function loadKeyFile(path: string): SigningKey | null {
  let pem: string;
  try {
    pem = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  const mode = statSync(path).mode & 0o777;
  if (process.platform !== 'win32' && (mode & 0o007) !== 0) {
    throw new KeyError('KEY_EXPOSED', `${path} can be read by every user of this machine`, {
      facts: { file: path, mode: mode.toString(8) },
      hint: `chmod 600 ${path}; if others had access, take a new key`,
    });
  }
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey(pem);
  } catch (cause) {
    throw unreadable(path, cause);
  }
  if (privateKey.asymmetricKeyType !== 'ed25519') throw unreadable(path, undefined);
  return fromPrivateKey(privateKey);
}

function unreadable(path: string, cause: unknown): KeyError {
  return new KeyError('KEY_UNREADABLE', `${path} is not an Ed25519 private key in PEM (PKCS#8)`, {
    facts: { file: path },
    hint: 'restore the file from a backup; the ledger cannot go on without it',
    cause,
  });
}

/** Writes a new key (mode 0600, durable) unless there is one, and loads it. @throws KeyError */
export function createKeyFile(path: string): SigningKey {
  const folder = dirname(path);
  mkdirSync(folder, { recursive: true });
  const pem = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const temporary = `${path}.${process.pid}.${process.hrtime.bigint()}.tmp`;
  const fd = openSync(temporary, 'wx', 0o600);
  try {
    writeSync(fd, pem);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  try {
    // link, not rename: of two threads that come here at once, one key wins and both load it.
    linkSync(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    unlinkSync(temporary);
  }
  syncFolder(folder);
  return loadKeyFile(path)!;
}

/** Makes names created, renamed or removed in this folder durable. */
export function syncFolder(folder: string): void {
  const fd = openSync(folder, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
