// Checks an SQLite database of the gateway's: the file header, SQLite's own structure, and a checksum in every row. Works on
// a copy of the file; changes nothing, repairs nothing; knows no table by itself.
import { copyFileSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { crc32c } from './crc32c.ts';
import { readOrNull } from './directory.ts';
import type { FindingCode, Findings } from './findings.ts';

/**
 * Each row's `sum` is the CRC-32C of the UTF-8 of a JSON array of its columns as listed, a BLOB among them in hex; then of
 * its one other BLOB.
 */
export interface SummedDatabase {
  readonly file: string;
  readonly code: FindingCode;
  /** Else a rollback journal. */
  readonly writeAheadLog: boolean;
  /** `user_version` from which its rows have sums, and the newest that is known. */
  readonly summedFrom: number;
  readonly newest: number;
  readonly summed: Readonly<
    Record<string, { readonly columns: readonly string[]; readonly blob: string | null }>
  >;
  /** Checked too, while it is open. */
  readonly also?: (db: Database.Database) => void;
}

const MAX_MESSAGES = 20;
const TRIES = 5;
const ENDS = ['', '-wal', '-journal'];
const encoder = new TextEncoder();

type Row = Readonly<Record<string, string | number | Uint8Array | null>>;
type Damaged = (message: string, position?: number) => void;

export function checkDatabase(dataDir: string, database: SummedDatabase, findings: Findings): void {
  const { file, code, writeAheadLog } = database;
  const path = join(dataDir, file);
  const bytes = readOrNull(path);
  if (bytes === null) return;
  const damaged: Damaged = (message, position) =>
    findings.add('error', code, position === undefined ? { file } : { file, position }, message);
  const bytesOf = (end: string) => statSync(`${path}${end}`, { throwIfNoEntry: false })?.size ?? 0;
  // An open journal undoes what the file holds.
  if (bytesOf('-journal') === 0) {
    // Killed in its very first start.
    if (bytes.length === 0) return;
    checkHeader(bytes, { writeAheadLog, hasWal: bytesOf('-wal') > 0 }, damaged);
  }
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-fsck-state-'));
  try {
    const copy = join(folder, file);
    if (!copied(path, copy)) {
      findings.add('note', 'STATE_BUSY', { file }, 'is being written all the time: not looked into');
      return;
    }
    readThrough(copy, database, damaged);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The database and what of it is still in its write-ahead log, as of one moment; false when there was none. */
function copied(from: string, to: string): boolean {
  const stamp = () =>
    ENDS.map((end) => statSync(from + end, { throwIfNoEntry: false }))
      .map((stat) => (stat ? `${stat.size} ${stat.mtimeMs}` : 'none'))
      .join();
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    const before = stamp();
    for (const end of ENDS) {
      rmSync(to + end, { force: true });
      if (readOrNull(from + end) !== null) copyFileSync(from + end, to + end);
    }
    if (stamp() === before) return true;
  }
  return false;
}

/** What SQLite reads past without a word: fields of the file header that have one right value. */
function checkHeader(
  bytes: Uint8Array,
  { writeAheadLog, hasWal }: { writeAheadLog: boolean; hasWal: boolean },
  damaged: Damaged,
): void {
  if (bytes.length < 100) {
    damaged(`${bytes.length} bytes are no database`, 0);
    return;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // A gateway killed soon after its first start: all that was ever put into the database is still in its log.
  const isFresh = hasWal && view.getUint32(44) === 0 && view.getUint32(56) === 0;
  const expected: [at: number, value: number, what: string][] = [
    [20, 0, 'bytes reserved in each page'],
    [44, isFresh ? 0 : 4, 'schema format'],
    [48, 0, 'cache size'],
    [52, 0, 'autovacuum root'],
    [56, isFresh ? 0 : 1, 'text encoding'],
    [64, 0, 'incremental vacuum'],
    [68, 0, 'application id'],
    [92, view.getUint32(24), 'version of the page count'],
    ...[72, 76, 80, 84, 88].map((at): [number, number, string] => [at, 0, 'reserved bytes']),
  ];
  for (const [at, value, what] of expected) {
    const found = at === 20 ? bytes[at]! : view.getUint32(at);
    if (found !== value) damaged(`${what} in the file header is ${found}, not ${value}`, at);
  }
  const format = writeAheadLog ? 2 : 1;
  for (const at of [18, 19])
    if (bytes[at] !== format) damaged(`the file header says format ${bytes[at]}, not ${format}`, at);
}

function readThrough(path: string, database: SummedDatabase, damaged: Damaged): void {
  let db: Database.Database | null = null;
  try {
    db = new Database(path);
    const pageBytes = db.pragma('page_size', { simple: true }) as number;
    const messages = db.pragma(`integrity_check(${MAX_MESSAGES})`) as { integrity_check: string }[];
    for (const { integrity_check: message } of messages) {
      if (message === 'ok') continue;
      const page = /page (\d+)/i.exec(message)?.[1];
      damaged(message, page === undefined ? undefined : (Number(page) - 1) * pageBytes);
    }
    checkRows(db, database, damaged);
    database.also?.(db);
  } catch (error) {
    // Whatever SQLite cannot make sense of, from "not a database" to a schema it cannot parse.
    damaged(`cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  } finally {
    db?.close();
  }
}

function checkRows(
  db: Database.Database,
  { summedFrom, newest, summed }: SummedDatabase,
  damaged: Damaged,
): void {
  const version = db.pragma('user_version', { simple: true }) as number;
  if (version < 1 || version > newest) {
    damaged(`says version ${version}; this tidemark knows 1 to ${newest}`, 60);
    return;
  }
  const hasSums =
    db.prepare("SELECT 1 FROM pragma_table_info(?) WHERE name = 'sum'").get(Object.keys(summed)[0]!) !==
    undefined;
  if (hasSums !== version >= summedFrom) {
    damaged(`says version ${version}, its tables are of another`, 60);
    return;
  }
  if (!hasSums) return;
  for (const [table, { columns, blob }] of Object.entries(summed)) {
    for (const row of db.prepare<[], Row>(`SELECT * FROM ${table}`).iterate()) {
      const text = encoder.encode(JSON.stringify(columns.map((column) => plain(row[column] ?? null))));
      const state = blob === null ? null : (row[blob] as Uint8Array | null);
      const whole = state ? Buffer.concat([text, state]) : text;
      if (row.sum === crc32c(whole)) continue;
      damaged(`the row ${row[columns[0]!]} of ${table} is not what was written: its checksum differs`);
    }
  }
}

const plain = (value: Row[string]) =>
  value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value;
