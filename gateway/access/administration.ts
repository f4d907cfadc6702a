// Carries out acts of administration: first the record in the log, then the change in the store, then whoever must hear of
// it. So the ledger may hold an act that a crash kept from happening, and never misses one that happened. Speaks no
// protocol; keeps no secret once it has been handed out.
import { randomBytes } from 'node:crypto';
import type { z } from 'zod';
import { CodedError } from '../../ledger/format/errors.ts';
import { type Act, addSchema, importSchema, nameSchema, rotateSchema } from './acts.ts';
import type { AccessConfig } from './config.ts';
import type { AccessControl } from './control.ts';
import { hashPassword, newPassword, newToken, tokenHash } from './secrets.ts';
import type { AccessStore, NewSecret, PrincipalRow, SecretInfo } from './store.ts';

export type AdminErrorCode = 'MALFORMED' | 'NAME_TAKEN' | 'UNKNOWN_NAME' | 'REVOKED' | 'TOO_MANY';

export class AdminError extends CodedError<AdminErrorCode> {
  override name = 'AdminError';

  constructor(code: AdminErrorCode, message: string, hint?: string) {
    super(code, message, { hint });
  }
}

export interface AdministrationOptions {
  readonly store: AccessStore;
  /** Durable when it resolves; all of them or none. Rejects with a LogError. */
  readonly record: (acts: readonly Act[]) => Promise<void>;
  /** Absent where no gateway runs. */
  readonly access?: Pick<AccessControl, 'changed' | 'judgeAgainAt'>;
  readonly config: () => Pick<AccessConfig, 'maxPrincipals'>;
  /** Unix ms. */
  readonly clock?: () => number;
}

/** Shown once, to whoever asked for it. */
export interface Issued {
  readonly name: string;
  readonly kind: 'password' | 'token' | 'none';
  /** Absent where none was made: a certificate, or a password of one's own. */
  readonly secret?: string;
  readonly id?: string;
  readonly expiresMs: number | null;
}

export interface Listed extends PrincipalRow {
  readonly secrets: readonly Omit<SecretInfo, 'name'>[];
}

const ADMIN = 'admin';
const FIRST_TOKEN = 'first-admin-token';
/** Ended secrets are listed for a while, so that one sees what happened. */
const ENDED_KEPT_MS = 30 * 86_400_000;
/** They share threads with the log's disk writes. */
const HASHED_TOGETHER = 2;

type Checked = z.output<typeof addSchema>;

export class Administration {
  readonly #options: AdministrationOptions;
  readonly #clock: () => number;
  /** One act after the other: what was checked must still hold once it is in the log. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: AdministrationOptions) {
    this.#options = options;
    this.#clock = options.clock ?? Date.now;
  }

  list(): Listed[] {
    const secrets = Map.groupBy(this.#options.store.secrets(), ({ name }) => name);
    return this.#options.store.principals().map((row) => ({
      ...row,
      secrets: (secrets.get(row.name) ?? []).map(({ name: _, ...secret }) => secret),
    }));
  }

  /** @throws AdminError, LogError */
  add(request: unknown, by: string): Promise<Issued> {
    const entry = checked(addSchema, request);
    return this.#inTurn(async () => (await this.#addAll([entry], by))[0]!);
  }

  /** All or none. */
  import(request: unknown, by: string): Promise<Issued[]> {
    const { entries } = checked(importSchema, request);
    return this.#inTurn(() => this.#addAll(entries, by));
  }

