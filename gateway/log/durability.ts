// Owns when written batches become durable: each by a sync of its own before anyone hears (`always`), or all together
// at most every so often (`intervalMs`). Refuses to call anything durable before its sync has returned.
import type { WrittenBatch } from './batch-writer.ts';
import type { LogConfig } from './config.ts';
import type { SegmentChain } from './segment-chain.ts';

export interface DurabilityOptions {
  readonly sync: LogConfig['sync'];
  /** Written bytes that may wait for the sync of an interval; beyond it the writer waits for the sync. */
  readonly maxUnsyncedBytes: number;
  readonly chain: SegmentChain;
  readonly onSynced: (batches: readonly WrittenBatch[], syncMs: number) => void;
  readonly onDead: (cause: Error) => void;
}

export class Durability {
  readonly #options: DurabilityOptions;
  readonly #intervalMs: number | null;
  #unsynced: WrittenBatch[] = [];
  #unsyncedBytes = 0;
  #timer: NodeJS.Timeout | null = null;
  #beganMs = Number.NEGATIVE_INFINITY;
  #syncing: Promise<boolean> | null = null;
  #stopped = false;

  constructor(options: DurabilityOptions) {
    this.#options = options;
    this.#intervalMs = options.sync === 'always' ? null : options.sync.intervalMs;
  }

  /** Bytes that have been answered for and not yet synced: what a power cut would take. */
  get unsyncedBytes(): number {
    return this.#unsyncedBytes;
  }

  /**
   * A batch has been written; calls `go` when its producers may hear: with true, or false when the sync failed. With
   * `atOnce` that may be before it returns.
   */
  written(batch: WrittenBatch, atOnce: boolean, go: (synced: boolean) => void): void {
    if (this.#intervalMs === null) {
      this.#sync([batch], go, atOnce);
      return;
    }
    this.#unsynced.push(batch);
    this.#unsyncedBytes += batch.sizeBytes;
    if (this.#unsyncedBytes >= this.#options.maxUnsyncedBytes) {
      void this.flush().then(go);
      return;
    }
    this.#schedule(this.#intervalMs);
    // In a turn of its own: written at once, answered at once and written again would never end.
    setImmediate(() => go(!this.#stopped));
  }

  /** All that has been written is durable; false when that failed for good. */
  async flush(): Promise<boolean> {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#syncing && !(await this.#syncing)) return false;
    return this.#syncAll();
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #schedule(intervalMs: number): void {
    if (this.#timer || this.#syncing || this.#stopped) return;
    // The first after a quiet while is synced at once: nothing is gained by letting it wait.
    const waitMs = Math.max(0, this.#beganMs + intervalMs - performance.now());
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.#syncAll().then((synced) => {
        if (synced && this.#unsynced.length > 0) this.#schedule(intervalMs);
      });
    }, waitMs);
  }

  #syncAll(): Promise<boolean> {
    const batches = this.#unsynced;
    if (this.#stopped) return Promise.resolve(false);
    if (batches.length === 0) return Promise.resolve(true);
    // Those written while it runs wait for the next: whether this one covers them nobody can tell.
    this.#unsynced = [];
    this.#beganMs = performance.now();
    this.#syncing = new Promise((resolve) => {
      this.#sync(batches, (synced) => {
        this.#syncing = null;
        for (const batch of batches) this.#unsyncedBytes -= batch.sizeBytes;
        resolve(synced);
      });
    });
    return this.#syncing;
  }

  #sync(batches: readonly WrittenBatch[], done: (synced: boolean) => void, atOnce = false): void {
    const { chain, onSynced, onDead } = this.#options;
    const segment = chain.active;
    segment.sync((error) => {
      // The page cache may have dropped the bytes and called them clean: a second sync would lie.
      if (error) onDead(error);
      else if (!this.#stopped) onSynced(batches, segment.syncMs);
      done(error === null && !this.#stopped);
    }, atOnce);
  }
}
