// What crosses the thread border between retention's worker and its host. Structured-clone values only.
import type { RolledSegment } from '../log/types.ts';
import type { StageFigures } from '../stage/types.ts';
import type { RetentionConfig } from './config.ts';

export interface RetentionInit {
  readonly dataDir: string;
  readonly config: RetentionConfig;
  readonly indexIntervalBytes: number;
  /** Names of the consumers that are configured. */
  readonly consumers: readonly string[];
}

/** A call of the log's segments, which live in the writer's thread. */
export type SegmentCall =
  | { readonly method: 'list' }
  | { readonly method: 'dropOldest'; readonly baseOffset: number }
  | {
      readonly method: 'replace';
      readonly baseOffset: number;
      readonly drafts: Readonly<Record<string, string>> & { log: string };
    };

export type RetentionMessage =
  | { readonly type: 'call'; readonly id: number; readonly call: SegmentCall }
  | { readonly type: 'figures'; readonly figures: StageFigures }
  | {
      readonly type: 'log';
      readonly level: 'debug' | 'info' | 'warn' | 'error';
      readonly message: string;
      readonly facts: Record<string, unknown>;
    };

export type RetentionReply =
  | { readonly type: 'answer'; readonly id: number; readonly value: readonly RolledSegment[] | number | null }
  | { readonly type: 'failed'; readonly id: number; readonly message: string }
  | { readonly type: 'stop' };
