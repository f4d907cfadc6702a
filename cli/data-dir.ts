// Where the data directory is: --data-dir before the configuration; and whether there is one.
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Invocation } from './command.ts';
import type { LoadedConfig } from './config/load.ts';
import { CommandError, EXIT } from './errors.ts';

export function withDataDir(loaded: LoadedConfig, invocation: Invocation): LoadedConfig {
  const named = invocation.text('data-dir');
  return named === undefined ? loaded : { ...loaded, config: { ...loaded.config, dataDir: resolve(named) } };
}

/** @throws CommandError where no gateway has written. @param hint what else the command would take */
export function expectDataDir(dataDir: string, hint: string, parts: readonly string[] = ['log']): void {
  if (parts.some((part) => existsSync(join(dataDir, part)))) return;
  const what = existsSync(dataDir) ? 'is not a data directory of a gateway' : 'does not exist';
  throw new CommandError(EXIT.usage, `${dataDir} ${what}`, { hint });
}
