// What is made of what a caller shows: a token in one of its places, the names in a certificate. Judges nothing but form.
import type { AccessConfig } from './config.ts';
import { JWT_PREFIX, nameProblem } from './names.ts';
import { isToken, looksLikeJwt } from './secrets.ts';
import type { PrincipalRow } from './store.ts';
import type { ClientCertificate, Credentials } from './types.ts';

const JWT_CHARACTERS_MAX = 16_384;

/** MQTT clients can show a token as their password, or as their user name. */
export function tokenIn({ token, username, password }: Credentials): string | undefined {
  if (token !== undefined) return token;
  if (password === undefined) return username !== undefined && isToken(username) ? username : undefined;
  if (password.length > JWT_CHARACTERS_MAX) return undefined;
  const text = Buffer.from(password).toString('latin1');
  return isToken(text) || looksLikeJwt(text) ? text : undefined;
}

export function isCertified(
  { certificate, fingerprints, revokedMs }: PrincipalRow,
  fingerprint: string,
): boolean {
  if (revokedMs !== null || certificate === 'none') return false;
  return certificate === 'any' || fingerprints.includes(fingerprint);
}

/** Usable names in the order in which they are looked for. */
export function namesIn(
  { commonName, altNames }: ClientCertificate,
  kind: AccessConfig['certificates']['name'],
): string[] {
  const names = [
    ...(kind !== 'san' && commonName !== null ? [commonName] : []),
    ...(kind !== 'cn' ? altNames : []),
  ];
  return names.filter((name) => nameProblem(name) === null && !name.startsWith(JWT_PREFIX));
}
