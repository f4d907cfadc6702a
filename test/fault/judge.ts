// Owns the verdict on a disk that a fault left behind: what was acknowledged is there, in order, once, as it was sent;
// nothing else is; fsck agrees before and after the next start; and what the next start shows is safe from then on.
import { mkdirSync, readdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openLog } from '../../gateway/log/log.ts';
import { openReader } from '../../gateway/log/reader.ts';
import { LogError, type LogReader, type SegmentDamage } from '../../gateway/log/types.ts';
import type { Offset } from '../../ledger/format/brand.ts';
import type { TelemetryRecord } from '../../ledger/format/record.ts';
import { type FsckReport, fsck } from '../../ledger/fsck/fsck.ts';
import { plain, put, readAll } from '../gateway/log/records.ts';
import { MemoryDisk } from './memory-disk.ts';
import { type Books, config, numbered } from './scenario.ts';

/** Sequence of the record the judge appends to see that the log goes on. */
const ONE_MORE = 1_000_000;

const plainBySequence = new Map<number, string>();

function expectedOf(sequence: number): string {
  const known = plainBySequence.get(sequence);
  if (known !== undefined) return known;
  const text = JSON.stringify(plain(numbered(sequence)));
  plainBySequence.set(sequence, text);
  return text;
}

/** Why `present` does not answer to `books`, or null. */
export function whyWrong(
  present: readonly TelemetryRecord[],
  books: Books,
  damage: readonly SegmentDamage[] = [],
): string | null {
  const asked = new Set(books.asked);
  const held = new Map<number, number>();
  let previous = { offset: -1, sequence: -1 };
  for (const each of present) {
    const { offset, sequence } = each;
    if (offset <= previous.offset) return `offset ${offset} comes after ${previous.offset}`;
    if (sequence === null || !asked.has(sequence)) return `offset ${offset} was never appended (${sequence})`;
    if (sequence <= previous.sequence) return `sequence ${sequence} comes after ${previous.sequence}`;
    if (JSON.stringify(plain(each)) !== expectedOf(sequence)) return `offset ${offset} is misread`;
    if (books.refused.has(sequence)) return `sequence ${sequence} was refused and is there`;
    if (books.removed.has(sequence)) return `sequence ${sequence} was removed and is there`;
    previous = { offset, sequence };
    held.set(offset, sequence);
  }
  const mayLack = new Set(books.removing.flat());
  for (const [sequence, offset] of books.acked)
    if (held.get(offset) !== sequence && !(mayLack.has(sequence) && !held.has(offset)))
      return `sequence ${sequence} was acknowledged as offset ${offset}, where ${held.get(offset) ?? 'nothing'} is`;
  for (const run of books.removing) {
    const left = run.filter((sequence) => held.has(books.acked.get(sequence)!));
    if (left.length > 0 && left.length < run.length)
      return `${run.length - left.length} of ${run.length} records that go together are gone`;
  }
  return whyHoles(held, books, mayLack, damage);
}

/** Offsets follow each other but where records were removed, and where damage was reported. */
function whyHoles(
  held: ReadonlyMap<number, number>,
  books: Books,
  mayLack: ReadonlySet<number>,
  damage: readonly SegmentDamage[],
): string | null {
  const isReported = (at: number) => damage.some(({ offset, resume }) => at >= offset && at < resume);
  const removable = new Set(
    [...books.acked].filter(([sequence]) => mayLack.has(sequence)).map(([, at]) => at),
  );
  const end = Math.max(-1, ...held.keys()) + 1;
  for (let offset = 0; offset < end; offset++)
    if (!held.has(offset) && !removable.has(offset as Offset) && !isReported(offset))
      return `offset ${offset} is missing`;
  return null;
}

const OF_HOLES = new Set(['SEGMENT_DAMAGED', 'OFFSETS_MISSING']);

/** What fsck has to say; holes that no ledger declares are right where retention was at work. */
function complaints(
  { findings }: FsckReport,
  books: Books,
  worst: 'error' | 'warning',
  mayHaveHoles: boolean,
): string[] {
  return findings
    .filter(({ code }) => !(mayHaveHoles && OF_HOLES.has(code)))
    .filter(({ severity }) => severity === 'error' || severity === worst)
    .filter(({ code }) => code !== 'OFFSETS_MISSING' || books.removing.length === 0)
    .map(({ code, file, position, message }) => `${code} ${file} ${position}: ${message}`);
}

