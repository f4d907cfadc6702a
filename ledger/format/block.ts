// The block: one signed-over ledger entry as text, and what one block alone must obey. Chain rules: block-rules.ts.
import { fromBase64Sized, fromBase64Url, toBase64, toBase64Url } from './base64.ts';
import type { BlockHeight, Offset } from './brand.ts';
import { canonicalJson, isJsonObject, type JsonObject, parseCanonicalJson } from './canonical.ts';
import { parseDecimal, parseSignedDecimal } from './decimal.ts';
import { FormatError } from './errors.ts';
import { HASH_BYTES, leafHash, type Sha256, sha256 } from './hash.ts';
import { fromUtf8, isKeyName, toUtf8 } from './text.ts';

export const BLOCK_KINDS = ['genesis', 'data', 'heartbeat', 'gap', 'prune', 'policy', 'key'] as const;
export type BlockKind = (typeof BLOCK_KINDS)[number];

export interface Block {
  /** The gateway's origin: also its key name and the first line of its checkpoints. */
  readonly origin: string;
  readonly height: BlockHeight;
  /** blockHash of the block before; 32 zero bytes at height 0. */
  readonly previous: Uint8Array;
  readonly kind: BlockKind;
  /** First offset covered (also when count is 0: the next offset to be covered). */
  readonly first: Offset;
  readonly count: number;
  /** Batch root; EMPTY_ROOT when no records stand behind the block. */
  readonly root: Uint8Array;
  /** Smallest and largest eventMs of the records, 0 and 0 when there are none. Unix ms, may be negative. */
  readonly eventMinMs: number;
  readonly eventMaxMs: number;
  /** Wall clock at sealing, unix ms. */
  readonly sealedMs: number;
  /** 16 lower-case hex digits, new at each boot of the gateway process. */
  readonly bootId: string;
  /** Monotonic clock since that boot, whole ms. */
  readonly monotonicMs: number;
  /** SHA-256 of the policy text in force. */
  readonly policyHash: Uint8Array;
  /** Kind-specific facts, or null. */
  readonly detail: JsonObject | null;
}

/*
 * block = "tidemark/block/v1" LF, then one field a line in this order, each ended by LF, nothing else:
 *
 *   origin <key name>
 *   height <decimal>
 *   previous <base64, 32 bytes>
 *   kind <genesis|data|heartbeat|gap|prune|policy|key>
 *   first <decimal>
 *   count <decimal>
 *   root <base64, 32 bytes>
 *   event <signed decimal> <signed decimal>
 *   sealed <decimal>
 *   boot <16 hex> <decimal>
 *   policy <base64, 32 bytes>
 *   detail <base64url of canonical JSON object | "-">
 */
export const BLOCK_VERSION_LINE = 'tidemark/block/v1';
export const MAX_BLOCK_BYTES = 65_535;
/** Most records in one data block. */
export const MAX_BLOCK_RECORDS = 65_536;
const FIELDS = [
  'origin',
  'height',
  'previous',
  'kind',
  'first',
  'count',
  'root',
  'event',
  'sealed',
  'boot',
  'policy',
  'detail',
] as const;
type Field = (typeof FIELDS)[number];

function invalid(message: string, facts: Record<string, string | number> = {}, cause?: unknown): FormatError {
  return new FormatError('BLOCK_INVALID', message, { facts, cause });
}

/** Text bytes of a block. What it returns parses; throws BLOCK_INVALID otherwise. */
export function encodeBlock(block: Block): Uint8Array {
  const values: Record<Field, string> = {
    origin: block.origin,
    height: String(block.height),
    previous: toBase64(block.previous),
    kind: block.kind,
    first: String(block.first),
    count: String(block.count),
    root: toBase64(block.root),
    event: `${block.eventMinMs} ${block.eventMaxMs}`,
    sealed: String(block.sealedMs),
    boot: `${block.bootId} ${block.monotonicMs}`,
    policy: toBase64(block.policyHash),
    detail: block.detail ? toBase64Url(toUtf8(canonicalJson(block.detail), 'detail', 'BLOCK_INVALID')) : '-',
  };
  const text = `${BLOCK_VERSION_LINE}\n${FIELDS.map((field) => `${field} ${values[field]}\n`).join('')}`;
  const bytes = toUtf8(text, 'block', 'BLOCK_INVALID');
  parseBlock(bytes);
  return bytes;
}

