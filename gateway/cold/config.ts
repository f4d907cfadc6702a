// Owns the settings of the cold tier: where closed segments are copied to. Refuses secrets: they come from the environment.
import { z } from 'zod';

const cacheMaxBytes = z
  .int()
  .min(16 * 1024 * 1024)
  .max(Number.MAX_SAFE_INTEGER)
  .default(1024 * 1024 * 1024)
  .describe('Segments fetched back for reading are kept in `<dataDir>/cold-cache` up to this size.');

const folder = z.strictObject({
  type: z.literal('folder').describe('Another disk or a network share.'),
  path: z.string().min(1).max(4096).describe('Made when it is not there. One gateway, one folder.'),
  cacheMaxBytes,
});

const s3 = z.strictObject({
  type: z.literal('s3').describe('Any object storage with the S3 API.'),
  endpoint: z
    .string()
    .max(2048)
    .refine(
      (text) => URL.canParse(text) && /^https?:$/.test(new URL(text).protocol),
      'must be http(s)://host',
    )
    .refine((text) => !URL.canParse(text) || new URL(text).username === '', 'must not hold a password')
    .describe('e.g. https://s3.eu-central-1.amazonaws.com'),
  bucket: z
    .string()
    .regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/)
    .describe('The bucket; it must exist.'),
  region: z.string().min(1).max(64).default('us-east-1').describe('What requests are signed for.'),
  prefix: z
    .string()
    .max(512)
    .regex(/^([A-Za-z0-9_.-]+\/)*$/, 'must be empty or end in /')
    .default('')
    .describe('Put before every key, e.g. "plant7/gw-3/". One gateway, one prefix.'),
  accessKeyIdEnv: z
    .string()
    .min(1)
    .max(256)
    .default('AWS_ACCESS_KEY_ID')
    .describe('Environment variable with the access key id.'),
  secretAccessKeyEnv: z
    .string()
    .min(1)
    .max(256)
    .default('AWS_SECRET_ACCESS_KEY')
    .describe('Environment variable with the secret key.'),
  forcePathStyle: z.boolean().default(true).describe('endpoint/bucket/key instead of bucket.endpoint/key.'),
  cacheMaxBytes,
});

export const coldConfigSchema = z.discriminatedUnion('type', [folder, s3]);

export type ColdConfig = z.infer<typeof coldConfigSchema>;
export type S3Config = z.infer<typeof s3>;
