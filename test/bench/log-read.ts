// `npm run bench -- log-read`: a large log is reopened after kill −9, read at random places, by device and time, and
// as a whole. Fills one first, or takes one it made before (--dir). Prints Markdown; judges nothing.
import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { logConfigSchema } from '../../gateway/log/config.ts';
import { realFs } from '../../gateway/log/fs.ts';
import { hasKeyIndex } from '../../gateway/log/key-index-build.ts';
import { readKeyIndexHeader } from '../../gateway/log/key-index-file.ts';
import { KeyIndexer } from '../../gateway/log/key-indexer.ts';
import { listSegments, logFolder, segmentFile } from '../../gateway/log/layout.ts';
import { openLog } from '../../gateway/log/log.ts';
import { openReader } from '../../gateway/log/reader.ts';
import type { LogReader, SearchableLogReader } from '../../gateway/log/types.ts';
import { Chores } from '../../gateway/threads/chores.ts';
import { WORKER_LIMITS } from '../../gateway/threads/limits.ts';
import { type Offset, offset } from '../../ledger/format/brand.ts';
import { startChild } from './children.ts';
import { Latencies, ms, timed } from './latencies.ts';
import { describedLog, type FilledLog, fillLog } from './log-fill.ts';
import { preamble } from './machine.ts';
import { Progress } from './progress.ts';
import { scratch } from './scratch.ts';
import { plant, randomFrom } from './telemetry.ts';

const CHILD_TIMEOUT_MS = 600_000;
const RANGE_RECORDS = 1_000;
const HOUR_MS = 3_600_000;
const PAGE_RECORDS = 10_000;
const INDEX_TIMEOUT_MS = 300_000;
/** A segment being written has an index once it is larger than this, surely. */
const FOLLOW_BYTES = 24 * 2 ** 20;

interface Counts {
  readonly kills: number;
  readonly reads: number;
  readonly hours: number;
}

export async function main(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      gigabytes: { type: 'string', default: '2' },
      dir: { type: 'string' },
      in: { type: 'string' },
      bytes: { type: 'string', default: '100' },
      devices: { type: 'string', default: '1000' },
      rate: { type: 'string', default: '1' },
      'batch-bytes': { type: 'string', default: '16384' },
      kills: { type: 'string', default: '5' },
      reads: { type: 'string', default: '2000' },
      hours: { type: 'string', default: '50' },
    },
  });
  const temporary = values.dir === undefined ? scratch(values.in) : null;
  const dataDir = values.dir ?? join(temporary!.path, 'data');
  const counts = { kills: Number(values.kills), reads: Number(values.reads), hours: Number(values.hours) };
  try {
    const filled =
      describedLog(dataDir) ??
      (await fillLog({
        dataDir,
        bytes: Number(values.gigabytes) * 1e9,
        records: Number.POSITIVE_INFINITY,
        payloadBytes: Number(values.bytes),
        devices: Number(values.devices),
        recordsPerSecond: Number(values.rate),
        batchBytes: Number(values['batch-bytes']),
      }));
    console.log(preamble(dataDir));
    console.log(`${describe(filled)}\n`);
    console.log('| what | cache | p50 | p95 | p99 | max | n | budget, for orientation |');
    console.log('|---|---|---|---|---|---|---|---|');
    await reopen(dataDir, counts.kills);
    await read(dataDir, filled, counts);
    await scan(dataDir);
  } finally {
    temporary?.remove();
  }
}

function describe(log: FilledLog): string {
  const hours = (log.lastMs - log.firstMs) / HOUR_MS;
  return (
    `log: ${(log.bytes / 1e9).toFixed(1)} GB, ${(log.records / 1e6).toFixed(1)} M records of ${log.payloadBytes} B payload, ` +
    `${log.devices} devices with ${log.recordsPerSecond} records/s each (${hours.toFixed(1)} h), batches of ${log.batchBytes / 1024} KiB. ` +
    'warm: in the page cache, where another reader that asked the same just before has put it; key indexes of the segments ' +
    'are in memory but for the first row of reads. cold: dropped from the ' +
    'page cache before (each page again the first time it is touched)'
  );
}

function row(what: string, cache: string, latencies: Latencies, budget: string): void {
  const [p50 = NaN, p95 = NaN, p99 = NaN] = latencies.quantiles(0.5, 0.95, 0.99);
  const cells = [p50, p95, p99, latencies.max].map((value) => `${ms(value)} ms`);
  console.log(`| ${what} | ${cache} | ${cells.join(' | ')} | ${latencies.count} | ${budget} |`);
}

/** Asks the kernel to forget the log's files; pages that were never written back stay, so everything must be synced. */
function dropCache(dataDir: string): void {
  const folder = logFolder(dataDir);
  for (const name of readdirSync(folder)) {
    execFileSync('dd', [`if=${join(folder, name)}`, 'iflag=nocache', 'count=0', 'status=none']);
  }
}