  revoke(request: unknown, by: string): Promise<void> {
    const { name } = checked(nameSchema, request);
    return this.#inTurn(async () => {
      const { store, record, access } = this.#options;
      const row = store.principal(name);
      if (row?.revokedMs != null) throw new AdminError('REVOKED', `${name} is revoked already`);
      await record([{ act: 'principal-revoked', by, name, known: row !== null }]);
      const nowMs = this.#clock();
      store.together(() => {
        // Also for a name that only a certificate or an issuer vouches for: from now on it is refused.
        if (row === null) store.putPrincipal({ ...NOBODY, name, createdMs: nowMs });
        store.revokePrincipal(name, nowMs);
      });
      access?.changed([name], true);
    });
  }

  rotate(request: unknown, by: string): Promise<Issued> {
    const asked = checked(rotateSchema, request);
    return this.#inTurn(async () => {
      const { store, record, access } = this.#options;
      const { name, overlapMs } = asked;
      const row = store.principal(name);
      if (row === null)
        throw new AdminError('UNKNOWN_NAME', `there is no ${name}`, '`tidemark device list` shows all names');
      if (row.revokedMs !== null)
        throw new AdminError('REVOKED', `${name} is revoked`, 'add it again with `tidemark device add`');
      const has = store.secrets().findLast((secret) => secret.name === name);
      const kind = asked.secret ?? has?.kind ?? 'password';
      const { issued, secret } = await this.#newSecret(name, kind, asked);
      await record([
        { act: 'secret-rotated', by, name, kind, id: secret.id, overlapMs, expiresMs: secret.expiresMs },
      ]);
      const nowMs = this.#clock();
      store.together(() => {
        store.endSecrets(name, nowMs + overlapMs);
        store.putSecret(secret);
        store.forgetSecrets(nowMs - ENDED_KEPT_MS);
      });
      access?.changed([name], overlapMs === 0);
      if (overlapMs > 0) access?.judgeAgainAt(name, nowMs + overlapMs);
      return issued;
    });
  }

  /** The token of the first start; null when there was one before. Not an act: it is how the gateway comes to be. */
  firstToken(): string | null {
    const { store } = this.#options;
    if (store.fact(FIRST_TOKEN) !== null) return null;
    const token = newToken();
    store.together(() => {
      store.putFact(FIRST_TOKEN, 'issued');
      if (store.principal(ADMIN) === null) this.#putAdmin();
      store.putSecret(this.#tokenOf(ADMIN, token, null));
    });
    this.#options.access?.changed([ADMIN], false);
    return token;
  }

  /** A new token for `admin`; every earlier one ends at once. */
  resetAdmin(by: string): Promise<Issued> {
    return this.#inTurn(async () => {
      const { store, record, access } = this.#options;
      const token = newToken();
      const secret = this.#tokenOf(ADMIN, token, null);
      await record([{ act: 'admin-token-reset', by, name: ADMIN, id: secret.id }]);
      store.together(() => {
        store.putFact(FIRST_TOKEN, 'issued');
        this.#putAdmin();
        store.putSecret(secret);
      });
      access?.changed([ADMIN], true);
      return { name: ADMIN, kind: 'token', secret: token, id: secret.id, expiresMs: null };
    });
  }

  /** Replaces an earlier one together with its secrets. */
  #putAdmin(): void {
    this.#options.store.putPrincipal({
      ...NOBODY,
      name: ADMIN,
      role: 'admin',
      device: null,
      createdMs: this.#clock(),
    });
  }

  async #addAll(entries: readonly Checked[], by: string): Promise<Issued[]> {
    const { store, record, access, config } = this.#options;
    const names = new Set(entries.map(({ name }) => name));
    if (names.size < entries.length) {
      const twice = entries.find(({ name }, at) => entries.findIndex((other) => other.name === name) < at)!;
      throw new AdminError('NAME_TAKEN', `${twice.name} stands there twice`);
    }
    const taken = entries.find(({ name }) => store.principal(name)?.revokedMs === null);
    if (taken)
      throw new AdminError(
        'NAME_TAKEN',
        `${taken.name} is there already`,
        'rotate its secret, or revoke it first',
      );
    if (store.count() + entries.length > config().maxPrincipals)
      throw new AdminError('TOO_MANY', `more than access.maxPrincipals (${config().maxPrincipals}) names`);
    const made = await this.#secretsFor(entries);
    await record(entries.map((entry, at) => addedAct(entry, made[at]?.secret ?? null, by)));
    const nowMs = this.#clock();
    store.together(() => {
      for (const [at, entry] of entries.entries()) {
        store.putPrincipal(rowOf(entry, nowMs));
        const secret = made[at]?.secret;
        if (secret) store.putSecret(secret);
      }
    });
    access?.changed([...names], false);
    return entries.map(({ name }, at) => made[at]?.issued ?? { name, kind: 'none', expiresMs: null });
  }

  async #secretsFor(entries: readonly Checked[]) {
    const made: ({ issued: Issued; secret: NewSecret } | null)[] = [];
    for (let at = 0; at < entries.length; at += HASHED_TOGETHER) {
      const some = entries.slice(at, at + HASHED_TOGETHER).map(async (entry) => {
        return entry.secret === 'none' ? null : this.#newSecret(entry.name, entry.secret, entry);
      });
      made.push(...(await Promise.all(some)));
    }
    return made;
  }

  async #newSecret(
    name: string,
    kind: 'password' | 'token',
    { password: own, expiresInMs }: { password?: string | undefined; expiresInMs: number | null },
  ): Promise<{ issued: Issued; secret: NewSecret }> {
    const expiresMs = expiresInMs === null ? null : this.#clock() + expiresInMs;
    if (kind === 'token') {
      const token = newToken();
      const secret = this.#tokenOf(name, token, expiresMs);
      return { issued: { name, kind, secret: token, id: secret.id, expiresMs }, secret };
    }
    const text = own ?? newPassword();
    const password = await hashPassword(Buffer.from(text), own === undefined);
    const secret = { id: newId(), name, kind, password, createdMs: this.#clock(), expiresMs };
    const shown = own === undefined ? { secret: text } : {};
    return { issued: { name, kind, ...shown, id: secret.id, expiresMs }, secret };
  }

  #tokenOf(name: string, token: string, expiresMs: number | null) {
    const kind = 'token' as const;
    return { id: newId(), name, kind, hash: tokenHash(token), createdMs: this.#clock(), expiresMs };
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const done = this.#last.then(act, act);
    this.#last = done.catch(() => {});
    return done;
  }
}

