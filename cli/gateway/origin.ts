// Which name the ledger goes by: the one it began with, before the configuration. Makes no ledger.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { defaultOrigin, type GatewayConfig } from '../config/schema.ts';
import { CommandError, EXIT } from '../errors.ts';

/** The name the ledger began with; a configured name that differs is an error, a default one gives way. */
export function originOf({ origin, dataDir }: GatewayConfig): string {
  const checkpoint = join(dataDir, 'ledger', 'checkpoint');
  const begunWith = existsSync(checkpoint) ? readFileSync(checkpoint, 'utf8').split('\n', 1)[0]! : null;
  if (begunWith !== null && origin !== undefined && origin !== begunWith) {
    throw new CommandError(
      EXIT.usage,
      `origin: the ledger in ${dataDir} belongs to ${begunWith}, the configuration says ${origin}`,
      {
        hint: 'a ledger keeps its name: set origin back, or use another dataDir',
      },
    );
  }
  return origin ?? begunWith ?? defaultOrigin();
}
