// Saves admission's snapshots from a thread of its own: a slow card must not hold up the thread that answers
// devices. One save at a time; the caller skips a turn while one is running.
import { Worker } from 'node:worker_threads';
import type { Offset } from '../../ledger/format/brand.ts';
import { WORKER_LIMITS } from '../log/worker-limits.ts';

export interface SaveRequest {
  readonly next: Offset;
  readonly state: Uint8Array;
}

export type SaveAnswer = { readonly saved: true } | { readonly saved: false; readonly message: string };

export class SnapshotSaver {
  readonly #worker: Worker;
  #waiting: { resolve: () => void; reject: (error: Error) => void } | null = null;
  #ended: Error | null = null;

  constructor(dataDir: string) {
    const entry = import.meta.url.endsWith('.ts') ? './saver-worker.ts' : './saver-worker.js';
    this.#worker = new Worker(new URL(entry, import.meta.url), {
      workerData: { dataDir },
      name: 'admission-saver',
      resourceLimits: WORKER_LIMITS,
    });
    this.#worker.on('message', (answer: SaveAnswer) => {
      const waiting = this.#waiting;
      this.#waiting = null;
      if (answer.saved) waiting?.resolve();
      else waiting?.reject(new Error(answer.message));
    });
    const end = (error: Error) => {
      this.#ended ??= error;
      this.#waiting?.reject(error);
      this.#waiting = null;
    };
    this.#worker.on('error', end);
    this.#worker.on('exit', () => end(new Error('the snapshot thread has ended')));
  }

  /** The thread is gone: no save will succeed. */
  get ended(): boolean {
    return this.#ended !== null;
  }

  get busy(): boolean {
    return this.#waiting !== null;
  }

  /** Resolves when the snapshot is durable. `state` is handed over and must not be used afterwards. */
  save(request: SaveRequest): Promise<void> {
    if (this.#ended) return Promise.reject(this.#ended);
    if (this.#waiting) return Promise.reject(new Error('a snapshot is being saved already'));
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#worker.postMessage(request, [request.state.buffer as ArrayBuffer]);
    });
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}