const NOBODY: Omit<PrincipalRow, 'name' | 'createdMs'> = {
  role: 'device',
  device: null,
  publish: null,
  subscribe: null,
  certificate: 'none',
  fingerprints: [],
  revokedMs: null,
};

const newId = () => randomBytes(6).toString('hex');

function rowOf(entry: Checked, createdMs: number): PrincipalRow {
  const { name, role, device, publish, subscribe, certificate, fingerprints } = entry;
  return {
    name,
    role,
    device: device === undefined ? (role === 'device' ? name : null) : device,
    publish,
    subscribe,
    certificate: fingerprints.length > 0 ? 'pinned' : certificate ? 'any' : 'none',
    fingerprints,
    createdMs,
    revokedMs: null,
  };
}

function addedAct(entry: Checked, secret: NewSecret | null, by: string): Act {
  const { name, role, device, publish, subscribe, certificate, fingerprints } = rowOf(entry, 0);
  const issued = secret
    ? { kind: secret.kind, id: secret.id, expiresMs: secret.expiresMs }
    : { kind: 'none' };
  return {
    act: 'principal-added',
    by,
    name,
    role,
    device,
    publish,
    subscribe,
    certificate,
    fingerprints,
    ...issued,
  };
}

function checked<Schema extends z.ZodType>(schema: Schema, request: unknown): z.output<Schema> {
  const result = schema.safeParse(request);
  if (result.success) return result.data;
  const { path, message } = result.error.issues[0]!;
  throw new AdminError('MALFORMED', path.length > 0 ? `${path.join('.')}: ${message}` : message);
}
