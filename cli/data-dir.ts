// Where the data directory is: --data-dir before the configuration.
import { resolve } from 'node:path';
import type { Invocation } from './command.ts';
import type { LoadedConfig } from './config/load.ts';

export function withDataDir(loaded: LoadedConfig, invocation: Invocation): LoadedConfig {
  const named = invocation.text('data-dir');
  return named === undefined ? loaded : { ...loaded, config: { ...loaded.config, dataDir: resolve(named) } };
}
