// Access with names: passwords, tokens, client certificates and JSON Web Tokens, judged against access.db and the
// configuration. Knows no protocol; changes nothing in the store (administration does).
import { hash } from 'node:crypto';
import { ANONYMOUS, anonymousAccess } from './anonymous.ts';
import type { AccessConfig } from './config.ts';
import { JwtIssuers } from './jwt.ts';
import { JWT_PREFIX } from './names.ts';
import { BUSY, isOver, Passwords, type PasswordVerdict, throttled } from './passwords.ts';
import { KnownPrincipal, printOf, Rights, type RightsSource } from './principals.ts';
import { Remembered } from './remembered.ts';
import { isToken, looksLikeJwt, tokenHash } from './secrets.ts';
import { isCertified, namesIn, tokenIn } from './shown.ts';
import type { AccessStore, PrincipalRow } from './store.ts';
import { Throttle } from './throttle.ts';
import { Turns } from './turns.ts';
import type {
  Access,
  AccessCode,
  AccessVerdict,
  ClientCertificate,
  Credentials,
  Principal,
} from './types.ts';

type Refusal = Extract<AccessVerdict, { principal: null }>;

const WRONG: Refusal = {
  principal: null,
  code: 'bad-credentials',
  detail: 'The credentials are wrong, expired or revoked.',
};
const OFF: Refusal = {
  principal: null,
  code: 'loopback-only',
  detail: 'Access without a name is switched off here: show a password, a token or a client certificate.',
};
const SWEEP_MS = 1_000;
/** JSON Web Tokens in use, by name: their rights come from the token, not from the store. */
const JWT_NAMES_MAX = 20_000;

export interface AccessFigures {
  /** Since start, by what was shown. */
  readonly accepted: Readonly<Record<'password' | 'token' | 'jwt' | 'certificate' | 'anonymous', number>>;
  readonly refused: Readonly<Record<AccessCode, number>>;
  /** Passwords that had to be hashed; the others were remembered. */
  readonly hashed: number;
  readonly waiting: number;
}

interface JwtRights {
  readonly row: Pick<PrincipalRow, 'name' | 'role' | 'device' | 'publish' | 'subscribe'>;
  readonly expiresMs: number;
}

export interface AccessControlOptions {
  readonly config: AccessConfig;
  readonly store: AccessStore;
  /** Unix ms. */
  readonly clock?: () => number;
}

