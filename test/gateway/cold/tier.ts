// A data directory whose older segments are in a cold tier only, for the tests: the real log, sealer, copier and retention.
import { ColdCopier } from '../../../gateway/cold/stage.ts';
import type { ColdStore } from '../../../gateway/cold/store.ts';
import type { Log } from '../../../gateway/log/types.ts';
import { StateStore } from '../../../gateway/state/state.ts';
import { offset } from '../../../ledger/format/brand.ts';
import { fill, HOUR_MS, openKeeperLog, START_MS, settleRetention } from '../retention/keeper.ts';

export const RECORDS = 300;
export const NOW_MS = START_MS + RECORDS * 60_000 + 100 * HOUR_MS;
export const KEYS = { ID: 'AKIDEXAMPLE', SECRET: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' };
export const REGION = 'eu-central-1';

/** Copies every closed segment; one past the last offset copied. */
export async function copyAll(dataDir: string, store: ColdStore): Promise<number> {
  const copier = new ColdCopier(dataDir, store);
  const state = new StateStore(dataDir);
  let next = 0;
  for (
    let end = await copier.copyNext(next);
    end !== null && end !== next;
    end = await copier.copyNext(next)
  ) {
    next = end;
    state.saveCursor('cold', offset(next));
  }
  state.close();
  return next;
}

export const retain = (dataDir: string, log: Log, retention: object, nowMs = NOW_MS) =>
  settleRetention(dataDir, log, { retention, nowMs, consumers: ['sealer', 'cold'] });

/** Closed in order; `thinned`: records of plant/debug in the first segments were removed before they were copied. */
export async function moved(
  dataDir: string,
  store: ColdStore,
  { thinned = false } = {},
): Promise<{ readonly coldEnd: number }> {
  const log = await openKeeperLog(dataDir);
  await fill(log, dataDir, RECORDS);
  if (thinned) {
    const rules = [{ topics: ['plant/debug'], maxAgeMs: 3 * HOUR_MS }];
    const nowMs = START_MS + 150 * 60_000 + 3 * HOUR_MS;
    await settleRetention(dataDir, log, { retention: { rules }, nowMs });
  }
  const coldEnd = await copyAll(dataDir, store);
  await retain(dataDir, log, { maxAgeMs: HOUR_MS });
  await log.close();
  return { coldEnd };
}
