// `tidemark audit`: what an outsider can establish about a gateway's whole history, from a data directory or a URL.
// Trusts only the keys it is given. Changes nothing; a gateway that goes on working is no error.
import { existsSync } from 'node:fs';
import type { Block, BlockKind } from '../format/block.ts';
import { toHex } from '../format/hash.ts';
import { parseVerifierKey, type VerifierKey } from '../format/note.ts';
import { type Policy, parsePolicy } from '../format/policy.ts';
import type { TileReader } from '../format/tile.ts';
import { type ChainSummary, parsedBlocks, readSignedHead, type SignedHead, walkChain } from './chainwalk.ts';
import { directoryReader, ledgerFolder } from './directory.ts';
import { type Finding, Findings } from './findings.ts';
import { baseUrl, HttpRecords, httpTiles, SourceError } from './httpsource.ts';
import { PrunedHeights, RecordCheck, type RecordCounts } from './recordcheck.ts';
import { type RecordSource, SegmentRecords } from './recordsource.ts';
import { type AuditTrust, judgeSignatures, noticeOf, type SignatureJudgement } from './signatures.ts';

export interface AuditOptions {
  /** Policy text, or one already parsed. */
  readonly policy?: string | Policy | undefined;
  /** The gateway's verifier key, where there is no policy. Without either, the key its own genesis block names. */
  readonly gatewayKey?: string | VerifierKey | undefined;
  /** Re-hash the records of all blocks, or of a random sample. Default full. */
  readonly records?: 'full' | 'sample';
  /** Blocks in a sample. Default 100. */
  readonly sampleBlocks?: number;
  /** Chooses the sample; 0 ≤ r < 1. Default Math.random. */
  readonly random?: () => number;
  readonly onProgress?: (done: AuditProgress) => void;
}

export interface AuditProgress {
  readonly phase: 'blocks' | 'records';
  readonly done: number;
  readonly total: number;
}

export interface DeclaredLoss {
  readonly height: number;
  readonly cause: string;
  /** Offsets lost; 0 for an unclean boot, a cut tail or a clock step. */
  readonly count: number;
}

export interface AuditReport {
  readonly kind: 'audit';
  readonly source: string;
  readonly verdict: 'clean' | 'problems';
  readonly trust: AuditTrust;
  readonly status: SignatureJudgement['status'];
  /** What a reader of the verdict must know about its worth. */
  readonly notice: string | null;
  /** Null where there was no readable checkpoint. */
  readonly checkpoint: { readonly origin: string; readonly size: number; readonly root: string } | null;
  readonly cosigned: readonly string[];
  readonly blocks: Readonly<Record<BlockKind, number>>;
  readonly firstSealedMs: number | null;
  readonly lastSealedMs: number | null;
  /** One past the last sealed offset. */
  readonly sealedEnd: number;
  readonly log: { readonly start: number; readonly end: number };
  /** Records in the log that no signed block covers yet: normal while a gateway is running. */
  readonly notSealedYet: number;
  readonly records: RecordCounts & { readonly mode: 'full' | 'sample'; readonly blocksChecked: number };
  /** The first 100 losses the gateway itself declared. */
  readonly declared: readonly DeclaredLoss[];
  readonly findings: readonly Finding[];
  readonly findingCount: number;
  readonly errors: number;
  readonly warnings: number;
  readonly tookMs: number;
}

const DECLARED_MAX = 100;
const DEFAULT_SAMPLE_BLOCKS = 100;
const NO_BLOCKS: Record<BlockKind, number> = {
  genesis: 0,
  data: 0,
  heartbeat: 0,
  gap: 0,
  prune: 0,
  policy: 0,
  key: 0,
};
const NO_RECORDS: RecordCounts = {
  blocksMatching: 0,
  blocksChanged: 0,
  recordsMatching: 0,
  recordsMissing: 0,
  recordsPruned: 0,
  recordsUnproven: 0,
  offsetsLost: 0,
};

interface Source {
  readonly read: TileReader;
  readonly records: RecordSource;
  /** Put before ledger paths in findings, and named as the place of records. */
  readonly prefix: string;
  readonly recordsFile: string;
}

function openSource(source: string): Source {
  if (/^https?:\/\//.test(source)) {
    const base = baseUrl(source);
    return {
      read: httpTiles(base),
      records: new HttpRecords(base),
      prefix: 'ledger/',
      recordsFile: 'api/v1/records',
    };
  }
  if (!existsSync(source)) {
    throw new SourceError('SOURCE_UNREACHABLE', `${source} does not exist`, {
      facts: { source },
      hint: 'give a data directory or the base address of a gateway',
    });
  }
  return {
    read: directoryReader(ledgerFolder(source)),
    records: new SegmentRecords(source),
    prefix: 'ledger/',
    recordsFile: 'log',
  };
}

/**
 * Audits a data directory or a gateway (http://…).
 * @throws SourceError when the source cannot be read, FormatError when policy or key cannot
 */
