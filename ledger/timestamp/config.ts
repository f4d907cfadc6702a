// Settings of external timestamps: who gives them, and how often.
import { z } from 'zod';

export const timestampSchema = z.strictObject({
  url: z.url({ protocol: /^https?$/ }).describe('RFC 3161 timestamp authority, asked by HTTP POST.'),
  everyMs: z
    .int()
    .min(10_000)
    .max(30 * 86_400_000)
    .default(3_600_000)
    .describe('The newest checkpoint is stamped this often, when it is a new one.'),
  caFile: z
    .string()
    .min(1)
    .optional()
    .describe(
      'PEM file of certificates that the answers must lead to. Without it only their own signature is checked.',
    ),
  timeoutMs: z.int().min(100).max(120_000).default(15_000).describe('An answer is waited for so long.'),
});

export type TimestampConfig = z.infer<typeof timestampSchema>;
