// Gathers sessions that have changed and has the thread of chores write them to websocket.db, one batch at a time. No answer
// waits for it: a crash loses what was settled in the last moments, and the client sends that again. What could not be
// written is written later, however often that fails.
import { Again } from '../../threads/again.ts';
import type { ChoreLink, Chores } from '../../threads/chores.ts';
import type { Session } from './session.ts';
import { type Change, type SavedSession, SessionDatabase } from './session-database.ts';

const FLUSH_MS = 100;
const AGAIN = { firstMs: 1_000, maxMs: 60_000 };

interface Changed {
  readonly owner: string;
  readonly name: string;
  /** Written as it is then; null: it is gone. */
  readonly session: Session | null;
}

export class SessionStore {
  readonly #chores: Chores;
  readonly #dataDir: string;
  readonly #onProblem: (detail: string) => void;
  readonly #again = new Again(AGAIN);
  /** Begun with the first change: most gateways have no such sessions. */
  #chore: ChoreLink<readonly Change[]> | null = null;
  #changed = new Map<string, Changed>();
  /** What the chore has been sent and not answered. */
  #sent: Map<string, Changed> | null = null;
  #timer: NodeJS.Timeout | null = null;
  #closing = false;
  #onAnswer: (written: boolean) => void = () => {};

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

  put(owner: string, name: string, session: Session | null): void {
    if (this.#closing) return;
    this.#changed.set(`${owner}\n${name}`, { owner, name, session });
    this.#schedule();
  }

  /** Writes what has changed and ends the chore; what fails now, or takes longer than `graceMs`, is lost. */
  async close(graceMs: number): Promise<void> {
    this.#closing = true;
    this.#again.stop();
    if (this.#timer) clearTimeout(this.#timer);
    let goesOn = true;
    const timer = setTimeout(() => this.#onAnswer(false), graceMs);
    while (goesOn && (this.#sent || this.#changed.size > 0)) {
      const answered = new Promise<boolean>((resolve) => {
        this.#onAnswer = resolve;
      });
      this.#flush();
      goesOn = await answered;
    }
    clearTimeout(timer);
    await this.#chore?.close();
  }

  #begin(): ChoreLink<readonly Change[]> {
    const entry = import.meta.url.endsWith('.ts') ? './session-store-chore.ts' : './session-store-chore.js';
    this.#chore = this.#chores.begin({
      entry: new URL(entry, import.meta.url),
      init: { dataDir: this.#dataDir },
      onAnswer: (problem: string | null) => (problem === null ? this.#written() : this.#failed(problem)),
      onEnd: (error) => {
        this.#chore = null;
        this.#failed(error.message);
      },
    });
    return this.#chore;
  }

  #written(): void {
    this.#sent = null;
    this.#again.succeeded();
    if (this.#changed.size > 0 && !this.#closing) this.#schedule();
    this.#onAnswer(true);
  }

  /** What was sent is still to be written, unless it has changed since. */
  #failed(problem: string): void {
    this.#changed = new Map([...(this.#sent ?? []), ...this.#changed]);
    this.#sent = null;
    this.#onProblem(problem);
    if (!this.#closing) this.#again.later(() => this.#flush());
    this.#onAnswer(false);
  }

  #schedule(): void {
    if (this.#timer !== null || this.#sent !== null || this.#again.isWaiting) return;
    this.#timer = setTimeout(() => this.#flush(), FLUSH_MS);
    this.#timer.unref();
  }

  #flush(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#sent !== null || this.#changed.size === 0) return;
    const changes = [...this.#changed.values()].map(
      ({ owner, name, session }): Change =>
        session === null ? { gone: [owner, name] } : { put: { owner, ...session.saved() } },
    );
    this.#sent = this.#changed;
    this.#changed = new Map();
    (this.#chore ?? this.#begin()).send(changes);
  }
}
