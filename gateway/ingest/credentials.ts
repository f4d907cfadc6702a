// Reads what an HTTP request (or a WebSocket upgrade) shows of who sends it. Judges nothing and keeps nothing.
//
//   Authorization: Basic base64(user:password) | Bearer <token> | Token <token> | Token user:password (InfluxDB)
import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';
import { clientCertificateOf } from '../access/tls.ts';
import type { ClientCertificate, Credentials } from '../access/types.ts';

/** What of a request says who sends it. */
export type Asking = Pick<IncomingMessage, 'headers' | 'socket'>;

/** Shown elsewhere than in the Authorization header: in the path, or in the query as InfluxDB 1.x clients do. */
export interface Shown {
  readonly username?: string;
  readonly password?: string;
  readonly token?: string;
}

/** Tokens and passwords are far shorter; what is longer is not looked at. */
const CREDENTIAL_CHARACTERS_MAX = 8_192;
const SCHEME = /^(basic|bearer|token) +([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?) *$/i;

/** What the request shows; null where it shows something that cannot be read. */
export function credentialsOf(request: Asking, elsewhere: Shown = {}): Credentials | null {
  const { authorization } = request.headers;
  const shown = authorization === undefined ? elsewhere : readAuthorization(authorization);
  if (shown === null) return null;
  const certificate = certificateOf(request);
  return {
    address: request.socket.remoteAddress,
    ...(shown.token === undefined ? {} : { token: shown.token }),
    ...(shown.username === undefined ? {} : { username: shown.username }),
    ...(shown.password === undefined ? {} : { password: Buffer.from(shown.password) }),
    ...(certificate === null ? {} : { certificate }),
  };
}

function readAuthorization(header: string): Shown | null {
  // Telegraf sends its scheme also where it has no token.
  if (/^(token|bearer)$/i.test(header)) return {};
  const match = header.length > CREDENTIAL_CHARACTERS_MAX ? null : SCHEME.exec(header);
  if (match === null) return null;
  const [, scheme, value] = match as unknown as [string, string, string];
  if (scheme.toLowerCase() === 'bearer') return { token: value };
  if (scheme.toLowerCase() === 'token')
    return value.includes(':') ? userAndPassword(value) : { token: value };
  return userAndPassword(Buffer.from(value, 'base64').toString('utf8'));
}

/** RFC 7617: the first colon ends the name. */
function userAndPassword(text: string): Shown | null {
  const colon = text.indexOf(':');
  return colon === -1 ? null : { username: text.slice(0, colon), password: text.slice(colon + 1) };
}

/** The client's certificate where TLS has verified it. */
export function certificateOf({ socket }: { readonly socket: unknown }): ClientCertificate | null {
  return socket instanceof TLSSocket ? (clientCertificateOf(socket) ?? null) : null;
}
