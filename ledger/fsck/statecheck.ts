// Checks state.db, the gateway's cursors and signed checkpoint: SQLite's own structure, a checksum in every row, and the
// checkpoint against the one that is served. Works on a copy of the file; changes nothing, repairs nothing.
import { copyFileSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { CHECKPOINT_PATH } from '../format/tile.ts';
import { crc32c } from './crc32c.ts';
import { readOrNull } from './directory.ts';
import type { Findings } from './findings.ts';

/*
 * state.db: an SQLite database. Each row's `sum` is the CRC-32C of the UTF-8 of a JSON array of its columns as below,
 * followed by its BLOB. Databases of version 1 and 2 have no sums: the gateway adds them at its next start.
 */
const SUMMED = {
  cursors: { columns: ['consumer', 'next_offset', 'updated_ms'], blob: 'state' },
  checkpoint: { columns: ['id', 'size', 'note'], blob: null },
  removals: {
    columns: [
      'id',
      'first',
      'end',
      'records',
      'cause',
      'rule',
      'segment',
      'planned_ms',
      'declared_height',
      'done',
    ],
    blob: null,
  },
} as const;
const VERSION_SUMMED = 3;
const VERSION_NEWEST = 3;
const FILE = 'state.db';
const MAX_MESSAGES = 20;
const TRIES = 5;
const encoder = new TextEncoder();

type Row = Readonly<Record<string, string | number | Uint8Array | null>>;

export function checkState(dataDir: string, findings: Findings): void {
  const path = join(dataDir, FILE);
  const bytes = readOrNull(path);
  if (bytes === null) return;
  const walBytes = statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
  checkHeader(bytes, walBytes > 0, findings);
  const servedBefore = servedCheckpoint(dataDir);
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-fsck-state-'));
  try {
    const copy = join(folder, FILE);
    if (!copied(path, copy)) {
      findings.add('note', 'STATE_BUSY', { file: FILE }, 'is being written all the time: not looked into');
      return;
    }
    readThrough(copy, { dataDir, servedBefore }, findings);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The database and what of it is still in its write-ahead log, as of one moment; false when there was none. */
function copied(from: string, to: string): boolean {
  const stamp = () =>
    [from, `${from}-wal`]
      .map((path) => statSync(path, { throwIfNoEntry: false }))
      .map((stat) => (stat ? `${stat.size} ${stat.mtimeMs}` : 'none'))
      .join();
  for (let attempt = 0; attempt < TRIES; attempt += 1) {
    const before = stamp();
    for (const end of ['', '-wal']) {
      rmSync(to + end, { force: true });
      if (readOrNull(from + end) !== null) copyFileSync(from + end, to + end);
    }
    if (stamp() === before) return true;
  }
  return false;
}

function damaged(findings: Findings, message: string, position?: number): void {
  findings.add(
    'error',
    'STATE_DAMAGED',
    position === undefined ? { file: FILE } : { file: FILE, position },
    message,
  );
}

/** What SQLite reads past without a word: fields of the file header that have one right value. */
function checkHeader(bytes: Uint8Array, hasWal: boolean, findings: Findings): void {
  if (bytes.length < 100) {
    damaged(findings, `${bytes.length} bytes are no database`, 0);
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
    if (found !== value) damaged(findings, `${what} in the file header is ${found}, not ${value}`, at);
  }
  for (const at of [18, 19])
    if (bytes[at] !== 2) damaged(findings, `the file header says format ${bytes[at]}, not 2`, at);
}

interface Served {
  readonly dataDir: string;
  /** The served checkpoint as it was before the copy was made. */
  readonly servedBefore: string | null;
}

function servedCheckpoint(dataDir: string): string | null {
  const bytes = readOrNull(join(dataDir, 'ledger', CHECKPOINT_PATH));
  return bytes && Buffer.from(bytes).toString('utf8');
}

function readThrough(path: string, served: Served, findings: Findings): void {
  let db: Database.Database | null = null;
  try {
    db = new Database(path);
    const pageBytes = db.pragma('page_size', { simple: true }) as number;
    const messages = db.pragma(`integrity_check(${MAX_MESSAGES})`) as { integrity_check: string }[];
    for (const { integrity_check: message } of messages) {
      if (message === 'ok') continue;
      const page = /page (\d+)/i.exec(message)?.[1];
      damaged(findings, message, page === undefined ? undefined : (Number(page) - 1) * pageBytes);
    }
    checkRows(db, findings);
    checkCheckpoint(db, served, findings);
  } catch (error) {
    // Whatever SQLite cannot make sense of, from "not a database" to a schema it cannot parse.
    damaged(findings, `cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  } finally {
    db?.close();
  }
}

function checkRows(db: Database.Database, findings: Findings): void {
  const version = db.pragma('user_version', { simple: true }) as number;
  if (version < 1 || version > VERSION_NEWEST) {
    damaged(findings, `says version ${version}; this tidemark knows 1 to ${VERSION_NEWEST}`, 60);
    return;
  }
  const hasSums =
    db.prepare("SELECT 1 FROM pragma_table_info('cursors') WHERE name = 'sum'").get() !== undefined;
  if (hasSums !== version >= VERSION_SUMMED) {
    damaged(findings, `says version ${version}, its tables are of another`, 60);
    return;
  }
  if (!hasSums) return;
  for (const [table, { columns, blob }] of Object.entries(SUMMED)) {
    for (const row of db.prepare<[], Row>(`SELECT * FROM ${table}`).iterate()) {
      const text = encoder.encode(JSON.stringify(columns.map((column) => row[column] ?? null)));
      const state = blob === null ? null : (row[blob] as Uint8Array | null);
      const whole = state ? Buffer.concat([text, state]) : text;
      if (row.sum === crc32c(whole)) continue;
      damaged(
        findings,
        `the row ${row[columns[0]]} of ${table} is not what was written: its checksum differs`,
      );
    }
  }
}

/** The stored checkpoint is the truth. The served one follows it: behind is what a crash leaves, ahead is a rollback. */
function checkCheckpoint(db: Database.Database, served: Served, findings: Findings): void {
  const row = db.prepare<[], { size: number; note: string }>('SELECT size, note FROM checkpoint').get();
  const { servedBefore } = served;
  if (row && sizeOf(row.note) !== row.size)
    damaged(findings, `the checkpoint's row says ${row.size} blocks, its note ${sizeOf(row.note)}`);
  if (servedBefore === (row?.note ?? null)) return;
  // The served one gathers cosignatures below the note that state.db keeps.
  if (row && servedBefore?.startsWith(row.note)) return;
  const size = row ? sizeOf(row.note) : 0;
  if (servedBefore !== null && sizeOf(servedBefore) >= size) {
    const message = `holds a checkpoint of ${size} blocks; another, of ${sizeOf(servedBefore)}, is served: state.db was set back, or the served one is not ours`;
    findings.add('error', 'CHECKPOINT_DIFFERS', { file: FILE }, message);
  } else if (servedCheckpoint(served.dataDir) === servedBefore) {
    const message = `is older than the one of ${size} blocks in state.db; the gateway serves that one at its next start`;
    findings.add('note', 'CHECKPOINT_DIFFERS', { file: `ledger/${CHECKPOINT_PATH}` }, message);
  }
}

function sizeOf(note: string): number {
  return Number(note.split('\n', 2)[1]);
}
