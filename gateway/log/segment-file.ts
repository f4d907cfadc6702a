// Owns one open segment file for all who read it in this thread: pieces of it lately read, the batches checked in
// them, its offset index. Refuses to look at bytes that were read before they were durable.
import { join } from 'node:path';
import { type BatchFault, type BatchHeader, checkBatch, HEADER_BYTES, readHeader } from './batch.ts';
import { CheckedBatch } from './checked-batch.ts';
import { type LogFs, readFully } from './fs.ts';
import { loadOffsetIndex } from './index-load.ts';
import { KeyIndex, readKeyIndexHeader } from './key-index-file.ts';
import { segmentFile } from './layout.ts';
import type { OffsetEntry } from './segment-index.ts';
import type { Kept, KeptBytes } from './shared-reads.ts';

const MAX_PIECES = 64;
const KEY_INDEX_RETRY_MS = 1000;

/**
 * Bytes [position, position + length) as they stood when the log was durable up to `readAtEnd`. A class, as DecodedRecord
 * is, so that V8 begins each in the young heap: with its bytes it is garbage soon.
 */
class Piece implements Kept {
  readonly position: number;
  /** How much was asked for; fewer arrive at the end of the file. */
  readonly length: number;
  readonly readAtEnd: number;
  bytes: Buffer;
  sizeBytes: number;
  arrived: Promise<void> | undefined;
  readonly batches = new Map<number, CheckedBatch>();
  readonly #onForget: (piece: Piece) => void;

  constructor(position: number, into: Buffer, readAtEnd: number, onForget: (piece: Piece) => void) {
    this.position = position;
    this.length = into.length;
    this.readAtEnd = readAtEnd;
    this.bytes = into.subarray(0, 0);
    this.sizeBytes = into.length;
    this.#onForget = onForget;
  }

  forget(): void {
    this.#onForget(this);
  }
}

/** What a reader expects at a position: a batch that holds this offset or one before it, and how durable the log is. */
export interface Expected {
  readonly offset: number;
  readonly end: number;
}

