// Fuzz targets of the log: two independent decoders over the same batch, and a reader, a recovery and fsck over a segment
// that somebody damaged. Claims: never two readings of one batch, never a record that was not appended, always an end.
import { deepStrictEqual } from 'node:assert';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32c } from '@node-rs/crc32';
import { checkBatch, HEADER_BYTES, readHeader, whyForeign } from '../../gateway/log/batch.ts';
import { CheckedBatch } from '../../gateway/log/checked-batch.ts';
import { type LogConfig, logConfigSchema } from '../../gateway/log/config.ts';
import { openLog } from '../../gateway/log/log.ts';
import { openReader } from '../../gateway/log/reader.ts';
import { TextCache } from '../../gateway/log/text-cache.ts';
import { LogError } from '../../gateway/log/types.ts';
import { FormFault } from '../../gateway/log/varint.ts';
import type { Offset } from '../../ledger/format/brand.ts';
import type { TelemetryRecord } from '../../ledger/format/record.ts';
import { fsck } from '../../ledger/fsck/fsck.ts';
import { decodeBatch } from '../../ledger/fsck/records.ts';
import { scanSegment } from '../../ledger/fsck/segments.ts';
import { MemoryDisk } from '../fault/memory-disk.ts';
import { plain, record } from '../gateway/log/records.ts';
import type { Target } from './target.ts';

const SEGMENT = 'log/00000000000000000000.log';
const config = logConfigSchema.parse({ preallocateBytes: 0, reserveBytes: 0, indexIntervalBytes: 1024 });
const input = (number: number) =>
  record(number, {
    device: number % 4 === 0 ? '' : 'pümpe',
    sequence: number % 3 === 0 ? null : number,
    payload: Buffer.alloc((number * 29) % 300, `${number} `),
    headers: number % 5 === 0 ? [['unit', Buffer.from('mm/s')]] : [],
    salt: Buffer.alloc(number % 6 === 0 ? 16 : 0, number),
  });
const RECORDS = 60;
const appended = Array.from({ length: RECORDS }, (_, number) => JSON.stringify(plain(input(number))));

async function segmentFiles(folder: string, changes: Partial<LogConfig>): Promise<Map<string, Uint8Array>> {
  const disk = new MemoryDisk();
  const log = await openLog({ dataDir: folder, config: { ...config, ...changes }, fs: disk.port(folder) });
  for (let at = 0; at < RECORDS; at += 6)
    await log.appendAll(Array.from({ length: 6 }, (_, index) => input(at + index)));
  await log.close();
  return disk.files();
}

function batchesOf(segment: Uint8Array): Buffer[] {
  const bytes = Buffer.from(segment);
  const batches: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 12 + bytes.readInt32BE(at + 8);
    batches.push(bytes.subarray(at, end));
    at = end;
  }
  return batches;
}

const plainWithOffset = (each: TelemetryRecord) => `${each.offset} ${JSON.stringify(plain(each))}`;

/** The writer's own reading; null where it refuses. */
function readByLog(bytes: Buffer): string[] | null {
  const header = readHeader(bytes, 0, bytes.length);
  if (typeof header === 'string' || checkBatch(bytes, 0, bytes.length, header) !== null) return null;
  if (whyForeign(header) !== null) return null;
  try {
    const decoder = new CheckedBatch(header, bytes, 0).decoder(0, new TextCache());
    const records: string[] = [];
    for (let next = decoder.next(0); next !== null; next = decoder.next(next.offset + 1))
      records.push(plainWithOffset(next));
    return records;
  } catch (error) {
    if (error instanceof FormFault) return null;
    throw error;
  }
}

/** The checker's reading of the same bytes as a file. */
function readByFsck(path: string, bytes: Buffer): string[] | null {
  writeFileSync(path, bytes);
  const [first] = [...scanSegment({ name: 'fuzz.log', path, baseOffset: 0, place: 'log' })];
  if (first?.kind !== 'batch') return null;
  const decoded = decodeBatch(first.batch);
  return decoded.ok ? decoded.records.map(plainWithOffset) : null;
}

