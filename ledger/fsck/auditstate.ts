// What an auditor remembers between audits: the tree that was found right, so that the next audit goes on from there and sees
// a history that went back or changed. Kept in a file of the auditor's, never of the gateway's.
import { fromBase64, fromBase64Sized, toBase64 } from '../format/base64.ts';
import { parseBlock } from '../format/block.ts';
import { FormatError } from '../format/errors.ts';
import { equalBytes, HASH_BYTES } from '../format/hash.ts';
import { foldNodes, rangeNodes } from '../format/merkle.ts';
import type { ChainPosition } from '../verify/chain.ts';
import type { SignedHead } from './chainwalk.ts';
import type { Findings } from './findings.ts';
import { nodeSha256 } from './hashing.ts';

export interface AuditState {
  readonly origin: string;
  /** The tree of the last audit that found nothing wrong. */
  readonly position: ChainPosition;
  readonly root: Uint8Array;
  /** Bytes of the genesis, policy and key blocks of the tree, in order: whose signatures count, and from where on. */
  readonly epochBlocks: readonly Uint8Array[];
  /** When that audit was, unix ms by the auditor's clock. */
  readonly auditedMs: number;
}

const FORMAT = 'tidemark-audit-state/v1';

export function formatAuditState({ origin, position, root, epochBlocks, auditedMs }: AuditState): string {
  return `${JSON.stringify(
    {
      format: FORMAT,
      origin,
      size: position.size,
      root: toBase64(root),
      nodes: position.nodes.map(toBase64),
      last: position.last && toBase64(position.last),
      epochBlocks: epochBlocks.map(toBase64),
      auditedMs,
    },
    null,
    2,
  )}\n`;
}

/** Strict: a state that was edited, or cut short, must not pass for one. Throws STATE_INVALID. */
export function parseAuditState(text: string): AuditState {
  try {
    const value = JSON.parse(text) as Record<string, unknown>;
    const { format, origin, size, root, nodes, last, epochBlocks, auditedMs } = value ?? {};
    if (format !== FORMAT) throw invalid(`it is not of format ${FORMAT}`);
    if (
      typeof origin !== 'string' ||
      !Number.isSafeInteger(size) ||
      (size as number) < 1 ||
      !Array.isArray(nodes) ||
      !Array.isArray(epochBlocks)
    )
      throw invalid('a member is missing or of another kind');
    const position = {
      size: size as number,
      nodes: nodes.map((node) => hashOf(node)),
      last: bytesOf(last),
    };
    const state = {
      origin,
      position,
      root: hashOf(root),
      epochBlocks: epochBlocks.map((block) => bytesOf(block)),
      auditedMs: Number(auditedMs),
    };
    const isTree = rangeNodes({ begin: 0, end: position.size }).length === position.nodes.length;
    if (!isTree || !equalBytes(foldNodes(position.nodes, nodeSha256), state.root))
      throw invalid('its hashes do not lead to its root');
    const newest = parseBlock(position.last);
    const kinds = state.epochBlocks.map((block) => parseBlock(block).kind);
    if (newest.height !== position.size - 1 || newest.origin !== origin || kinds[0] !== 'genesis')
      throw invalid('its blocks are of another chain or size');
    return state;
  } catch (error) {
    if (error instanceof FormatError && error.code === 'STATE_INVALID') throw error;
    throw invalid((error as Error).message, error);
  }
}

function hashOf(value: unknown): Uint8Array {
  if (typeof value !== 'string') throw invalid('a hash is no text');
  return fromBase64Sized(value, HASH_BYTES, 'hash');
}

function bytesOf(value: unknown): Uint8Array {
  if (typeof value !== 'string') throw invalid('a block is no text');
  return fromBase64(value, 'block');
}

function invalid(why: string, cause?: unknown): FormatError {
  return new FormatError('STATE_INVALID', `the state file cannot be used: ${why}`, { cause });
}

/** The state, where the head can be held against it; where it cannot, why is a finding and the audit begins anew. */
export function usableState(
  state: AuditState | null,
  { checkpoint }: SignedHead,
  findings: Findings,
  prefix: string,
): AuditState | null {
  if (!state) return null;
  const file = { file: `${prefix}checkpoint` };
  const { size } = state.position;
  if (checkpoint.origin !== state.origin) {
    findings.add(
      'error',
      'ORIGIN_CHANGED',
      file,
      `this is ${checkpoint.origin}; audited before was ${state.origin}`,
    );
    return null;
  }
  if (checkpoint.size < size) {
    findings.add(
      'error',
      'ROLLED_BACK',
      file,
      `${size} blocks were audited before, here are only ${checkpoint.size}: the data directory went back, or an old checkpoint is shown`,
      { size: checkpoint.size, audited: size },
    );
    return null;
  }
  if (checkpoint.size === size && !equalBytes(checkpoint.root, state.root)) {
    findings.add(
      'error',
      'FORKED',
      file,
      `the checkpoint of ${size} blocks has another root than the one audited before: the gateway signed two histories`,
      { size },
    );
    return null;
  }
  return state;
}

export function sayChanged(state: AuditState, findings: Findings, prefix: string): void {
  findings.add(
    'error',
    'HISTORY_CHANGED',
    { file: `${prefix}checkpoint` },
    `the checkpoint does not continue the ${state.position.size} blocks audited before: earlier blocks were replaced, or a new one was changed`,
    { audited: state.position.size },
  );
}
