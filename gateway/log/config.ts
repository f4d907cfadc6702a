// Owns the log's section of the configuration. Refuses values that the on-disk form cannot carry.
import { z } from 'zod';

const KIB = 1024;
const MIB = 1024 * KIB;

const compressionSchema = z.strictObject({
  codec: z
    .enum(['none', 'zstd'])
    .default('none')
    .describe(
      'zstd makes telemetry take about an eighth of the space, for longer retention and less wear of flash. Off by default: every reader unpacks a whole batch to get at one record, and storing is no faster for it (docs/decisions/0006).',
    ),
  level: z
    .int()
    .min(1)
    .max(19)
    .default(1)
    .describe('Of zstd. Higher ones save little more on telemetry and take several times as long.'),
  minBatchBytes: z
    .int()
    .min(256)
    .max(16 * MIB)
    .default(2 * KIB)
    .describe('Batches with fewer bytes of records are stored as they are: a lone record gains nothing.'),
  minSavedPercent: z
    .number()
    .min(0)
    .max(99)
    .default(10)
    .describe('A batch that saves less is stored as it is, and the next ones are not tried for a while.'),
});

const syncSchema = z
  .union([z.literal('always'), z.strictObject({ intervalMs: z.int().min(1).max(60_000) })])
  .default('always')
  .describe(
    'always: a record is acknowledged once fdatasync has returned for it, so no power cut loses it. {intervalMs}: once it is written, with a sync at most every so often. Then a crash of the process still loses nothing, but a power cut or a crash of the system loses what was acknowledged since the last sync. Readers, ledger and forwarders only ever see what is synced.',
  );

export const logConfigSchema = z
  .strictObject({
    segmentBytes: z
      .int()
      .min(16 * KIB)
      .max(1024 * MIB)
      .default(128 * MIB)
      .describe('A segment file is closed and a new one begun before it would pass this size.'),
    segmentAgeMs: z
      .int()
      .min(1_000)
      .default(3_600_000)
      .describe('A segment is closed this long after its first record, also when nothing more arrives.'),
    preallocateBytes: z
      .int()
      .min(0)
      .max(64 * MIB)
      .default(8 * MIB)
      .describe(
        'Zeros kept written ahead of the end, so that a sync need not grow the file. 0 turns it off.',
      ),
    maxBatchBytes: z
      .int()
      .min(4 * KIB)
      .max(16 * MIB)
      .default(MIB)
      .describe(
        'Records gathered during a sync are written as one record batch up to this size, and synced together.',
      ),
    maxRecordBytes: z
      .int()
      .min(KIB)
      .max(16 * MIB)
      .default(MIB)
      .describe(
        'Largest stored record (payload, topic, headers). Larger ones are refused: RECORD_TOO_LARGE.',
      ),
    maxPendingBytes: z
      .int()
      .min(64 * KIB)
      .max(1024 * MIB)
      .default(32 * MIB)
      .describe('Bytes that may wait for the disk. Beyond it appends are refused: BUFFER_FULL.'),
    sync: syncSchema,
    compression: compressionSchema.prefault({}),
    reserveBytes: z
      .int()
      .min(0)
      .max(256 * MIB)
      .default(4 * MIB)
      .describe(
        'Size of the file log/reserve, which is given up when the disk is full so that recovery, state and ledger can still write. Records are refused until it could be written again. 0 turns it off.',
      ),
    whenFull: z
      .enum(['reject-new', 'drop-oldest'])
      .default('reject-new')
      .describe(
        'On a full disk: refuse new records until there is space (reject-new), or drop the oldest segments, also those that retention would keep, and declare it in the ledger (drop-oldest).',
      ),
    indexIntervalBytes: z
      .int()
      .min(KIB)
      .max(MIB)
      .default(32 * KIB)
      .describe('One index entry about every so many bytes of a segment.'),
  })
  .refine((config) => config.maxPendingBytes >= 2 * config.maxRecordBytes, {
    path: ['maxPendingBytes'],
    error: 'must be at least twice maxRecordBytes',
  });

export type LogConfig = z.infer<typeof logConfigSchema>;