/** Makes the files of `folder/log` those of the disk. */
function layOut(files: ReadonlyMap<string, Uint8Array>, folder: string): void {
  mkdirSync(join(folder, 'log'), { recursive: true });
  for (const name of readdirSync(join(folder, 'log')))
    if (!files.has(`log/${name}`)) unlinkSync(join(folder, 'log', name));
  for (const [name, bytes] of files) writeFileSync(join(folder, name), bytes);
}

/** All that can be read; damage is passed over only where the reader says where it ends. */
async function all(open: () => Promise<LogReader>): Promise<TelemetryRecord[]> {
  const reader = await open();
  const records: TelemetryRecord[] = [];
  try {
    for (let from = 0; ; ) {
      try {
        records.push(...(await readAll(reader, from)));
        return records;
      } catch (error) {
        if (!(error instanceof LogError) || error.code !== 'SEGMENT_DAMAGED') throw error;
        const { offset: first, resume } = error.facts;
        for (let at = from; at < Number(first); ) {
          const some = await reader.fetch(at as Offset);
          records.push(...some);
          at = some.at(-1)!.offset + 1;
        }
        from = Number(resume);
      }
    }
  } finally {
    await reader.close();
  }
}

export interface JudgeOptions {
  /** A real folder: the writer's lock is taken in it, and fsck reads real files there. */
  readonly folder: string;
  /** Damage may be reported: then all but what it names is there. */
  readonly mayHaveHoles?: boolean;
}

/** Why the disk breaks a promise, or null. Leaves `disk` as the next process would. */
export async function judge(
  disk: MemoryDisk,
  books: Books,
  { folder, mayHaveHoles = false }: JudgeOptions,
): Promise<string | null> {
  layOut(disk.files(), folder);
  const before = await fsck(folder);
  const damage = complaints(before, books, 'error', mayHaveHoles);
  if (damage.length > 0) return `fsck before the start: ${damage.join('; ')}`;

  const log = await openLog({ dataDir: folder, config, fs: disk.port(folder) });
  let present: TelemetryRecord[];
  try {
    const { damage: holes } = log.recovery;
    if (holes.length > 0 && !mayHaveHoles) return `damage: ${JSON.stringify(holes)}`;
    present = await all(() => log.openReader());
    const broken = whyWrong(present, books, holes);
    if (broken !== null) return broken;
    const shown = await safeFromNowOn(disk, present, books, folder);
    if (shown !== null) return shown;
    const offset = await put(log, numbered(ONE_MORE));
    if (offset !== log.recovery.at || offset <= (present.at(-1)?.offset ?? -1))
      return `the next record got offset ${offset}, the log ended at ${log.recovery.at}`;
    const lost = await safeFromNowOn(disk, await all(() => log.openReader()), books, folder);
    if (lost !== null) return `with one more record: ${lost}`;
  } finally {
    await log.close();
  }
  layOut(disk.durableFiles(), folder);
  const after = await fsck(folder, { deep: true });
  const wrong = complaints(after, books, 'warning', mayHaveHoles);
  if (wrong.length > 0) return `fsck after an orderly end: ${wrong.join('; ')}`;
  if (after.log.records !== present.length + 1)
    return `fsck counts ${after.log.records} records, ${present.length + 1} were read`;
  return null;
}

/** Whoever read the log may have acted on it: a power cut right after the start must not take a record back. */
async function safeFromNowOn(
  disk: MemoryDisk,
  shown: readonly TelemetryRecord[],
  books: Books,
  folder: string,
): Promise<string | null> {
  const left = MemoryDisk.of(disk.durableFiles());
  const records = await all(() => openReader({ dataDir: folder, fs: left.port(folder) }));
  const held = new Set(records.map(({ offset }) => offset));
  const lost = shown.filter(({ offset }) => !held.has(offset)).length;
  if (lost > 0) return `${lost} of ${shown.length} records shown after the start do not survive a power cut`;
  const added = records.length - shown.length;
  return added > 0 && books.removing.length === 0 ? `a power cut brings ${added} records back` : null;
}
