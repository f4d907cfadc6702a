// `tidemark fsck`: is every byte of this data directory's log and ledger what it must be? Shares no code with the
// writer beyond ledger/format. Changes nothing, and works while the gateway is running.
import { createPublicKey } from 'node:crypto';
import { join } from 'node:path';
import type { ChainEpochs } from '../format/epochs.ts';
import { equalBytes } from '../format/hash.ts';
import { checkSignatures } from '../format/note.ts';
import { type TileReader, tilePath, tileWidth } from '../format/tile.ts';
import { checkAccess } from './accesscheck.ts';
import { type ChainSummary, parsedBlocks, readSignedHead, type SignedHead, walkChain } from './chainwalk.ts';
import { type ColdAccess, ColdCopies } from './coldcopies.ts';
import { directoryReader, ledgerFolder, listLedger, readOrNull } from './directory.ts';
import { type Finding, Findings } from './findings.ts';
import { checkLog, type LogSummary } from './logcheck.ts';
import { PrunedHeights, RecordCheck, type RecordCounts } from './recordcheck.ts';
import { type RecordSource, SegmentRecords } from './recordsource.ts';
import { checkState } from './statecheck.ts';

export interface FsckOptions {
  /** Also decode every record and re-hash it against its sealed batch root. Default false. */
  readonly deep?: boolean;
  /** How the cold tier is reached. Without it, what only that has is not looked at, and a note says so. */
  readonly cold?: ColdAccess | undefined;
  readonly onProgress?: (done: FsckProgress) => void;
}

export interface FsckProgress {
  readonly phase: 'ledger' | 'log' | 'records';
  readonly file: string;
  /** Records (log, records) or blocks (ledger) so far. */
  readonly count: number;
}

export interface FsckReport {
  readonly kind: 'fsck';
  readonly dataDir: string;
  readonly deep: boolean;
  /** damaged: something is lost or changed. repairable: only what can be made again. clean: neither. */
  readonly verdict: 'clean' | 'repairable' | 'damaged';
  readonly log: LogSummary;
  /** Null where there is no readable checkpoint. */
  readonly ledger:
    | (Pick<ChainSummary, 'blocks' | 'coveredEnd' | 'rootAgrees'> & {
        readonly origin: string;
        readonly size: number;
      })
    | null;
  /** Null unless deep. */
  readonly records: RecordCounts | null;
  /** The first 1,000. */
  readonly findings: readonly Finding[];
  readonly findingCount: number;
  readonly errors: number;
  readonly warnings: number;
  readonly tookMs: number;
}

const PREFIX = 'ledger/';
const PROGRESS_BLOCKS = 1_000;

/** Checks a data directory. Never throws for what the files say; throws for a disk that cannot be read. */
export async function fsck(dataDir: string, options: FsckOptions = {}): Promise<FsckReport> {
  const startedMs = performance.now();
  const deep = options.deep ?? false;
  const findings = new Findings();
  const read = directoryReader(ledgerFolder(dataDir));
  const listing = listLedger(ledgerFolder(dataDir));
  for (const path of listing.strays)
    findings.add('note', 'STRAY_FILE', { file: PREFIX + path }, 'is no file of a tlog-tiles log');
  const hasLedger = listing.tiles.length > 0 || (await read('checkpoint')) !== null;

  const head = hasLedger ? await readSignedHead(read, findings, PREFIX) : null;
  let chain: ChainSummary | null = null;
  const pruned = new PrunedHeights();
  if (head) {
    chain = await walkChain({
      read,
      checkpoint: head.checkpoint,
      findings,
      prefix: PREFIX,
      partialWidths: listing.partialWidths,
      onBlock: (block, file) => {
        const { height } = block;
        pruned.add(block);
        if (height % PROGRESS_BLOCKS === 0) options.onProgress?.({ phase: 'ledger', file, count: height });
      },
    });
    checkKey(dataDir, head, chain.epochs, findings);
    reportBeyond(listing.tiles, head.checkpoint.size, findings);
  }
  const cold = new ColdCopies(dataDir, options.cold ?? null, findings);
  try {
    const log = await checkLog({
      dataDir,
      cold,
      findings,
      deep,
      sealedEnd: chain?.coveredEnd ?? 0,
      isDeclared: (from, to) => pruned.covers(from, to),
      onProgress: ({ file, records }) => options.onProgress?.({ phase: 'log', file, count: records }),
    });
    checkState(dataDir, findings);
    checkAccess(dataDir, findings);
    if (chain && chain.coveredEnd > log.end) {
      findings.add(
        'error',
        'SEALED_BEYOND_LOG',
        { file: 'log' },
        `the ledger covers offsets up to ${chain.coveredEnd - 1}, the log ends before ${log.end}`,
        {
          sealed: chain.coveredEnd,
          end: log.end,
        },
      );
    }
    const records =
      deep && head && chain
        ? await rehash(new SegmentRecords(dataDir, cold), read, chain.blocks, log, findings, pruned, options)
        : null;
    return {
      kind: 'fsck',
      dataDir,
      deep,
      verdict: findings.errors > 0 ? 'damaged' : findings.warnings > 0 ? 'repairable' : 'clean',
      log,
      ledger: head &&
        chain && {
          origin: head.checkpoint.origin,
          size: head.checkpoint.size,
          blocks: chain.blocks,
          coveredEnd: chain.coveredEnd,
          rootAgrees: chain.rootAgrees,
        },
      records,
      findings: findings.list,
      findingCount: findings.count,
      errors: findings.errors,
      warnings: findings.warnings,
      tookMs: Math.round(performance.now() - startedMs),
    };
  } finally {
    cold.close();
  }
}

