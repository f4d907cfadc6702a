// What an audit says: the shape of its report, as `tidemark audit --json` prints it. Judges nothing.
import type { BlockKind } from '../format/block.ts';
import type { Refusals } from '../format/refusals.ts';
import type { DeclaredLoss } from './auditseen.ts';
import type { AuthorityView } from './authorityviews.ts';
import type { DeviceReport } from './devicehistory.ts';
import type { Finding } from './findings.ts';
import type { RecordCounts } from './recordcheck.ts';
import type { AuditTrust, SignatureJudgement } from './signatures.ts';
import type { TimestampReport } from './timestamps.ts';

export interface AuditReport {
  readonly kind: 'audit';
  readonly source: string;
  readonly verdict: 'clean' | 'problems';
  readonly trust: AuditTrust;
  readonly status: SignatureJudgement['status'];
  /** What a reader of the verdict must know about its worth. */
  readonly notice: string | null;
  /** Blocks that an audit before had checked; 0 where this one began at genesis. */
  readonly since: number;
  /** Null where there was no readable checkpoint. */
  readonly checkpoint: { readonly origin: string; readonly size: number; readonly root: string } | null;
  readonly cosigned: readonly string[];
  /** What the authorities of the policy have seen; empty where none was asked. */
  readonly authorities: readonly AuthorityView[];
  /** Null where there were none to look at. */
  readonly timestamps: TimestampReport | null;
  /** The device asked about. */
  readonly device: DeviceReport | null;
  readonly blocks: Readonly<Record<BlockKind, number>>;
  readonly firstSealedMs: number | null;
  readonly lastSealedMs: number | null;
  /** One past the last sealed offset. */
  readonly sealedEnd: number;
  /** Null where there is a block log, and no records. */
  readonly log: { readonly start: number; readonly end: number } | null;
  /** Records in the log that no signed block covers yet: normal while a gateway is running. */
  readonly notSealedYet: number;
  /** none: there are no records here to look at. */
  readonly records: RecordCounts & {
    readonly mode: 'full' | 'sample' | 'none';
    readonly blocksChecked: number;
  };
  /** The first 100 losses the gateway itself declared. */
  readonly declared: readonly DeclaredLoss[];
  readonly declaredCount: number;
  /** What the gateway says it did not let in, by cause, in the blocks that were read. */
  readonly refusals: Refusals;
  readonly findings: readonly Finding[];
  readonly findingCount: number;
  readonly errors: number;
  readonly warnings: number;
  readonly tookMs: number;
}
