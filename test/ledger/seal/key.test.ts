// The gateway's key file: made once, private, never silently replaced.
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { verifyEd25519 } from '../../../ledger/format/ed25519.ts';
import { parseVerifierKey } from '../../../ledger/format/note.ts';
import {
  gatewayKeyPath,
  gatewayVerifierKey,
  KeyError,
  loadGatewayKey,
  loadOrCreateGatewayKey,
} from '../../../ledger/seal/key.ts';

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'tidemark-key-'));
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

const codeOf = (run: () => unknown) => {
  try {
    run();
  } catch (error) {
    return error instanceof KeyError ? error.code : error;
  }
  return null;
};

test('creates a PEM PKCS#8 file of mode 0600 and loads the same key again', () => {
  expect(loadGatewayKey(dataDir)).toBeNull();
  const key = loadOrCreateGatewayKey(dataDir);
  expect(statSync(gatewayKeyPath(dataDir)).mode & 0o777).toBe(0o600);
  expect(readFileSync(gatewayKeyPath(dataDir), 'utf8')).toMatch(/^-----BEGIN PRIVATE KEY-----\n/);
  expect(loadOrCreateGatewayKey(dataDir).publicKey).toEqual(key.publicKey);
  const message = new TextEncoder().encode('message');
  expect(verifyEd25519(key.publicKey, message, key.sign(message))).toBe(true);
  expect(key.sign(message)).toEqual(key.sign(message));
  expect(parseVerifierKey(gatewayVerifierKey('gw.example.com', key)).publicKey).toEqual(key.publicKey);
});

test('does not make a new key for a ledger whose key is gone', () => {
  mkdirSync(join(dataDir, 'ledger', 'tile'), { recursive: true });
  expect(codeOf(() => loadOrCreateGatewayKey(dataDir))).toBe('KEY_MISSING');
});

test('refuses a key file that everybody may read, and one that is no key', () => {
  loadOrCreateGatewayKey(dataDir);
  chmodSync(gatewayKeyPath(dataDir), 0o644);
  expect(codeOf(() => loadGatewayKey(dataDir))).toBe('KEY_EXPOSED');
  writeFileSync(gatewayKeyPath(dataDir), 'not a key');
  chmodSync(gatewayKeyPath(dataDir), 0o600);
  expect(codeOf(() => loadGatewayKey(dataDir))).toBe('KEY_UNREADABLE');
});
