// Owns the claim of one process on a data directory: an exclusive SQLite lock that the kernel releases when the
// process ends, however it ends. Stores nothing in it.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { LogError } from './types.ts';

export interface DirectoryLock {
  release(): void;
}

/** Throws LogError LOCKED, naming the holder's pid where it is known, when another process (or log) has it. */
export function lockDirectory(dataDir: string): DirectoryLock {
  const pidFile = join(dataDir, 'lock.pid');
  const db = new Database(join(dataDir, 'lock.db'), { timeout: 0 });
  try {
    // No journal file: on a full disk there is no room for one, and nothing is ever written.
    db.pragma('journal_mode = MEMORY');
    db.pragma('locking_mode = EXCLUSIVE');
    db.exec('BEGIN EXCLUSIVE');
  } catch (error) {
    db.close();
    if (!(error instanceof Error) || (error as { code?: string }).code !== 'SQLITE_BUSY') throw error;
    const pid = readPid(pidFile);
    throw new LogError(
      'LOCKED',
      `${dataDir} is in use by ${pid === null ? 'another process' : `process ${pid}`}`,
      {
        facts: pid === null ? { dataDir } : { dataDir, pid },
        hint: 'stop that gateway, or give this one its own data directory',
        cause: error,
      },
    );
  }
  try {
    // Only for the message above: nobody trusts it, and a full disk must not stop the gateway here.
    writeFileSync(pidFile, `${process.pid}\n`);
  } catch {}
  return {
    release: () => {
      db.exec('ROLLBACK');
      db.close();
    },
  };
}

function readPid(path: string): number | null {
  try {
    const pid = Number.parseInt(readFileSync(path, 'utf8'), 10);
    return Number.isSafeInteger(pid) ? pid : null;
  } catch {
    return null;
  }
}
