// A small real ledger made in memory: records, blocks, tree, checkpoint, cosignatures. Deterministic.
import { type Block, blockHash, encodeBlock } from '../../../ledger/format/block.ts';
import { blockHeight, offset, treeSize } from '../../../ledger/format/brand.ts';
import { formatCheckpoint } from '../../../ledger/format/checkpoint.ts';
import { cosignatureMessage, formatCosignature } from '../../../ledger/format/cosignature.ts';
import { EMPTY_ROOT } from '../../../ledger/format/hash.ts';
import { inclusionProof, root, spanRanges } from '../../../ledger/format/merkle.ts';
import {
  formatNote,
  formatVerifierKey,
  type NoteSignature,
  SIGNATURE_TYPE,
  verifierKey,
} from '../../../ledger/format/note.ts';
import { policyHash } from '../../../ledger/format/policy.ts';
import { formatProofFile } from '../../../ledger/format/proof.ts';
import { formatRangeFile } from '../../../ledger/format/proof-range.ts';
import { recordLeafHash, SOURCE, type TelemetryRecord } from '../../../ledger/format/record.ts';
import { testKey } from '../format/native.ts';

export const ORIGIN = 'plant7.example.com/gw-3';
export const AUTHORITIES = ['operator', 'regulator', 'vendor'] as const;
export type Authority = (typeof AUTHORITIES)[number];

const utf8 = (text: string) => new TextEncoder().encode(text);
const gateway = testKey('gateway');
export const gatewayKey = verifierKey(ORIGIN, gateway.publicKey);
export const gatewayKeyText = formatVerifierKey(gatewayKey);
const authorityKey = (name: Authority) =>
  verifierKey(`${name}.example.com/w1`, testKey(name).publicKey, SIGNATURE_TYPE.cosignature);

export const policyText = [
  `log ${gatewayKeyText}`,
  ...AUTHORITIES.map(
    (name) => `witness ${name} ${formatVerifierKey(authorityKey(name))} https://${name}.example.com`,
  ),
  'group any-two 2 operator regulator vendor',
  'quorum any-two',
  '',
].join('\n');
export const gatewayOnlyPolicyText = `log ${gatewayKeyText}\nquorum none\n`;

export const START_MS = 1763600000000;

export function sampleRecord(index: number): TelemetryRecord {
  return {
    offset: offset(index),
    eventMs: START_MS + index * 10,
    receivedMs: START_MS + index * 10 + 3,
    topic: `plant/pump-${index % 3}/vibration`,
    device: `pump-${index % 3}`,
    sequence: Math.floor(index / 3),
    source: SOURCE.mqtt,
    contentType: 'application/json',
    headers: index % 2 ? [['trace', Uint8Array.of(index & 255)]] : [],
    payload: utf8(`{"value":${index / 100}}`),
    salt: new Uint8Array(index % 5 === 0 ? 16 : 0).fill(9),
  };
}

/** A genesis, then data blocks of `perBlock` records each. */
export function sampleChain(dataBlocks: number, perBlock: number): Uint8Array[] {
  const chain: Uint8Array[] = [];
  const add = (
    block: Pick<Block, 'kind' | 'count' | 'first' | 'root' | 'eventMinMs' | 'eventMaxMs' | 'detail'>,
  ) => {
    const last = chain.at(-1);
    const bytes = encodeBlock({
      origin: ORIGIN,
      height: blockHeight(chain.length),
      previous: last ? blockHash(last) : new Uint8Array(32),
      sealedMs: START_MS + 1000 * (chain.length + 1),
      bootId: '00112233445566ff',
      monotonicMs: 1000 * chain.length,
      policyHash: policyHash(policyText),
      ...block,
    });
    chain.push(bytes);
  };
  const none = { count: 0, root: EMPTY_ROOT, eventMinMs: 0, eventMaxMs: 0 };
  add({ kind: 'genesis', first: offset(0), ...none, detail: { publicKey: gatewayKeyText } });
  for (let i = 0; i < dataBlocks; i++) {
    const records = Array.from({ length: perBlock }, (_, j) => sampleRecord(i * perBlock + j));
    add({
      kind: 'data',
      first: offset(i * perBlock),
      count: perBlock,
      root: root(records.map((record) => recordLeafHash(record))),
      eventMinMs: records[0]!.eventMs,
      eventMaxMs: records.at(-1)!.eventMs,
      detail: null,
    });
  }
  return chain;
}

