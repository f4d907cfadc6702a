// Gathers sessions that have changed and has the thread of chores write them to websocket.db, one batch at a time. No answer
// waits for it: a crash loses what was settled in the last moments, and the client sends that again.
import type { ChoreLink, Chores } from '../../threads/chores.ts';
import type { Session } from './session.ts';
import { type Change, type SavedSession, SessionDatabase } from './session-database.ts';

const FLUSH_MS = 100;

export class SessionStore {
  readonly #chores: Chores;
  readonly #dataDir: string;
  /** Begun with the first change: most gateways have no such sessions. */
  #chore: ChoreLink<readonly Change[]> | null = null;
  readonly #onProblem: (detail: string) => void;
  /** By key: what is to be written of it, once it is written; null: it is gone. */
  #changed = new Map<string, { readonly owner: string; readonly name: string; session: Session | null }>();
  #timer: NodeJS.Timeout | null = null;
  #writing = false;
  #ended = false;
  #whenIdle: (() => void) | null = null;

  /** What the last run left. */
  static read(dataDir: string): SavedSession[] {
    const database = SessionDatabase.open(dataDir);
    try {
      return database.sessions();
    } finally {
      database.close();
    }
  }

  constructor(chores: Chores, dataDir: string, onProblem: (detail: string) => void) {
    this.#chores = chores;
    this.#dataDir = dataDir;
    this.#onProblem = onProblem;
  }

  #begin(): ChoreLink<readonly Change[]> {
    const entry = import.meta.url.endsWith('.ts') ? './session-store-chore.ts' : './session-store-chore.js';
    this.#chore = this.#chores.begin({
      entry: new URL(entry, import.meta.url),
      init: { dataDir: this.#dataDir },
      onAnswer: (problem: string | null) => {
        this.#writing = false;
        if (problem !== null) this.#onProblem(problem);
        this.#whenIdle?.();
        if (this.#changed.size > 0) this.#schedule();
      },
      onEnd: (error) => this.#end(error.message),
    });
    return this.#chore;
  }

  put(owner: string, name: string, session: Session | null): void {
    if (this.#ended) return;
    this.#changed.set(`${owner}\n${name}`, { owner, name, session });
    this.#schedule();
  }

  /** Writes what has changed and ends the chore; what cannot be written within `graceMs` is lost. */
  async close(graceMs: number): Promise<void> {
    if (this.#timer) clearTimeout(this.#timer);
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      timer = setTimeout(resolve, graceMs);
      this.#whenIdle = () => {
        if (this.#writing) return;
        if (this.#ended || this.#changed.size === 0) resolve();
        else this.#flush();
      };
      this.#whenIdle();
    });
    clearTimeout(timer);
    this.#ended = true;
    await this.#chore?.close();
  }

  #end(detail: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#onProblem(`${detail}: sessions do not survive a restart from now on`);
    this.#whenIdle?.();
  }

  #schedule(): void {
    if (this.#timer !== null || this.#writing || this.#ended) return;
    this.#timer = setTimeout(() => this.#flush(), FLUSH_MS);
    this.#timer.unref();
  }

  #flush(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#writing || this.#ended || this.#changed.size === 0) return;
    const changes = [...this.#changed.values()].map(
      ({ owner, name, session }): Change =>
        session === null ? { gone: [owner, name] } : { put: { owner, ...session.saved() } },
    );
    this.#changed = new Map();
    this.#writing = true;
    (this.#chore ?? this.#begin()).send(changes);
  }
}
