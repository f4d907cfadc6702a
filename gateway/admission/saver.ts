// Saves admission's snapshots in another thread: a slow card must not hold up the thread that answers devices. One save
// at a time; the caller skips a turn while one is running.
import type { Offset } from '../../ledger/format/brand.ts';
import type { ChoreLink, Chores } from '../threads/chores.ts';

export interface SaveRequest {
  readonly next: Offset;
  readonly state: Uint8Array;
}

export type SaveAnswer = { readonly saved: true } | { readonly saved: false; readonly message: string };

export class SnapshotSaver {
  readonly #chore: ChoreLink<SaveRequest>;
  #waiting: { resolve: () => void; reject: (error: Error) => void } | null = null;
  #ended: Error | null = null;

  constructor(chores: Chores, dataDir: string) {
    const entry = import.meta.url.endsWith('.ts') ? './saver-chore.ts' : './saver-chore.js';
    this.#chore = chores.begin({
      entry: new URL(entry, import.meta.url),
      init: { dataDir },
      onAnswer: (answer: SaveAnswer) => this.#settle(answer.saved ? null : new Error(answer.message)),
      onEnd: (error) => {
        this.#ended = error;
        this.#settle(error);
      },
    });
  }

  /** No save will succeed: begin with another one. */
  get ended(): boolean {
    return this.#ended !== null;
  }

  /** Resolves when the snapshot is durable. `state` is handed over and must not be used afterwards. */
  save(request: SaveRequest): Promise<void> {
    if (this.#ended) return Promise.reject(this.#ended);
    if (this.#waiting) return Promise.reject(new Error('a snapshot is being saved already'));
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#chore.isWaitedFor = true;
      this.#chore.send(request, [request.state.buffer as ArrayBuffer]);
    });
  }

  async close(): Promise<void> {
    await this.#chore.close();
  }

  #settle(error: Error | null): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    this.#chore.isWaitedFor = false;
    if (error) waiting?.reject(error);
    else waiting?.resolve();
  }
}
