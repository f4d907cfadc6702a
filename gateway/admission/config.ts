// The `ingest` and `pressure` sections: what is accepted from devices, whatever the protocol, the limits on it, and how
// full the gateway may be.
import { z } from 'zod';
import { templatesSchema } from '../codecs/config.ts';
import { fairnessConfigSchema } from './fair-queue.ts';
import { rateConfigSchema } from './rate.ts';
import { schemaRulesSchema } from './schemas.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const MAX_BYTES = 2 ** 50;
const MAX_SPAN_MS = 2 ** 50;

const duplicatesSchema = z.strictObject({
  window: z
    .number()
    .int()
    .min(0)
    .max(65_536)
    .default(256)
    .describe('Records per device among which a repeated sequence is recognised; 0 turns the guard off.'),
  maxEntries: z
    .number()
    .int()
    .min(1024)
    .max(16_777_216)
    .default(1_048_576)
    .describe('Entries of all devices together (16 bytes each); when reached, windows stop growing.'),
  messageIds: z
    .number()
    .int()
    .min(0)
    .max(4_194_304)
    .default(65_536)
    .describe(
      'Message ids (HTTP Idempotency-Key, MQTT 5 user property message-id) of all devices that are remembered; the least recent gives way. 0: ids are stored but repetitions not recognised.',
    ),
});

const clockSchema = z.strictObject({
  maxAheadMs: z
    .int()
    .min(0)
    .max(MAX_SPAN_MS)
    .nullable()
    .default(600_000)
    .describe(
      'A device time further ahead of its receipt than this is kept as sent, flagged (header tidemark-clock: ahead) and left out of windows and models. null: never.',
    ),
  maxBehindMs: z
    .int()
    .min(0)
    .max(MAX_SPAN_MS)
    .nullable()
    .default(7 * 86_400_000)
    .describe(
      'The same for a device time further behind its receipt (tidemark-clock: behind), as after a clock reset. Longer than devices keep what they could not send. null: never.',
    ),
});

export const ingestConfigSchema = z.strictObject({
  templates: templatesSchema,
  maxPayloadBytes: z
    .number()
    .int()
    .min(1)
    .max(16 * MIB)
    .default(MIB / 2)
    .describe('Largest payload of one record; with its topic and headers it must fit log.maxRecordBytes.'),
  maxTopicBytes: z.number().int().min(1).max(65_535).default(512).describe('Longest topic, in UTF-8 bytes.'),
  maxDeviceBytes: z
    .number()
    .int()
    .min(1)
    .max(1024)
    .default(256)
    .describe('Longest device id, in UTF-8 bytes.'),
  maxBatchBytes: z
    .number()
    .int()
    .min(1024)
    .max(64 * MIB)
    .default(8 * MIB)
    .describe('Largest NDJSON request body.'),
  maxBatchLines: z
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(10_000)
    .describe('Most lines of an NDJSON request.'),
  maxDevices: z
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .default(20_000)
    .describe('Devices remembered; the least recently heard is forgotten (and counted) when one more comes.'),
  rate: rateConfigSchema
    .prefault({})
    .describe('How fast records may come. Beyond it: `rate-limited`, with when to try again.'),
  fairness: fairnessConfigSchema
    .prefault({})
    .describe('Who waits, and for how long, when records come faster than the log writes them.'),
  schemas: schemaRulesSchema,
  clock: clockSchema.prefault({}).describe('How far a device time may be from the gateway’s.'),
  duplicates: duplicatesSchema.prefault({}),
  snapshotIntervalMs: z
    .number()
    .int()
    .min(100)
    .max(3_600_000)
    .default(10_000)
    .describe(
      'Least time between two saves of the duplicate guard and the device table; what came later is read back from the log. Where fewer records than a tenth of `maxReplayRecords` came, 30 times as long; where half of it came, at once.',
    ),
  maxReplayRecords: z
    .number()
    .int()
    .min(0)
    .max(100_000_000)
    .default(1_000_000)
    .describe('Most records read back on start; older ones are not known to the duplicate guard.'),
});

export type IngestConfig = z.infer<typeof ingestConfigSchema>;

/** What can change while the gateway runs. */
export const INGEST_RULES = [
  'rate',
  'fairness',
  'schemas',
  'clock',
  'maxTopicBytes',
  'maxDeviceBytes',
] as const satisfies readonly (keyof IngestConfig)[];
export type IngestRules = Pick<IngestConfig, (typeof INGEST_RULES)[number]>;

const bytes = (fallback: number) => z.int().min(1).max(MAX_BYTES).default(fallback);

export const pressureConfigSchema = z
  .strictObject({
    shedAt: z
      .number()
      .gt(0)
      .max(1)
      .default(1)
      .describe('Pressure, 0 to 1, from which new records are refused with a retry hint.'),
    shedUnacknowledgedAt: z
      .number()
      .gt(0)
      .max(1)
      .default(0.9)
      .describe(
        'Pressure from which MQTT QoS 0 messages are no longer stored (they are counted, and still passed on to subscribers): whoever sends them does not wait for an answer.',
      ),
    waitingBytes: bytes(32 * MIB).describe('Bytes waiting for the log’s sync that count as full.'),
    unsealedBytes: bytes(64 * GIB).describe(
      'Bytes of the log not yet sealed that count as full. Generous: a sealer that lags costs nothing but time.',
    ),
    unforwardedBytes: bytes(1024 * GIB).describe(
      'Bytes of the log that the slowest forwarder has not sent, that count as full. Generous, so that an upstream which is away for days refuses nobody: how much the disk holds decides.',
    ),
    diskLeftBytes: z
      .int()
      .min(0)
      .max(MAX_BYTES)
      .default(16 * MIB)
      .describe(
        'Free space on the data directory’s disk at which it counts as full; twice as much counts as half. Not minded under log.whenFull drop-oldest. 0: only a full disk refuses.',
      ),
  })
  .refine((config) => config.shedUnacknowledgedAt <= config.shedAt, {
    path: ['shedUnacknowledgedAt'],
    error: 'must be at most shedAt',
  });

export type PressureConfig = z.infer<typeof pressureConfigSchema>;
