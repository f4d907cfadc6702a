// Judges passwords: throttled by address and name, a few hashed at a time, right ones remembered for a while. Knows no rights.
import { createHmac, randomBytes } from 'node:crypto';
import type { AccessConfig } from './config.ts';
import { nameProblem } from './names.ts';
import { Remembered } from './remembered.ts';
import { isPassword, PASSWORD_BYTES_MAX, pretend } from './secrets.ts';
import type { AccessStore, SecretInfo } from './store.ts';
import type { Throttle } from './throttle.ts';
import type { Turns } from './turns.ts';

export type PasswordVerdict =
  | { readonly kind: 'right'; readonly secret: SecretInfo }
  | { readonly kind: 'wrong' }
  /** Not looked at. */
  | { readonly kind: 'later'; readonly detail: string; readonly retryAfterMs: number };

const WRONG: PasswordVerdict = { kind: 'wrong' };
export const BUSY = {
  kind: 'later',
  detail: 'Too many are signing in at once; try again.',
  retryAfterMs: 2_000,
} as const;
export const throttled = (retryAfterMs: number) =>
  ({
    kind: 'later',
    detail: 'Too many wrong attempts; none is looked at for a while.',
    retryAfterMs,
  }) as const;

export const isOver = (expiresMs: number | null, nowMs: number) => expiresMs !== null && expiresMs <= nowMs;

export interface PasswordParts {
  readonly store: AccessStore;
  readonly throttle: Throttle;
  readonly turns: Turns;
  /** Unix ms. */
  readonly clock: () => number;
}

export class Passwords {
  readonly #parts: PasswordParts;
  /** Ids of secrets: whether one still counts is asked each time. */
  readonly #remembered: Remembered<string>;
  readonly #underWay = new Map<string, Promise<PasswordVerdict>>();
  /** Only this process can tell what a remembered password was. */
  readonly #key = randomBytes(32);
  #hashed = 0;

  constructor({ maxRemembered, rememberMs }: AccessConfig['passwords'], parts: PasswordParts) {
    this.#parts = parts;
    this.#remembered = new Remembered(maxRemembered, rememberMs);
  }

  /** Passwords that had to be hashed; the others were remembered. */
  get hashed(): number {
    return this.#hashed;
  }

  /** Never rejects. `address` is where it comes from. */
  judge(
    name: string,
    password: Uint8Array,
    address: string | undefined,
  ): PasswordVerdict | Promise<PasswordVerdict> {
    const { store, throttle, turns, clock } = this.#parts;
    const hmac = createHmac('sha256', this.#key).update(`${name.length} ${name}`).update(password);
    const key = hmac.digest('base64');
    const nowMs = clock();
    const known = this.#remembered.find(key, nowMs);
    const secret = known === null ? null : store.secret(known);
    if (secret && !isOver(secret.expiresMs, nowMs)) return { kind: 'right', secret };
    if (password.length > PASSWORD_BYTES_MAX || nameProblem(name) !== null) return WRONG;
    const waitMs = throttle.waitMs(address, name);
    if (waitMs > 0) return throttled(waitMs);
    // The same again before the first is answered is answered with it.
    const underWay = this.#underWay.get(key);
    if (underWay) return underWay;
    const verdict = turns
      .take(() => this.#compare(name, password, key))
      .then(
        (answer) => (answer === 'full' ? BUSY : answer),
        () => WRONG,
      )
      .finally(() => this.#underWay.delete(key));
    this.#underWay.set(key, verdict);
    return verdict;
  }

  async #compare(name: string, password: Uint8Array, key: string): Promise<PasswordVerdict> {
    const { store, clock } = this.#parts;
    this.#hashed += 1;
    const candidates = store.passwordsOf(name).filter(({ expiresMs }) => !isOver(expiresMs, clock()));
    if (candidates.length === 0) await pretend(password);
    for (const candidate of candidates) {
      if (!(await isPassword(password, candidate))) continue;
      // Asked again: it may have been revoked meanwhile.
      const secret = store.secret(candidate.id);
      if (secret === null) break;
      this.#remembered.keep(key, secret.id, clock(), secret.expiresMs);
      return { kind: 'right', secret };
    }
    return WRONG;
  }
}