// ---- reopening

interface Opened {
  readonly tookMs: number;
  readonly unclean: boolean;
  readonly truncatedBytes: number;
  readonly damaged: number;
}

async function reopen(dataDir: string, kills: number): Promise<void> {
  for (const cache of ['warm', 'cold'] as const) {
    const latencies = new Latencies();
    for (let round = 0; round < kills; round++) {
      const writer = startChild('log-child.ts', ['write', dataDir], { timeoutMs: CHILD_TIMEOUT_MS });
      await writer.next();
      await writer.end('SIGKILL');
      if (cache === 'cold') dropCache(dataDir);
      const opener = startChild('log-child.ts', ['open', dataDir], { timeoutMs: CHILD_TIMEOUT_MS });
      const opened = await opener.next<Opened>();
      await opener.end();
      if (!opened.unclean || opened.damaged > 0) throw new Error(`not a recovery: ${JSON.stringify(opened)}`);
      latencies.add(opened.tookMs);
    }
    row('reopen after kill −9', cache, latencies, '< 2 s with 10 GB');
  }
}

// ---- reading

async function read(dataDir: string, filled: FilledLog, { reads, hours }: Counts): Promise<void> {
  const log = await openLog({ dataDir, config: logConfigSchema.parse({}) });
  // The log's own reader, as the gateway's API uses it.
  const reader = await log.openReader();
  // Without the writer's end it shares nothing with that one but the page cache.
  const warmer = await openReader({ dataDir });
  // As in the gateway, where it goes on as long as the log is open.
  const chores = new Chores();
  const indexer = new KeyIndexer(chores, { dataDir, durableEnd: log.durableEnd }, (problem) =>
    console.error(problem),
  );
  try {
    await indexed(dataDir);
    const segments = await listSegments(realFs, logFolder(dataDir));
    row('one record of a segment not read yet', 'warm', await firstReads({ reader, warmer }, segments), '');
    for (const cache of ['warm', 'cold'] as const) {
      const random = randomFrom(cache === 'warm' ? 1 : 2);
      const anywhere = (below: number) => Math.floor(random() * below);
      const readers = { reader, warmer: cache === 'warm' ? warmer : null };
      const few = cache === 'warm' ? reads : Math.ceil(reads / 4);
      if (cache === 'cold') dropCache(dataDir);
      row(
        'one record by offset',
        cache,
        await byOffset(readers, few, () => anywhere(filled.records)),
        '< 1 ms p99',
      );
      if (cache === 'cold') dropCache(dataDir);
      const from = () => anywhere(filled.records - RANGE_RECORDS);
      row(
        '1,000 records from an offset',
        cache,
        await ranges(readers, Math.ceil(few / 4), from),
        '< 10 ms p95',
      );
      if (cache === 'cold') dropCache(dataDir);
      const found = await deviceHours(
        readers,
        filled,
        cache === 'warm' ? hours : Math.ceil(hours / 4),
        random,
      );
      row(found.what, cache, found.latencies, '< 100 ms p95 in 10 GB');
    }
  } finally {
    await indexer.close();
    await chores.close();
    await warmer.close();
    await reader.close();
    await log.close();
  }
}

interface Readers<R> {
  readonly reader: R;
  /** Asks first, untimed; null where the read is to be cold. */
  readonly warmer: R | null;
}

async function timedRead<R, T>(
  { reader, warmer }: Readers<R>,
  read: (reader: R) => Promise<T>,
): Promise<{ value: T; tookMs: number }> {
  if (warmer) {
    await read(warmer);
    // What follows begins in a turn of its own, as a request to the gateway does.
    await new Promise((next) => setImmediate(next));
  }
  return timed(() => read(reader));
}

async function byOffset(readers: Readers<LogReader>, count: number, place: () => number): Promise<Latencies> {
  const latencies = new Latencies();
  for (let i = 0; i < count; i++) {
    const at = offset(place());
    const { value, tookMs } = await timedRead(readers, (reader) => reader.fetch(at, { maxRecords: 1 }));
    if (value[0]?.offset !== at) throw new Error(`offset ${at} was not read`);
    latencies.add(tookMs);
  }
  return latencies;
}

/** One record from the middle of each closed segment: with it comes its key index, which stays. */
async function firstReads(readers: Readers<LogReader>, segments: readonly number[]): Promise<Latencies> {
  const middle = (base: number, index: number) => Math.floor((base + segments[index + 1]!) / 2);
  const places = segments.slice(0, -1).map(middle);
  return byOffset(readers, places.length, () => places.shift()!);
}

