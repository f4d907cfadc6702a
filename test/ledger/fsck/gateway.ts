// A real data directory for the checkers: the real log, the real sealer stage, real state.db, in a temporary folder.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { logConfigSchema } from '../../../gateway/log/config.ts';
import { openLog } from '../../../gateway/log/log.ts';
import type { Log, LogReader } from '../../../gateway/log/types.ts';
import type { StageFigures } from '../../../gateway/stage/types.ts';
import { StateStore } from '../../../gateway/state/state.ts';
import { type RecordInput, SOURCE } from '../../../ledger/format/record.ts';
import { type LedgerConfig, ledgerSchema } from '../../../ledger/seal/config.ts';
import { gatewayVerifierKey, loadOrCreateGatewayKey } from '../../../ledger/seal/key.ts';
import { sealStage } from '../../../ledger/seal/stage.ts';

export const ORIGIN = 'plant7.example.com/gw-3';
const encoder = new TextEncoder();

export function input(index: number, text = `{"value":${index}}`): RecordInput {
  return {
    eventMs: 1_763_600_000_000 + (index % 13) * 100 + index,
    receivedMs: 1_763_600_000_005 + index,
    topic: `plant/pump-${index % 3}/vibration`,
    device: index % 11 === 0 ? '' : `pump-${index % 3}`,
    sequence: index % 4 === 0 ? null : index,
    source: SOURCE.mqtt,
    contentType: 'application/json',
    headers:
      index % 5 === 0
        ? [
            ['unit', encoder.encode('mm/s')],
            ['a', new Uint8Array(0)],
          ]
        : [],
    payload: encoder.encode(text),
    salt: new Uint8Array(index % 7 === 0 ? 16 : 0).fill(index),
  };
}

export interface SealOptions {
  readonly ledger?: Partial<LedgerConfig>;
  readonly bootId?: string;
}

/** Runs the sealer stage on an open log until everything durable is sealed, then stops it in order. */
export async function sealUntilDone(
  dataDir: string,
  log: Log,
  options: SealOptions = {},
): Promise<StageFigures> {
  const state = new StateStore(dataDir);
  const reader: LogReader = await log.openReader();
  const stop = new AbortController();
  const figures: Record<string, number | string | boolean | null> = {};
  const logged: string[] = [];
  const end = await reader.end();
  try {
    await sealStage({
      name: 'sealer',
      config: {
        origin: ORIGIN,
        software: 'tidemark test',
        bootId: options.bootId ?? '00000000000000aa',
        ledger: { ...ledgerSchema.parse({}), blockRecordsMax: 100, blockIntervalMs: 10, ...options.ledger },
        recovery: log.recovery,
      },
      dataDir,
      reader,
      appender: log,
      state,
      signal: stop.signal,
      report: (latest) => {
        Object.assign(figures, latest);
        if (Number(figures.sealed) >= end || figures.alarm) stop.abort();
      },
      log: (level, message) => void (level === 'error' && logged.push(message)),
    });
  } finally {
    await reader.close();
    state.close();
  }
  if (logged.length > 0) throw new Error(logged.join('\n'));
  return figures;
}

export class GatewayDir {
  readonly dataDir: string;

  /** @param dataDir one to go on with; without, a new one */
  constructor(dataDir = mkdtempSync(join(tmpdir(), 'tidemark-fsck-'))) {
    this.dataDir = dataDir;
  }

  /** Appends records in groups and seals them; the log is closed in order. */
  async run(
    records: readonly RecordInput[],
    options: SealOptions & { readonly group?: number; readonly segmentBytes?: number } = {},
  ): Promise<void> {
    const { dataDir } = this;
    const config = logConfigSchema.parse({
      segmentBytes: options.segmentBytes ?? 64 * 1024,
      preallocateBytes: 16 * 1024,
      indexIntervalBytes: 1024,
    });
    const log = await openLog({ dataDir, config });
    const group = options.group ?? 50;
    for (let at = 0; at < records.length; at += group) await log.appendAll(records.slice(at, at + group));
    await sealUntilDone(dataDir, log, options);
    await log.close();
  }

  get verifierKey(): string {
    return gatewayVerifierKey(ORIGIN, loadOrCreateGatewayKey(this.dataDir));
  }

  remove(): void {
    rmSync(this.dataDir, { recursive: true, force: true });
  }
}

export const inputs = (count: number, from = 0): RecordInput[] =>
  Array.from({ length: count }, (_, i) => input(from + i));
