// Checkpoint text (C2SP tlog-checkpoint): origin, size, root. Signatures belong to note.ts.

import { fromBase64Sized, toBase64 } from './base64.ts';
import { type TreeSize, treeSize } from './brand.ts';
import { parseDecimal } from './decimal.ts';
import { FormatError } from './errors.ts';
import { EMPTY_ROOT, equalBytes, HASH_BYTES } from './hash.ts';
import { isKeyName } from './text.ts';

/** A tree head: what is signed and cosigned. */
export interface Checkpoint {
  readonly origin: string;
  readonly size: TreeSize;
  readonly root: Uint8Array;
}

/*
 * text = origin LF  size LF  root LF      size: decimal; root: base64 of 32 bytes; no extension lines
 */
export function formatCheckpoint(checkpoint: Checkpoint): string {
  const { origin, size, root } = checkpoint;
  if (!isKeyName(origin)) throw invalid('the origin is not a key name', { origin });
  if (root.length !== HASH_BYTES) throw invalid(`the root has ${root.length} bytes`);
  return `${origin}\n${treeSize(size)}\n${toBase64(root)}\n`;
}

/** Strict. Throws CHECKPOINT_INVALID. */
export function parseCheckpoint(text: string): Checkpoint {
  const lines = text.split('\n');
  if (lines.length !== 4 || lines[3] !== '') {
    throw invalid('a checkpoint is three lines (origin, size, root), each ended by LF', {
      lines: lines.length - 1,
    });
  }
  const origin = lines[0]!;
  if (!isKeyName(origin)) throw invalid('the origin is not a key name', { origin });
  const size = parseDecimal(lines[1]!, 'tree size', 'CHECKPOINT_INVALID') as TreeSize;
  const root = fromBase64Sized(lines[2]!, HASH_BYTES, 'root', 'CHECKPOINT_INVALID');
  if (size === 0 && !equalBytes(root, EMPTY_ROOT)) throw invalid('an empty tree has the root SHA-256("")');
  return { origin, size, root };
}

function invalid(message: string, facts: Record<string, string | number> = {}): FormatError {
  return new FormatError('CHECKPOINT_INVALID', message, { facts });
}
