// Owns what the fault tests do to a log: runs that together make every kind of call the log makes, each writing down
// what it was promised. Deterministic: the same run on the same disk makes the same calls in the same order.
import { type LogConfig, logConfigSchema } from '../../gateway/log/config.ts';
import type { LogFs } from '../../gateway/log/fs.ts';
import { logFolder } from '../../gateway/log/layout.ts';
import { openLog } from '../../gateway/log/log.ts';
import { draftRewrite } from '../../gateway/log/retention/rewrite.ts';
import { removeManifest, settleRewrite, writeManifest } from '../../gateway/log/retention/settle.ts';
import { type Log, LogError } from '../../gateway/log/types.ts';
import type { Offset } from '../../ledger/format/brand.ts';
import type { RecordInput } from '../../ledger/format/record.ts';
import { put, record } from '../gateway/log/records.ts';
import { FaultFs } from './fault-fs.ts';
import { MemoryDisk } from './memory-disk.ts';

export const config: LogConfig = logConfigSchema.parse({
  segmentBytes: 16 * 1024,
  preallocateBytes: 8 * 1024,
  maxBatchBytes: 4096,
  maxRecordBytes: 4096,
  indexIntervalBytes: 1024,
  reserveBytes: 4096,
});

/** What a run asked for and what it was told. */
export interface Books {
  /** Sequences in the order they were appended, and the offset of each that was acknowledged. */
  readonly asked: number[];
  readonly acked: Map<number, Offset>;
  /** With `log.sync: {intervalMs}`, sequences said to be durable: what a power cut must leave. Null: all acknowledged. */
  readonly durable: Set<number> | null;
  /** Sequences refused with DISK_FULL: nothing of them may be kept. */
  readonly refused: Set<number>;
  /** Sequences that retention has begun to remove, run by run: of each run all may be there, or none. */
  readonly removing: (readonly number[])[];
  /** Sequences whose removal was reported as done: none may come back. */
  readonly removed: Set<number>;
}

export interface World {
  readonly dataDir: string;
  readonly fs: LogFs;
  readonly books: Books;
  readonly config: LogConfig;
  /** False once the process has crashed: what it is told then, nobody heard. */
  readonly alive: () => boolean;
}

export interface Scenario {
  readonly name: string;
  readonly config?: LogConfig;
  /** The disk it begins on, and what is promised of it. */
  readonly begin: () => Promise<{ readonly disk: MemoryDisk; readonly books: Books }>;
  readonly run: (world: World) => Promise<void>;
}

export const emptyBooks = (): Books => ({
  asked: [],
  acked: new Map(),
  durable: null,
  refused: new Set(),
  removing: [],
  removed: new Set(),
});

export const copyOf = (books: Books): Books => ({
  asked: [...books.asked],
  acked: new Map(books.acked),
  durable: books.durable && new Set(books.durable),
  refused: new Set(books.refused),
  removing: [...books.removing],
  removed: new Set(books.removed),
});

/** What is promised of the disk once the power has gone. */
export function afterPowerCut(books: Books): Books {
  const { durable } = books;
  if (durable === null) return books;
  return { ...books, acked: new Map([...books.acked].filter(([sequence]) => durable.has(sequence))) };
}

/** Every record is made from its sequence alone, so a reader's view can be checked byte for byte. */
export function numbered(sequence: number): RecordInput {
  return record(sequence, { payload: Buffer.alloc(120 + (sequence % 5) * 160, 97 + (sequence % 26)) });
}

function next(books: Books, count: number): number[] {
  const first = books.asked.length;
  const sequences = Array.from({ length: count }, (_, index) => first + index);
  books.asked.push(...sequences);
  return sequences;
}

const codeOf = (error: unknown): string => (error instanceof LogError ? error.code : String(error));

function told({ books, alive }: World, sequences: readonly number[], outcome: Offset | unknown): void {
  sequences.forEach((sequence, index) => {
    if (typeof outcome === 'number') books.acked.set(sequence, (outcome + index) as Offset);
    else if (alive() && codeOf(outcome) === 'DISK_FULL') books.refused.add(sequence);
  });
}

async function single(world: World, log: Log): Promise<void> {
  const sequences = next(world.books, 1);
  told(world, sequences, await put(log, numbered(sequences[0]!)).catch((error: unknown) => error));
}

