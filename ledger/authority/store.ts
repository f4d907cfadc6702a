// The authority's memory, one SQLite file: the newest tree head it cosigned of each gateway, and earlier ones. What
// swap() has said yes to is durable before anyone hears of it. Refuses to go back.
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { createKeyFile, KeyError, loadKeyFile, type SigningKey } from '../keys/file.ts';

export interface StoredHead {
  readonly size: number;
  readonly root: Uint8Array;
  /** With the gateway's signature and this authority's cosignature. */
  readonly note: string;
}

const SCHEMA = `
  CREATE TABLE IF NOT EXISTS heads (
    origin TEXT NOT NULL,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    note TEXT NOT NULL,
    cosigned_ms INTEGER NOT NULL,
    PRIMARY KEY (origin, size)
  ) STRICT, WITHOUT ROWID;`;

export const authorityKeyPath = (dataDir: string): string => join(dataDir, 'authority.key');
const databasePath = (dataDir: string): string => join(dataDir, 'authority.db');

/**
 * The key and the memory of what it signed belong together: a key whose memory is gone could sign a second history.
 * @throws KeyError KEY_ORPHANED, KEY_MISSING, KEY_UNREADABLE, KEY_EXPOSED
 */
export function openAuthority(dataDir: string): { key: SigningKey; heads: HeadStore } {
  mkdirSync(dataDir, { recursive: true });
  const path = authorityKeyPath(dataDir);
  const existing = loadKeyFile(path);
  if (existing && !existsSync(databasePath(dataDir))) {
    throw new KeyError('KEY_ORPHANED', `${path} is there, but not the record of what it cosigned`, {
      facts: { file: path },
      hint: 'an authority without its memory must take a new key: move the old one away, start again, and have policies name the new one',
    });
  }
  // The memory first: a crash in between leaves an empty one without a key, and the next start goes on from there.
  const heads = new HeadStore(databasePath(dataDir));
  if (existing) return { key: existing, heads };
  if (heads.isEmpty) return { key: createKeyFile(path), heads };
  heads.close();
  throw new KeyError('KEY_MISSING', `${databasePath(dataDir)} is there, but not the key ${path}`, {
    facts: { file: path },
    hint: 'put the key back, or take a new data directory (and with it a new key)',
  });
}

export class HeadStore {
  readonly #db: Database.Database;

  constructor(path: string) {
    this.#db = new Database(path, { timeout: 10_000 });
    this.#db.pragma('journal_mode = WAL');
    this.#db.pragma('synchronous = FULL');
    this.#db.exec(SCHEMA);
  }

  newest(origin: string): StoredHead | null {
    const row = this.#db
      .prepare<[string], StoredHead>(
        'SELECT size, root, note FROM heads WHERE origin = ? ORDER BY size DESC LIMIT 1',
      )
      .get(origin);
    return row ?? null;
  }

  get isEmpty(): boolean {
    return this.#db.prepare('SELECT 1 FROM heads LIMIT 1').get() === undefined;
  }

  /** What was cosigned at exactly this size, if it is still remembered. */
  at(origin: string, size: number): StoredHead | null {
    const row = this.#db
      .prepare<[string, number], StoredHead>(
        'SELECT size, root, note FROM heads WHERE origin = ? AND size = ?',
      )
      .get(origin, size);
    return row ?? null;
  }

  /**
   * Stores the head that `decide` makes of the newest one, in one transaction that no other writer can come between;
   * durable when it returns. Nothing is stored where it returns null.
   */
  swap(
    origin: string,
    kept: number,
    nowMs: number,
    decide: (newest: StoredHead | null) => StoredHead | null,
  ): StoredHead | null {
    const run = this.#db.transaction(() => {
      const newest = this.newest(origin);
      const next = decide(newest);
      if (!next) return null;
      if (newest && next.size < newest.size)
        throw new RangeError(`a head of ${next.size} after one of ${newest.size}`);
      this.#db
        .prepare(
          `INSERT INTO heads (origin, size, root, note, cosigned_ms) VALUES (?, ?, ?, ?, ?)
           ON CONFLICT (origin, size) DO UPDATE SET note = excluded.note, cosigned_ms = excluded.cosigned_ms`,
        )
        .run(origin, next.size, next.root, next.note, nowMs);
      this.#db
        .prepare(
          `DELETE FROM heads WHERE origin = ? AND size <
             (SELECT size FROM heads WHERE origin = ? ORDER BY size DESC LIMIT 1 OFFSET ?)`,
        )
        .run(origin, origin, kept - 1);
      return next;
    });
    return run.immediate();
  }

  close(): void {
    this.#db.close();
  }
}