async function ranges(readers: Readers<LogReader>, count: number, place: () => number): Promise<Latencies> {
  const latencies = new Latencies();
  for (let i = 0; i < count; i++) {
    const at = offset(place());
    const { value, tookMs } = await timedRead(readers, (reader) =>
      reader.fetch(at, { maxRecords: RANGE_RECORDS, maxBytes: 16 * 2 ** 20 }),
    );
    if (value.length !== RANGE_RECORDS) throw new Error(`${value.length} records from ${at} on`);
    latencies.add(tookMs);
  }
  return latencies;
}

/** All records of one device in one hour, somewhere in the log. */
async function deviceHours(
  readers: Readers<SearchableLogReader>,
  filled: FilledLog,
  count: number,
  random: () => number,
): Promise<{ what: string; latencies: Latencies }> {
  const latencies = new Latencies();
  const { devices } = plant(filled.devices);
  const spanMs = Math.min(HOUR_MS, filled.lastMs - filled.firstMs);
  let records = 0;
  let readBytes = 0;
  for (let i = 0; i < count; i++) {
    const device = devices[Math.floor(random() * devices.length)]!;
    const fromMs = filled.firstMs + Math.floor(random() * (filled.lastMs - filled.firstMs - spanMs));
    const { value, tookMs } = await timedRead(readers, (reader) =>
      recordsOf(reader, device, fromMs, fromMs + spanMs),
    );
    records += value.records;
    readBytes += value.readBytes;
    latencies.add(tookMs);
  }
  const minutes = Math.round(spanMs / 60_000);
  const each = `${Math.round(records / count)} records, ${(readBytes / count / 2 ** 20).toFixed(1)} MiB read`;
  const what = `one device over ${minutes} min (${each})`;
  return { what, latencies };
}

/** Page after page, until the log has nothing more of that hour. */
async function recordsOf(
  reader: SearchableLogReader,
  device: string,
  fromMs: number,
  toMs: number,
): Promise<{ records: number; readBytes: number }> {
  let fromOffset: Offset | undefined;
  let records = 0;
  let readBytes = 0;
  for (;;) {
    const page = await reader.query({ device, fromMs, toMs, fromOffset, limit: PAGE_RECORDS });
    records += page.records.length;
    readBytes += page.readBytes;
    if (page.complete) return { records, readBytes };
    fromOffset = page.next;
  }
}

/** Waits until the gateway's own thread has made the key indexes; without them a query has to read everything. */
async function indexed(dataDir: string): Promise<void> {
  const folder = logFolder(dataDir);
  const segments = await listSegments(realFs, folder);
  const active = segments.at(-1)!;
  const { sizeBytes } = await realFs.stat(join(folder, segmentFile(active, 'log')));
  const isFollowed = async () =>
    sizeBytes < FOLLOW_BYTES ||
    (await readKeyIndexHeader(realFs, join(folder, segmentFile(active, 'keys')))) !== null;
  const began = performance.now();
  const progress = new Progress();
  const text = (done: number) => `key indexes: ${done} of ${segments.length} segments`;
  for (const [index, base] of segments.entries()) {
    while (!(base === active ? await isFollowed() : await hasKeyIndex(realFs, folder, base))) {
      progress.show(text(index));
      if (performance.now() - began > INDEX_TIMEOUT_MS)
        throw new Error(`no key index of segment ${base} after ${INDEX_TIMEOUT_MS / 1_000} s`);
      await new Promise((next) => setTimeout(next, 50));
    }
  }
  progress.end(`${text(segments.length)}, ${((performance.now() - began) / 1_000).toFixed(1)} s`);
}

// ---- all of it

interface Scanned {
  readonly records: number;
  readonly payloadBytes: number;
  readonly seconds: number;
  readonly idleRssMib: number;
  readonly rssAboveMib: number;
  readonly externalAboveMib: number;
  readonly heapAboveMib: number;
}

async function scan(dataDir: string): Promise<void> {
  const child = startChild('log-child.ts', ['scan', dataDir], {
    timeoutMs: CHILD_TIMEOUT_MS,
    // As in the gateway's workers; a young heap is three semi-spaces.
    nodeOptions: ['--expose-gc', `--max-semi-space-size=${WORKER_LIMITS.maxYoungGenerationSizeMb! / 3}`],
  });
  const scanned = await child.next<Scanned>();
  await child.end();
  const rounded = (value: number) => value.toFixed(0);
  console.log(
    `\nreading all of it in one process: ${(scanned.records / scanned.seconds / 1e6).toFixed(2)} M records/s, ` +
      `memory idle ${rounded(scanned.idleRssMib)} MiB; above that at most ${rounded(scanned.rssAboveMib)} MiB resident ` +
      `(external ${rounded(scanned.externalAboveMib)} MiB, JavaScript heap ${rounded(scanned.heapAboveMib)} MiB); budget, for orientation: < 50 MB\n`,
  );
}
