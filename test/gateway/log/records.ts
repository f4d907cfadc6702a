// Owns the records, folders and file-system wrappers that the log's tests share. Tests nothing itself.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { onTestFinished } from 'vitest';
import { type LogConfig, logConfigSchema } from '../../../gateway/log/config.ts';
import { type LogFs, realFs } from '../../../gateway/log/fs.ts';
import { openLog } from '../../../gateway/log/log.ts';
import type { Log, LogReader } from '../../../gateway/log/types.ts';
import type { Offset } from '../../../ledger/format/brand.ts';
import type { RecordInput, Source, TelemetryRecord } from '../../../ledger/format/record.ts';

export const EMPTY = new Uint8Array(0);

export function record(number: number, changes: Partial<RecordInput> = {}): RecordInput {
  return {
    eventMs: 1_763_600_000_000 + number,
    receivedMs: 1_763_600_000_007 + number,
    topic: `plant/pump-${number % 7}/vibration`,
    device: `pump-${number % 7}`,
    sequence: number,
    source: 1,
    contentType: 'application/json',
    headers: [],
    payload: Buffer.from(`{"value":${number}}`),
    salt: EMPTY,
    ...changes,
  };
}

const safe = fc.oneof(
  fc.integer({ min: 1_700_000_000_000, max: 1_800_000_000_000 }),
  fc.maxSafeInteger(),
  fc.constantFrom(
    0,
    -1,
    1,
    Number.MAX_SAFE_INTEGER,
    Number.MIN_SAFE_INTEGER,
    2 ** 30,
    -(2 ** 30),
    2 ** 51,
    -(2 ** 51),
  ),
);
const text = (maxLength: number) =>
  fc.oneof(fc.string({ maxLength, unit: 'grapheme-ascii' }), fc.string({ maxLength, unit: 'binary' }));
const bytes = (maxLength: number) => fc.uint8Array({ maxLength });

export const anyRecord: fc.Arbitrary<RecordInput> = fc.record({
  eventMs: safe,
  receivedMs: safe,
  topic: text(60).filter((topic) => topic.length > 0),
  device: text(40),
  sequence: fc.option(fc.maxSafeNat()),
  source: fc.constantFrom<Source>(1, 2, 3, 4, 5, 6),
  contentType: fc.string({ maxLength: 40, unit: 'grapheme-ascii' }),
  headers: fc.uniqueArray(
    fc.tuple(fc.string({ minLength: 1, maxLength: 12, unit: 'grapheme-ascii' }), bytes(80)),
    {
      maxLength: 4,
      selector: ([name]) => name,
    },
  ),
  payload: fc.oneof(
    bytes(300),
    fc.nat({ max: 9000 }).map((length) => new Uint8Array(length).fill(length)),
  ),
  salt: fc.oneof(fc.constant(EMPTY), fc.uint8Array({ minLength: 16, maxLength: 16 })),
});

/** Comparable by toEqual: plain arrays of bytes instead of views and Buffers. */
export function plain(input: RecordInput): unknown {
  const { eventMs, receivedMs, topic, device, sequence, source, contentType } = input;
  return {
    eventMs,
    receivedMs,
    topic,
    device,
    sequence,
    source,
    contentType,
    headers: input.headers.map(([name, value]) => [name, Buffer.from(value).toString('hex')]),
    payload: Buffer.from(input.payload).toString('hex'),
    salt: Buffer.from(input.salt).toString('hex'),
  };
}

/**
 * A folder that goes when the test ends. In memory where the system has such a place: hundreds of cases that each sync
 * several times would wait for the disk, and what they test is not the disk.
 */
export function tempFolder(place = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()): string {
  const folder = mkdtempSync(join(place, 'tidemark-log-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface OpenOptions {
  dataDir?: string;
  config?: Partial<LogConfig>;
  fs?: Partial<LogFs>;
  clock?: () => number;
}

/** A log on real files, closed when the test ends. */
export async function open(options: OpenOptions = {}): Promise<Log & { dataDir: string }> {
  const dataDir = options.dataDir ?? tempFolder();
  const config = logConfigSchema.parse({
    preallocateBytes: 256 * 1024,
    reserveBytes: 64 * 1024,
    ...options.config,
  });
  const log = await openLog({
    dataDir,
    config,
    fs: { ...realFs, ...options.fs },
    ...(options.clock ? { clock: options.clock } : {}),
  });
  onTestFinished(() => log.close());
  return Object.assign(log, { dataDir });
}

/** Appends and waits; rejects with the LogError of a refusal. */
export function put(log: Log, input: RecordInput): Promise<Offset> {
  return new Promise((resolve, reject) =>
    log.append(input, (error, offset) => (error ? reject(error) : resolve(offset))),
  );
}

export async function readAll(reader: LogReader, from = 0): Promise<TelemetryRecord[]> {
  const records: TelemetryRecord[] = [];
  for (let next = from; ; next = records.at(-1)!.offset + 1) {
    const batch = await reader.fetch(next as Offset);
    if (batch.length === 0) return records;
    records.push(...batch);
  }
}

export function failure(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: made by the test`), { code });
}
