// Writes the folder `<dataDir>/subtrees`: for blocks just signed the roots of their subtrees, so that a proof need not read the
// whole block. Never synced and never waited for: what a crash or a full disk loses, proofs take from the records. Its form is
// in ledger/tiles/subtreefiles.ts. Never throws.
import {
  closeSync,
  constants,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import {
  encodeHeader,
  FILE_BYTES_MAX,
  firstOf,
  HEADER_BYTES,
  isSubtreesFile,
  readAt,
  slotAt,
  subtreesFile,
  subtreesFolder,
} from '../tiles/subtreefiles.ts';

export interface BlockSubtrees {
  readonly height: number;
  /** First offset of the block. */
  readonly first: number;
  /** Side by side. */
  readonly roots: Buffer;
}

export interface SubtreeSink {
  add(blocks: readonly BlockSubtrees[]): void;
  /** Lets go of blocks of which nothing at or after this offset is left. */
  prune(start: number): void;
}

export class SubtreeWriter implements SubtreeSink {
  readonly #folder: string;
  readonly #onError: (error: unknown) => void;
  #failing = false;

  /** @param onError called with the first of errors in a row */
  constructor(dataDir: string, onError: (error: unknown) => void) {
    this.#folder = subtreesFolder(dataDir);
    this.#onError = onError;
  }

  add(blocks: readonly BlockSubtrees[]): void {
    if (blocks.length === 0) return;
    this.#try(() => {
      mkdirSync(this.#folder, { recursive: true });
      for (const [name, group] of Map.groupBy(blocks, ({ height }) => subtreesFile(height)))
        addTo(join(this.#folder, name), group);
    });
  }

  prune(start: number): void {
    this.#try(() => {
      const names = readdirSync(this.#folder).filter(isSubtreesFile).sort();
      for (const [index, name] of names.entries()) {
        // The newest stays: it has no successor that says where it ends.
        const next = names[index + 1];
        const end = next === undefined ? null : readFirst(join(this.#folder, next));
        if (end === null || end > start) return;
        rmSync(join(this.#folder, name), { force: true });
      }
    });
  }

  #try(work: () => void): void {
    try {
      work();
      this.#failing = false;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      if (!this.#failing) this.#onError(error);
      this.#failing = true;
    }
  }
}

function addTo(path: string, blocks: readonly BlockSubtrees[]): void {
  const file = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o644);
  try {
    let end = fstatSync(file).size;
    const header = end < HEADER_BYTES ? null : readAt(file, HEADER_BYTES, 0);
    // Not whole, not ours, or full of roots that were written more than once: begun anew.
    if (!header || firstOf(header) === null || end > FILE_BYTES_MAX) {
      ftruncateSync(file, 0);
      writeAll(file, encodeHeader(blocks[0]!.first), 0);
      end = HEADER_BYTES;
    }
    for (const { height, roots } of blocks) {
      writeAll(file, roots, end);
      // A crash here leaves roots that nothing points to.
      const position = Buffer.alloc(4);
      position.writeUInt32BE(end);
      writeAll(file, position, slotAt(height));
      end += roots.length;
    }
  } finally {
    closeSync(file);
  }
}

function writeAll(fd: number, bytes: Buffer, position: number): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at, bytes.length - at, position + at);
}

function readFirst(path: string): number | null {
  const fd = openSync(path, 'r');
  try {
    const header = readAt(fd, HEADER_BYTES, 0);
    const first = header && firstOf(header);
    return first === null ? null : Number(first);
  } finally {
    closeSync(fd);
  }
}
