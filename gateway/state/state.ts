// Owns state.db, the gateway's small durable state: cursors with stage state, the signed checkpoint, devices.
// Refuses to hold telemetry: records live in the log. Every thread opens its own connection (WAL, synchronous=FULL).
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { crc32c } from '@node-rs/crc32';
import Database from 'better-sqlite3';
import { type Offset, offset } from '../../ledger/format/brand.ts';
import { CodedError } from '../../ledger/format/errors.ts';

const MIGRATIONS: readonly string[] = [
  // 1: what issue one needs
  `CREATE TABLE cursors (
     consumer TEXT PRIMARY KEY,
     next_offset INTEGER NOT NULL,  -- first offset this consumer has not durably dealt with
     state BLOB,                    -- the consumer's own state as of next_offset
     updated_ms INTEGER NOT NULL
   ) STRICT;
   CREATE TABLE checkpoint (
     id INTEGER PRIMARY KEY CHECK (id = 1),
     size INTEGER NOT NULL,
     note TEXT NOT NULL
   ) STRICT;`,
  // 2: what is to be removed from the log, for the sealer to declare before it goes
  `CREATE TABLE removals (
     id INTEGER PRIMARY KEY AUTOINCREMENT,
     first INTEGER NOT NULL,          -- offsets [first, end) are concerned
     end INTEGER NOT NULL,
     records INTEGER NOT NULL,        -- how many of them are removed
     cause TEXT NOT NULL,             -- retention, drop-oldest
     rule TEXT NOT NULL,              -- which rule, for people
     segment INTEGER,                 -- base offset of the segment that is rewritten; NULL: all of [first, end) goes
     planned_ms INTEGER NOT NULL,
     declared_height INTEGER,         -- block that says so; NULL until it is signed
     done INTEGER NOT NULL DEFAULT 0  -- 1 once the records are gone
   ) STRICT;`,
  // 3: a checksum in every row, for SQLite has none: a flipped bit must not move a cursor
  `ALTER TABLE cursors ADD COLUMN sum INTEGER;
   ALTER TABLE checkpoint ADD COLUMN sum INTEGER;
   ALTER TABLE removals ADD COLUMN sum INTEGER;`,
];

const EMPTY = new Uint8Array(0);

/** CRC-32C of the row's other columns, in the order of the table, as a JSON array; then of its BLOB. */
function rowSum(columns: readonly (string | number | null)[], blob: Uint8Array | null = null): number {
  return crc32c(blob ?? EMPTY, crc32c(JSON.stringify(columns)));
}

interface CursorRow {
  consumer: string;
  next_offset: number;
  state: Uint8Array | null;
  updated_ms: number;
  sum: number | null;
}

/** A row of state.db is not what was written. Nothing may be built on it. */
export class StateError extends CodedError<'STATE_DAMAGED'> {
  override name = 'StateError';

  constructor(what: string) {
    super('STATE_DAMAGED', `state.db: ${what} is not what was written: its checksum differs`, {
      hint: 'run `tidemark fsck`; docs/operations.md says what can be done',
    });
  }
}

/**
 * A removal of records from the log, planned. Its order: planned (this row) → declared (the sealer has signed a block
 * that says so) → the files go → done.
 */
export interface Removal {
  readonly id: number;
  /** Offsets [first, end) are concerned. */
  readonly first: number;
  readonly end: number;
  /** How many records of them are removed. */
  readonly records: number;
  readonly cause: RemovalCause;
  /** Which rule, for people. */
  readonly rule: string;
  /** Base offset of the segment to be rewritten without some of its records; null: all of [first, end) goes. */
  readonly segment: number | null;
  readonly declaredHeight: number | null;
}

export type RemovalCause = 'retention' | 'drop-oldest';

interface RemovalRow {
  id: number;
  first: number;
  end: number;
  records: number;
  cause: RemovalCause;
  rule: string;
  segment: number | null;
  planned_ms: number;
  declared_height: number | null;
  done: number;
  sum: number | null;
}

