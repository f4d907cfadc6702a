// Gathers sessions that have changed and has a thread of its own write them to websocket.db, one batch at a time. No answer
// waits for it: a crash loses what was settled in the last moments, and the client sends that again.
import { Worker } from 'node:worker_threads';
import { WORKER_LIMITS } from '../../log/worker-limits.ts';
import type { Session } from './session.ts';
import { type Change, type SavedSession, SessionDatabase } from './session-database.ts';

const FLUSH_MS = 100;

export class SessionStore {
  readonly #dataDir: string;
  /** Started with the first change: most gateways have no such sessions, and a thread takes some 15 MiB. */
  #worker: Worker | null = null;
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

  constructor(dataDir: string, onProblem: (detail: string) => void) {
    this.#dataDir = dataDir;
    this.#onProblem = onProblem;
  }

  #start(): Worker {
    const entry = import.meta.url.endsWith('.ts') ? './session-store-worker.ts' : './session-store-worker.js';
    const worker = new Worker(new URL(entry, import.meta.url), {
      workerData: { dataDir: this.#dataDir },
      name: 'websocket-sessions',
      resourceLimits: WORKER_LIMITS,
    });
    worker.on('message', (problem: string | null) => {
      this.#writing = false;
      if (problem !== null) this.#onProblem(problem);
      this.#whenIdle?.();
      if (this.#changed.size > 0) this.#schedule();
    });
    worker.on('error', (error) => this.#end(error.message));
    worker.on('exit', () => this.#end('the thread has ended'));
    worker.unref();
    this.#worker = worker;
    return worker;
  }

  put(owner: string, name: string, session: Session | null): void {
    if (this.#ended) return;
    this.#changed.set(`${owner}\n${name}`, { owner, name, session });
    this.#schedule();
  }

  /** Writes what has changed and ends the thread; what cannot be written within `graceMs` is lost. */
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
    await this.#worker?.terminate();
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
    (this.#worker ?? this.#start()).postMessage(changes);
  }
}
