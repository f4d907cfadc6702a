// The folder `<dataDir>/subtrees`: what its files look like, and how a prover reads them. A hint: it may be missing, behind or
// damaged at any time, and nobody believes it. Writes nothing; ledger/seal/subtrees.ts does.
//
// One file for 256 heights, big-endian; see docs/formats.md:
//
//   magic "TMSR", version u32 = 1, u64 first offset of the first block in it
//   256 × u32 position of the block's roots in the file, 0 where there are none
//   roots of blocks, 32 bytes each, in the order in which they came
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { type Block, MAX_BLOCK_RECORDS } from '../format/block.ts';
import { HASH_BYTES } from './batchtree.ts';
import { SUBTREES_FROM, subtreesOf } from './subtrees.ts';

const MAGIC = Buffer.from('TMSR');
const VERSION = 1;
const TABLE_AT = 16;
export const BLOCKS_A_FILE = 256;
export const HEADER_BYTES = TABLE_AT + 4 * BLOCKS_A_FILE;
/** A file that grew beyond it holds the roots of its blocks more than once. */
export const FILE_BYTES_MAX = HEADER_BYTES + BLOCKS_A_FILE * subtreesOf(MAX_BLOCK_RECORDS) * HASH_BYTES;

export const subtreesFolder = (dataDir: string): string => join(dataDir, 'subtrees');

const NAME = /^\d{12}\.roots$/;
export const isSubtreesFile = (name: string): boolean => NAME.test(name);
export const subtreesFile = (height: number): string =>
  `${String(Math.floor(height / BLOCKS_A_FILE)).padStart(12, '0')}.roots`;

/** Where the position of a block's roots stands. */
export const slotAt = (height: number): number => TABLE_AT + 4 * (height % BLOCKS_A_FILE);

export function encodeHeader(first: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header);
  header.writeUInt32BE(VERSION, 4);
  header.writeBigUInt64BE(BigInt(first), 8);
  return header;
}

/** The first offset, or null where these are not the first bytes of such a file. */
export function firstOf(header: Uint8Array): bigint | null {
  const bytes = Buffer.from(header.buffer, header.byteOffset, header.length);
  const isOurs =
    bytes.length >= TABLE_AT && bytes.subarray(0, 4).equals(MAGIC) && bytes.readUInt32BE(4) === VERSION;
  return isOurs ? bytes.readBigUInt64BE(8) : null;
}

/** The subtree roots kept of a block, or null. */
export type ReadSubtrees = (block: Pick<Block, 'height' | 'count'>) => Buffer | null;

/** Reads at once, without the thread pool: some microseconds, in threads that do nothing but prove. */
export function directorySubtrees(dataDir: string): ReadSubtrees {
  const folder = subtreesFolder(dataDir);
  return ({ height, count }) => (count < SUBTREES_FROM ? null : readRoots(folder, height, count));
}

export function readRoots(folder: string, height: number, count: number): Buffer | null {
  let fd: number;
  try {
    fd = openSync(join(folder, subtreesFile(height)), 'r');
  } catch {
    // Whatever the reason: the records say the same.
    return null;
  }
  try {
    const header = readAt(fd, HEADER_BYTES, 0);
    if (!header || firstOf(header) === null) return null;
    const position = header.readUInt32BE(slotAt(height));
    return position < HEADER_BYTES ? null : readAt(fd, subtreesOf(count) * HASH_BYTES, position);
  } catch {
    return null;
  } finally {
    closeSync(fd);
  }
}

/** Null where the file ends before. */
export function readAt(fd: number, length: number, position: number): Buffer | null {
  const bytes = Buffer.alloc(length);
  for (let read = 0; read < length; ) {
    const got = readSync(fd, bytes, read, length - read, position + read);
    if (got === 0) return null;
    read += got;
  }
  return bytes;
}
