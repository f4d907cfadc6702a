// `tidemark audit`: what an outsider can establish about a gateway's whole history, from a data directory or a URL.
// Trusts only the keys it is given. Changes nothing; a gateway that goes on working is no error.
import { type Block, type BlockKind, encodeBlock, parseBlock } from '../format/block.ts';
import type { Checkpoint } from '../format/checkpoint.ts';
import { toHex } from '../format/hash.ts';
import { parseVerifierKey, type VerifierKey } from '../format/note.ts';
import { type Policy, parsePolicy } from '../format/policy.ts';
import type { TileReader } from '../format/tile.ts';
import { checkRecords, sayMissing } from './auditrecords.ts';
import type { AuditReport } from './auditreport.ts';
import { type DeclaredLoss, Seen } from './auditseen.ts';
import { type AuditSource, openSource } from './auditsource.ts';
import { type AuditState, sayChanged, usableState } from './auditstate.ts';
import { type AuthorityView, askAuthorities, judgeViews } from './authorityviews.ts';
import { type ChainSummary, readSignedHead, type SignedHead, walkChain } from './chainwalk.ts';
import type { ColdAccess } from './coldcopies.ts';
import { DeviceHistory } from './devicehistory.ts';
import { Findings } from './findings.ts';
import { SourceError } from './httpsource.ts';
import { type PrunedHeights, RecordCheck, type RecordCounts } from './recordcheck.ts';
import { gatewayKeys, judgeSignatures, noticeOf, type SignatureJudgement } from './signatures.ts';
import { judgeTimestamps, type StampedCheckpoint, type TimestampReport } from './timestamps.ts';

export type { AuditReport, DeclaredLoss };

export interface AuditOptions {
  /** Policy text, or one already parsed. */
  readonly policy?: string | Policy | undefined;
  /** The gateway's verifier key, where there is no policy. Without either, the key its own genesis block names. */
  readonly gatewayKey?: string | VerifierKey | undefined;
  /** Re-hash the records of all blocks, or of a random sample. Default full. */
  readonly records?: 'full' | 'sample';
  /** Blocks in a sample. Default 100. */
  readonly sampleBlocks?: number;
  /** Follow the sequence numbers of this device. */
  readonly device?: string | undefined;
  /** Go on from an audit before: only what is new is read, and it must continue what was. */
  readonly state?: AuditState | undefined;
  /** Hears where a next audit may go on, when this one found no error. */
  readonly onState?: (state: AuditState) => void;
  /** Ask the authorities of the policy what they have seen. Default true. */
  readonly askAuthorities?: boolean;
  /** External timestamps kept for this gateway, their tokens verified. */
  readonly stamps?: readonly StampedCheckpoint[] | null;
  /** How the cold tier of a data directory is reached. Without it, what only that has counts as removed. */
  readonly cold?: ColdAccess | undefined;
  /** Blocks and signatures alone, of a gateway, a data directory, a mirror or a copy: no records are looked for. */
  readonly blocksOnly?: boolean;
  /** How often the gateway says that it is alive. Default 60,000, as its own. */
  readonly heartbeatMs?: number;
  /** Unix ms. Default Date.now. */
  readonly now?: () => number;
  /** Chooses the sample; 0 ≤ r < 1. Default Math.random. */
  readonly random?: () => number;
  readonly onProgress?: (done: AuditProgress) => void;
}

export interface AuditProgress {
  readonly phase: 'blocks' | 'records';
  readonly done: number;
  readonly total: number;
}

/** Blocks without which later signatures cannot be judged. */
const EPOCH_KINDS: ReadonlySet<BlockKind> = new Set(['genesis', 'policy', 'key']);
const DEFAULT_HEARTBEAT_MS = 60_000;
const NO_RECORDS: RecordCounts = {
  blocksMatching: 0,
  blocksChanged: 0,
  recordsMatching: 0,
  recordsMissing: 0,
  recordsPruned: 0,
  recordsUnproven: 0,
  offsetsLost: 0,
};

/**
 * Audits a data directory, a gateway (http://…), or, where that is asked for, a block log alone at a path or an address.
 * @throws SourceError when the source cannot be read, FormatError when policy or key cannot
 */
export async function audit(source: string, options: AuditOptions = {}): Promise<AuditReport> {
  const findings = new Findings();
  const opened = await openSource(source, findings, options);
  try {
    return await auditOpened(source, opened, findings, options);
  } finally {
    opened.close();
  }
}