/** Records of one turn: they share syncs, not fates. */
async function together(world: World, log: Log, count: number): Promise<void> {
  await Promise.all(Array.from({ length: count }, () => single(world, log)));
}

/** Records appended as one: all or none, in one batch. */
async function group(world: World, log: Log, count: number): Promise<void> {
  const sequences = next(world.books, count);
  told(world, sequences, await log.appendAll(sequences.map(numbered)).catch((error: unknown) => error));
}

async function opened(world: World, use: (log: Log) => Promise<void>): Promise<void> {
  const { dataDir, fs } = world;
  let log: Log;
  try {
    log = await openLog({ dataDir, config: world.config, fs });
  } catch {
    // Opening is refused on a disk that cannot be read: nothing was promised, and nothing may be lost.
    return;
  }
  try {
    await use(log);
  } finally {
    await log.close();
  }
}

/** Sequences of the acknowledged records of [from, to). */
function sequencesIn(books: Books, from: number, to: number): number[] {
  return [...books.acked].filter(([, at]) => at >= from && at < to).map(([sequence]) => sequence);
}

/** As retention does it (gateway/retention/engine.ts): drafts, manifest, replacement. */
async function rewriteFirst({ dataDir, fs, books }: World, log: Log): Promise<void> {
  const folder = logFolder(dataDir);
  const { baseOffset, endOffset } = log.segments.list()[0]!;
  const isKept = (sequence: number) => sequence % 3 !== 0;
  const run = sequencesIn(books, baseOffset, endOffset).filter((sequence) => !isKept(sequence));
  books.removing.push(run);
  const drafted = await draftRewrite({
    fs,
    folder,
    baseOffset,
    endOffset,
    indexIntervalBytes: config.indexIntervalBytes,
    keep: ({ sequence }) => isKept(sequence!),
    isLeafNeeded: () => true,
    leaves: [],
  });
  if (drafted.kind === 'unreadable') throw new Error(drafted.reason);
  const paths = Object.fromEntries(drafted.files.map(({ kind, path }) => [kind, path]));
  await writeManifest(fs, folder, { segment: baseOffset, files: drafted.files });
  await log.segments.replace(baseOffset, paths as { log: string });
  await removeManifest(fs, folder);
  for (const sequence of run) books.removed.add(sequence);
}

async function dropFirst({ books }: World, log: Log): Promise<void> {
  const { baseOffset, endOffset } = log.segments.list()[0]!;
  const run = sequencesIn(books, baseOffset, endOffset);
  // What the rewrite has taken may be gone without the rest.
  for (const known of books.removing.splice(0))
    books.removing.push(known.filter((each) => !run.includes(each)));
  books.removing.push(...run.map((sequence) => [sequence]));
  await log.segments.dropOldest(baseOffset);
  for (const sequence of run) books.removed.add(sequence);
}

const retain = async (world: World): Promise<void> =>
  opened(world, async (log) => {
    await single(world, log);
    await log.segments.roll().catch(() => {});
    await rewriteFirst(world, log).catch(() =>
      settleRewrite(world.fs, logFolder(world.dataDir)).catch(() => {}),
    );
    await group(world, log, 2);
    await dropFirst(world, log).catch(() => {});
    await single(world, log);
  });

const syncedSometimes: LogConfig = { ...config, sync: { intervalMs: 60_000 } };

/** Answers come before syncs: but for the first record, which is waited for, all wait for a roll or the end. */
const atIntervals = async (world: World): Promise<void> =>
  opened(world, async (log) => {
    const { books } = world;
    const told = (sequence: number) => {
      const at = books.acked.get(sequence);
      if (at === undefined) return Promise.resolve();
      return new Promise<void>((resolve) =>
        log.whenDurable(at, (error) => {
          if (!error) books.durable?.add(sequence);
          resolve();
        }),
      );
    };
    const waited: Promise<void>[] = [];
    await single(world, log);
    await told(books.asked.at(-1)!);
    for (let round = 0; round < 4; round++) {
      await single(world, log);
      waited.push(told(books.asked.at(-1)!));
    }
    await log.close();
    await Promise.all(waited);
  });

