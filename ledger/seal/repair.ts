// `fsck --repair` for the ledger: makes hash tiles and the served checkpoint again from entry bundles that lead to the
// signed root. Refuses where they do not: then something is lost or changed, and only a copy can bring it back.
import { join } from 'node:path';
import { parseCheckpoint } from '../format/checkpoint.ts';
import { FormatError } from '../format/errors.ts';
import { openNote, parseNote } from '../format/note.ts';
import { CHECKPOINT_PATH } from '../format/tile.ts';
import type { LedgerDisk } from './disk.ts';
import { loadStoredTree, type ReadRecords } from './stored.ts';
import { TileFiles } from './tilefiles.ts';

export interface RepairLedgerOptions {
  readonly dataDir: string;
  readonly disk: LedgerDisk;
  /** The note of state.db, the truth; null where it holds none: then the served one is. */
  readonly storedNote: string | null;
  readonly readRecords: ReadRecords;
  /** Copies a file (relative to the data directory) aside before it is written over; null where there is none. */
  readonly save: (path: string) => Promise<string | null>;
}

export type LedgerRepair =
  | {
      readonly kind: 'repaired';
      readonly files: readonly {
        readonly file: string;
        readonly what: string;
        readonly saved: string | null;
      }[];
    }
  | { readonly kind: 'none'; readonly reason: string };

/** Call under the lock of the data directory. */
export async function repairLedger(options: RepairLedgerOptions): Promise<LedgerRepair> {
  const { dataDir, disk, storedNote, readRecords, save } = options;
  const files = new TileFiles(disk, join(dataDir, 'ledger'));
  const served = files.read(CHECKPOINT_PATH);
  const servedNote = served && Buffer.from(served).toString('utf8');
  const note = storedNote ?? servedNote;
  if (note === null) return { kind: 'none', reason: 'there is no checkpoint to go by' };
  try {
    const checkpoint = parseCheckpoint(parseNote(note).text);
    const tree = await loadStoredTree(files, checkpoint, readRecords);
    if (tree.kind !== 'sound')
      return {
        kind: 'none',
        reason: 'the entry bundles do not lead to the signed root: restore ledger/ from a copy',
      };
    if (!tree.epochs) return { kind: 'none', reason: 'there is no genesis block' };
    openNote(parseNote(note), tree.epochs.keysAt(checkpoint.size));
    const repaired: { file: string; what: string; saved: string | null }[] = [];
    for (const { path } of tree.repairs) {
      const file = `ledger/${path}`;
      repaired.push({
        file,
        what: 'made again from the blocks under the signed root',
        saved: await save(file),
      });
    }
    if (tree.repairs.length > 0) files.write(tree.repairs);
    if (storedNote !== null && servedNote !== storedNote && !isAhead(servedNote, checkpoint.size)) {
      const file = `ledger/${CHECKPOINT_PATH}`;
      repaired.push({ file, what: 'written again from state.db', saved: await save(file) });
      files.replace(CHECKPOINT_PATH, Buffer.from(storedNote));
    }
    return { kind: 'repaired', files: repaired };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return { kind: 'none', reason: `the checkpoint cannot be used: ${error.message}` };
  }
}

/** A served checkpoint beyond the stored one means that state.db is the one that is old: nothing is to be overwritten. */
function isAhead(note: string | null, storedSize: number): boolean {
  if (note === null) return false;
  try {
    return parseCheckpoint(parseNote(note).text).size > storedSize;
  } catch {
    return false;
  }
}