export class SegmentFile {
  readonly baseOffset: number;
  readonly name: string;
  readonly fileId: string | undefined;
  readonly #fs: LogFs;
  readonly #folder: string;
  readonly #kept: KeptBytes;
  readonly #indexesKept: KeptBytes;
  #fd: number;
  #holders = 0;
  #abandoned = false;
  /** The latest at the end. */
  #pieces: Piece[] = [];
  #keyIndex: KeyIndex | null = null;
  #keyIndexLoading: Promise<KeyIndex | null> | null = null;
  #keyIndexNotBefore = 0;
  #entries: { readonly entries: readonly OffsetEntry[]; readonly final: boolean } | null = null;
  readonly #forget = (piece: Piece): void => {
    const index = this.#pieces.indexOf(piece);
    if (index >= 0) this.#pieces.splice(index, 1);
  };

  constructor(
    fs: LogFs,
    folder: string,
    fd: number,
    baseOffset: number,
    fileId: string | undefined,
    kept: KeptBytes,
    indexesKept: KeptBytes,
  ) {
    this.#fs = fs;
    this.#folder = folder;
    this.#fd = fd;
    this.#kept = kept;
    this.#indexesKept = indexesKept;
    this.baseOffset = baseOffset;
    this.fileId = fileId;
    this.name = segmentFile(baseOffset, 'log');
  }

  get fd(): number {
    return this.#fd;
  }

  /** Its name is gone, or stands for another file. */
  get isGone(): boolean {
    return this.#abandoned;
  }

  get held(): boolean {
    return this.#holders > 0;
  }

  hold(): this {
    this.#holders += 1;
    return this;
  }

  async release(): Promise<void> {
    this.#holders -= 1;
    await this.#closeUnused();
  }

  /** No one else will be given it: it closes when the last holder lets go. */
  async abandon(): Promise<void> {
    this.#abandoned = true;
    await this.#closeUnused();
  }

  async #closeUnused(): Promise<void> {
    if (!this.#abandoned || this.#holders > 0 || this.#fd < 0) return;
    const fd = this.#fd;
    this.#fd = -1;
    for (const piece of this.#pieces.splice(0)) this.#kept.drop(piece);
    if (this.#keyIndex) {
      this.#indexesKept.drop(this.#keyIndex);
      this.#keyIndex.forget();
    }
    await this.#fs.close(fd);
  }

  /** Index entries, as far as needed to find `offset`; those of a segment that is still written to grow. */
  async entries(offset: number, final: boolean): Promise<readonly OffsetEntry[]> {
    const known = this.#entries;
    if (known && (known.final || (known.entries.at(-1)?.lastOffset ?? -1) >= offset)) return known.entries;
    const { entries } = (await loadOffsetIndex(this.#fs, this.#folder, this.baseOffset)).parsed;
    this.#entries = { entries, final };
    return entries;
  }

  /** The key index, when there is one that fits: it covers the segment up to some offset. */
  async keyIndex(): Promise<KeyIndex | null> {
    const known = this.#keyIndex;
    if (known) this.#indexesKept.use(known);
    if (known?.summary.isComplete || performance.now() < this.#keyIndexNotBefore) return known;
    this.#keyIndexLoading ??= this.#loadKeyIndex().finally(() => {
      this.#keyIndexLoading = null;
    });
    return this.#keyIndexLoading;
  }

  async #loadKeyIndex(): Promise<KeyIndex | null> {
    // It may not have been made yet, or cover more later: looked for again then.
    this.#keyIndexNotBefore = performance.now() + KEY_INDEX_RETRY_MS;
    const path = join(this.#folder, segmentFile(this.baseOffset, 'keys'));
    const covered = this.#keyIndex?.summary.segmentBytes ?? 0;
    const there = covered > 0 ? await readKeyIndexHeader(this.#fs, path) : null;
    if (covered > 0 && (there === null || (there.segmentBytes <= covered && !there.isComplete)))
      return this.#keyIndex;
    const index = await KeyIndex.load(this.#fs, path, this.baseOffset, this.#fd, (forgotten) => {
      if (this.#keyIndex !== forgotten) return;
      this.#keyIndex = null;
      this.#keyIndexNotBefore = 0;
    });
    if (!index) return this.#keyIndex;
    if (this.#fd < 0) {
      index.forget();
      return null;
    }
    const old = this.#keyIndex;
    this.#keyIndex = index;
    if (old) {
      this.#indexesKept.drop(old);
      old.forget();
    }
    this.#indexesKept.use(index);
    return index;
  }

  /** The header at `position`, its batch not yet checked. `wantBytes` is how much to read when reading at all. */
  async header(position: number, expected: Expected, wantBytes: number): Promise<BatchHeader | BatchFault> {
    const piece = await this.#load(position, HEADER_BYTES, wantBytes, expected);
    return piece.batches.get(position)?.header ?? headerIn(piece, position);
  }

  /** The whole, checked batch at `position`; or why there is none. */
  async batch(position: number, expected: Expected, wantBytes: number): Promise<CheckedBatch | BatchFault> {
    let piece = await this.#load(position, HEADER_BYTES, wantBytes, expected);
    const header = piece.batches.get(position)?.header ?? headerIn(piece, position);
    if (typeof header === 'string') return header;
    if (!holds(piece, position, header.sizeBytes))
      piece = await this.#load(position, header.sizeBytes, wantBytes, expected);
    const known = piece.batches.get(position);
    if (known) return known;
    const at = position - piece.position;
    // Read once more, perhaps: the header is that of these bytes.
    const again = headerIn(piece, position);
    if (typeof again === 'string') return again;
    const fault = checkBatch(piece.bytes, at, piece.bytes.length, again);
    if (fault) return fault;
    const batch = new CheckedBatch(again, piece.bytes, at, (plainBytes) => {
      piece.sizeBytes += plainBytes;
    });
    piece.batches.set(position, batch);
    return batch;
  }

  /** A piece that has `needBytes` from `position`, or all that the file has. */
  async #load(position: number, needBytes: number, wantBytes: number, expected: Expected): Promise<Piece> {
    const length = Math.max(needBytes, wantBytes);
    const found = this.#find(position, needBytes, expected);
    if (found) {
      await found.arrived;
      // The file ended inside what was asked for: then it had no more when it was read.
      if (holds(found, position, needBytes) || found.readAtEnd >= expected.end) {
        if (this.#pieces.includes(found)) this.#kept.use(found);
        return found;
      }
    }
    return this.#read(position, length, expected);
  }

  /** Batches become durable whole, so what begins below a piece's readAtEnd was final when it was read. */
  #find(position: number, needBytes: number, expected: Expected): Piece | undefined {
    return this.#pieces.findLast(
      (piece) =>
        position >= piece.position &&
        position + needBytes <= piece.position + piece.length &&
        expected.offset < piece.readAtEnd,
    );
  }

  async #read(position: number, length: number, expected: Expected): Promise<Piece> {
    const fresh = Buffer.allocUnsafeSlow(length);
    const before = this.#pieces.findLast(
      (piece) =>
        position >= piece.position &&
        position < piece.position + piece.bytes.length &&
        expected.offset < piece.readAtEnd,
    );
    const reused = before ? before.bytes.copy(fresh, 0, position - before.position) : 0;
    const read = readFully(this.#fs, this.#fd, fresh.subarray(reused), length - reused, position + reused);
    // What was reused is all of one batch that was final already, or it would have been enough.
    const piece = new Piece(position, fresh, expected.end, this.#forget);
    piece.arrived = Promise.resolve(read).then((bytes) => {
      piece.bytes = fresh.subarray(0, reused + bytes);
    });
    this.#pieces.push(piece);
    if (this.#pieces.length > MAX_PIECES) {
      const oldest = this.#pieces.shift()!;
      this.#kept.drop(oldest);
    }
    this.#kept.use(piece);
    try {
      await piece.arrived;
    } catch (error) {
      this.#forget(piece);
      this.#kept.drop(piece);
      throw error;
    }
    return piece;
  }
}

function headerIn(piece: Piece, position: number): BatchHeader | BatchFault {
  const at = Math.min(position - piece.position, piece.bytes.length);
  return readHeader(piece.bytes, at, piece.bytes.length);
}

function holds(piece: Piece, position: number, length: number): boolean {
  return position + length <= piece.position + piece.bytes.length;
}
