// The gateway's signing key in its data directory: created once, at the very first start. Refuses to make a new key for a
// ledger that already has one.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { formatVerifierKey, verifierKey } from '../format/note.ts';
import { createKeyFile, KeyError, loadKeyFile, type SigningKey } from '../keys/file.ts';

export { KeyError };
export type GatewayKey = SigningKey;

export const gatewayKeyPath = (dataDir: string): string => join(dataDir, 'gateway.key');
/** During a rotation: the key that takes over. It replaces gateway.key once its block is signed. */
export const nextKeyPath = (dataDir: string): string => join(dataDir, 'gateway.key.next');

/**
 * The key of `<dataDir>/gateway.key`, or null when there is no such file.
 * @throws KeyError KEY_UNREADABLE, KEY_EXPOSED
 */
export function loadGatewayKey(dataDir: string): GatewayKey | null {
  return loadKeyFile(gatewayKeyPath(dataDir));
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
  return createKeyFile(path);
}

/** The key as people and policies name it: `<origin>+<key id>+<base64>`. */
export function gatewayVerifierKey(origin: string, key: GatewayKey): string {
  return formatVerifierKey(verifierKey(origin, key.publicKey));
}
