// The `sparkplug` section: whether spBv1.0/# is decoded, and how much is remembered for it.
import { z } from 'zod';

export const sparkplugConfigSchema = z.strictObject({
  enabled: z
    .boolean()
    .default(false)
    .describe(
      'Decode Sparkplug B (spBv1.0/#) into records with metric names, for windows, models and upstream. The payloads as sent are stored either way.',
    ),
  maxNodes: z
    .int()
    .min(1)
    .max(100_000)
    .default(1_000)
    .describe(
      'Edge nodes whose births are remembered; the least recently heard gives way, and is asked for a rebirth when it sends again.',
    ),
  maxMetrics: z
    .int()
    .min(1)
    .max(10_000_000)
    .default(200_000)
    .describe(
      'Metric definitions of all edge nodes together; beyond it the least recently heard node gives way.',
    ),
  rebirth: z
    .boolean()
    .default(true)
    .describe(
      'Ask an edge node for its births (NCMD Node Control/Rebirth) when it sends without one, uses an unknown alias, or skips a sequence number.',
    ),
  rebirthIntervalMs: z
    .int()
    .min(1_000)
    .max(86_400_000)
    .default(60_000)
    .describe('One edge node is asked at most this often; and only for what it sent within this time.'),
});

export type SparkplugConfig = z.infer<typeof sparkplugConfigSchema>;
