// Makes and checks secrets. Passwords are kept as scrypt (RFC 7914) hashes with their cost beside them; tokens, which are
// 256 random bits, as SHA-256. Refuses to keep, print or compare a secret itself.
import { hash, randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto';

export const TOKEN_PREFIX = 'tm_';
const TOKEN = /^tm_[A-Za-z0-9_-]{43}$/;
export const PASSWORD_BYTES_MAX = 1_024;
export const PASSWORD_BYTES_MIN = 8;
const HASH_BYTES = 32;
const SALT_BYTES = 16;

/** A password someone chose can be guessed: each guess shall cost 32 MiB and tens of milliseconds. */
const COST_CHOSEN = 2 ** 15;
/** One of 192 random bits cannot, whatever a guess costs: the cheapest hash lets a whole fleet reconnect at once. */
const COST_GENERATED = 2 ** 10;
const BLOCK_SIZE = 8;

export interface PasswordHash {
  readonly hash: Buffer;
  readonly salt: Buffer;
  /** scrypt's N, with r = 8 and p = 1. */
  readonly cost: number;
}

export const newPassword = () => randomBytes(24).toString('base64url');
export const newToken = () => TOKEN_PREFIX + randomBytes(32).toString('base64url');
export const isToken = (text: string) => TOKEN.test(text);

/** A JSON Web Token in compact form; that it is a right one is not said. */
export const looksLikeJwt = (text: string) => /^eyJ[\w-]+\.[\w-]+\.[\w-]*$/.test(text);

export const tokenHash = (token: string): Buffer => hash('sha256', token, 'buffer');

export async function hashPassword(password: Uint8Array, generated: boolean): Promise<PasswordHash> {
  const salt = randomBytes(SALT_BYTES);
  const cost = generated ? COST_GENERATED : COST_CHOSEN;
  return { hash: await derive(password, salt, cost), salt, cost };
}

export async function isPassword(password: Uint8Array, known: PasswordHash): Promise<boolean> {
  return timingSafeEqual(await derive(password, known.salt, known.cost), known.hash);
}

/** For a name that is not known: takes about as long as a wrong password. */
export async function pretend(password: Uint8Array): Promise<void> {
  await derive(password, Buffer.alloc(SALT_BYTES), COST_GENERATED);
}

function derive(password: Uint8Array, salt: Buffer, cost: number): Promise<Buffer> {
  const options: ScryptOptions = { N: cost, r: BLOCK_SIZE, p: 1, maxmem: 256 * cost * BLOCK_SIZE };
  return new Promise((resolve, reject) => {
    scrypt(password, salt, HASH_BYTES, options, (error, key) => (error ? reject(error) : resolve(key)));
  });
}
