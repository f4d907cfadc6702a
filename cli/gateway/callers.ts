// Opens what decides who may do what: accounts, their checks, and administration, whose acts are records of the log.
// Listens on nothing.
import type { Logger } from 'pino';
import { type Act, actRecord } from '../../gateway/access/acts.ts';
import { Administration } from '../../gateway/access/administration.ts';
import { AccessControl } from '../../gateway/access/control.ts';
import { AccessStore } from '../../gateway/access/store.ts';
import { CallerGuard } from '../../gateway/ingest/caller.ts';
import { Door } from '../../gateway/ingest/door.ts';
import type { Log } from '../../gateway/log/types.ts';
import type { GatewayConfig } from '../config/schema.ts';
import type { Opened } from './opened.ts';

export interface Callers {
  readonly guard: CallerGuard;
  readonly access: AccessControl;
  readonly door: Door;
  readonly administration: Administration;
  /** Writes acts into the log; resolves once they are durable. */
  record(acts: readonly Act[]): Promise<void>;
}

export function openCallers(config: GatewayConfig, log: Log, logger: Logger, opened: Opened): Callers {
  const guard = new CallerGuard(config.http);
  const store = opened.add(
    new AccessStore(config.dataDir, (what) =>
      logger.error(
        { what },
        'access.db: a row is not what was written and counts for nothing; run `tidemark fsck`',
      ),
    ),
    (part) => part.close(),
  );
  const access = opened.add(new AccessControl({ config: config.access, store }), (part) => part.close());
  const record = async (acts: readonly Act[]) => {
    await log.appendAll(acts.map((act) => actRecord(act, Date.now())));
  };
  const administration = new Administration({ store, record, access, config: () => config.access });
  return { guard, access, door: new Door(access, guard), administration, record };
}
