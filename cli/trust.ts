// What a verification trusts: a policy file, a key given, or the gateway of the data directory on this machine.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseCheckpoint } from '../ledger/format/checkpoint.ts';
import { FormatError } from '../ledger/format/errors.ts';
import { formatVerifierKey, parseNote, parseVerifierKey, verifierKey } from '../ledger/format/note.ts';
import { parsePolicy } from '../ledger/format/policy.ts';
import { loadGatewayKey } from '../ledger/seal/key.ts';
import type { Invocation } from './command.ts';
import { loadConfig } from './config/load.ts';
import { withDataDir } from './data-dir.ts';
import { CommandError, EXIT } from './errors.ts';

export interface Trust {
  /** Policy text. */
  readonly policy?: string;
  /** Verifier key text. */
  readonly gatewayKey?: string;
  /** For people: where the trust comes from. */
  readonly from: string;
}

/**
 * --policy, else --key, else the key of the data directory (its own, the configured one, or `dataDir`), else null.
 * @throws CommandError for a policy or key that can't be used
 */
export function trustOf(invocation: Invocation, dataDir?: string): Trust | null {
  const policyFile = invocation.text('policy');
  const key = invocation.text('key');
  if (policyFile !== undefined && key !== undefined)
    throw new CommandError(EXIT.usage, 'give --policy or --key, not both: a policy names the gateway key');
  if (policyFile !== undefined) {
    const policy = readText(policyFile, 'policy');
    checked(() => parsePolicy(policy), policyFile);
    return { policy, from: `policy ${policyFile}` };
  }
  if (key !== undefined) {
    checked(() => parseVerifierKey(key), '--key');
    return { gatewayKey: key, from: 'the key given' };
  }
  return keyOfDirectory(
    dataDir ?? withDataDir(loadConfig(invocation.text('config'), process.env), invocation).config.dataDir,
  );
}

/** The key of a data directory on this machine, under the origin of its ledger. */
function keyOfDirectory(dataDir: string): Trust | null {
  const checkpointFile = join(dataDir, 'ledger', 'checkpoint');
  if (!existsSync(checkpointFile)) return null;
  const key = loadGatewayKey(dataDir);
  if (key === null) return null;
  const { origin } = checked(
    () => parseCheckpoint(parseNote(readFileSync(checkpointFile)).text),
    checkpointFile,
  );
  return {
    gatewayKey: formatVerifierKey(verifierKey(origin, key.publicKey)),
    from: `the gateway key in ${dataDir}`,
  };
}

/** Reads a text file, or standard input for `-`. */
export function readText(file: string, what: string, maxBytes = 64 * 1024 * 1024): string {
  try {
    const bytes = readFileSync(file === '-' ? 0 : file);
    if (bytes.length > maxBytes)
      throw new CommandError(EXIT.usage, `the ${what} ${file} is larger than ${maxBytes} bytes`);
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    if (error instanceof CommandError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new CommandError(
      EXIT.usage,
      code === 'ENOENT' ? `there is no ${what} ${file}` : `the ${what} ${file} can't be read: ${message}`,
      { cause: error },
    );
  }
}

/** Writes to a file, or to standard output where none is named. */
export function writeResult(file: string | undefined, text: string): void {
  if (file === undefined) process.stdout.write(text);
  else writeFileSync(file, text);
}

function checked<T>(parse: () => T, where: string): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof FormatError)
      throw new CommandError(EXIT.usage, `${where}: ${error.message}`, { cause: error });
    throw error;
  }
}
