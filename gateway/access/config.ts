// The `access` section: who may do what, how a name is shown, what wrong attempts cost. Holds no credentials.
import { z } from 'zod';
import { topicFilter } from '../codecs/topic-filter.ts';

/** An MQTT topic filter in which a level may be, or contain, %device%: the name of the principal's device. */
export const topicPattern = topicFilter;
export const topicPatterns = z.array(topicPattern).max(64);

/** From least to greatest. */
export const ROLES = ['device', 'auditor', 'operator', 'admin'] as const;

/** Where a device may send unless it is told otherwise: topics that have its name among their first levels. */
const DEVICE_PUBLISH = ['%device%/#', '+/%device%/#', '+/+/%device%/#', 'spBv1.0/+/+/%device%/#'];
/** The same, and what Sparkplug hosts say to an edge node. */
const DEVICE_SUBSCRIBE = [...DEVICE_PUBLISH, 'spBv1.0/STATE/+', 'STATE/+'];
const EVERYTHING = ['#', '$SYS/#', '$tidemark/#'];

const role = (publish: readonly string[], subscribe: readonly string[]) =>
  z
    .strictObject({
      publish: topicPatterns.default([...publish]).describe('Topic patterns it may send to.'),
      subscribe: topicPatterns.default([...subscribe]).describe('Topic patterns it may hear.'),
    })
    .prefault({});

const roles = z
  .strictObject({
    device: role(DEVICE_PUBLISH, DEVICE_SUBSCRIBE).describe(
      'Sends and hears, reads nothing. Records get the name of its device, whatever they say.',
    ),
    operator: role(['#'], EVERYTHING).describe('Also reads everything and asks for proofs.'),
    auditor: role([], EVERYTHING).describe('Reads everything and asks for proofs; sends nothing.'),
  })
  .prefault({});

const jwt = z
  .strictObject({
    issuer: z.string().min(1).max(512).describe('Must be the token’s `iss`.'),
    audience: z.string().min(1).max(512).describe('Must be in the token’s `aud`.'),
    jwksFile: z.string().min(1).optional().describe('Key set (JWKS) in a file.'),
    jwksUrl: z
      .url({ protocol: /^https?$/ })
      .optional()
      .describe(
        'Key set fetched from here, e.g. the `jwks_uri` of an OpenID provider; https unless on loopback.',
      ),
    algorithms: z
      .array(
        z.enum(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA']),
      )
      .min(1)
      .default(['RS256', 'PS256', 'ES256', 'EdDSA'])
      .describe('Signature algorithms accepted.'),
    nameClaim: z.string().min(1).max(128).default('sub').describe('Claim that names the caller.'),
    roleClaim: z
      .string()
      .min(1)
      .max(128)
      .default('roles')
      .describe(
        'Claim with the roles, a text or a list of texts; dots lead into objects: realm_access.roles.',
      ),
    roles: z
      .record(z.string().max(256), z.enum(ROLES))
      .default({
        'tidemark-operator': 'operator',
        'tidemark-auditor': 'auditor',
        'tidemark-admin': 'admin',
      })
      .describe(
        'What stands in the claim → role here. Of several the greatest counts; without one nobody gets in.',
      ),
    clockToleranceMs: z
      .number()
      .int()
      .min(0)
      .max(300_000)
      .default(30_000)
      .describe('Leeway for `exp` and `nbf`.'),
  })
  .refine(({ jwksFile, jwksUrl }) => (jwksFile === undefined) !== (jwksUrl === undefined), {
    path: ['jwksFile'],
    error: 'give jwksFile or jwksUrl, one of them',
  })
  .refine(({ jwksUrl }) => jwksUrl === undefined || isSafe(new URL(jwksUrl)), {
    path: ['jwksUrl'],
    error: 'must be https: whoever can change the keys on their way can be anyone',
  });

function isSafe({ protocol, hostname }: URL): boolean {
  return protocol === 'https:' || hostname === 'localhost' || hostname === '[::1]' || /^127\./.test(hostname);
}

const throttle = z
  .strictObject({
    attempts: z
      .number()
      .int()
      .min(1)
      .max(10_000)
      .default(10)
      .describe('Wrong attempts under one name from one address before none is looked at for a while.'),
    attemptsPerAddress: z
      .number()
      .int()
      .min(1)
      .max(100_000)
      .default(100)
      .describe(
        'The same for all names together, so that one broken device does not lock out its neighbours.',
      ),
    windowMs: z
      .number()
      .int()
      .min(1_000)
      .max(86_400_000)
      .default(60_000)
      .describe('How long a wrong attempt counts, and how long none is looked at afterwards.'),
    maxEntries: z
      .number()
      .int()
      .min(16)
      .max(1_000_000)
      .default(10_000)
      .describe('Addresses and names remembered.'),
  })
  .prefault({});

const passwords = z
  .strictObject({
    maxConcurrent: z
      .number()
      .int()
      .min(1)
      .max(16)
      .default(2)
      .describe(
        'Passwords looked at (scrypt) at the same time; they share threads with the log’s disk writes.',
      ),
    maxWaiting: z
      .number()
      .int()
      .min(1)
      .max(100_000)
      .default(4_096)
      .describe('Passwords waiting for their turn; more are told to come again.'),
    rememberMs: z
      .number()
      .int()
      .min(0)
      .max(3_600_000)
      .default(300_000)
      .describe(
        'How long a right password is remembered (as a keyed hash, in memory), so that reconnecting costs nothing. A change or revocation counts at once.',
      ),
    maxRemembered: z
      .number()
      .int()
      .min(0)
      .max(1_000_000)
      .default(20_000)
      .describe('Right passwords and JWTs remembered.'),
  })
  .prefault({});

const certificates = z
  .strictObject({
    name: z
      .enum(['cn', 'san', 'cn-or-san'])
      .default('cn-or-san')
      .describe(
        'What in a client certificate is the name: common name, DNS or URI names, or the first of these that is known.',
      ),
    unknown: z
      .enum(['refuse', 'device'])
      .default('refuse')
      .describe(
        'A certificate whose name was never added: refuse, or device: it is a device of that name, because your authority says so.',
      ),
  })
  .prefault({});

export const accessConfigSchema = z.strictObject({
  anonymous: z
    .enum(['loopback', 'off'])
    .default('loopback')
    .describe(
      'Who may come without a name. loopback: programs on this machine may send, hear, read and prove, but not administer.',
    ),
  roles: roles.describe('What the roles may send and hear; an admin may everything.'),
  certificates: certificates.describe('Names out of TLS client certificates.'),
  jwt: z
    .array(jwt)
    .max(8)
    .default([])
    .describe('Issuers whose JSON Web Tokens (OpenID Connect) are accepted as bearer tokens.'),
  passwords,
  throttle,
  maxPrincipals: z.number().int().min(1).max(1_000_000).default(100_000).describe('Names that may be added.'),
});

export type AccessConfig = z.infer<typeof accessConfigSchema>;
export type JwtConfig = AccessConfig['jwt'][number];
