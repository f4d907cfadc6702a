// The `windows` section: which tumbling windows to compute and their limits. Refuses unbounded series.
import { z } from 'zod';
import { inputTopicFilter } from '../codecs/topic-filter.ts';

const windowSchema = z.strictObject({
  name: z
    .string()
    .regex(/^[A-Za-z0-9_-]{1,64}$/, '1 to 64 letters, digits, `-` or `_`')
    .describe('Name of the window: results go to the topic `$tidemark/windows/<name>`.'),
  topics: z
    .array(inputTopicFilter)
    .min(1)
    .max(256)
    .default(['#'])
    .describe('MQTT topic filters of the records that count.'),
  sizeMs: z
    .number()
    .int()
    .min(1)
    .max(31 * 86_400_000)
    .default(60_000)
    .describe('Length of the window in event time; windows start at multiples of it since 1970.'),
  allowedLatenessMs: z
    .number()
    .int()
    .min(0)
    .max(7 * 86_400_000)
    .default(10_000)
    .describe(
      'How far a record may be behind the newest one and still count. Later ones are counted as late.',
    ),
  maxAheadMs: z
    .number()
    .int()
    .min(0)
    .max(86_400_000)
    .default(2_000)
    .describe(
      'How far ahead of its receipt a device time may move the watermark: a wrong clock cannot drag it further.',
    ),
  maxFutureMs: z
    .number()
    .int()
    .min(0)
    .max(31 * 86_400_000)
    .default(3_600_000)
    .describe(
      'Records dated later than this after their receipt are left out of windows (counted as ahead).',
    ),
  idleMs: z
    .number()
    .int()
    .min(100)
    .max(3_600_000)
    .default(5_000)
    .describe(
      'When no record arrives for this long, windows past their end are closed by the gateway clock.',
    ),
  maxSeries: z
    .number()
    .int()
    .min(1)
    .max(1_000_000)
    .default(20_000)
    .describe(
      'Open (device, field, window) aggregates held in memory; further ones are left out (counted as over the limit).',
    ),
  maxFields: z
    .number()
    .int()
    .min(1)
    .max(1024)
    .default(128)
    .describe('Fields of one device in one window; further ones are left out (counted as over the limit).'),
});

export const windowsConfigSchema = z
  .array(windowSchema)
  .max(32)
  .refine(
    (windows) => new Set(windows.map((window) => window.name)).size === windows.length,
    'window names must differ',
  )
  .prefault([{ name: 'minute' }])
  .describe('Tumbling event-time windows per device and field: count, min, max, mean.');

export type WindowConfig = z.infer<typeof windowSchema>;
export type WindowsConfig = z.infer<typeof windowsConfigSchema>;
