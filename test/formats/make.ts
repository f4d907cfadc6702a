// `node test/formats/make.ts FOLDER`: writes the small data directory that is kept as FOLDER/v1 and the listing of its
// records FOLDER/v1.records.jsonl, by the real log, windows, model and sealer. Refuses to write over what is there.
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { templatesSchema } from '../../gateway/codecs/config.ts';
import { logConfigSchema } from '../../gateway/log/config.ts';
import { openLog } from '../../gateway/log/log.ts';
import type { Log, LogReader } from '../../gateway/log/types.ts';
import type { StageBody } from '../../gateway/stage/types.ts';
import { StateStore } from '../../gateway/state/state.ts';
import { windowsConfigSchema } from '../../gateway/windows/config.ts';
import { windowsStage } from '../../gateway/windows/stage.ts';
import { type RecordInput, recordToJson, SOURCE, type TelemetryRecord } from '../../ledger/format/record.ts';
import { ledgerSchema, type SealerConfig } from '../../ledger/seal/config.ts';
import { sealStage } from '../../ledger/seal/stage.ts';
import { modelsConfigSchema } from '../../models/config.ts';
import { modelStage } from '../../models/stage.ts';
import { clockOf } from '../support/clock.ts';

export const ORIGIN = 'formats.example.com/v1';
const START_MS = 1_763_600_000_000;
export const logConfig = logConfigSchema.parse({
  segmentBytes: 22 * 1024,
  preallocateBytes: 4096,
  indexIntervalBytes: 1024,
  reserveBytes: 0,
});
const packedConfig = logConfigSchema.parse({
  ...logConfig,
  segmentBytes: 16 * 1024,
  compression: { codec: 'zstd', minBatchBytes: 256 },
});
const templates = templatesSchema.parse(undefined);
const encoder = new TextEncoder();

/** A pump that is shaken now and then; every field of a record takes all its forms. */
function input(at: number): RecordInput {
  const wave = Math.sin(at / 9) + Math.sin(at * 12.9898) * 0.4;
  const value = Number((wave + (at % 41 === 40 ? 9 : 0)).toFixed(4));
  return {
    eventMs: START_MS + at * 500 - (at % 17 === 0 ? 1_200 : 0),
    receivedMs: START_MS + at * 500 + 4,
    topic: at % 3 === 2 ? 'plant/pümpe/vibration' : `plant/pump-${at % 3}/vibration`,
    device: at % 23 === 0 ? '' : `pump-${at % 3}`,
    sequence: at % 5 === 0 ? null : at,
    source: [SOURCE.mqtt, SOURCE.websocket, SOURCE.http][at % 3]!,
    contentType: at % 7 === 0 ? '' : 'application/json',
    headers:
      at % 11 === 0
        ? [
            ['unit', encoder.encode('mm/s')],
            ['a', new Uint8Array(0)],
          ]
        : [],
    payload:
      at % 29 === 0 ? new Uint8Array(0) : encoder.encode(JSON.stringify({ rms: value, peak: value * 3 })),
    salt: new Uint8Array(at % 13 === 0 ? 16 : 0).fill(at),
  };
}

/** Runs a stage over what the log holds until it has nothing left to read. */
export async function runStageOnce<Config>(
  dataDir: string,
  log: Log,
  stage: { name: string; body: StageBody<Config>; config: Config; idleFetches?: number },
): Promise<void> {
  const reader = await log.openReader();
  const state = new StateStore(dataDir);
  const stop = new AbortController();
  let idle = stage.idleFetches ?? 1;
  const watched: LogReader = {
    start: () => reader.start(),
    end: () => reader.end(),
    close: () => reader.close(),
    async fetch(from, options) {
      const records = await reader.fetch(from, options);
      if (records.length === 0 && (options?.maxWaitMs ?? 0) > 0 && --idle <= 0) stop.abort();
      return records;
    },
  };
  try {
    await stage.body({
      name: stage.name,
      config: stage.config,
      dataDir,
      reader: watched,
      appender: log,
      state,
      signal: stop.signal,
      report: () => {},
      log: (level, message) => {
        if (level === 'error') throw new Error(message);
      },
    });
  } finally {
    await reader.close();
    state.close();
  }
}

