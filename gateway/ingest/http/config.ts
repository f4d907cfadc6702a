// The `http.ingest` section: limits of request bodies, and which topic a line of InfluxDB's protocol gets.
import { z } from 'zod';

const MIB = 1024 * 1024;

const levelName = /^(?:[^{}+#/\p{C}]+|\{[^{}/\p{C}]+\})$/u;

export const httpIngestConfigSchema = z.strictObject({
  maxHeldBytes: z
    .number()
    .int()
    .min(MIB)
    .max(4096 * MIB)
    .default(64 * MIB)
    .describe(
      'Bytes of request bodies being read or waiting for the disk, of all requests together; more are answered 429. Answers that their clients do not read may take as much again; connections beyond that end. At least twice ingest.maxBatchBytes.',
    ),
  maxDrainBytes: z
    .number()
    .int()
    .min(0)
    .max(1024 * MIB)
    .default(32 * MIB)
    .describe(
      'Bytes of a refused body that are still taken off the connection (and thrown away), so that a client that is busy sending sees the answer.',
    ),
  lineTopic: z
    .string()
    .min(1)
    .max(512)
    .refine(
      (text) => text.split('/').every((level) => levelName.test(level)),
      'levels separated by /, each a text or one {name}',
    )
    .default('{bucket}/{host}/{measurement}')
    .describe(
      'Topic of a line written to /api/v2/write or /write. {bucket} is the bucket or database, {measurement} the measurement, any other {name} the tag of that name; `_` where the line has none (for {host}, the device whose credentials were shown).',
    ),
  deviceTopic: z
    .string()
    .min(1)
    .max(512)
    .refine(
      (text) => text.split('/').every((level) => levelName.test(level)),
      'levels separated by /, each a text or {device}',
    )
    .default('devices/{device}/telemetry')
    .describe(
      'Topic of what comes to /api/v1/<token>/telemetry; {device} is the device the token belongs to.',
    ),
});

export type HttpIngestConfig = z.infer<typeof httpIngestConfigSchema>;