async function auditOpened(
  source: string,
  opened: AuditSource,
  findings: Findings,
  options: AuditOptions,
): Promise<AuditReport> {
  const startedMs = performance.now();
  const policy = typeof options.policy === 'string' ? parsePolicy(options.policy) : (options.policy ?? null);
  const given =
    typeof options.gatewayKey === 'string'
      ? parseVerifierKey(options.gatewayKey)
      : (options.gatewayKey ?? null);
  const { read, records, prefix, recordsFile } = opened;
  if (!records && options.device !== undefined)
    throw new SourceError(
      'SOURCE_ANSWER',
      `${source} has blocks and no records: no device can be followed there`,
      {
        facts: { source },
        hint: 'give the data directory or the address of the gateway',
      },
    );
  const asked = policy && options.askAuthorities !== false ? await askAll(policy) : [];
  const head = await readSignedHead(read, findings, prefix);
  const state = head ? usableState(options.state ?? null, head, findings, prefix) : null;
  const before = state ? parseBlock(state.position.last!) : null;
  const since = state?.position.size ?? 0;
  const seen = new Seen(findings, options.heartbeatMs ?? DEFAULT_HEARTBEAT_MS, before);
  const history = options.device === undefined ? null : new DeviceHistory(options.device);
  let chain: ChainSummary | null = null;
  let signature: SignatureJudgement = {
    trust: policy ? 'policy' : given ? 'gateway-key' : 'genesis',
    status: 'unsigned',
    cosigned: [],
  };
  const epochBlocks = [...(state?.epochBlocks ?? [])];
  let authorities: AuthorityView[] = [];
  let timestamps: TimestampReport | null = null;
  // Read after the checkpoint: the log can only have grown since, so what is sealed must lie within.
  const log = (await records?.bounds()) ?? null;
  const mode = records ? (options.records ?? 'full') : 'none';
  let counts: AuditReport['records'] = { ...NO_RECORDS, mode, blocksChecked: 0 };
  if (head) {
    const { size } = head.checkpoint;
    chain = await walkChain({
      read,
      checkpoint: head.checkpoint,
      findings,
      prefix,
      ...(state && { from: state.position, epochBlocks: state.epochBlocks }),
      onBlock: (block, file) => {
        seen.block(block, file);
        if (EPOCH_KINDS.has(block.kind)) epochBlocks.push(encodeBlock(block));
        if (block.height % 100 === 0)
          options.onProgress?.({ phase: 'blocks', done: block.height, total: size });
      },
    });
    signature = judgeSignatures(head, chain.epochs, policy, given, findings, prefix);
    if (state && !chain.rootAgrees) sayChanged(state, findings, prefix);
    const shown = { head: head.checkpoint, read, findings };
    const keysOf = (seen: Checkpoint) => gatewayKeys(seen, chain?.epochs ?? null, policy, given).keys;
    const ours = asked.filter(({ origin }) => origin === head.checkpoint.origin);
    authorities = await judgeViews({ ...shown, asked: ours, keysOf });
    if (options.stamps) timestamps = await judgeTimestamps({ ...shown, stamps: options.stamps, keysOf });
    if (records && log) {
      const check = new RecordCheck(records, findings, recordsFile, seen.pruned, log, history);
      counts = await checkRecords({
        opened,
        since,
        blocks: chain.blocks,
        dataBlocks: seen.kinds.data,
        sealedEnd: chain.coveredEnd,
        check,
        history,
        findings,
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
    sayMissing(history?.report(), findings, recordsFile);
    if (findings.errors === 0 && chain.position.last)
      options.onState?.({
        origin: head.checkpoint.origin,
        position: chain.position,
        root: head.checkpoint.root,
        epochBlocks,
        auditedMs: (options.now ?? Date.now)(),
      });
  }
  const sealedEnd = chain?.coveredEnd ?? 0;
  return {
    kind: 'audit',
    source,
    verdict: findings.errors > 0 || !head ? 'problems' : 'clean',
    ...signature,
    notice: noticeOf(signature),
    since,
    authorities,
    timestamps,
    device: history?.report() ?? null,
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
    notSealedYet: log ? Math.max(0, log.end - Math.max(sealedEnd, log.start)) : 0,
    records: counts,
    declared: seen.declared,
    declaredCount: seen.declaredCount,
    refusals: seen.refusals.total,
    findings: findings.list,
    findingCount: findings.count,
    errors: findings.errors,
    warnings: findings.warnings,
    tookMs: Math.round(performance.now() - startedMs),
  };
}

/** What the authorities know of each gateway the policy names. */
async function askAll(policy: Policy) {
  const origins = new Set(policy.logs.map(({ key }) => key.name));
  const asked = await Promise.all(
    [...origins].map(async (origin) => {
      return (await askAuthorities(policy, origin)).map((view) => ({ ...view, origin }));
    }),
  );
  return asked.flat();
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
