// What administration can be asked for, and the words of it in the log. No secret is part of an act's record.
import { z } from 'zod';
import { type RecordInput, SOURCE } from '../../ledger/format/record.ts';
import { ROLES, topicPatterns } from './config.ts';
import { JWT_PREFIX, NAME_BYTES_MAX, nameProblem } from './names.ts';
import { PASSWORD_BYTES_MAX, PASSWORD_BYTES_MIN } from './secrets.ts';

const YEAR_MS = 366 * 86_400_000;

const anyName = z
  .string()
  .max(NAME_BYTES_MAX)
  .superRefine((name, context) => {
    const problem = nameProblem(name);
    if (problem !== null) context.addIssue({ code: 'custom', message: problem });
  });

const newName = anyName.refine((name) => !name.startsWith(JWT_PREFIX), {
  error: `names that begin with ${JWT_PREFIX} come from an issuer of JSON Web Tokens`,
});

const fingerprint = z
  .string()
  .transform((text) => text.replaceAll(':', '').toLowerCase())
  .pipe(z.string().regex(/^[0-9a-f]{64}$/, 'the SHA-256 of a certificate in hex'));

const lifetimeMs = z
  .number()
  .int()
  .min(1_000)
  .max(100 * YEAR_MS);

export const addSchema = z
  .strictObject({
    name: newName,
    role: z.enum(ROLES).default('device'),
    /** Whose records it sends; null: any device's. Absent: a device's own name, else any. */
    device: newName.nullable().optional(),
    publish: topicPatterns.nullable().default(null),
    subscribe: topicPatterns.nullable().default(null),
    secret: z.enum(['password', 'token', 'none']).default('password'),
    /** A password of one's own instead of a generated one. */
    password: z.string().optional(),
    expiresInMs: lifetimeMs.nullable().default(null),
    certificate: z.boolean().default(false),
    fingerprints: z.array(fingerprint).max(16).default([]),
  })
  .refine(({ password, secret }) => password === undefined || secret === 'password', {
    path: ['password'],
    error: 'only goes with secret: password',
  })
  .refine(
    ({ password }) =>
      password === undefined ||
      (Buffer.byteLength(password) >= PASSWORD_BYTES_MIN &&
        Buffer.byteLength(password) <= PASSWORD_BYTES_MAX),
    { path: ['password'], error: `must have ${PASSWORD_BYTES_MIN} to ${PASSWORD_BYTES_MAX} bytes` },
  )
  .refine(
    ({ secret, certificate, fingerprints }) => secret !== 'none' || certificate || fingerprints.length > 0,
    {
      path: ['secret'],
      error: 'without a secret a certificate or its fingerprint is needed',
    },
  );

export const IMPORT_MAX = 100_000;
export const importSchema = z.strictObject({ entries: z.array(addSchema).min(1).max(IMPORT_MAX) });

export const nameSchema = z.strictObject({ name: anyName });

export const rotateSchema = z.strictObject({
  name: newName,
  /** Absent: of the kind it has. */
  secret: z.enum(['password', 'token']).optional(),
  password: z.string().min(PASSWORD_BYTES_MIN).max(PASSWORD_BYTES_MAX).optional(),
  /** How long the old secrets still count. */
  overlapMs: z.number().int().min(0).max(YEAR_MS).default(86_400_000),
  expiresInMs: lifetimeMs.nullable().default(null),
});

/** One line of the log's account of administration: the record's payload, its topic after `$tidemark/admin/`. */
export interface Act {
  readonly act:
    | 'principal-added'
    | 'principal-revoked'
    | 'secret-rotated'
    | 'admin-token-reset'
    | 'configuration-applied';
  /** Who did it: a principal's name, `local` (someone who may write the data directory), `SIGHUP`. */
  readonly by: string;
  readonly [fact: string]: unknown;
}

export const ADMIN_TOPIC = '$tidemark/admin/';

const NO_BYTES = new Uint8Array(0);

/** An act as it stands in the log. */
export function actRecord({ act, ...facts }: Act, nowMs: number): RecordInput {
  return {
    eventMs: nowMs,
    receivedMs: nowMs,
    topic: ADMIN_TOPIC + act,
    device: '',
    sequence: null,
    source: SOURCE.gateway,
    contentType: 'application/json',
    headers: [],
    payload: new TextEncoder().encode(JSON.stringify(facts)),
    salt: NO_BYTES,
  };
}
