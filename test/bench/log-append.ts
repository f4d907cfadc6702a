// `npm run bench -- log-append`: how fast the log makes records durable, by record size and records in flight, beside
// what the disk allows for groups of the same size in the same run. Prints Markdown; judges nothing.
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type LogConfig, logConfigSchema } from '../../gateway/log/config.ts';
import { openLog } from '../../gateway/log/log.ts';
import type { Log } from '../../gateway/log/types.ts';
import type { RecordInput } from '../../ledger/format/record.ts';
import { type DiskFigures, DiskLimit } from './disk-limit.ts';
import { Latencies, ms } from './latencies.ts';
import { preamble, spread, summarise } from './machine.ts';
import { scratch } from './scratch.ts';
import { type PayloadKind, payloads, plant, record } from './telemetry.ts';

const WARM_UP_SECONDS = 0.3;
const DEVICES = 100;
const PAYLOADS = 1_024;
/** What a record needs beside its payload, roughly: for what may wait at once. */
const OVERHEAD_BYTES = 128;

interface Settings {
  readonly folder: string;
  readonly config: LogConfig;
  readonly rounds: number;
  readonly seconds: number;
  readonly payload: PayloadKind;
}

interface Round {
  readonly perSecond: number;
  readonly megabytesPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly groupRecords: number;
  readonly groupBytes: number;
  readonly disk: DiskFigures;
}

export async function main(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      sizes: { type: 'string', default: '64,256,1024,16384' },
      inflight: { type: 'string', default: '1,10,100,1000,10000' },
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '1' },
      payload: { type: 'string', default: 'telemetry' },
      log: { type: 'string', default: '{}' },
      in: { type: 'string' },
    },
  });
  const temporary = scratch(values.in);
  const settings: Settings = {
    folder: temporary.path,
    config: logConfigSchema.parse(JSON.parse(values.log)),
    rounds: Number(values.rounds),
    seconds: Number(values.seconds),
    payload: values.payload === 'random' ? 'random' : 'telemetry',
  };
  console.log(preamble(temporary.path));
  console.log(
    `append and fdatasync through the log, payload ${settings.payload}, ${settings.rounds} rounds of ${settings.seconds} s; ` +
      `the disk alone: pwrite + fdatasync of the same group size, in turn with it\n`,
  );
  console.log(
    '| payload B | in flight | records/s: median (min–max) | ack p50 ms | ack p99 ms | records a group | group KiB | log MB/s | disk alone: groups/s | p50 ms | p99 ms | log ÷ disk |',
  );
  console.log('|---|---|---|---|---|---|---|---|---|---|---|---|');
  const disk = await DiskLimit.open(temporary.path);
  try {
    for (const size of values.sizes.split(',').map(Number)) {
      for (const inFlight of values.inflight.split(',').map(Number)) {
        await cell(settings, disk, size, inFlight);
      }
    }
  } finally {
    disk.close();
    temporary.remove();
  }
}

async function cell(settings: Settings, disk: DiskLimit, size: number, inFlight: number): Promise<void> {
  const { config, folder } = settings;
  if (inFlight * (size + OVERHEAD_BYTES) > config.maxPendingBytes) {
    const mib = Math.round(config.maxPendingBytes / 2 ** 20);
    console.log(
      `| ${size} | ${inFlight} | refused: more than log.maxPendingBytes (${mib} MiB) | | | | | | | | | |`,
    );
    return;
  }
  const dataDir = join(folder, `log-${size}-${inFlight}`);
  mkdirSync(dataDir);
  const log = await openLog({ dataDir, config });
  const rounds: Round[] = [];
  try {
    const next = source(size, settings.payload);
    await drive(log, next, inFlight, WARM_UP_SECONDS);
    for (let round = 0; round < settings.rounds; round++) {
      const figures = await drive(log, next, inFlight, settings.seconds);
      rounds.push({ ...figures, disk: await disk.measure(figures.groupBytes, settings.seconds / 2) });
    }
  } finally {
    await log.close();
    rmSync(dataDir, { recursive: true, force: true });
  }
  print(size, inFlight, rounds);
}

function print(size: number, inFlight: number, rounds: readonly Round[]): void {
  const median = (pick: (round: Round) => number) => summarise(rounds.map(pick)).median;
  const cells = [
    size,
    inFlight,
    spread(rounds.map((round) => round.perSecond)),
    ms(median((round) => round.p50Ms)),
    ms(median((round) => round.p99Ms)),
    median((round) => round.groupRecords).toFixed(1),
    (median((round) => round.groupBytes) / 1_024).toFixed(1),
    median((round) => round.megabytesPerSecond).toFixed(1),
    spread(rounds.map((round) => round.disk.groupsPerSecond)),
    ms(median((round) => round.disk.p50Ms)),
    ms(median((round) => round.disk.p99Ms)),
    median((round) => round.perSecond / round.groupRecords / round.disk.groupsPerSecond).toFixed(2),
  ];
  console.log(`| ${cells.join(' | ')} |`);
}

function source(size: number, kind: PayloadKind): () => RecordInput {
  const pool = payloads(size, Math.min(PAYLOADS, Math.ceil((16 * 2 ** 20) / size)), kind);
  const units = plant(DEVICES);
  let count = 0;
  return () => {
    const at = count++;
    return record(units, at % DEVICES, Math.floor(at / DEVICES), Date.now(), pool[at % pool.length]!);
  };
}

/** Keeps `inFlight` records unacknowledged: each ack appends the next. */
function drive(
  log: Log,
  next: () => RecordInput,
  inFlight: number,
  seconds: number,
): Promise<Omit<Round, 'disk'>> {
  const latencies = new Latencies();
  // Asking the clock for every record would be a good part of what is measured.
  const every = inFlight >= 100 ? 16 : 1;
  const before = log.figures();
  const began = performance.now();
  let appended = 0;
  let outstanding = 0;
  let acked = 0;
  let stoppedAt = 0;
  return new Promise((resolve, reject) => {
    const finish = () => {
      const elapsed = (stoppedAt - began) / 1_000;
      const after = log.figures();
      const groups = after.batches - before.batches;
      const records = after.appendedRecords - before.appendedRecords;
      const bytes = after.bytes - before.bytes;
      const [p50Ms = 0, p99Ms = 0] = latencies.quantiles(0.5, 0.99);
      resolve({
        perSecond: acked / elapsed,
        megabytesPerSecond: ((bytes / records) * acked) / elapsed / 1e6,
        p50Ms,
        p99Ms,
        groupRecords: records / groups,
        groupBytes: bytes / groups,
      });
    };
    const append = () => {
      const sentAt = appended++ % every === 0 ? performance.now() : 0;
      outstanding += 1;
      log.append(next(), (error) => {
        outstanding -= 1;
        if (error) reject(error);
        else if (stoppedAt === 0) {
          acked += 1;
          if (sentAt > 0) latencies.add(performance.now() - sentAt);
          append();
        } else if (outstanding === 0) finish();
      });
    };
    setTimeout(() => {
      stoppedAt = performance.now();
    }, seconds * 1_000);
    for (let i = 0; i < inFlight; i++) append();
  });
}