/** A disk that is too full for the log until a segment has gone. */
function tight(fs: LogFs): LogFs {
  let freed = false;
  return {
    ...fs,
    freeBytes: async (path) => {
      const free = await fs.freeBytes(path);
      return freed ? free : config.reserveBytes - 1;
    },
    unlink: async (path) => {
      await fs.unlink(path);
      if (path.endsWith('.log')) freed = true;
    },
  };
}

/** As under `log.whenFull: drop-oldest`. */
const makeRoom = async (world: World): Promise<void> =>
  opened({ ...world, fs: tight(world.fs) }, async (log) => {
    log.useSpaceMaker({
      makeRoom: async () => {
        const oldest = log.segments.list()[0];
        if (!oldest) return 0;
        await dropFirst(world, log);
        return oldest.sizeBytes;
      },
    });
    await single(world, log);
    await group(world, log, 2);
  });

/** The disk and the books after `run` on `from`, cut off before call `at` when given. */
async function after(
  dataDir: string,
  from: MemoryDisk,
  run: Scenario['run'],
  at: number | null,
): Promise<{ disk: MemoryDisk; books: Books }> {
  const books = emptyBooks();
  const faulty = new FaultFs(from, dataDir, at === null ? null : { at, fault: { kind: 'crash before' } });
  await run({ dataDir, fs: faulty.port, books, config, alive: () => faulty.crashed === null });
  return { disk: faulty.crashed ?? from, books };
}

const fill = async (world: World): Promise<void> =>
  opened(world, async (log) => {
    await single(world, log);
    await together(world, log, 3);
    await group(world, log, 4);
    for (let round = 0; round < 2; round++) {
      await together(world, log, 9);
      await group(world, log, 5);
      await single(world, log);
    }
    await group(world, log, 3);
  });

export const few = async (world: World): Promise<void> =>
  opened(world, async (log) => {
    await together(world, log, 4);
    await group(world, log, 2);
  });

/** Makes the beginning once and hands out copies. */
function once(make: Scenario['begin']): Scenario['begin'] {
  let made: ReturnType<Scenario['begin']> | null = null;
  return async () => {
    made ??= make();
    const { disk, books } = await made;
    return { disk: disk.fork(), books: copyOf(books) };
  };
}

export function scenarios(dataDir: string): Scenario[] {
  const fresh = () => new MemoryDisk();
  return [
    {
      name: 'write',
      // An empty folder; single records, groups, a roll, indexes, zeros ahead, an orderly end.
      begin: async () => ({ disk: fresh(), books: emptyBooks() }),
      run: fill,
    },
    {
      name: 'open after an orderly end',
      begin: once(() => after(dataDir, fresh(), fill, null)),
      run: few,
    },
    {
      name: 'rewrite a segment, then drop it',
      begin: once(() => after(dataDir, fresh(), fill, null)),
      run: retain,
    },
    {
      name: 'sync at intervals',
      config: syncedSometimes,
      begin: async () => ({ disk: fresh(), books: { ...emptyBooks(), durable: new Set() } }),
      run: atIntervals,
    },
    {
      name: 'drop the oldest on a full disk',
      config: { ...config, whenFull: 'drop-oldest' },
      begin: once(() => after(dataDir, fresh(), fill, null)),
      run: makeRoom,
    },
    {
      name: 'recover a torn tail and lost indexes',
      begin: once(async () => {
        const { disk, books } = await after(dataDir, fresh(), fill, null);
        const files = disk.files();
        files.delete('log/clean');
        const logs = [...files.keys()].filter((name) => name.endsWith('.log'));
        const last = logs.at(-1)!;
        const tail = Buffer.from(files.get(last)!);
        // The beginning of one more batch, cut short, and zeros ahead of it.
        const torn = Buffer.from(tail.subarray(0, 300));
        torn.writeBigInt64BE(BigInt(books.asked.length), 0);
        files.set(last, Buffer.concat([tail, torn, Buffer.alloc(1000)]));
        files.set(logs[0]!, Buffer.concat([files.get(logs[0]!)!, Buffer.alloc(2048)]));
        files.delete(logs[0]!.replace('.log', '.index'));
        files.set(logs[1]!.replace('.log', '.timeindex'), Buffer.alloc(5, 7));
        files.set(`${logs[1]!.replace('.log', '.index')}.new`, Buffer.alloc(3));
        return { disk: MemoryDisk.of(files), books };
      }),
      run: few,
    },
  ];
}
