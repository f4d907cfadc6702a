// Owns access.db: who was added, with which rights and hashed secrets. Small and changed rarely; durable when a call
// returns. Refuses to hold a secret, or to know what rights mean, or to give out a row that is not what was written: it
// counts as not there, so a flipped bit takes rights and gives none. One process at a time (the data directory's lock).
import { chmodSync, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { keyColumnOf, SUMMED_TABLES, type SummedTable, sumOf } from './row-sums.ts';
import type { PasswordHash } from './secrets.ts';
import type { Role } from './types.ts';

export const ACCESS_FILE = 'access.db';

const MIGRATIONS: readonly string[] = [
  `CREATE TABLE principals (
     name TEXT PRIMARY KEY,
     role TEXT NOT NULL,              -- device, operator, auditor, admin
     device TEXT,                     -- whose records it sends; NULL: any device's
     publish TEXT,                    -- JSON list of topic patterns; NULL: as the role
     subscribe TEXT,
     certificate TEXT NOT NULL,       -- none, any: a client certificate of this name is enough; pinned: see fingerprints
     fingerprints TEXT NOT NULL,      -- JSON list of SHA-256 in hex
     created_ms INTEGER NOT NULL,
     revoked_ms INTEGER               -- not NULL: nothing of it counts; the name stays taken
   ) STRICT;
   CREATE TABLE secrets (
     id TEXT PRIMARY KEY,             -- what a list shows and a revocation names
     name TEXT NOT NULL REFERENCES principals (name) ON DELETE CASCADE,
     kind TEXT NOT NULL,              -- password, token
     hash BLOB NOT NULL,              -- scrypt of a password (r = 8, p = 1), SHA-256 of a token
     salt BLOB,
     cost INTEGER,                    -- scrypt's N
     created_ms INTEGER NOT NULL,
     expires_ms INTEGER               -- from then on it does not count; NULL: no end
   ) STRICT;
   CREATE INDEX secrets_of ON secrets (name);
   CREATE UNIQUE INDEX secrets_by_token ON secrets (hash) WHERE kind = 'token';
 CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;`,
  // 2: a checksum in every row
  `ALTER TABLE principals ADD COLUMN sum INTEGER;
   ALTER TABLE secrets ADD COLUMN sum INTEGER;
   ALTER TABLE facts ADD COLUMN sum INTEGER;`,
];

export interface PrincipalRow {
  readonly name: string;
  readonly role: Role;
  readonly device: string | null;
  /** Null: as its role. */
  readonly publish: readonly string[] | null;
  readonly subscribe: readonly string[] | null;
  readonly certificate: 'none' | 'any' | 'pinned';
  readonly fingerprints: readonly string[];
  readonly createdMs: number;
  readonly revokedMs: number | null;
}

export interface SecretInfo {
  readonly id: string;
  readonly name: string;
  readonly kind: 'password' | 'token';
  readonly createdMs: number;
  readonly expiresMs: number | null;
}

export type NewSecret = SecretInfo &
  (
    | { readonly kind: 'password'; readonly password: PasswordHash }
    | { readonly kind: 'token'; readonly hash: Buffer }
  );

export type KnownPassword = SecretInfo & PasswordHash;

interface StoredPrincipal {
  name: string;
  role: Role;
  device: string | null;
  publish: string | null;
  subscribe: string | null;
  certificate: 'none' | 'any' | 'pinned';
  fingerprints: string;
  created_ms: number;
  revoked_ms: number | null;
  sum: number | null;
}

interface StoredSecret {
  id: string;
  name: string;
  kind: 'password' | 'token';
  hash: Buffer;
  salt: Buffer | null;
  cost: number | null;
  created_ms: number;
  expires_ms: number | null;
  sum: number | null;
}

const listOf = (json: string) => JSON.parse(json) as readonly string[];

const principalOf = (row: StoredPrincipal): PrincipalRow => ({
  name: row.name,
  role: row.role,
  device: row.device,
  publish: row.publish === null ? null : listOf(row.publish),
  subscribe: row.subscribe === null ? null : listOf(row.subscribe),
  certificate: row.certificate,
  fingerprints: listOf(row.fingerprints),
  createdMs: row.created_ms,
  revokedMs: row.revoked_ms,
});

const infoOf = ({ id, name, kind, created_ms, expires_ms }: StoredSecret): SecretInfo => ({
  id,
  name,
  kind,
  createdMs: created_ms,
  expiresMs: expires_ms,
});

export class AccessStore {
  readonly #db: Database.Database;
  readonly #principal: Database.Statement<[string], StoredPrincipal>;
  readonly #secret: Database.Statement<[string], StoredSecret>;
  readonly #byToken: Database.Statement<[Buffer], StoredSecret>;
  readonly #passwords: Database.Statement<[string], StoredSecret>;

  readonly #onDamage: (what: string) => void;
  /** Rows that were complained of. */
  readonly #damaged = new Set<string>();

  /** `onDamage` hears once of each row that is not what was written. */
  constructor(dataDir: string, onDamage: (what: string) => void = () => {}) {
    this.#onDamage = onDamage;
    mkdirSync(dataDir, { recursive: true });
    const file = join(dataDir, ACCESS_FILE);
    const isNew = !existsSync(file);
    this.#db = new Database(file, { timeout: 10_000 });
    if (isNew) chmodSync(file, 0o600);
    // No write-ahead log: the file is whole by itself, and changes are few.
    this.#db.pragma('journal_mode = DELETE');
    this.#db.pragma('synchronous = FULL');
    this.#db.pragma('foreign_keys = ON');
    this.#migrate();
    this.#principal = this.#db.prepare('SELECT * FROM principals WHERE name = ?');
    this.#secret = this.#db.prepare('SELECT * FROM secrets WHERE id = ?');
    this.#byToken = this.#db.prepare("SELECT * FROM secrets WHERE kind = 'token' AND hash = ?");
    this.#passwords = this.#db.prepare(
      "SELECT * FROM secrets WHERE kind = 'password' AND name = ? ORDER BY created_ms DESC",
    );
  }

  #migrate(): void {
    this.#db
      .transaction(() => {
        const version = this.#db.pragma('user_version', { simple: true }) as number;
        if (version > MIGRATIONS.length) {
          throw new Error(
            `${ACCESS_FILE} has version ${version}, this tidemark knows up to ${MIGRATIONS.length}: use the newer tidemark that wrote it`,
          );
        }
        for (const sql of MIGRATIONS.slice(version)) this.#db.exec(sql);
        if (version < 2) for (const table of SUMMED_TABLES) this.#sumAll(table);
        this.#db.pragma(`user_version = ${MIGRATIONS.length}`);
      })
      .immediate();
  }

  /** For rows that were written before there were checksums. */
  #sumAll(table: SummedTable): void {
    for (const row of this.#db.prepare<[], { [column: string]: string }>(`SELECT * FROM ${table}`).all())
      this.#sum(table, row[keyColumnOf(table)]!);
  }

  /** The row just written gets its sum. */
  #sum(table: SummedTable, key: string): void {
    const column = keyColumnOf(table);
    const row = this.#db.prepare<[string], object>(`SELECT * FROM ${table} WHERE ${column} = ?`).get(key);
    if (row) this.#db.prepare(`UPDATE ${table} SET sum = ? WHERE ${column} = ?`).run(sumOf(table, row), key);
  }

  #isSound(table: SummedTable, row: StoredPrincipal | StoredSecret): boolean {
    if (row.sum === sumOf(table, row)) return true;
    const what = `${table}: ${'id' in row ? `${row.id} of ${row.name}` : row.name}`;
    if (!this.#damaged.has(what)) {
      this.#damaged.add(what);
      this.#onDamage(what);
    }
    return false;
  }

  /** Several changes: all or none. */
  together<T>(change: () => T): T {
    return this.#db.transaction(change).immediate();
  }

  principal(name: string): PrincipalRow | null {
    const row = this.#principal.get(name);
    return row && this.#isSound('principals', row) ? principalOf(row) : null;
  }

  /** In name order. */
  principals(): PrincipalRow[] {
    return this.#db
      .prepare<[], StoredPrincipal>('SELECT * FROM principals ORDER BY name')
      .all()
      .filter((row) => this.#isSound('principals', row))
      .map(principalOf);
  }

  count(): number {
    return (this.#db.prepare('SELECT count(*) AS n FROM principals').get() as { n: number }).n;
  }

  /** An earlier one of the name, revoked, is replaced together with its secrets. */
  putPrincipal(row: PrincipalRow): void {
    this.#db.prepare('DELETE FROM principals WHERE name = ?').run(row.name);
    this.#db
      .prepare(
        `INSERT INTO principals (name, role, device, publish, subscribe, certificate, fingerprints, created_ms, revoked_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      )
      .run(
        row.name,
        row.role,
        row.device,
        row.publish === null ? null : JSON.stringify(row.publish),
        row.subscribe === null ? null : JSON.stringify(row.subscribe),
        row.certificate,
        JSON.stringify(row.fingerprints),
        row.createdMs,
        row.revokedMs,
      );
    this.#sum('principals', row.name);
  }

  /** Its secrets go for good. */
  revokePrincipal(name: string, nowMs: number): void {
    this.#db.prepare('DELETE FROM secrets WHERE name = ?').run(name);
    this.#db.prepare('UPDATE principals SET revoked_ms = ? WHERE name = ?').run(nowMs, name);
    this.#sum('principals', name);
  }

  putSecret(secret: NewSecret): void {
    const { hash, salt, cost } =
      secret.kind === 'password' ? secret.password : { hash: secret.hash, salt: null, cost: null };
    this.#db
      .prepare(
        'INSERT INTO secrets (id, name, kind, hash, salt, cost, created_ms, expires_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
      )
      .run(secret.id, secret.name, secret.kind, hash, salt, cost, secret.createdMs, secret.expiresMs);
    this.#sum('secrets', secret.id);
  }

  /** The secrets of `name` end at `atMs`, unless they end sooner. */
  endSecrets(name: string, atMs: number): void {
    const end = this.#db.prepare('UPDATE secrets SET expires_ms = ? WHERE id = ?');
    const ofName = this.#db.prepare<[string], StoredSecret>('SELECT * FROM secrets WHERE name = ?');
    for (const row of ofName.all(name)) {
      const endsSooner = row.expires_ms !== null && row.expires_ms <= atMs;
      if (endsSooner || !this.#isSound('secrets', row)) continue;
      end.run(atMs, row.id);
      this.#sum('secrets', row.id);
    }
  }

  /** Forgets secrets that ended before `beforeMs`. */
  forgetSecrets(beforeMs: number): void {
    this.#db.prepare('DELETE FROM secrets WHERE expires_ms <= ?').run(beforeMs);
  }

  secret(id: string): SecretInfo | null {
    const row = this.#secret.get(id);
    return row && this.#isSound('secrets', row) ? infoOf(row) : null;
  }

  /** Oldest first. */
  secrets(): SecretInfo[] {
    return this.#db
      .prepare<[], StoredSecret>('SELECT * FROM secrets ORDER BY name, created_ms, id')
      .all()
      .filter((row) => this.#isSound('secrets', row))
      .map(infoOf);
  }

  secretByToken(hash: Buffer): SecretInfo | null {
    const row = this.#byToken.get(hash);
    return row && this.#isSound('secrets', row) ? infoOf(row) : null;
  }

  /** Newest first. */
  passwordsOf(name: string): KnownPassword[] {
    return this.#passwords
      .all(name)
      .filter((row) => this.#isSound('secrets', row))
      .map((row) => ({ ...infoOf(row), hash: row.hash, salt: row.salt!, cost: row.cost! }));
  }

  /** Also of a damaged row: that it was there at all is what is asked. */
  fact(key: string): string | null {
    const row = this.#db
      .prepare<[string], { value: string }>('SELECT value FROM facts WHERE key = ?')
      .get(key);
    return row?.value ?? null;
  }

  putFact(key: string, value: string): void {
    this.#db
      .prepare(
        'INSERT INTO facts (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
      )
      .run(key, value);
    this.#sum('facts', key);
  }

  close(): void {
    this.#db.close();
  }
}
