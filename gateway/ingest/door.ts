// The one door of the HTTP port: asks Access who a request comes from, and of anonymous callers and pages what the
// CallerGuard asks. Counts who is turned away. What a principal may then do is the routes' own question.
import type { Access, AccessCode, AccessVerdict, Principal } from '../access/types.ts';
import type { CallerCode, CallerGuard } from './caller.ts';
import { type Asking, credentialsOf, type Shown } from './credentials.ts';
import type { Problem } from './problem.ts';

export type Entry =
  | { readonly principal: Principal; readonly problem: null }
  | { readonly principal: null; readonly problem: Problem };

const STATUS: Readonly<Record<AccessCode, number>> = {
  // With credentials it would be heard.
  'loopback-only': 401,
  'bad-credentials': 401,
  'too-many-attempts': 429,
};

const UNREADABLE: AccessVerdict = {
  principal: null,
  code: 'bad-credentials',
  detail: 'The Authorization header is none of Basic, Bearer and Token.',
};

export class Door {
  readonly #access: Access;
  readonly #guard: CallerGuard;
  readonly #refused: Record<AccessCode, number> = {
    'loopback-only': 0,
    'bad-credentials': 0,
    'too-many-attempts': 0,
  };

  constructor(access: Access, guard: CallerGuard) {
    this.#access = access;
    this.#guard = guard;
  }

  /** Whose rights have changed or ended, as Access says it. */
  onChange(listener: (name: string) => void): () => void {
    return this.#access.onChange(listener);
  }

  /** Callers turned away since start, by code. */
  get refused(): Readonly<Record<AccessCode | CallerCode, number>> {
    const sum = { ...this.#guard.refused, ...this.#refused };
    sum['loopback-only'] += this.#guard.refused['loopback-only'];
    return sum;
  }

  /** Answers at once where Access does. Never throws or rejects; a refusal is counted, so ask once for a request. */
  judge(request: Asking, elsewhere?: Shown): Entry | Promise<Entry> {
    const credentials = credentialsOf(request, elsewhere);
    const verdict = credentials === null ? UNREADABLE : this.#access.authenticate(credentials);
    return verdict instanceof Promise
      ? verdict.then((known) => this.#entry(request, known))
      : this.#entry(request, verdict);
  }

  #entry(request: Asking, verdict: AccessVerdict): Entry {
    if (verdict.principal === null) {
      const { code, detail, retryAfterMs } = verdict;
      this.#refused[code] += 1;
      const retry = retryAfterMs === undefined ? {} : { retryAfterMs };
      return { principal: null, problem: { status: STATUS[code], code, detail, ...retry } };
    }
    const { principal } = verdict;
    const problem = principal.anonymous ? this.#guard.judge(request) : this.#guard.judgePage(request);
    return problem === null ? { principal, problem } : { principal: null, problem };
  }
}