export function signCheckpoint(text: string, key = gateway): NoteSignature {
  return { name: gatewayKey.name, keyId: gatewayKey.keyId, signature: key.sign(utf8(text)) };
}

export function cosign(text: string, name: Authority, timeSeconds: number): NoteSignature {
  const signature = testKey(name).sign(cosignatureMessage(text, timeSeconds));
  const { name: keyName, keyId } = authorityKey(name);
  return { name: keyName, keyId, signature: formatCosignature({ timeSeconds, signature }) };
}

export function checkpointText(chain: readonly Uint8Array[]): string {
  const tree = root(chain.map((block) => blockHash(block)));
  return formatCheckpoint({ origin: ORIGIN, size: treeSize(chain.length), root: tree });
}

/** A checkpoint of the chain, cosigned one second after another from START_MS + 60 s on. */
export function checkpointNote(chain: readonly Uint8Array[], cosigners: readonly Authority[] = []): string {
  const text = checkpointText(chain);
  const signatures = cosigners.map((name, i) => cosign(text, name, START_MS / 1000 + 60 + i));
  return formatNote({ text, signatures: [signCheckpoint(text), ...signatures] });
}

const DATA_BLOCKS = 12;
const PER_BLOCK = 7;
export const chain = sampleChain(DATA_BLOCKS, PER_BLOCK);

/** Text of the proof file of one record of `chain`. */
export function sampleProof(index = 38, cosigners: readonly Authority[] = []): string {
  const block = Math.floor(index / PER_BLOCK);
  const leaves = Array.from({ length: PER_BLOCK }, (_, j) =>
    recordLeafHash(sampleRecord(block * PER_BLOCK + j)),
  );
  return formatProofFile({
    record: sampleRecord(index),
    batchPath: inclusionProof(leaves, index % PER_BLOCK),
    block: new TextDecoder().decode(chain[block + 1]),
    blockPath: inclusionProof(
      chain.map((bytes) => blockHash(bytes)),
      block + 1,
    ),
    checkpoint: checkpointNote(chain, cosigners),
  });
}

/** Text of the proof file of consecutive records of `chain`. */
export function sampleRange(first: number, last: number, cosigners: readonly Authority[] = []): string {
  const [low, high] = [Math.floor(first / PER_BLOCK), Math.floor(last / PER_BLOCK)];
  const records = Array.from({ length: last - first + 1 }, (_, i) => sampleRecord(first + i));
  const hashes = chain.map((bytes) => blockHash(bytes));
  const pathOf = (leaves: readonly Uint8Array[], begin: number, end: number) =>
    spanRanges({ begin, end }, leaves.length).map((range) => root(leaves.slice(range.begin, range.end)));
  const batchPaths = Array.from({ length: high - low + 1 }, (_, i) => {
    const from = (low + i) * PER_BLOCK;
    const leaves = Array.from({ length: PER_BLOCK }, (_, j) => recordLeafHash(sampleRecord(from + j)));
    return pathOf(leaves, Math.max(0, first - from), Math.min(PER_BLOCK, last + 1 - from));
  });
  return formatRangeFile({
    ...{ first, last, records, batchPaths },
    removed: [],
    blocks: chain.slice(low + 1, high + 2).map((bytes) => new TextDecoder().decode(bytes)),
    blockPath: pathOf(hashes, low + 1, high + 2),
    checkpoint: checkpointNote(chain, cosigners),
  });
}
