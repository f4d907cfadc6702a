// How a check of a data directory reaches the copies in its cold tier: by the configuration of the gateway it belongs to.
import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import type { ColdConfig } from '../gateway/cold/config.ts';
import { ColdError, openColdStore } from '../gateway/cold/store.ts';
import type { ColdAccess } from '../ledger/fsck/coldcopies.ts';
import type { Invocation } from './command.ts';
import type { GatewayConfig } from './config/schema.ts';
import { CommandError, EXIT } from './errors.ts';

/** Undefined where there is no cold tier, the directory is another gateway's, or `--skip-cold` is given. */
export function coldAccessOf(
  invocation: Invocation,
  config: GatewayConfig,
  dataDir: string,
): ColdAccess | undefined {
  const isMeant = invocation.text('config') !== undefined || resolve(dataDir) === resolve(config.dataDir);
  if (!config.cold || !isMeant || invocation.flag('skip-cold')) return undefined;
  return coldAccess(config.cold, process.env);
}

/** @throws CommandError where the tier cannot be reached as it is configured */
export function coldAccess(cold: ColdConfig, environment: NodeJS.ProcessEnv): ColdAccess {
  if (cold.type === 'folder' && !existsSync(cold.path))
    throw unreachable(`the cold tier’s folder ${cold.path} does not exist`);
  const store = reached(() => openColdStore(cold, environment));
  return {
    fetch: async (name, path) => {
      try {
        await store.get(name, path);
        return true;
      } catch (error) {
        if (error instanceof ColdError && error.code === 'COLD_MISSING') return false;
        throw error instanceof ColdError ? unreachable(error.message, error) : error;
      }
    },
  };
}

function reached<T>(open: () => T): T {
  try {
    return open();
  } catch (error) {
    throw error instanceof ColdError ? unreachable(error.message, error) : error;
  }
}

function unreachable(message: string, cause?: unknown): CommandError {
  return new CommandError(EXIT.usage, message, {
    hint: 'make it reachable as the gateway has it, or give --skip-cold to check the local disk alone',
    cause,
  });
}
