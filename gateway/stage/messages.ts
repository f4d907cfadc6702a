// What crosses the thread border between a stage's worker and its host. Structured-clone values only.
import type { RecordInput } from '../../ledger/format/record.ts';
import type { LogErrorCode } from '../log/types.ts';
import type { LossTotals, StageFigures } from './types.ts';

export interface StageInit<Config> {
  readonly name: string;
  readonly config: Config;
  readonly dataDir: string;
  /** Shared with the writer: the durable end of the log (see gateway/log/signal.ts). */
  readonly durableEnd: SharedArrayBuffer;
}

export type StageMessage =
  | { type: 'append'; id: number; records: readonly RecordInput[] }
  | { type: 'figures'; figures: StageFigures }
  | { type: 'publish'; topic: string; payload: Uint8Array }
  | {
      type: 'log';
      level: 'debug' | 'info' | 'warn' | 'error';
      message: string;
      facts: Record<string, unknown>;
    };

export type HostMessage =
  | { type: 'appended'; id: number; first: number }
  | { type: 'append-failed'; id: number; code: LogErrorCode; message: string }
  | { type: 'losses'; totals: LossTotals }
  | { type: 'stop' };