/** The chain names its key; the checkpoint must be signed by the one in force, and gateway.key must hold it. */
function checkKey(dataDir: string, head: SignedHead, epochs: ChainEpochs | null, findings: Findings): void {
  const file = `${PREFIX}checkpoint`;
  if (!epochs) {
    findings.add(
      'error',
      'CHECKPOINT_UNSIGNED',
      { file },
      'the genesis block names no usable public key to check the signature with',
    );
    return;
  }
  const { size } = head.checkpoint;
  const checked = checkSignatures(head.note, epochs.keysAt(size));
  if (checked.length === 0 || checked.some((signature) => !signature.ok)) {
    const why =
      checked.length === 0
        ? 'is not signed by the key the chain names'
        : 'carries a signature that does not fit its text';
    findings.add('error', 'CHECKPOINT_UNSIGNED', { file }, `the checkpoint ${why}`);
  }
  // In the middle of a rotation the next key is beside the old one, and the gateway puts it in place.
  const held = ['gateway.key', 'gateway.key.next'].flatMap((name) => heldKey(dataDir, name) ?? []);
  if (held.length > 0 && !held.some((key) => equalBytes(key, epochs.key.publicKey))) {
    findings.add(
      'error',
      'KEY_DIFFERS',
      { file: 'gateway.key' },
      'is not the key the chain goes on with: the gateway will refuse to seal',
    );
  }
}

function heldKey(dataDir: string, name: string): Uint8Array | null {
  const pem = readOrNull(join(dataDir, name));
  if (!pem) return null;
  try {
    return new Uint8Array(
      createPublicKey(Buffer.from(pem)).export({ type: 'spki', format: 'der' }).subarray(-32),
    );
  } catch {
    return new Uint8Array(0);
  }
}

/** Tiles beyond the checkpoint: blocks being sealed right now, or left by a crash before they were signed. */
function reportBeyond(tiles: ReturnType<typeof listLedger>['tiles'], size: number, findings: Findings): void {
  for (const tile of tiles) {
    if (tile.width <= tileWidth(tile.level, tile.index, size)) continue;
    findings.add(
      'note',
      'STRAY_FILE',
      { file: PREFIX + tilePath(tile) },
      `holds blocks beyond the checkpoint of ${size}: being sealed now, or left by a crash before they were signed`,
    );
  }
}

async function rehash(
  records: RecordSource,
  read: TileReader,
  blocks: number,
  log: LogSummary,
  findings: Findings,
  pruned: PrunedHeights,
  options: FsckOptions,
): Promise<RecordCounts> {
  const check = new RecordCheck(records, findings, 'log', pruned, log);
  for await (const block of parsedBlocks(read, blocks)) {
    await check.block(block);
    if (block.height % 100 === 0)
      options.onProgress?.({ phase: 'records', file: 'log', count: check.counts.recordsMatching });
  }
  check.end();
  return check.counts;
}