/** Half of the time with a right checksum, or the decoders would hardly ever see damage. */
function withChecksum(bytes: Buffer): Buffer {
  if (bytes.length < HEADER_BYTES || bytes[bytes.length - 1]! % 2 === 0) return bytes;
  const fixed = Buffer.from(bytes);
  fixed.writeInt32BE(fixed.length - 12, 8);
  fixed.writeUInt32BE(crc32c(fixed.subarray(21)), 17);
  return fixed;
}

function batchTarget(folder: string, segments: readonly Uint8Array[]): Target {
  const path = join(folder, 'batch.bin');
  return {
    name: 'record batch, two decoders',
    good: segments.flatMap(batchesOf),
    share: 4,
    check: (bytes, isGood) => {
      const given = isGood ? bytes : withChecksum(bytes);
      const ours = readByLog(given);
      const theirs = readByFsck(path, given);
      if (isGood && (ours === null || theirs === null)) throw new Error('a good batch is refused');
      if (ours !== null && theirs !== null) deepStrictEqual(ours, theirs, 'two readings of one batch');
    },
  };
}

/** Reads on past every damaged place; every record must be the one appended at its offset. */
async function readThrough(disk: MemoryDisk, folder: string): Promise<{ count: number; holes: number }> {
  const reader = await openReader({ dataDir: folder, fs: disk.port(folder) });
  let count = 0;
  let holes = 0;
  try {
    for (let next = 0; ; ) {
      try {
        const records = await reader.fetch(next as Offset);
        if (records.length === 0) return { count, holes };
        for (const each of records) {
          if (each.offset < next) throw new Error(`offset ${each.offset} came again`);
          if (JSON.stringify(plain(each)) !== appended[each.offset])
            throw new Error(`offset ${each.offset} was never appended like this`);
          next = each.offset + 1;
          count += 1;
        }
      } catch (error) {
        if (!(error instanceof LogError)) throw error;
        const resume = Number(error.facts.resume);
        if (!(resume > next)) throw new Error(`no way on after ${error.message}`);
        next = resume;
        holes += 1;
      }
    }
  } finally {
    await reader.close();
  }
}

function segmentTarget(folder: string, all: readonly ReadonlyMap<string, Uint8Array>[]): Target {
  return {
    name: 'segment: reader, recovery, fsck',
    good: all.map((files) => files.get(SEGMENT)!),
    share: 6,
    check: async (bytes, isGood) => {
      const files = new Map(all[0]!);
      files.set(SEGMENT, bytes);
      // Without the marker the tail is judged as after a crash; with it every missing byte is damage.
      if (bytes.length % 2 === 1 && !isGood) files.delete('log/clean');
      if (bytes.length % 3 === 1 && !isGood) files.delete('log/00000000000000000000.index');
      const before = await readThrough(MemoryDisk.of(files), folder);
      if (isGood && before.count !== RECORDS)
        throw new Error(`${before.count} of ${RECORDS} records are read`);
      mkdirSync(join(folder, 'log'), { recursive: true });
      writeFileSync(join(folder, SEGMENT), bytes);
      const report = await fsck(folder, { deep: true });
      const disk = MemoryDisk.of(files);
      const log = await openLog({ dataDir: folder, config, fs: disk.port(folder) });
      const found = log.recovery;
      try {
        await readThrough(disk, folder);
        const offset = await log.appendAll([record(1)]);
        if (offset < found.at) throw new Error(`offset ${offset} was given twice`);
      } finally {
        await log.close();
      }
      if (before.holes > 0 && report.verdict === 'clean')
        throw new Error(`the reader finds ${before.holes} holes, fsck none`);
    },
  };
}

export async function logTargets(): Promise<Target[]> {
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'tidemark-fuzz-'));
  const all = [
    await segmentFiles(folder, {}),
    await segmentFiles(folder, {
      compression: { codec: 'zstd', level: 1, minBatchBytes: 256, minSavedPercent: 1 },
    }),
  ];
  const close = async () => rmSync(folder, { recursive: true, force: true });
  const segments = all.map((files) => files.get(SEGMENT)!);
  return [batchTarget(folder, segments), { ...segmentTarget(folder, all), close }];
}
