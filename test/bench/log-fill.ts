// Builds a large log quickly for the benchmarks that read one, through the real writer. Syncs once at the end instead of
// before every answer: nobody relies on these records while they are being made.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { logConfigSchema } from '../../gateway/log/config.ts';
import { datasync, type LogFs, realFs } from '../../gateway/log/fs.ts';
import { logFolder } from '../../gateway/log/layout.ts';
import { openLog } from '../../gateway/log/log.ts';
import type { RecordInput } from '../../ledger/format/record.ts';
import { Progress } from './progress.ts';
import { payloads, plant, record } from './telemetry.ts';

const PAYLOADS = 4_096;
const APPEND_RECORDS = 20_000;
/** Runs in flight: one is encoded while another is written. */
const IN_FLIGHT = 3;
const DESCRIPTION = 'bench-log.json';

export interface Filling {
  readonly dataDir: string;
  /** Stops at whichever comes first. */
  readonly bytes: number;
  readonly records: number;
  readonly payloadBytes: number;
  readonly devices: number;
  /** Of each device, in event time. */
  readonly recordsPerSecond: number;
  /** Record batches of about this size, as a gateway of this load would gather them. */
  readonly batchBytes: number;
}

/** What a filled log holds; kept beside it, so that it can be used again. */
export interface FilledLog {
  readonly bytes: number;
  readonly records: number;
  readonly payloadBytes: number;
  readonly devices: number;
  readonly recordsPerSecond: number;
  readonly batchBytes: number;
  readonly firstMs: number;
  readonly lastMs: number;
}

/** The log in `dataDir` if a benchmark made it, else null. */
export function describedLog(dataDir: string): FilledLog | null {
  const path = join(dataDir, DESCRIPTION);
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as FilledLog) : null;
}

/** Progress goes to standard error, the figures' place is standard output. */
export async function fillLog(filling: Filling): Promise<FilledLog> {
  const { dataDir, batchBytes } = filling;
  mkdirSync(dataDir, { recursive: true });
  const unsynced: LogFs = { ...realFs, fdatasync: (_fd, done) => setImmediate(done, null) };
  const config = logConfigSchema.parse({ maxBatchBytes: batchBytes, preallocateBytes: 0 });
  const log = await openLog({ dataDir, config, fs: unsynced });
  const began = performance.now();
  const next = source(filling);
  let records = 0;
  const progress = new Progress();
  const text = () => {
    const share = Math.max(log.figures().bytes / filling.bytes, records / filling.records);
    const seconds = (performance.now() - began) / 1_000;
    return `filling the log: ${Math.min(100, share * 100).toFixed(0)} %, ${(records / 1e6).toFixed(1)} M records, ${(log.figures().bytes / 1e9).toFixed(2)} GB, ${seconds.toFixed(0)} s`;
  };
  const timer = setInterval(() => progress.show(text()), 500);
  try {
    const pump = async () => {
      while (log.figures().bytes < filling.bytes && records < filling.records) {
        const run: RecordInput[] = [];
        const count = Math.min(APPEND_RECORDS, filling.records - records);
        for (let i = 0; i < count; i++) run.push(next());
        records += count;
        await log.appendAll(run);
      }
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, pump));
  } finally {
    clearInterval(timer);
    progress.end(text());
    await log.close();
  }
  await syncAll(dataDir);
  const filled = { ...describe(filling, records), bytes: log.figures().bytes };
  writeFileSync(join(dataDir, DESCRIPTION), JSON.stringify(filled));
  return filled;
}

const FIRST_MS = Date.UTC(2026, 0, 1);

const eventMs = ({ devices, recordsPerSecond }: Filling, index: number) =>
  FIRST_MS + Math.floor((index * 1_000) / (devices * recordsPerSecond));

function describe(filling: Filling, records: number): Omit<FilledLog, 'bytes'> {
  const { payloadBytes, devices, recordsPerSecond, batchBytes } = filling;
  const lastMs = eventMs(filling, records - 1);
  return { records, payloadBytes, devices, recordsPerSecond, batchBytes, firstMs: FIRST_MS, lastMs };
}

/** Devices take turns, each at its rate. */
function source(filling: Filling): () => RecordInput {
  const pool = payloads(filling.payloadBytes, PAYLOADS);
  const units = plant(filling.devices);
  let index = 0;
  return () => {
    const at = index++;
    const device = at % filling.devices;
    const sequence = Math.floor(at / filling.devices);
    return record(units, device, sequence, eventMs(filling, at), pool[at % PAYLOADS]!);
  };
}

async function syncAll(dataDir: string): Promise<void> {
  const folder = logFolder(dataDir);
  for (const name of await realFs.readdir(folder)) {
    const fd = await realFs.open(join(folder, name), 'write');
    await datasync(realFs, fd);
    await realFs.close(fd);
  }
}
