// Owns the packing of a batch's records with zstd (Node's own) and the unpacking within limits. Refuses to unpack what
// says, or turns out, to be larger than a batch may be, before the memory for it is taken.
//
// Zstandard frame (RFC 8878), as far as it is read here:
//
//   magic         4 bytes   28 b5 2f fd
//   descriptor    1 byte    bits 7-6 size of the content size, 5 single segment, 1-0 size of the dictionary id
//   window        1 byte    absent in a single segment
//   dictionary    0, 1, 2 or 4 bytes
//   content size  0 (1 in a single segment), 2 (+ 256), 4 or 8 bytes, little-endian
import { constants, zstdCompress, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import type { LogConfig } from './config.ts';

/** Up to here packing on the ingest thread takes less than handing over to another thread does (some 0.1 ms). */
const SYNC_MAX_BYTES = 32 * 1024;
/** After batches that did not pay: how many are not tried, doubled each time up to this. */
const MAX_SKIPS = 64;
const MAX_WINDOW_LOG = 26;
const NO_SIZES = [0, 2, 4, 8] as const;
const DICTIONARY_SIZES = [0, 1, 2, 4] as const;

/** Decides which runs of records are worth packing, and packs them one at a time. */
export class Packer {
  readonly #config: LogConfig['compression'];
  #skips = 0;
  #skipNext = 1;

  constructor(config: LogConfig['compression']) {
    this.#config = config;
  }

  /** The records packed, or null to store them as they are; a promise where packing is done off this thread. */
  pack(records: Uint8Array): Uint8Array | null | Promise<Uint8Array | null> {
    const { codec, minBatchBytes, level } = this.#config;
    if (codec === 'none' || records.length < minBatchBytes) return null;
    if (this.#skips > 0) {
      this.#skips -= 1;
      return null;
    }
    const options = {
      params: { [constants.ZSTD_c_compressionLevel]: level },
      pledgedSrcSize: records.length,
    };
    if (records.length <= SYNC_MAX_BYTES)
      return this.#judge(records.length, zstdCompressSync(records, options));
    return new Promise((resolve, reject) => {
      zstdCompress(records, options, (error, packed) => {
        if (error) reject(error);
        else resolve(this.#judge(records.length, packed));
      });
    });
  }

  #judge(plainBytes: number, packed: Uint8Array): Uint8Array | null {
    if (packed.length <= plainBytes * (1 - this.#config.minSavedPercent / 100)) {
      this.#skipNext = 1;
      return packed;
    }
    this.#skips = this.#skipNext;
    this.#skipNext = Math.min(this.#skipNext * 2, MAX_SKIPS);
    return null;
  }
}

/** Bytes the frame says it unpacks to; null where it does not say, or is none. */
export function contentSize(frame: Uint8Array): number | null {
  if (frame.length < 6) return null;
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (view.getUint32(0, true) !== 0xfd2fb528) return null;
  const descriptor = frame[4]!;
  const single = (descriptor & 0x20) !== 0;
  const flag = descriptor >>> 6;
  const bytes = flag === 0 && single ? 1 : NO_SIZES[flag]!;
  const at = 5 + (single ? 0 : 1) + DICTIONARY_SIZES[descriptor & 3]!;
  if (bytes === 0 || at + bytes > frame.length) return null;
  if (bytes === 1) return frame[at]!;
  if (bytes === 2) return view.getUint16(at, true) + 256;
  return bytes === 4 ? view.getUint32(at, true) : Number(view.getBigUint64(at, true));
}

/** Throws a RangeError for more than `maxBytes`, and zlib's errors for what is no whole frame. */
export function unpack(frame: Uint8Array, maxBytes: number): Buffer {
  const declared = contentSize(frame);
  if (declared !== null && declared > maxBytes)
    throw new RangeError(`unpacks to ${declared} bytes, at most ${maxBytes} are allowed`);
  const plain = zstdDecompressSync(frame, {
    // A frame that lies, or is followed by another, stops where it passes what it said.
    maxOutputLength: Math.max(1, declared ?? maxBytes),
    params: { [constants.ZSTD_d_windowLogMax]: MAX_WINDOW_LOG },
  });
  if (declared !== null && plain.length !== declared)
    throw new RangeError(`says ${declared} bytes and unpacks to ${plain.length}`);
  return plain;
}