/** Reads block bytes strictly: what it returns encodes to the same bytes. Throws BLOCK_INVALID. */
export function parseBlock(bytes: Uint8Array): Block {
  if (bytes.length > MAX_BLOCK_BYTES)
    throw invalid(`a block has ${bytes.length} bytes`, { bytes: bytes.length });
  const fields = fieldsOf(fromUtf8(bytes, 'block', 'BLOCK_INVALID'));
  if (!isKeyName(fields.origin)) throw invalid('the origin is not a key name', { origin: fields.origin });
  const kind = BLOCK_KINDS.find((known) => known === fields.kind);
  if (!kind) throw invalid(`unknown block kind ${JSON.stringify(fields.kind)}`, { kind: fields.kind });
  const [eventMinMs, eventMaxMs] = pairOf(fields.event, 'event');
  const [bootId, monotonicMs] = pairOf(fields.boot, 'boot');
  if (!/^[0-9a-f]{16}$/.test(bootId)) throw invalid('boot is not 16 lower-case hex digits', { boot: bootId });
  return {
    origin: fields.origin,
    height: decimalOf(fields.height, 'height') as BlockHeight,
    previous: hashOf(fields.previous, 'previous'),
    kind,
    first: decimalOf(fields.first, 'first') as Offset,
    count: decimalOf(fields.count, 'count'),
    root: hashOf(fields.root, 'root'),
    eventMinMs: parseSignedDecimal(eventMinMs, 'event', 'BLOCK_INVALID'),
    eventMaxMs: parseSignedDecimal(eventMaxMs, 'event', 'BLOCK_INVALID'),
    sealedMs: decimalOf(fields.sealed, 'sealed'),
    bootId,
    monotonicMs: decimalOf(monotonicMs, 'monotonic ms'),
    policyHash: hashOf(fields.policy, 'policy'),
    detail: detailOf(fields.detail),
  };
}

/** Leaf hash of a block in the block log, and `previous` of the next: SHA-256(0x00 ‖ block bytes). */
export function blockHash(bytes: Uint8Array, hash: Sha256 = sha256): Uint8Array {
  return leafHash(bytes, hash);
}

function fieldsOf(text: string): Record<Field, string> {
  const lines = text.split('\n');
  if (lines[0] !== BLOCK_VERSION_LINE)
    throw invalid('unknown block version', { line: lines[0]!.slice(0, 60) });
  if (lines.length !== FIELDS.length + 2 || lines.at(-1) !== '') {
    throw invalid(`a block has ${FIELDS.length + 1} lines, each ended by LF`, { lines: lines.length - 1 });
  }
  const fields: Partial<Record<Field, string>> = {};
  FIELDS.forEach((field, i) => {
    const line = lines[i + 1]!;
    if (!line.startsWith(`${field} `)) {
      throw invalid(`line ${i + 2} of a block is not its ${field}`, { line: line.slice(0, 60) });
    }
    fields[field] = line.slice(field.length + 1);
  });
  return fields as Record<Field, string>;
}

function pairOf(text: string, what: string): [string, string] {
  const parts = text.split(' ');
  if (parts.length !== 2) throw invalid(`${what} is not two values`, { text: text.slice(0, 60) });
  return [parts[0]!, parts[1]!];
}

function decimalOf(text: string, what: string): number {
  return parseDecimal(text, what, 'BLOCK_INVALID');
}

function hashOf(text: string, what: string): Uint8Array {
  return fromBase64Sized(text, HASH_BYTES, what, 'BLOCK_INVALID');
}

function detailOf(text: string): JsonObject | null {
  if (text === '-') return null;
  try {
    const value = parseCanonicalJson(fromUtf8(fromBase64Url(text, 'detail'), 'detail'));
    if (isJsonObject(value)) return value;
  } catch (cause) {
    throw invalid('detail is not base64url of canonical JSON', {}, cause);
  }
  throw invalid('detail is not a JSON object');
}