export function sealer(
  log: Log,
  bootId: string,
): { name: string; body: StageBody<SealerConfig>; config: SealerConfig } {
  return {
    name: 'sealer',
    body: sealStage,
    config: {
      origin: ORIGIN,
      software: 'tidemark 0.1.0',
      bootId,
      ledger: ledgerSchema.parse({ blockRecordsMax: 48, blockIntervalMs: 10, heartbeatMs: 1_000 }),
      recovery: log.recovery,
    },
  };
}

async function derive(dataDir: string, log: Log): Promise<void> {
  let nowMs = START_MS + 400_000;
  await runStageOnce(dataDir, log, {
    name: 'windows',
    // Time moves on where nothing arrives: windows are closed by a tick, a record of the gateway's own.
    body: windowsStage(clockOf(() => (nowMs += 3_000))),
    idleFetches: 6,
    config: {
      windows: windowsConfigSchema.parse([{ name: 'minute', sizeMs: 20_000, allowedLatenessMs: 2_000 }]),
      templates,
    },
  });
  await runStageOnce(dataDir, log, {
    name: 'model:anomaly',
    body: modelStage(clockOf(() => START_MS + 400_000)),
    config: {
      model: modelsConfigSchema.parse([{ name: 'anomaly', warmupRecords: 4, refractoryRecords: 8 }])[0]!,
      templates,
    },
  });
}

/** As a crash leaves it: no marker of an orderly end, and the beginning of a batch that was never acknowledged. */
function crash(dataDir: string): void {
  const folder = join(dataDir, 'log');
  rmSync(join(folder, 'clean'));
  const last = readdirSync(folder)
    .filter((name) => name.endsWith('.log'))
    .sort()
    .at(-1)!;
  appendFileSync(join(folder, last), readFileSync(join(folder, last)).subarray(0, 100));
}

export async function readAll(reader: LogReader): Promise<TelemetryRecord[]> {
  const all: TelemetryRecord[] = [];
  for (;;) {
    const next = all.length === 0 ? await reader.start() : all.at(-1)!.offset + 1;
    const records = await reader.fetch(next as (typeof all)[number]['offset']);
    if (records.length === 0) return all;
    all.push(...records);
  }
}

async function make(folder: string): Promise<void> {
  const dataDir = join(folder, 'v1');
  if (existsSync(dataDir))
    throw new Error(`${dataDir} is there: a frozen directory is never made again in place`);
  mkdirSync(dataDir, { recursive: true });
  const inputs = Array.from({ length: 300 }, (_, at) => input(at));

  let log = await openLog({ dataDir, config: logConfig });
  for (let at = 0; at < 200; at += 8) await log.appendAll(inputs.slice(at, at + 8));
  await derive(dataDir, log);
  // Long enough for a heartbeat, which comes after a second without records.
  await runStageOnce(dataDir, log, { ...sealer(log, '00000000000000a1'), idleFetches: 8 });
  await log.close();
  crash(dataDir);

  // From here on batches are packed.
  log = await openLog({ dataDir, config: packedConfig });
  for (let at = 200; at < 300; at += 5) await log.appendAll(inputs.slice(at, at + 5));
  await derive(dataDir, log);
  await runStageOnce(dataDir, log, sealer(log, '00000000000000b2'));
  const reader = await log.openReader();
  const lines = (await readAll(reader)).map((record) => JSON.stringify(recordToJson(record)));
  await log.close();
  writeFileSync(join(folder, 'v1.records.jsonl'), `${lines.join('\n')}\n`);
  for (const name of ['lock.db', 'lock.pid', 'lock.db-journal']) rmSync(join(dataDir, name), { force: true });
}

if (import.meta.main) {
  const folder = process.argv[2];
  if (!folder) throw new Error('usage: node test/formats/make.ts FOLDER');
  await make(folder);
}
