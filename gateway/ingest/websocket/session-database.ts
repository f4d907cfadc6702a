// Owns websocket.db: how far each WebSocket session was settled, for clients that come back after a restart. Behind at most,
// never ahead: a row is written after what it tells of is durable. Not in backups, for a restored log may be older.
// A row in doubt is left out: its client is told that the session is not known.
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { crc32c } from '@node-rs/crc32';
import Database from 'better-sqlite3';
import type { Refusal } from './answer.ts';

export const WEBSOCKET_FILE = 'websocket.db';
const VERSION = 1;

/** One session as of a moment at which all of it was durable. */
export interface SavedSession {
  readonly owner: string;
  readonly name: string;
  /** Every id up to here is settled. */
  readonly last: number;
  /** Refusals up to this id are forgotten. */
  readonly forgotten: number;
  readonly refusals: readonly Refusal[];
  /** One past the last of its records in the log. A log that ends before was set back. */
  readonly logEnd: number;
}

export type Change =
  | { readonly put: SavedSession }
  | { readonly gone: readonly [owner: string, name: string] };

interface Row {
  owner: string;
  name: string;
  last: number;
  forgotten: number;
  refusals: string;
  log_end: number;
  sum: number;
}

const sumOf = ({ owner, name, last, forgotten, refusals, log_end }: Omit<Row, 'sum'>): number =>
  crc32c(JSON.stringify([owner, name, last, forgotten, refusals, log_end]));

export class SessionDatabase {
  readonly #database: Database.Database;
  readonly #put: Database.Statement;
  readonly #remove: Database.Statement;

  /** A file that is not this version's, or cannot be read, begins anew: clients send again what they must. */
  static open(dataDir: string): SessionDatabase {
    try {
      return new SessionDatabase(dataDir);
    } catch {
      const file = join(dataDir, WEBSOCKET_FILE);
      for (const end of ['', '-wal', '-shm']) if (existsSync(file + end)) rmSync(file + end);
      return new SessionDatabase(dataDir);
    }
  }

  private constructor(dataDir: string) {
    mkdirSync(dataDir, { recursive: true });
    this.#database = new Database(join(dataDir, WEBSOCKET_FILE), { timeout: 10_000 });
    try {
      this.#database.pragma('journal_mode = WAL');
      // A power cut may lose the newest rows: behind is allowed.
      this.#database.pragma('synchronous = NORMAL');
      const version = this.#database.pragma('user_version', { simple: true }) as number;
      if (version !== 0 && version !== VERSION) throw new Error(`version ${version}`);
      this.#database.exec(
        `CREATE TABLE IF NOT EXISTS sessions (
           owner TEXT NOT NULL,
           name TEXT NOT NULL,
           last INTEGER NOT NULL,
           forgotten INTEGER NOT NULL,
           refusals TEXT NOT NULL,          -- JSON
           log_end INTEGER NOT NULL,
           sum INTEGER NOT NULL,            -- CRC-32C of the JSON array of the columns above
           PRIMARY KEY (owner, name)
         ) STRICT`,
      );
      this.#database.pragma(`user_version = ${VERSION}`);
      this.#put = this.#database.prepare('INSERT OR REPLACE INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?)');
      this.#remove = this.#database.prepare('DELETE FROM sessions WHERE owner = ? AND name = ?');
    } catch (error) {
      this.#database.close();
      throw error;
    }
  }

  /** Least recently written first. */
  sessions(): SavedSession[] {
    const rows = this.#database.prepare('SELECT * FROM sessions ORDER BY rowid').all() as Row[];
    return rows
      .filter((row) => row.sum === sumOf(row))
      .map(({ log_end, refusals, owner, name, last, forgotten }) => ({
        owner,
        name,
        last,
        forgotten,
        refusals: JSON.parse(refusals) as Refusal[],
        logEnd: log_end,
      }));
  }

  apply(changes: readonly Change[]): void {
    this.#database.transaction(() => {
      for (const change of changes) {
        if ('gone' in change) this.#remove.run(...change.gone);
        else {
          const { owner, name, last, forgotten, logEnd } = change.put;
          const refusals = JSON.stringify(change.put.refusals);
          const row = { owner, name, last, forgotten, refusals, log_end: logEnd };
          this.#put.run(owner, name, last, forgotten, refusals, logEnd, sumOf(row));
        }
      }
    })();
  }

  close(): void {
    this.#database.close();
  }
}