function sumOfRemoval(row: Omit<RemovalRow, 'sum'>): number {
  const { id, first, end, records, cause, rule, segment, planned_ms, declared_height, done } = row;
  return rowSum([id, first, end, records, cause, rule, segment, planned_ms, declared_height, done]);
}

function sumOfCursor({ consumer, next_offset, updated_ms, state }: Omit<CursorRow, 'sum'>): number {
  return rowSum([consumer, next_offset, updated_ms], state);
}

/** Removals kept after they are done: their blocks in the ledger are the lasting account. */
const REMOVALS_KEPT = 1_000;

export interface Cursor {
  readonly next: Offset;
  readonly state: Uint8Array | null;
}

export class StateStore {
  readonly #db: Database.Database;

  constructor(dataDir: string) {
    mkdirSync(dataDir, { recursive: true });
    this.#db = new Database(join(dataDir, 'state.db'), { timeout: 10_000 });
    this.#db.pragma('journal_mode = WAL');
    this.#db.pragma('synchronous = FULL');
    this.#migrate();
  }

  #migrate(): void {
    const migrate = this.#db.transaction(() => {
      const version = this.#db.pragma('user_version', { simple: true }) as number;
      if (version > MIGRATIONS.length) {
        throw new Error(
          `state.db has version ${version}, this tidemark knows up to ${MIGRATIONS.length}: use the newer tidemark that wrote it`,
        );
      }
      for (const sql of MIGRATIONS.slice(version)) this.#db.exec(sql);
      if (version < 3) this.#sumAll();
      this.#db.pragma(`user_version = ${MIGRATIONS.length}`);
    });
    migrate.immediate();
  }

  /** For rows that were written before there were checksums. */
  #sumAll(): void {
    for (const row of this.#db.prepare<[], CursorRow>('SELECT * FROM cursors').all())
      this.#db.prepare('UPDATE cursors SET sum = ? WHERE consumer = ?').run(sumOfCursor(row), row.consumer);
    for (const { id } of this.#db.prepare<[], { id: number }>('SELECT id FROM removals').all())
      this.#sumRemoval(id);
    const checkpoint = this.#db.prepare<[], { size: number; note: string }>('SELECT * FROM checkpoint').get();
    if (!checkpoint) return;
    const { size, note } = checkpoint;
    this.#db.prepare('UPDATE checkpoint SET sum = ?').run(rowSum([1, size, note]));
  }

  #sumRemoval(id: number): void {
    const row = this.#db.prepare<[number], RemovalRow>('SELECT * FROM removals WHERE id = ?').get(id);
    if (row) this.#db.prepare('UPDATE removals SET sum = ? WHERE id = ?').run(sumOfRemoval(row), id);
  }

  #checked(row: CursorRow): CursorRow {
    if (row.sum !== sumOfCursor(row)) throw new StateError(`the cursor of ${row.consumer}`);
    return row;
  }

  /** Where `consumer` continues, or null when it has never saved a cursor. Throws StateError for a damaged row. */
  loadCursor(consumer: string): Cursor | null {
    const row = this.#db
      .prepare<[string], CursorRow>('SELECT * FROM cursors WHERE consumer = ?')
      .get(consumer);
    if (!row) return null;
    const { next_offset, state } = this.#checked(row);
    return { next: offset(next_offset), state };
  }

  /** Durable (fsync) when it returns. `next` and `state` change together or not at all. */
  saveCursor(consumer: string, next: Offset, state: Uint8Array | null = null): void {
    const updatedMs = Date.now();
    const sum = sumOfCursor({ consumer, next_offset: next, state, updated_ms: updatedMs });
    this.#db
      .prepare(
        `INSERT INTO cursors (consumer, next_offset, state, updated_ms, sum) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (consumer) DO UPDATE SET next_offset = excluded.next_offset, state = excluded.state, updated_ms = excluded.updated_ms, sum = excluded.sum`,
      )
      .run(consumer, next, state, updatedMs, sum);
  }

  cursors(): { consumer: string; next: Offset }[] {
    return this.#db
      .prepare<[], CursorRow>('SELECT * FROM cursors ORDER BY consumer')
      .all()
      .map((row) => ({ consumer: row.consumer, next: offset(this.#checked(row).next_offset) }));
  }

  loadCheckpoint(): { size: number; note: string } | null {
    return (
      this.#db
        .prepare<[], { size: number; note: string }>('SELECT size, note FROM checkpoint WHERE id = 1')
        .get() ?? null
    );
  }

  /**
   * Stores the signed checkpoint if the stored size is still `expectedSize` (null: none stored yet); durable
   * when it returns true. False means another writer was here: the caller must not publish its checkpoint.
   */
  swapCheckpoint(expectedSize: number | null, size: number, note: string): boolean {
    const sum = rowSum([1, size, note]);
    const result =
      expectedSize === null
        ? this.#db
            .prepare('INSERT OR IGNORE INTO checkpoint (id, size, note, sum) VALUES (1, ?, ?, ?)')
            .run(size, note, sum)
        : this.#db
            .prepare('UPDATE checkpoint SET size = ?, note = ?, sum = ? WHERE id = 1 AND size = ?')
            .run(size, note, sum, expectedSize);
    return result.changes === 1;
  }

  /** Notes that records are going to be removed; durable when it returns. */
  planRemoval(removal: Omit<Removal, 'id' | 'declaredHeight'>, plannedMs: number): number {
    const { first, end, records, cause, rule, segment } = removal;
    const insert = this.#db.prepare(
      'INSERT INTO removals (first, end, records, cause, rule, segment, planned_ms) VALUES (?, ?, ?, ?, ?, ?, ?)',
    );
    return this.#db.transaction(() => {
      const id = Number(insert.run(first, end, records, cause, rule, segment, plannedMs).lastInsertRowid);
      this.#sumRemoval(id);
      return id;
    })();
  }

  /** Removals whose files are not gone yet, oldest first. */
  openRemovals(): Removal[] {
    return this.#db
      .prepare<[], RemovalRow>('SELECT * FROM removals WHERE done = 0 ORDER BY id')
      .all()
      .map((row) => {
        if (row.sum !== sumOfRemoval(row)) throw new StateError(`removal ${row.id}`);
        return row;
      })
      .map(({ declared_height, id, first, end, records, cause, rule, segment }) => ({
        id,
        first,
        end,
        records,
        cause,
        rule,
        segment,
        declaredHeight: declared_height,
      }));
  }

  /** The sealer: a signed block of this height declares these removals. */
  removalsDeclared(ids: readonly number[], height: number): void {
    const update = this.#db.prepare(
      'UPDATE removals SET declared_height = ? WHERE id = ? AND declared_height IS NULL',
    );
    this.#db.transaction(() => {
      for (const id of ids) {
        update.run(height, id);
        this.#sumRemoval(id);
      }
    })();
  }

  /** The records of this removal are gone for good. */
  removalDone(id: number): void {
    this.#db.transaction(() => {
      this.#db.prepare('UPDATE removals SET done = 1 WHERE id = ?').run(id);
      this.#sumRemoval(id);
      this.#db.prepare('DELETE FROM removals WHERE done = 1 AND id <= ?').run(id - REMOVALS_KEPT);
    })();
  }

  /** Cause of an open removal that covers `offset` as a whole, or null. */
  removalOf(offset: number): RemovalCause | null {
    const row = this.#db
      .prepare<[number, number], { cause: RemovalCause }>(
        'SELECT cause FROM removals WHERE segment IS NULL AND first <= ? AND end > ? ORDER BY id DESC LIMIT 1',
      )
      .get(offset, offset);
    return row?.cause ?? null;
  }

  close(): void {
    this.#db.close();
  }
}