export class AccessControl implements Access, RightsSource {
  readonly #store: AccessStore;
  readonly #clock: () => number;
  readonly #throttle: Throttle;
  readonly #turns: Turns;
  readonly #passwords: Passwords;
  readonly #tokens: Remembered<Principal>;
  readonly #jwtRights = new Map<string, JwtRights>();
  readonly #listeners = new Set<(name: string) => void>();
  readonly #accepted = { password: 0, token: 0, jwt: 0, certificate: 0, anonymous: 0 };
  readonly #refused: Record<AccessCode, number> = {
    'loopback-only': 0,
    'bad-credentials': 0,
    'too-many-attempts': 0,
  };
  readonly #again = new Map<string, number>();
  #sweep: NodeJS.Timeout | undefined;
  #config: AccessConfig;
  #jwt: JwtIssuers;
  version = 0;

  /** @throws KeySetError */
  constructor({ config, store, clock = Date.now }: AccessControlOptions) {
    this.#config = config;
    this.#store = store;
    this.#clock = clock;
    this.#jwt = new JwtIssuers(config.jwt);
    this.#throttle = new Throttle(config.throttle, () => performance.now());
    const { maxConcurrent, maxWaiting, rememberMs, maxRemembered } = config.passwords;
    this.#turns = new Turns(maxConcurrent, maxWaiting);
    const parts = { store, throttle: this.#throttle, turns: this.#turns, clock };
    this.#passwords = new Passwords(config.passwords, parts);
    this.#tokens = new Remembered(maxRemembered, rememberMs);
  }

  figures(): AccessFigures {
    return {
      accepted: { ...this.#accepted },
      refused: { ...this.#refused },
      hashed: this.#passwords.hashed,
      waiting: this.#turns.waiting,
    };
  }

  authenticate(credentials: Credentials): AccessVerdict | Promise<AccessVerdict> {
    try {
      return this.#judge(credentials);
    } catch {
      // The store can't be read: nobody is let in on a guess.
      return this.#wrong(credentials, null);
    }
  }

  #judge(credentials: Credentials): AccessVerdict | Promise<AccessVerdict> {
    const { username = '', password, certificate } = credentials;
    const token = tokenIn(credentials);
    if (token !== undefined) {
      return looksLikeJwt(token) && !this.#jwt.none
        ? this.#byJwt(token, credentials)
        : this.#byToken(token, credentials);
    }
    if (password !== undefined) return this.#byPassword(username, password, credentials);
    if (certificate !== undefined) return this.#byCertificate(certificate, credentials);
    // A name without proof is a claim: who it is of is not believed, and nobody else is let in under it either.
    if (username !== '' && this.#store.principal(username) !== null)
      return this.#wrong(credentials, username);
    return this.#anonymous(credentials);
  }

  onChange(listener: (name: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  rightsOf(name: string): Rights | null {
    const ofToken = this.#jwtRights.get(name);
    const row = this.#store.principal(name);
    if (row?.revokedMs != null) return null;
    const source = row ?? ofToken?.row ?? this.#certified(name);
    return source && new Rights(source, this.#config.roles);
  }

  /** When an old secret of `name` ends, connections made with it are to be judged again. */
  judgeAgainAt(name: string, atMs: number): void {
    this.#again.set(name, Math.min(atMs, this.#again.get(name) ?? atMs));
    this.#sweep ??= setInterval(() => this.#judgeAgain(), SWEEP_MS).unref();
  }

  #judgeAgain(): void {
    const nowMs = this.#clock();
    for (const [name, atMs] of this.#again) {
      if (atMs > nowMs) continue;
      this.#again.delete(name);
      this.changed([name], true);
    }
    if (this.#again.size > 0) return;
    clearInterval(this.#sweep);
    this.#sweep = undefined;
  }

  close(): void {
    clearInterval(this.#sweep);
  }

  /** The store has changed for these names: their open connections are to be judged again where `close` says so. */
  changed(names: readonly string[], close: boolean): void {
    this.version += 1;
    this.#tokens.clear();
    if (!close) return;
    for (const name of names) {
      for (const listener of this.#listeners) listener(name);
    }
  }

  /**
   * True where its key sets are not those in force, by contents.
   * @throws KeySetError
   */
  check(config: AccessConfig): boolean {
    return new JwtIssuers(config.jwt).print !== this.#jwt.print;
  }

  /**
   * From now on this configuration counts. Those whose rights to hear have changed are told to the listeners; the
   * others' connections go on.
   * @throws KeySetError; nothing has changed then
   */
  configure(config: AccessConfig): void {
    const jwt = new JwtIssuers(config.jwt);
    const was = this.#config;
    const before = this.#prints();
    this.#config = config;
    if (jwt.print !== this.#jwt.print) this.#jwtRights.clear();
    this.#jwt = jwt;
    this.#throttle.config = config.throttle;
    this.#turns.limit(config.passwords.maxConcurrent, config.passwords.maxWaiting);
    const after = this.#prints();
    const ended = [...before].filter(([name, print]) => after.get(name) !== print).map(([name]) => name);
    if (was.anonymous !== config.anonymous) ended.push(ANONYMOUS.name);
    this.changed(ended, true);
  }

  /** What every name may hear, to find those for whom it changes. */
  #prints(): Map<string, string> {
    const rows = [...[...this.#jwtRights.values()].map(({ row }) => row), ...this.#store.principals()];
    return new Map(rows.map((row) => [row.name, printOf(row, this.#config.roles)]));
  }

  #anonymous(credentials: Credentials): AccessVerdict {
    const verdict =
      this.#config.anonymous === 'off' ? OFF : (anonymousAccess.authenticate(credentials) as AccessVerdict);
    if (verdict.principal === null) this.#refused[verdict.code] += 1;
    else this.#accepted.anonymous += 1;
    return verdict;
  }

  /** A token of 256 random bits can't be guessed, so it is looked at however many wrong ones came before. */
  #byToken(token: string, credentials: Credentials): AccessVerdict {
    if (!isToken(token)) return this.#wrong(credentials, null);
    const hashed = tokenHash(token);
    const key = hashed.toString('base64');
    const nowMs = this.#clock();
    let principal = this.#tokens.find(key, nowMs);
    if (principal === null) {
      const secret = this.#store.secretByToken(hashed);
      if (secret === null || isOver(secret.expiresMs, nowMs)) return this.#wrong(credentials, null);
      const rights = this.rightsOf(secret.name);
      if (rights === null) return this.#wrong(credentials, null);
      principal = new KnownPrincipal(secret.name, rights, secret.expiresMs, this);
      this.#tokens.keep(key, principal, nowMs, secret.expiresMs);
    }
    this.#accepted.token += 1;
    return { principal };
  }

  #byPassword(
    name: string,
    password: Uint8Array,
    credentials: Credentials,
  ): AccessVerdict | Promise<AccessVerdict> {
    const verdict = this.#passwords.judge(name, password, credentials.address);
    return verdict instanceof Promise
      ? verdict.then((known) => this.#withPassword(name, known, credentials))
      : this.#withPassword(name, verdict, credentials);
  }

  #withPassword(name: string, verdict: PasswordVerdict, credentials: Credentials): AccessVerdict {
    if (verdict.kind === 'later') return this.#later(verdict);
    const rights = verdict.kind === 'right' ? this.rightsOf(name) : null;
    if (verdict.kind === 'wrong' || rights === null) return this.#wrong(credentials, name);
    this.#throttle.right(credentials.address, name);
    this.#accepted.password += 1;
    return { principal: new KnownPrincipal(name, rights, verdict.secret.expiresMs, this) };
  }

  #byCertificate(certificate: ClientCertificate, credentials: Credentials): AccessVerdict {
    const { name: kind, unknown } = this.#config.certificates;
    const names = namesIn(certificate, kind);
    const known = names.find((name) => this.#store.principal(name) !== null);
    const name = known ?? (unknown === 'device' ? names[0] : undefined);
    if (name === undefined) return this.#wrong(credentials, null);
    const row = this.#store.principal(name);
    if (row && !isCertified(row, certificate.fingerprint)) return this.#wrong(credentials, name);
    const rights = this.rightsOf(name);
    if (rights === null) return this.#wrong(credentials, name);
    this.#accepted.certificate += 1;
    return { principal: new KnownPrincipal(name, rights, null, this) };
  }

  /** A device nobody added, that its certificate speaks for. */
  #certified(name: string): JwtRights['row'] | null {
    if (this.#config.certificates.unknown !== 'device' || name.startsWith(JWT_PREFIX)) return null;
    return { name, role: 'device', device: name, publish: null, subscribe: null };
  }

  #byJwt(token: string, credentials: Credentials): AccessVerdict | Promise<AccessVerdict> {
    const key = hash('sha256', token, 'base64');
    const known = this.#tokens.find(key, this.#clock());
    if (known) {
      this.#accepted.jwt += 1;
      return { principal: known };
    }
    const waitMs = this.#throttle.waitMs(credentials.address, null);
    if (waitMs > 0) return this.#later(throttled(waitMs));
    return this.#turns
      .take(() => this.#jwt.check(token))
      .then((holder): AccessVerdict => {
        if (holder === 'full') return this.#later(BUSY);
        if (holder === null) return this.#wrong(credentials, null);
        const { name, role, device, expiresMs } = holder;
        this.#keepJwt({ row: { name, role, device, publish: null, subscribe: null }, expiresMs });
        const rights = this.rightsOf(name);
        if (rights === null) return this.#wrong(credentials, null);
        const principal = new KnownPrincipal(name, rights, expiresMs, this);
        this.#tokens.keep(key, principal, this.#clock(), expiresMs);
        this.#accepted.jwt += 1;
        return { principal };
      });
  }

  #keepJwt(rights: JwtRights): void {
    const { name } = rights.row;
    this.#jwtRights.delete(name);
    this.#jwtRights.set(name, rights);
    if (this.#jwtRights.size <= JWT_NAMES_MAX) return;
    const oldest = this.#jwtRights.keys().next().value;
    if (oldest !== undefined) this.#jwtRights.delete(oldest);
  }

  #wrong(credentials: Credentials, name: string | null): Refusal {
    this.#throttle.wrong(credentials.address, name);
    this.#refused['bad-credentials'] += 1;
    return WRONG;
  }

  #later({ detail, retryAfterMs }: Extract<PasswordVerdict, { kind: 'later' }>): Refusal {
    this.#refused['too-many-attempts'] += 1;
    return { principal: null, code: 'too-many-attempts', detail, retryAfterMs: Math.ceil(retryAfterMs) };
  }
}
