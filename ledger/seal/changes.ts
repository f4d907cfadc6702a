// Takes up what `tidemark policy apply` and `tidemark key rotate` have put into the data directory: a signed statement each,
// which becomes a block. Refuses, and says why, what is not signed by those who have to.
import { existsSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { NO_POLICY_HASH } from '../format/epochs.ts';
import { FormatError } from '../format/errors.ts';
import { equalBytes } from '../format/hash.ts';
import { formatNote, parseNote, verifierKey } from '../format/note.ts';
import { parsePolicy, policyHash } from '../format/policy.ts';
import { formatPolicyStatement, parseKeyStatement, parsePolicyStatement } from '../format/statements.ts';
import { loadKeyFile, syncFolder } from '../keys/file.ts';
import { type GatewayKey, gatewayKeyPath, nextKeyPath } from './key.ts';
import { SealError, type Sealer } from './sealer.ts';

export const policyChangePath = (dataDir: string): string => join(dataDir, 'policy-change.note');
export const keyChangePath = (dataDir: string): string => join(dataDir, 'key-change.note');

type Log = (level: 'info' | 'error', message: string, facts: Record<string, unknown>) => void;

/**
 * Puts a statement where the sealer finds it, whole or not at all; durable when it returns. Were its name lost after the key
 * block was signed, nobody would put the new key in the place of the old one.
 */
export function leaveStatement(path: string, note: string): void {
  const temporary = `${path}.tmp`;
  writeFileSync(temporary, note, { flush: true });
  renameSync(temporary, path);
  syncFolder(dirname(path));
}

/** Appends and commits what waits; what changed, null where nothing did. */
export function applyChanges(sealer: Sealer, dataDir: string, log: Log): 'policy' | 'key' | null {
  return applyPolicy(sealer, dataDir, log) ?? applyKey(sealer, dataDir, log);
}

function applyPolicy(sealer: Sealer, dataDir: string, log: Log): 'policy' | null {
  const path = policyChangePath(dataDir);
  if (!existsSync(path)) return null;
  return attempt(path, dataDir, log, () => {
    const note = readFileSync(path, 'utf8');
    const { text } = parsePolicyStatement(parseNote(note).text);
    const inForce = sealer.epochs.policy;
    // A crash after the commit and before the file was removed.
    if (inForce.policy && equalBytes(inForce.policy.hash, policyHash(text))) return null;
    parsePolicy(text);
    sealer.changePolicy(note);
    sealer.commit();
    log('info', 'a new policy is in force', { epoch: sealer.epochs.policy.epoch });
    return 'policy';
  });
}

function applyKey(sealer: Sealer, dataDir: string, log: Log): 'key' | null {
  const path = keyChangePath(dataDir);
  if (!existsSync(path)) return null;
  return attempt(path, dataDir, log, () => {
    const note = readFileSync(path, 'utf8');
    const { next } = parseKeyStatement(parseNote(note).text);
    if (!equalBytes(next.publicKey, sealer.epochs.key.publicKey)) {
      const key = loadKeyFile(nextKeyPath(dataDir));
      if (!key) throw new SealError('KEY_NOT_HELD', `${nextKeyPath(dataDir)} is not there`);
      sealer.commit();
      sealer.changeKey(note, key);
      sealer.commit();
    }
    // A crash here leaves both keys: the next start takes the one that is in force, and comes here again.
    if (existsSync(nextKeyPath(dataDir))) renameSync(nextKeyPath(dataDir), gatewayKeyPath(dataDir));
    syncFolder(dataDir);
    log('info', 'a new gateway key is in force; the old one is gone', { keyId: sealer.epochs.key.keyId });
    return 'key';
  });
}

function attempt<T>(path: string, dataDir: string, log: Log, apply: () => T | null): T | null {
  try {
    const done = apply();
    unlinkSync(path);
    syncFolder(dataDir);
    return done;
  } catch (error) {
    const isOurs =
      error instanceof FormatError || (error instanceof SealError && error.code === 'KEY_NOT_HELD');
    if (!isOurs) throw error;
    renameSync(path, `${path}.refused`);
    log('error', `a change was refused: ${error.message}`, { file: `${path}.refused` });
    return null;
  }
}

/** The policy of the configuration, for a chain that has none yet: signed by the gateway alone. */
export function adoptFirstPolicy(sealer: Sealer, key: GatewayKey, text: string, log: Log): void {
  const { epoch, policy } = sealer.epochs.policy;
  if (epoch > 0) {
    if (!equalBytes(policy!.hash, policyHash(text)))
      log(
        'error',
        'ledger.policy is not the policy in force: a policy changes only by `tidemark policy propose`, `sign` and `apply`',
        { epoch },
      );
    return;
  }
  const { origin } = sealer.epochs;
  const statement = formatPolicyStatement({ origin, epoch: 1, previous: NO_POLICY_HASH, text });
  const { name, keyId } = verifierKey(origin, key.publicKey);
  const signature = key.sign(new TextEncoder().encode(statement));
  sealer.changePolicy(formatNote({ text: statement, signatures: [{ name, keyId, signature }] }));
  sealer.commit();
}
