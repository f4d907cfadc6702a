// Owns the walk from batch to batch through a segment file, checking every frame. Stops at the first thing that is
// no batch of the expected offset and says why; judging that (torn, damaged, the end) is for others.
import { type BatchFault, type BatchHeader, checkBatch, HEADER_BYTES, readHeader } from './batch.ts';
import type { FileWindow } from './file-window.ts';

const READ_BYTES = 256 * 1024;

export interface WalkEnd {
  /** First byte after the last good batch. */
  readonly position: number;
  /** The offset that would come there. */
  readonly offset: number;
  readonly fault: BatchFault;
}

/** The whole, checked batch at `position`, which then lies in the window; or why there is none. */
export async function batchAt(window: FileWindow, position: number): Promise<BatchHeader | BatchFault> {
  let present = await window.load(position, HEADER_BYTES, READ_BYTES);
  const header = readHeader(window.bytes, window.at(position), window.at(position) + present);
  if (typeof header === 'string') return header;
  present = await window.load(position, header.sizeBytes, READ_BYTES);
  return checkBatch(window.bytes, window.at(position), window.at(position) + present, header) ?? header;
}

/**
 * Walks from `position`, where `offset` is expected. Offsets must follow each other without a gap. `onBatch` sees
 * each good batch; bytes are read in pieces of 256 KiB or one batch, whichever is more.
 */
export async function walk(
  window: FileWindow,
  position: number,
  offset: number,
  onBatch?: (header: BatchHeader, position: number) => void,
): Promise<WalkEnd> {
  let at = position;
  let expected = offset;
  for (;;) {
    const header = await batchAt(window, at);
    if (typeof header === 'string') return { position: at, offset: expected, fault: header };
    if (header.baseOffset !== expected) return { position: at, offset: expected, fault: 'bad base offset' };
    onBatch?.(header, at);
    at += header.sizeBytes;
    expected = header.lastOffset + 1;
  }
}
