// How a gateway asks its authorities: time limits and retries. Who they are stands in the policy, never here.
import { z } from 'zod';

export const cosignSchema = z
  .strictObject({
    timeoutMs: z
      .int()
      .min(100)
      .max(120_000)
      .default(10_000)
      .describe('An authority that has not answered by then counts as failing.'),
    retryFirstMs: z
      .int()
      .min(10)
      .max(60_000)
      .default(500)
      .describe('Wait after the first failure; doubles with each.'),
    retryMaxMs: z
      .int()
      .min(100)
      .max(3_600_000)
      .default(60_000)
      .describe('Longest wait between tries at an authority that fails.'),
    startWaitMs: z
      .int()
      .min(0)
      .max(60_000)
      .default(3_000)
      .describe(
        'Before the first signature of a run the authorities are asked whether they have seen more than this disk holds; waited for at most this long.',
      ),
    ca: z
      .string()
      .optional()
      .describe('PEM file of certificate authorities to trust for https authorities, besides the system’s.'),
  })
  .prefault({});

export type CosignConfig = z.infer<typeof cosignSchema>;
