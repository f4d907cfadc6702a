// Puts a data directory in order as far as nothing can be lost by it: log first, then the ledger that is checked against it.
// Decides nothing itself; holds the lock meanwhile.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { lockDirectory } from '../gateway/log/lock.ts';
import { openReader } from '../gateway/log/reader.ts';
import { type Repair, repairLog, SideFolder } from '../gateway/log/repair.ts';
import { LogError } from '../gateway/log/types.ts';
import { StateStore } from '../gateway/state/state.ts';
import { offset } from '../ledger/format/brand.ts';
import { fsck } from '../ledger/fsck/fsck.ts';
import { fileDisk } from '../ledger/seal/disk.ts';
import { repairLedger } from '../ledger/seal/repair.ts';

const FETCH_BYTES = 4 * 1024 * 1024;

export interface RepairReport {
  readonly repairs: readonly Repair[];
  /** Why nothing of the ledger could be repaired; null where it was looked through. */
  readonly ledgerNote: string | null;
}

/** Of a ledger that cannot be followed to its end: then a torn tail may have been sealed, and is not for us to cut. */
function unknownEnd(dataDir: string): number {
  if (existsSync(join(dataDir, 'ledger/checkpoint'))) return Number.POSITIVE_INFINITY;
  if (!existsSync(join(dataDir, 'state.db'))) return 0;
  const state = new StateStore(dataDir);
  try {
    return state.loadCheckpoint() ? Number.POSITIVE_INFINITY : 0;
  } finally {
    state.close();
  }
}

/** @throws LogError LOCKED while a gateway has the directory */
export async function repairDataDir(
  dataDir: string,
  indexIntervalBytes: number,
  nowMs: number,
): Promise<RepairReport> {
  const lock = lockDirectory(dataDir);
  try {
    const before = await fsck(dataDir);
    const side = new SideFolder(dataDir, nowMs);
    const sealedEnd = before.ledger?.rootAgrees ? before.ledger.coveredEnd : unknownEnd(dataDir);
    const log = await repairLog({ dataDir, side, indexIntervalBytes, sealedEnd });
    if (!existsSync(join(dataDir, 'ledger'))) return { repairs: log, ledgerNote: null };
    const reader = await openReader({ dataDir });
    const state = existsSync(join(dataDir, 'state.db')) ? new StateStore(dataDir) : null;
    try {
      const ledger = await repairLedger({
        dataDir,
        disk: fileDisk,
        storedNote: state?.loadCheckpoint()?.note ?? null,
        readRecords: async (first, count) => {
          try {
            return await reader.fetch(offset(first), { maxRecords: count, maxBytes: FETCH_BYTES });
          } catch (error) {
            if (error instanceof LogError && error.code === 'SEGMENT_DAMAGED') return [];
            throw error;
          }
        },
        save: (path) => side.save(path),
      });
      return ledger.kind === 'none'
        ? { repairs: log, ledgerNote: ledger.reason }
        : { repairs: [...log, ...ledger.files], ledgerNote: null };
    } finally {
      await reader.close();
      state?.close();
    }
  } finally {
    lock.release();
  }
}
