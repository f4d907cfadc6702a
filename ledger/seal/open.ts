// Opens the sealer: compares what is on disk with what was signed, and refuses where the two disagree. Writes only
// what a crash left undone; judges records only of blocks that nobody signed yet.
import { join } from 'node:path';
import { type Checkpoint, parseCheckpoint } from '../format/checkpoint.ts';
import type { ChainEpochs } from '../format/epochs.ts';
import { FormatError } from '../format/errors.ts';
import { equalBytes } from '../format/hash.ts';
import { openNote, parseNote } from '../format/note.ts';
import { CHECKPOINT_PATH } from '../format/tile.ts';
import { nodeEd25519 } from '../keys/ed25519.ts';
import { Sealer, type SealerPorts } from './sealer.ts';
import { type IsDropped, loadStoredTree, type ReadRecords } from './stored.ts';
import { TileFiles } from './tilefiles.ts';

const encoder = new TextEncoder();

export interface OpenSealerPorts extends SealerPorts {
  readonly readRecords: ReadRecords;
  readonly isDropped?: IsDropped;
  /** One past the last durable offset of the log. */
  readonly logEnd: number;
  /** Asked before anything is written or signed: why nothing may be, or null. */
  readonly mayGoOn?: (epochs: ChainEpochs, signed: { size: number; note: string }) => Promise<string | null>;
}

export type RefusalReason =
  | 'rolled-back' // the disk holds less, or other, than was signed
  | 'damaged' // an entry bundle cannot be read, or unsigned blocks do not fit the log
  | 'log-behind' // the log ends before what is sealed
  | 'other-key' // the chain was begun under another key
  | 'other-origin'; // the chain was begun under another name

export type OpenedSealer =
  | { readonly kind: 'ready'; readonly sealer: Sealer; readonly repairedFiles: readonly string[] }
  | {
      readonly kind: 'refused';
      readonly reason: RefusalReason;
      readonly message: string;
      readonly facts: Readonly<Record<string, string | number>>;
    };

function refused(
  reason: RefusalReason,
  message: string,
  facts: Record<string, string | number>,
): Extract<OpenedSealer, { kind: 'refused' }> {
  return { kind: 'refused', reason, message, facts };
}

type SignedHead =
  | { readonly kind: 'head'; readonly note: string; readonly checkpoint: Checkpoint }
  | { readonly kind: 'none' }
  | Extract<OpenedSealer, { kind: 'refused' }>;

/** The checkpoint of state.db, checked to be of our origin. */
function loadSignedHead(ports: OpenSealerPorts): SignedHead {
  const stored = ports.checkpoints.loadCheckpoint();
  if (!stored) return { kind: 'none' };
  try {
    const note = parseNote(stored.note);
    const checkpoint = parseCheckpoint(note.text);
    if (checkpoint.origin !== ports.config.origin) {
      return refused(
        'other-origin',
        `this ledger belongs to ${checkpoint.origin}, the configuration says ${ports.config.origin}`,
        { ledger: checkpoint.origin, configured: ports.config.origin },
      );
    }
    return { kind: 'head', note: stored.note, checkpoint };
  } catch (error) {
    return badHead(error);
  }
}

function badHead(error: unknown): Extract<OpenedSealer, { kind: 'refused' }> {
  if (!(error instanceof FormatError)) throw error;
  const isKey = error.code === 'NOTE_NOT_SIGNED' || error.code === 'NOTE_SIGNATURE_INVALID';
  return refused(isKey ? 'other-key' : 'damaged', `the checkpoint of state.db: ${error.message}`, {
    file: 'state.db',
    code: error.code,
  });
}

/** The stored checkpoint must be signed with the key that was in force then, and the one in force now be at hand. */
function checkKeys(
  ports: OpenSealerPorts,
  head: SignedHead,
  epochs: ChainEpochs,
): Extract<OpenedSealer, { kind: 'refused' }> | null {
  const held = [ports.key, ...(ports.nextKey ? [ports.nextKey] : [])];
  if (!held.some(({ publicKey }) => equalBytes(publicKey, epochs.key.publicKey)))
    return refused('other-key', 'gateway.key is not the key that this ledger goes on with', {
      file: 'gateway.key',
    });
  try {
    if (head.kind === 'head')
      openNote(parseNote(head.note), epochs.keysAt(head.checkpoint.size), nodeEd25519);
    return null;
  } catch (error) {
    return badHead(error);
  }
}

