// A proof in the C2SP tlog-proof form, for other people's tools: it proves the block; what leads from the record to the
// block travels in its `extra` line. Reading one gives the proof back. Verifies nothing.
import { fromBase64, fromBase64Sized, toBase64 } from './base64.ts';
import { parseBlock } from './block.ts';
import { parseDecimal } from './decimal.ts';
import { HASH_BYTES } from './hash.ts';
import {
  formatProofFile,
  invalidProof,
  PROOF_FORMAT,
  type Proof,
  parseProofFile,
  proofToJson,
} from './proof.ts';
import { fromUtf8, toUtf8 } from './text.ts';

/*
 * "c2sp.org/tlog-proof@v1" LF
 * "extra " base64 of the JSON {"record", "batch", "block"} of a tidemark proof file LF
 * "index " height of the block LF
 * hashes of the block path, base64, one a line LF
 * LF, then the checkpoint note
 */
const HEAD = 'c2sp.org/tlog-proof@v1';

export const isTlogProof = (text: string): boolean => text.startsWith(`${HEAD}\n`);

export function formatTlogProof(proof: Proof): string {
  const { record, batch, block } = proofToJson(proof);
  const extra = toUtf8(JSON.stringify({ record, batch, block }), 'extra', 'PROOF_INVALID');
  const { height } = parseBlock(toUtf8(proof.block, 'block', 'BLOCK_INVALID'));
  const hashes = proof.blockPath.map((hash) => `${toBase64(hash)}\n`).join('');
  return `${HEAD}\nextra ${toBase64(extra)}\nindex ${height}\n${hashes}\n${proof.checkpoint}`;
}

/** A tlog-proof that formatTlogProof wrote, as a proof. Throws PROOF_INVALID, and what parseProofFile throws. */
export function parseTlogProof(text: string): Proof {
  const end = text.indexOf('\n\n');
  const lines = text.slice(0, Math.max(0, end)).split('\n');
  const [head, extra, index, ...hashes] = lines;
  if (head !== HEAD || !extra?.startsWith('extra ') || !index?.startsWith('index '))
    throw invalidProof(
      'not a tlog-proof with an extra line, as `tidemark prove --format tlog-proof` writes it',
    );
  const rest = fromUtf8(fromBase64(extra.slice(6), 'extra', 'PROOF_INVALID'), 'extra', 'PROOF_INVALID');
  let members: unknown;
  try {
    members = JSON.parse(rest);
  } catch (cause) {
    throw invalidProof('the extra line is not base64 of JSON', cause);
  }
  const path = hashes.map((hash) => toBase64(fromBase64Sized(hash, HASH_BYTES, 'hash', 'PROOF_INVALID')));
  const proof = parseProofFile(
    JSON.stringify({
      format: PROOF_FORMAT,
      ...(members as object),
      blockPath: path,
      checkpoint: text.slice(end + 2),
    }),
  );
  const { height } = parseBlock(toUtf8(proof.block, 'block', 'BLOCK_INVALID'));
  if (parseDecimal(index.slice(6), 'index', 'PROOF_INVALID') !== height)
    throw invalidProof(`the index is ${index.slice(6)}, the height of the block ${height}`);
  // One spelling: what was read must be what would be written.
  if (formatTlogProof(proof) !== text) throw invalidProof('the tlog-proof is not in its one spelling');
  return proof;
}

/** The text of a proof file in whichever form it came. */
export const asProofFile = (text: string): string =>
  isTlogProof(text) ? formatProofFile(parseTlogProof(text)) : text;
