// Checks the sparse indexes of one segment against its batches as they are walked. Reads index files, judges
// nothing else, and makes no index.
import { readFileSync } from 'node:fs';
import type { Findings, Severity } from './findings.ts';
import type { RecordBatch, SegmentFile } from './segments.ts';

/*
 * .index      entries of 8 bytes:  last offset of a batch - base offset i32, position of that batch i32
 * .timeindex  entries of 12 bytes: greatest timestamp so far i64, last offset of its batch - base offset i32
 * both strictly ascending
 */
const OFFSET_ENTRY_BYTES = 8;
const TIME_ENTRY_BYTES = 12;

interface Entry {
  /** Byte position of the entry in its own file. */
  readonly at: number;
  readonly lastOffset: number;
  /** Position of the batch, or the greatest timestamp. */
  readonly value: number;
}

function readEntries(bytes: Uint8Array, entryBytes: number, baseOffset: number): Entry[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries: Entry[] = [];
  for (let at = 0; at + entryBytes <= bytes.length; at += entryBytes) {
    const isTime = entryBytes === TIME_ENTRY_BYTES;
    const lastOffset = baseOffset + view.getInt32(isTime ? at + 8 : at);
    entries.push({ at, lastOffset, value: isTime ? Number(view.getBigInt64(at)) : view.getInt32(at + 4) });
  }
  return entries;
}

/** One index file of one segment, walked along with the segment's batches. */
class IndexWalk {
  readonly file: string;
  readonly #findings: Findings;
  readonly #entries: Entry[];
  #next = 0;
  #isWrong = false;

  constructor(findings: Findings, file: string, bytes: Uint8Array, entryBytes: number, baseOffset: number) {
    this.file = file;
    this.#findings = findings;
    this.#entries = readEntries(bytes, entryBytes, baseOffset);
    if (bytes.length % entryBytes !== 0) {
      const whole = this.#entries.length * entryBytes;
      this.wrong(whole, `${bytes.length - whole} bytes after the last whole entry`);
    }
  }

  get current(): Entry | undefined {
    return this.#entries[this.#next];
  }

  advance(): void {
    this.#next += 1;
  }

  /** One finding a file is enough: the index is made again as a whole. */
  wrong(position: number, message: string): void {
    if (this.#isWrong) return;
    this.#isWrong = true;
    this.#findings.add(
      'warning',
      'INDEX_WRONG',
      { file: this.file, position },
      `${message}; the gateway makes it again`,
    );
  }
}

export class IndexCheck {
  readonly #offsets: IndexWalk | null;
  readonly #times: IndexWalk | null;
  #maxTimestampMs = Number.NEGATIVE_INFINITY;

  /** @param isLast the segment still written to: its indexes may not be on disk yet, or be behind it */
  constructor(findings: Findings, segment: SegmentFile, isLast: boolean) {
    const open = (extension: string, entryBytes: number): IndexWalk | null => {
      const name = segment.name.replace(/\.log$/, extension);
      const bytes = readIfThere(segment.path.replace(/\.log$/, extension));
      if (bytes) return new IndexWalk(findings, `log/${name}`, bytes, entryBytes, segment.baseOffset);
      const severity: Severity = 'warning';
      if (!isLast)
        findings.add(
          severity,
          'INDEX_MISSING',
          { file: `log/${name}` },
          'missing; the gateway makes it again',
        );
      return null;
    };
    this.#offsets = open('.index', OFFSET_ENTRY_BYTES);
    this.#times = open('.timeindex', TIME_ENTRY_BYTES);
  }

  /** The next batch of the segment, in file order. */
  batch(batch: RecordBatch): void {
    this.skipTo(batch.position, batch.baseOffset);
    const offsets = this.#offsets;
    if (offsets?.current?.value === batch.position) {
      const { at, lastOffset } = offsets.current;
      if (lastOffset !== batch.lastOffset) {
        offsets.wrong(
          at,
          `the entry for byte ${batch.position} says offset ${lastOffset}, the batch ends at ${batch.lastOffset}`,
        );
      }
      offsets.advance();
    }
    const times = this.#times;
    if (times?.current?.lastOffset === batch.lastOffset) {
      const { at, value } = times.current;
      if (value !== batch.maxTimestampMs || value <= this.#maxTimestampMs) {
        times.wrong(
          at,
          `the entry for offset ${batch.lastOffset} says time ${value}, which is not the greatest so far`,
        );
      }
      times.advance();
    }
    this.#maxTimestampMs = Math.max(this.#maxTimestampMs, batch.maxTimestampMs);
  }

  /** Entries between the batches walked so far and this place point at no batch. */
  skipTo(position: number, baseOffset: number): void {
    for (
      let entry = this.#offsets?.current;
      entry && entry.value < position;
      entry = this.#offsets?.current
    ) {
      this.#offsets!.wrong(entry.at, `the entry points at byte ${entry.value}, where no batch begins`);
      this.#offsets!.advance();
    }
    for (
      let entry = this.#times?.current;
      entry && entry.lastOffset < baseOffset;
      entry = this.#times?.current
    ) {
      this.#times!.wrong(entry.at, `the entry names offset ${entry.lastOffset}, where no batch ends`);
      this.#times!.advance();
    }
  }

  /** Unreadable bytes: entries that point into them cannot be judged. */
  damage(from: number, to: number): void {
    this.skipTo(from, 0);
    while (this.#offsets?.current && this.#offsets.current.value < to) this.#offsets.advance();
  }

  /** After damage the offsets it held are unknown up to `nextOffset`. */
  resumeAt(nextOffset: number): void {
    while (this.#times?.current && this.#times.current.lastOffset < nextOffset) this.#times.advance();
  }

  end(): void {
    this.skipTo(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
  }
}

export function readIfThere(path: string): Uint8Array | null {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}
