// Checks JSON Web Tokens (RFC 7519) of the configured issuers against their key sets (RFC 7517), from a file or fetched
// when needed, and says whom they name with which role. Keeps no token.
import { readFileSync } from 'node:fs';
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  decodeJwt,
  type JSONWebKeySet,
  type JWTPayload,
  jwtVerify,
} from 'jose';
import { CodedError } from '../../ledger/format/errors.ts';
import { type JwtConfig, ROLES } from './config.ts';
import { JWT_PREFIX, nameProblem } from './names.ts';
import type { Role } from './types.ts';

const KEY_SET_BYTES_MAX = 1024 * 1024;
const FETCH_TIMEOUT_MS = 5_000;
/** How long a fetched key set is used, and the least time between two fetches for a key it does not have. */
const KEY_SET_KEPT_MS = 600_000;
const FETCH_PAUSE_MS = 30_000;

export interface JwtHolder {
  /** Begins with `jwt:`. */
  readonly name: string;
  readonly role: Role;
  /** Of a holder in the role of a device: whose records it sends, its name without `jwt:`. */
  readonly device: string | null;
  /** Unix ms. */
  readonly expiresMs: number;
}

type KeySet = ReturnType<typeof createLocalJWKSet> | ReturnType<typeof createRemoteJWKSet>;

interface Issuer {
  readonly config: JwtConfig;
  readonly keys: KeySet;
}

/** A key set file that can't be used. */
export class KeySetError extends CodedError<'JWKS_UNUSABLE'> {
  override name = 'KeySetError';

  constructor(message: string, options: { cause: unknown }) {
    super('JWKS_UNUSABLE', message, {
      ...options,
      hint: 'it must be a JSON Web Key Set: {"keys": [{"kty": …}]}',
    });
  }
}

export class JwtIssuers {
  readonly #issuers: ReadonlyMap<string, readonly Issuer[]>;
  /** Of the configuration and the key sets in files: differs when any of them does. */
  readonly print: string;

  /** @throws KeySetError */
  constructor(configs: readonly JwtConfig[]) {
    const issuers = configs.map((config) => ({ config, keys: keySetOf(config) }));
    this.#issuers = Map.groupBy(issuers, ({ config }) => config.issuer);
    const sets = issuers.map(({ config, keys }) => (config.jwksFile === undefined ? null : keys.jwks()));
    this.print = JSON.stringify([configs, sets]);
  }

  get none(): boolean {
    return this.#issuers.size === 0;
  }

  /** Null for what is not one of theirs, expired, or names nobody. Never rejects. */
  async check(token: string): Promise<JwtHolder | null> {
    for (const issuer of this.#issuers.get(issuerIn(token)) ?? []) {
      const holder = await checkWith(issuer, token).catch(() => null);
      if (holder) return holder;
    }
    return null;
  }
}

function issuerIn(token: string): string {
  try {
    return decodeJwt(token).iss ?? '';
  } catch {
    return '';
  }
}

async function checkWith({ config, keys }: Issuer, token: string): Promise<JwtHolder | null> {
  const { payload } = await jwtVerify(token, keys, {
    issuer: config.issuer,
    audience: config.audience,
    algorithms: config.algorithms,
    clockTolerance: config.clockToleranceMs / 1000,
    requiredClaims: ['exp'],
  });
  const name = payload[config.nameClaim];
  const role = roleIn(payload, config);
  if (typeof name !== 'string' || role === null) return null;
  const prefixed = JWT_PREFIX + name.replaceAll(/[%/+#]/g, encodeURIComponent);
  if (nameProblem(prefixed) !== null) return null;
  const device = role === 'device' ? prefixed.slice(JWT_PREFIX.length) : null;
  return { name: prefixed, role, device, expiresMs: payload.exp! * 1000 + config.clockToleranceMs };
}

/** The greatest role the claim names, or null. */
function roleIn(payload: JWTPayload, { roleClaim, roles }: JwtConfig): Role | null {
  let claim: unknown = payload[roleClaim];
  if (claim === undefined) {
    claim = roleClaim
      .split('.')
      .reduce<unknown>(
        (at, part) =>
          typeof at === 'object' && at !== null && Object.hasOwn(at, part)
            ? (at as Record<string, unknown>)[part]
            : undefined,
        payload,
      );
  }
  const named = typeof claim === 'string' ? claim.split(' ') : Array.isArray(claim) ? claim : [];
  const found = named
    .filter((word) => typeof word === 'string' && Object.hasOwn(roles, word))
    .map((word) => roles[word]!);
  return ROLES.findLast((role) => found.includes(role)) ?? null;
}

function keySetOf({ jwksFile, jwksUrl }: JwtConfig): KeySet {
  if (jwksUrl !== undefined) {
    return createRemoteJWKSet(new URL(jwksUrl), {
      timeoutDuration: FETCH_TIMEOUT_MS,
      cooldownDuration: FETCH_PAUSE_MS,
      cacheMaxAge: KEY_SET_KEPT_MS,
    });
  }
  const file = jwksFile!;
  try {
    const bytes = readFileSync(file);
    if (bytes.length > KEY_SET_BYTES_MAX) throw new Error(`it is larger than ${KEY_SET_BYTES_MAX} bytes`);
    return createLocalJWKSet(JSON.parse(bytes.toString('utf8')) as JSONWebKeySet);
  } catch (error) {
    throw new KeySetError(`access.jwt: the key set ${file} can't be used: ${(error as Error).message}`, {
      cause: error,
    });
  }
}
