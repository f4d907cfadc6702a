// Owns the gateway's signing key file: creates it once, loads it, signs with it. Refuses to hand the private key out
// and to make a new key for a ledger that already has one.
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { formatVerifierKey, verifierKey } from '../format/note.ts';

export interface GatewayKey {
  /** Ed25519 public key, 32 bytes. */
  readonly publicKey: Uint8Array;
  /** Ed25519 signature, 64 bytes; deterministic. */
  sign(message: Uint8Array): Uint8Array;
}

export type KeyErrorCode =
  | 'KEY_MISSING' // the data directory has a ledger but no key file
  | 'KEY_UNREADABLE' // the file is not a PEM PKCS#8 Ed25519 private key
  | 'KEY_EXPOSED'; // other users of the machine may read it

export class KeyError extends Error {
  override name = 'KeyError';
  readonly code: KeyErrorCode;
  readonly facts: Readonly<Record<string, string | number>>;
  readonly hint: string;

  constructor(
    code: KeyErrorCode,
    message: string,
    options: { facts: Record<string, string | number>; hint: string; cause?: unknown },
  ) {
    super(message, { cause: options.cause });
    this.code = code;
    this.facts = options.facts;
    this.hint = options.hint;
  }
}

export const gatewayKeyPath = (dataDir: string): string => join(dataDir, 'gateway.key');

/** SubjectPublicKeyInfo of an Ed25519 key is 12 fixed bytes and the key (RFC 8410 §4). */
const SPKI_PREFIX_BYTES = 12;

function fromPrivateKey(privateKey: KeyObject): GatewayKey {
  const spki = createPublicKey(privateKey).export({ type: 'spki', format: 'der' });
  return {
    publicKey: new Uint8Array(spki.subarray(SPKI_PREFIX_BYTES)),
    sign: (message) => new Uint8Array(sign(null, message, privateKey)),
  };
}

/**
 * The key of `<dataDir>/gateway.key`, or null when there is no such file.
 * @throws KeyError KEY_UNREADABLE, KEY_EXPOSED
 */
export function loadGatewayKey(dataDir: string): GatewayKey | null {
  const path = gatewayKeyPath(dataDir);
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

/**
 * The gateway's key, created (mode 0600, durable) on the very first start.
 * @throws KeyError
 */
export function loadOrCreateGatewayKey(dataDir: string): GatewayKey {
  const existing = loadGatewayKey(dataDir);
  if (existing) return existing;
  const path = gatewayKeyPath(dataDir);
  if (existsSync(join(dataDir, 'ledger', 'tile'))) {
    throw new KeyError('KEY_MISSING', `${dataDir} has a ledger but its key ${path} is gone`, {
      facts: { file: path },
      hint: 'restore the key from a backup, or start with a new data directory',
    });
  }
  mkdirSync(dataDir, { recursive: true });
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
  const folder = openSync(dataDir, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
  return loadOrCreateGatewayKey(dataDir);
}

/** The key as people and policies name it: `<origin>+<key id>+<base64>`. */
export function gatewayVerifierKey(origin: string, key: GatewayKey): string {
  return formatVerifierKey(verifierKey(origin, key.publicKey));
}
