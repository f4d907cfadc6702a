// A stage is one log consumer in a worker thread (windows, models, sealer, forwarder): it reads the log from
// its durable cursor, may append derived records, and reports figures. It never talks to another stage.
import type { LogAppender, LogReader } from '../log/types.ts';
import type { StateStore } from '../state/state.ts';

export type StageFigures = Record<string, number | string | boolean | null>;

/** What did not get in since the gateway started, by cause. */
export interface LossTotals {
  /** Its sender was told. */
  readonly refused: Readonly<Record<string, number>>;
  /** Its sender does not know. */
  readonly dropped: Readonly<Record<string, number>>;
}

export interface StageContext<Config> {
  /** Unique among stages, e.g. 'windows', 'model:anomaly', 'sealer', 'forwarder:central'. Also the cursor's name. */
  readonly name: string;
  readonly config: Config;
  readonly dataDir: string;
  readonly reader: LogReader;
  /** Goes to the single writer in the ingest thread; resolves after its fdatasync. */
  readonly appender: Pick<LogAppender, 'appendAll'>;
  readonly state: StateStore;
  /** Aborted when the gateway shuts down: finish the step at hand, save the cursor, return. */
  readonly signal: AbortSignal;
  /** As last told by the ingest thread, to the stage that puts it into the ledger. */
  losses?(): LossTotals;
  /** Latest figures of this stage, shown in status, metrics and the dashboard. Merged over earlier ones. */
  report(figures: StageFigures): void;
  /** Sends a message to MQTT subscribers (QoS 0), past the log: a command to a device, never telemetry. */
  readonly publish?: (topic: string, payload: Uint8Array) => void;
  log(level: 'debug' | 'info' | 'warn' | 'error', message: string, facts?: Record<string, unknown>): void;
}

/** The body of a stage: runs until `context.signal` is aborted; throwing restarts the stage with backoff. */
export type StageBody<Config> = (context: StageContext<Config>) => Promise<void>;
