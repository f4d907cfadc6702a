// Checks state.db, the gateway's cursors and signed checkpoint: as a database (databasecheck.ts), and the checkpoint against
// the one that is served. Changes nothing, repairs nothing.
import { join } from 'node:path';
import type Database from 'better-sqlite3';
import { CHECKPOINT_PATH } from '../format/tile.ts';
import { checkDatabase } from './databasecheck.ts';
import { readOrNull } from './directory.ts';
import type { Findings } from './findings.ts';

const FILE = 'state.db';

/* Databases of version 1 and 2 have no sums: the gateway adds them at its next start. */
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

export function checkState(dataDir: string, findings: Findings): void {
  const servedBefore = servedCheckpoint(dataDir);
  checkDatabase(
    dataDir,
    {
      file: FILE,
      code: 'STATE_DAMAGED',
      writeAheadLog: true,
      summedFrom: 3,
      newest: 3,
      summed: SUMMED,
      also: (db) => checkCheckpoint(db, { dataDir, servedBefore }, findings),
    },
    findings,
  );
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

/** The stored checkpoint is the truth. The served one follows it: behind is what a crash leaves, ahead is a rollback. */
function checkCheckpoint(db: Database.Database, served: Served, findings: Findings): void {
  const row = db.prepare<[], { size: number; note: string }>('SELECT size, note FROM checkpoint').get();
  const { servedBefore } = served;
  if (row && sizeOf(row.note) !== row.size)
    findings.add(
      'error',
      'STATE_DAMAGED',
      { file: FILE },
      `the checkpoint's row says ${row.size} blocks, its note ${sizeOf(row.note)}`,
    );
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