export async function audit(source: string, options: AuditOptions = {}): Promise<AuditReport> {
  const startedMs = performance.now();
  const policy = typeof options.policy === 'string' ? parsePolicy(options.policy) : (options.policy ?? null);
  const given =
    typeof options.gatewayKey === 'string'
      ? parseVerifierKey(options.gatewayKey)
      : (options.gatewayKey ?? null);
  const findings = new Findings();
  const { read, records, prefix, recordsFile } = openSource(source);
  const head = await readSignedHead(read, findings, prefix);
  const seen = new Seen();
  let chain: ChainSummary | null = null;
  let signature: SignatureJudgement = {
    trust: policy ? 'policy' : given ? 'gateway-key' : 'genesis',
    status: 'unsigned',
    cosigned: [],
  };
  // Read after the checkpoint: the log can only have grown since, so what is sealed must lie within.
  const log = await records.bounds();
  let counts: AuditReport['records'] = { ...NO_RECORDS, mode: options.records ?? 'full', blocksChecked: 0 };
  if (head) {
    const { size } = head.checkpoint;
    chain = await walkChain({
      read,
      checkpoint: head.checkpoint,
      findings,
      prefix,
      onBlock: (block) => {
        seen.block(block);
        if (block.height % 100 === 0)
          options.onProgress?.({ phase: 'blocks', done: block.height, total: size });
      },
    });
    signature = judgeSignatures(head, chain.epochs, policy, given, findings, prefix);
    const check = new RecordCheck(records, findings, recordsFile, seen.pruned, log);
    counts = await checkRecords({
      read,
      blocks: chain.blocks,
      dataBlocks: seen.kinds.data,
      sealedEnd: chain.coveredEnd,
      check,
      options,
    });
    if (check.misses) await declaredSince({ read, prefix, head, policy, given, pruned: seen.pruned });
    check.end();
    counts = { ...counts, ...check.counts };
    if (chain.coveredEnd > log.end) {
      findings.add(
        'error',
        'SEALED_BEYOND_LOG',
        { file: recordsFile },
        `the ledger covers offsets up to ${chain.coveredEnd - 1}, the log ends before ${log.end}`,
        {
          sealed: chain.coveredEnd,
          end: log.end,
        },
      );
    }
  }
  const sealedEnd = chain?.coveredEnd ?? 0;
  return {
    kind: 'audit',
    source,
    verdict: findings.errors > 0 || !head ? 'problems' : 'clean',
    ...signature,
    notice: noticeOf(signature),
    checkpoint: head && {
      origin: head.checkpoint.origin,
      size: head.checkpoint.size,
      root: toHex(head.checkpoint.root),
    },
    blocks: seen.kinds,
    firstSealedMs: seen.firstSealedMs,
    lastSealedMs: chain?.last?.sealedMs ?? null,
    sealedEnd,
    log,
    notSealedYet: Math.max(0, log.end - Math.max(sealedEnd, log.start)),
    records: counts,
    declared: seen.declared,
    findings: findings.list,
    findingCount: findings.count,
    errors: findings.errors,
    warnings: findings.warnings,
    tookMs: Math.round(performance.now() - startedMs),
  };
}

interface LaterPass {
  readonly read: TileReader;
  readonly prefix: string;
  readonly head: SignedHead;
  readonly policy: Policy | null;
  readonly given: VerifierKey | null;
  readonly pruned: PrunedHeights;
}

/**
 * A running gateway removes records while they are audited, each removal declared in the signed chain before it
 * happens. So what was found missing is judged with the declarations of a checkpoint read after it: signed by the same
 * key, and continuing the audited tree. Anything else adds nothing, and what is missing stays missing.
 */
async function declaredSince({ read, prefix, head, policy, given, pruned }: LaterPass): Promise<void> {
  const findings = new Findings();
  const later = await readSignedHead(read, findings, prefix);
  if (!later || later.checkpoint.size <= head.checkpoint.size) return;
  const removals: Block[] = [];
  const chain = await walkChain({
    read,
    checkpoint: later.checkpoint,
    findings,
    prefix,
    through: head.checkpoint,
    onBlock: (block) => {
      if (block.kind === 'prune') removals.push(block);
    },
  });
  judgeSignatures(later, chain.epochs, policy, given, findings, prefix);
  if (findings.errors > 0 || !chain.wentThrough) return;
  for (const block of removals) if (block.height >= head.checkpoint.size) pruned.add(block);
}

/** What the walk over the blocks notes down. */
class Seen {
  readonly kinds: Record<BlockKind, number> = { ...NO_BLOCKS };
  readonly declared: DeclaredLoss[] = [];
  readonly pruned = new PrunedHeights();
  firstSealedMs: number | null = null;

  block(block: Block): void {
    this.kinds[block.kind] += 1;
    this.firstSealedMs ??= block.sealedMs;
    this.pruned.add(block);
    if (block.kind !== 'gap' || this.declared.length >= DECLARED_MAX) return;
    const cause = block.detail?.cause;
    this.declared.push({
      height: block.height,
      cause: typeof cause === 'string' ? cause : 'unknown',
      count: block.count,
    });
  }
}

interface RecordPass {
  readonly read: TileReader;
  readonly blocks: number;
  readonly dataBlocks: number;
  readonly sealedEnd: number;
  readonly check: RecordCheck;
  readonly options: AuditOptions;
}

async function checkRecords({
  read,
  blocks,
  dataBlocks,
  sealedEnd,
  check,
  options,
}: RecordPass): Promise<AuditReport['records']> {
  const mode = options.records ?? 'full';
  const random = options.random ?? Math.random;
  let stillWanted =
    mode === 'full' ? dataBlocks : Math.min(dataBlocks, options.sampleBlocks ?? DEFAULT_SAMPLE_BLOCKS);
  let stillThere = dataBlocks;
  let blocksChecked = 0;
  for await (const block of parsedBlocks(read, blocks)) {
    if (block.kind === 'data') {
      // Selection sampling: every subset of the wanted size is equally likely, in one pass.
      const isChosen = random() * stillThere < stillWanted;
      stillThere -= 1;
      if (!isChosen) continue;
      stillWanted -= 1;
      blocksChecked += 1;
    }
    await check.block(block);
    options.onProgress?.({ phase: 'records', done: block.first + block.count, total: sealedEnd });
  }
  return { ...check.counts, mode, blocksChecked };
}
