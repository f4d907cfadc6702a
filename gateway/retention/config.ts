// Owns the settings of retention: what is removed, and when. By default nothing is.
import { z } from 'zod';
import { topicFilter } from '../codecs/topic-filter.ts';

const age = z.int().min(1_000).max(Number.MAX_SAFE_INTEGER);

export const retentionConfigSchema = z
  .strictObject({
    maxAgeMs: age
      .nullable()
      .default(null)
      .describe(
        'Records go when they were received longer ago than this. null: age removes nothing. Whole segments at a time.',
      ),
    maxBytes: z
      .int()
      .min(1024 * 1024)
      .max(Number.MAX_SAFE_INTEGER)
      .nullable()
      .default(null)
      .describe(
        'The oldest segments go while all closed ones together are larger than this. null: size removes nothing.',
      ),
    rules: z
      .array(
        z.strictObject({
          topics: z
            .array(topicFilter)
            .min(1)
            .max(100)
            .describe('MQTT topic filters; # alone leaves out $tidemark/ (windows and scores).'),
          maxAgeMs: age
            .nullable()
            .describe('Instead of maxAgeMs for these topics. null: age removes none of them.'),
        }),
      )
      .max(100)
      .default([])
      .describe('Other ages for some topics. The first rule that matches a topic counts.'),
    checkIntervalMs: z
      .int()
      .min(100)
      .max(86_400_000)
      .default(60_000)
      .describe('How often is looked for what is to go.'),
  })
  .prefault({});

export type RetentionConfig = z.infer<typeof retentionConfigSchema>;
