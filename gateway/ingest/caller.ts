// Decides from where one may talk to the gateway: without a name, programs on this machine, by a name of this machine;
// as a page, only those this gateway served itself. Knows nothing of routes; holds no credentials.
import { isLoopback } from '../access/anonymous.ts';
import type { Problem } from './problem.ts';

export type CallerCode = 'loopback-only' | 'host-not-allowed' | 'origin-not-allowed';

export interface CallerProblem extends Problem {
  readonly code: CallerCode;
}

/** What a request says of its caller; node's IncomingMessage fits. */
export interface Caller {
  readonly socket: { readonly remoteAddress?: string | undefined };
  /** `origin` is present when a web page made the request. */
  readonly headers: {
    readonly host?: string | undefined;
    readonly origin?: string | undefined;
    readonly authorization?: string | undefined;
  };
}

const DETAILS: Readonly<Record<CallerCode, string>> = {
  'loopback-only':
    'Anonymous access is accepted from the gateway’s own machine only. From elsewhere, use a tunnel: ssh -L 8080:127.0.0.1:8080 <gateway>.',
  'host-not-allowed':
    'The Host header does not name this machine. Use localhost, or list the name in http.allowedHosts.',
  'origin-not-allowed': 'Requests from pages of another origin are refused.',
};

/** Host header without its port; null when it is not one name or address with an optional port. */
function hostName(header: string): string | null {
  const match = /^(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::\d{1,5})?$/i.exec(header);
  return match ? match[1]!.toLowerCase().replace(/\.$/, '') : null;
}

function isLoopbackName(name: string): boolean {
  if (name === 'localhost' || name.endsWith('.localhost')) return true;
  return isLoopback(name.startsWith('[') ? name.slice(1, -1) : name);
}

function sameOrigin(origin: string, host: string): boolean {
  return URL.canParse(origin) && new URL(origin).host === host.toLowerCase();
}

/** The names accepted besides loopback: the configured ones, and the address listened on. Lower case, no port. */
function allowedHostNames(host: string, allowedHosts: readonly string[]): Set<string> {
  const isWildcard = host === '0.0.0.0' || host === '::';
  const own = isWildcard ? [] : [host.includes(':') ? `[${host}]` : host];
  return new Set([...own, ...allowedHosts].map((name) => name.toLowerCase()));
}

/** The judgement over requests, counted: one for the HTTP routes and the WebSocket upgrades of a port. */
export class CallerGuard {
  readonly #allowedHosts: ReadonlySet<string>;
  readonly #refused = { 'loopback-only': 0, 'host-not-allowed': 0, 'origin-not-allowed': 0 };

  /** `host` is the address listened on. */
  constructor(config: { readonly host: string; readonly allowedHosts: readonly string[] }) {
    this.#allowedHosts = allowedHostNames(config.host, config.allowedHosts);
  }

  /** Callers refused since start. */
  get refused(): Readonly<Record<CallerCode, number>> {
    return this.#refused;
  }

  /** Null when the caller may go on; a refusal is counted, so ask once for a request. */
  judge(caller: Caller): CallerProblem | null {
    const code = this.#codeFor(caller);
    if (code === null) return null;
    this.#refused[code] += 1;
    return { status: 403, code, detail: DETAILS[code] };
  }

  /** The same for a caller that has shown who it is: it may come from anywhere, but not as a page of another origin. */
  judgePage({ headers: { host = '', origin, authorization } }: Caller): CallerProblem | null {
    // A page cannot make a browser add a token by itself; a password kept by the browser is added without being asked.
    const byItself = authorization === undefined || /^basic /i.test(authorization);
    if (origin === undefined || !byItself || sameOrigin(origin, host)) return null;
    this.#refused['origin-not-allowed'] += 1;
    return { status: 403, code: 'origin-not-allowed', detail: DETAILS['origin-not-allowed'] };
  }

  /**
   * Three doors, since an anonymous caller is trusted for nothing but where it is: another machine; a page that made
   * its own name resolve to 127.0.0.1 (DNS rebinding); a page of another origin that calls here behind the operator's
   * back. Programs send no Origin.
   */
  #codeFor({ socket, headers: { host = '', origin } }: Caller): CallerCode | null {
    if (!isLoopback(socket.remoteAddress)) return 'loopback-only';
    const name = hostName(host);
    if (name === null || !(isLoopbackName(name) || this.#allowedHosts.has(name))) return 'host-not-allowed';
    return origin === undefined || sameOrigin(origin, host) ? null : 'origin-not-allowed';
  }
}
