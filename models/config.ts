// The `models` section: which shipped models score the telemetry and their limits. Refuses unbounded series.
import { z } from 'zod';
import { inputTopicFilter } from '../gateway/codecs/topic-filter.ts';

const modelSchema = z.strictObject({
  name: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}$/, '1 to 64 letters, digits, `-` or `_`')
    .describe('Name of this use of a model: results go to the topic `$tidemark/anomalies/<name>`.'),
  model: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,63}$/, 'the name of a shipped model')
    .default('forecaster-64')
    .describe(
      'The shipped model to run (a folderless name: `<model>.onnx` and `<model>.json` in models/onnx).',
    ),
  topics: z
    .array(inputTopicFilter)
    .min(1)
    .max(256)
    .default(['#'])
    .describe('MQTT topic filters of the records to score.'),
  threshold: z
    .number()
    .min(1)
    .max(1000)
    .nullable()
    .default(null)
    .describe(
      'Score from which a record is an anomaly, in sizes usual for its own series; null: what the model recommends.',
    ),
  warmupRecords: z
    .number()
    .int()
    .min(0)
    .max(100_000)
    .default(24)
    .describe('Scores of a series that only calibrate it, before its first anomaly can be reported.'),
  refractoryRecords: z
    .number()
    .int()
    .min(0)
    .max(100_000)
    .default(64)
    .describe('After an anomaly the same series stays silent for this many samples: one fault, few alerts.'),
  sampleIntervalMs: z
    .number()
    .int()
    .min(0)
    .max(3_600_000)
    .default(200)
    .describe(
      'Values of one series closer together than this (event time) are averaged into one sample. 0: every value is a sample.',
    ),
  maxGapMs: z
    .number()
    .int()
    .min(1)
    .max(31 * 86_400_000)
    .default(60_000)
    .describe(
      'A series silent for longer than this, and than 20 of its usual intervals, starts its window afresh.',
    ),
  maxSeries: z
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(4_096)
    .describe(
      'Series (device, field) held in memory, some 700 bytes each; the one unused longest is forgotten for a new one.',
    ),
  maxFields: z
    .number()
    .int()
    .min(1)
    .max(1024)
    .default(64)
    .describe('Fields scored of one record; further ones are skipped (counted).'),
  optional: z
    .boolean()
    .default(false)
    .describe(
      'Where onnxruntime-node is not installed: true, the gateway starts without the model and says so; false, it does not start.',
    ),
});

export const modelsConfigSchema = z
  .array(modelSchema)
  .max(16)
  .refine(
    (models) => new Set(models.map((model) => model.name)).size === models.length,
    'model names must differ',
  )
  .prefault([{ name: 'anomaly', optional: true }])
  .describe('Models that run beside the data, one worker thread each. An empty list runs none.');

export type ModelConfig = z.infer<typeof modelSchema>;
export type ModelsConfig = z.infer<typeof modelsConfigSchema>;