/** A served checkpoint beyond the stored one means that state.db is older than what the world has seen. */
function checkServed(files: TileFiles, head: SignedHead): Extract<OpenedSealer, { kind: 'refused' }> | null {
  const bytes = files.read(CHECKPOINT_PATH);
  if (!bytes) return null;
  let served: Checkpoint;
  try {
    served = parseCheckpoint(parseNote(bytes).text);
  } catch (error) {
    // Half a file after a power cut: state.db is the truth and the file will be written again.
    if (error instanceof FormatError) return null;
    throw error;
  }
  const size = head.kind === 'head' ? head.checkpoint.size : 0;
  const isFork =
    head.kind === 'head' && served.size === size && !equalBytes(served.root, head.checkpoint.root);
  if (served.size <= size && !isFork) return null;
  return refused('rolled-back', `a checkpoint of ${served.size} blocks was served, state.db knows ${size}`, {
    served: served.size,
    stored: size,
  });
}

/**
 * Compares what is on disk with what was signed and makes the sealer ready: unsigned blocks a crash left behind
 * are signed, the served checkpoint is brought up to date, strays are removed.
 */
export async function openSealer(ports: OpenSealerPorts): Promise<OpenedSealer> {
  const { config } = ports;
  const files = new TileFiles(ports.disk, join(ports.dataDir, 'ledger'));
  const head = loadSignedHead(ports);
  if (head.kind === 'refused') return head;
  const servedAhead = checkServed(files, head);
  if (servedAhead) return servedAhead;

  const signed = head.kind === 'head' ? head.checkpoint : null;
  const tree = await loadStoredTree(files, signed, ports.readRecords, ports.isDropped);
  if (tree.kind === 'behind' || tree.kind === 'other-root') {
    const what =
      tree.kind === 'behind'
        ? `only ${tree.size} blocks are on disk`
        : 'the blocks on disk have another root';
    return refused('rolled-back', `${signed!.size} blocks were signed, ${what}`, {
      signed: signed!.size,
      stored: tree.size,
    });
  }
  if (tree.kind === 'damaged') {
    return refused('damaged', `${tree.file}: ${tree.reason}`, { file: tree.file, height: tree.height });
  }
  const { genesis, epochs, last } = tree;
  if (genesis && genesis.origin !== config.origin) {
    return refused('other-origin', `this ledger belongs to ${genesis.origin}`, { ledger: genesis.origin });
  }
  const wrongKeys = epochs && checkKeys(ports, head, epochs);
  if (wrongKeys) return wrongKeys;
  const next = last ? last.block.first + last.block.count : 0;
  if (ports.logEnd < next) {
    return refused('log-behind', `records up to ${next} are sealed, the log ends at ${ports.logEnd}`, {
      sealed: next,
      logEnd: ports.logEnd,
    });
  }
  const objection =
    head.kind === 'head' && epochs ? await ports.mayGoOn?.(epochs, { ...head, size: signed!.size }) : null;
  if (objection) return refused('rolled-back', objection, { signed: signed!.size });
  files.clearStrays(tree.edge.size);
  if (tree.repairs.length > 0) files.write(tree.repairs);
  const sealer = new Sealer(ports, {
    epochs,
    files,
    edge: tree.edge,
    last,
    signedSize: signed?.size ?? 0,
    signedNote: head.kind === 'head' ? head.note : null,
  });
  // A crash between storing a checkpoint and serving it ends here.
  if (head.kind === 'head') files.replace(CHECKPOINT_PATH, encoder.encode(head.note));
  // What a crash left unsigned is signed as it is: a key block must be the last of its checkpoint.
  sealer.commit();
  sealer.beginBoot(config.recovery);
  sealer.commit();
  return { kind: 'ready', sealer, repairedFiles: signed ? tree.repairs.map((file) => file.path) : [] };
}
