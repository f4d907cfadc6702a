// A data directory with the real log, sealer and retention in one process, for the tests: time and steps in their hands.
import { join } from 'node:path';
import { logConfigSchema } from '../../../gateway/log/config.ts';
import { type LogFs, realFs } from '../../../gateway/log/fs.ts';
import { openLog } from '../../../gateway/log/log.ts';
import type { Log } from '../../../gateway/log/types.ts';
import { ledgerBlocks } from '../../../gateway/retention/blocks.ts';
import { type RetentionConfig, retentionConfigSchema } from '../../../gateway/retention/config.ts';
import { RetentionEngine } from '../../../gateway/retention/engine.ts';
import type { StageFigures } from '../../../gateway/stage/types.ts';
import { StateStore } from '../../../gateway/state/state.ts';
import { type RecordInput, SOURCE } from '../../../ledger/format/record.ts';
import { ledgerSchema } from '../../../ledger/seal/config.ts';
import { sealStage } from '../../../ledger/seal/stage.ts';
import { ORIGIN, sealUntilDone } from '../../ledger/fsck/gateway.ts';

export const START_MS = 1_763_600_000_000;
export const HOUR_MS = 3_600_000;
const encoder = new TextEncoder();
export const CONFIG = logConfigSchema.parse({
  segmentBytes: 16 * 1024,
  preallocateBytes: 0,
  indexIntervalBytes: 1024,
});

/** Three topics in turn; one record a minute. */
export function reading(index: number): RecordInput {
  return {
    eventMs: START_MS + index * 60_000,
    receivedMs: START_MS + index * 60_000,
    topic: ['plant/debug', 'plant/pump/vibration', 'plant/alarm'][index % 3]!,
    device: `pump-${index % 3}`,
    sequence: index,
    source: SOURCE.mqtt,
    contentType: 'application/json',
    headers: [],
    payload: encoder.encode(`{"value":${index},"pad":"${'x'.repeat(60)}"}`),
    salt: new Uint8Array(0),
  };
}

export async function openKeeperLog(dataDir: string, fs: LogFs = realFs): Promise<Log> {
  return openLog({ dataDir, config: CONFIG, fs });
}

export async function fill(log: Log, dataDir: string, count: number, from = 0): Promise<void> {
  for (let at = 0; at < count; at += 10)
    await log.appendAll(Array.from({ length: Math.min(10, count - at) }, (_, i) => reading(from + at + i)));
  await sealUntilDone(dataDir, log, { ledger: { blockRecordsMax: 37 } });
}

export interface EngineOptions {
  readonly retention: Partial<RetentionConfig>;
  readonly nowMs: number;
  readonly fs?: LogFs;
  readonly consumers?: readonly string[];
  readonly logged?: string[];
  /** How what is planned gets declared. Default: a sealer of its own. */
  readonly declare?: () => Promise<void>;
}

export function engineOn(
  dataDir: string,
  log: Log,
  state: StateStore,
  options: EngineOptions,
): RetentionEngine {
  const { segments } = log;
  return new RetentionEngine({
    config: retentionConfigSchema.parse(options.retention),
    fs: options.fs ?? realFs,
    folder: join(dataDir, 'log'),
    indexIntervalBytes: CONFIG.indexIntervalBytes,
    clock: () => options.nowMs,
    segments: {
      list: async () => segments.list(),
      dropOldest: (base) => segments.dropOldest(base as never),
      replace: (base, drafts) => segments.replace(base as never, drafts),
    },
    state,
    consumers: options.consumers ?? ['sealer'],
    blocks: ledgerBlocks(dataDir),
    log: (_level, message) => void options.logged?.push(message),
  });
}

/** Checks, and lets the sealer declare, until there is nothing more to do. */
export async function settleRetention(
  dataDir: string,
  log: Log,
  options: EngineOptions,
): Promise<RetentionEngine> {
  const state = new StateStore(dataDir);
  try {
    const engine = engineOn(dataDir, log, state, options);
    for (let step = 0; step < 200; step++) {
      const result = await engine.check();
      if (result === 'idle') return engine;
      if (result === 'declare') await (options.declare?.() ?? declareAll(dataDir, log));
    }
    throw new Error('retention comes to no end');
  } finally {
    state.close();
  }
}

/** Runs the sealer until nothing planned is left undeclared. */
export async function declareAll(dataDir: string, log: Log): Promise<void> {
  const state = new StateStore(dataDir);
  const isDone = () => state.openRemovals().every(({ declaredHeight }) => declaredHeight !== null);
  const stop = new AbortController();
  try {
    await runSealer(dataDir, log, stop.signal, (figures) => {
      if (figures.alarm || isDone()) stop.abort();
    });
  } finally {
    state.close();
  }
}

/** The sealer stage on an open log, until `signal`. */
export async function runSealer(
  dataDir: string,
  log: Log,
  signal: AbortSignal,
  onReport: (figures: StageFigures) => void = () => {},
): Promise<void> {
  const state = new StateStore(dataDir);
  const reader = await log.openReader();
  try {
    await sealStage({
      name: 'sealer',
      config: {
        origin: ORIGIN,
        software: 'tidemark test',
        bootId: '00000000000000aa',
        ledger: { ...ledgerSchema.parse({}), blockRecordsMax: 37, blockIntervalMs: 10 },
        recovery: log.recovery,
      },
      dataDir,
      reader,
      appender: log,
      state,
      signal,
      report: onReport,
      log: () => {},
    });
  } finally {
    await reader.close();
    state.close();
  }
}
