// Keeps sessions, retained messages and what waits for clients in `sessions.db`, by a thread of its own: changes are
// gathered here, and those that cancel each other out are never written. Holds no telemetry: records are in the log.
//
// A crash loses at most the changes of the last FLUSH_MS and those being written. What must not be lost before an
// answer leaves (a subscription, a QoS 2 identifier) waits for whenStored.
import { Worker } from 'node:worker_threads';
import { WORKER_LIMITS } from '../../threads/limits.ts';
import type { Subscription } from './decode.ts';
import type { Message, Qos } from './message.ts';
import type { Delivery } from './session.ts';

/** What the thread is sent; applied in order, a batch in one transaction. */
export type Change =
  | { kind: 'session'; client: string; owner: string; expirySeconds: number; endedMs: number }
  | { kind: 'session-gone'; client: string }
  | { kind: 'subscription'; client: string; subscription: Subscription }
  | { kind: 'subscription-gone'; client: string; filter: string }
  | { kind: 'incoming'; client: string; packetId: number }
  | { kind: 'incoming-gone'; client: string; packetId: number }
  | { kind: 'delivery'; client: string; delivery: Delivery }
  | { kind: 'delivery-gone'; client: string; number: number }
  | { kind: 'will'; will: SavedWill }
  | { kind: 'will-gone'; number: number }
  | { kind: 'retained'; message: Message }
  | { kind: 'retained-gone'; topic: string };

export type StoreAnswer = { readonly stored: true } | { readonly stored: false; readonly message: string };

export interface SavedSession {
  readonly client: string;
  readonly owner: string;
  readonly expirySeconds: number;
  /** 0: it was connected. */
  readonly endedMs: number;
  readonly subscriptions: readonly Subscription[];
  readonly incoming: readonly number[];
  readonly deliveries: readonly Delivery[];
}

/** A will that is not published yet. */
export interface SavedWill {
  /** Names it: a client may have an earlier one on its way. */
  readonly number: number;
  readonly client: string;
  /** Whose record it is; null: the client's. */
  readonly device: string | null;
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly qos: Qos;
  readonly retain: boolean;
  /** As in CONNECT, with the length in front. */
  readonly properties: Uint8Array;
  /** Unix ms at which it is to be published; 0: its client was connected. */
  readonly dueMs: number;
}

/** Short: a crash loses no more. Long enough for a message and its PUBACK to cancel each other out. */
const FLUSH_MS = 20;
const RETRY_MS = 1_000;
/** Changes that wait, at which nothing further is kept for clients. */
const MAX_WAITING = 65_536;
/** Changes taken back, at which the list is made shorter. */
const MAX_TAKEN_BACK = 4_096;

export class SessionStore {
  readonly #dataDir: string;
  /** Started with the first change: without persistent sessions and retained messages there is none. */
  #worker: Worker | null = null;
  readonly #onProblem: (detail: string) => void;
  #changes: (Change | null)[] = [];
  /** Those of them that have been taken back. */
  #takenBack = 0;
  #writing: (Change | null)[] | null = null;
  /** Called when the gathered changes, and those being written, are stored. */
  #gatheredWaiting: (() => void)[] = [];
  #writingWaiting: (() => void)[] = [];
  /** Where in #changes a delivery stands that can still be taken back. */
  readonly #places = new Map<Delivery, number>();
  /** Deliveries that have a row. */
  readonly #written = new WeakSet<Delivery>();
  #timer: NodeJS.Timeout | null = null;
  #immediate = false;
  #failures = 0;
  /** The last write failed. */
  #isFailing = false;
  /** Those who wait in whenTried. */
  readonly #trying = new Set<() => void>();
  #ended = false;

  constructor(dataDir: string, onProblem: (detail: string) => void) {
    this.#dataDir = dataDir;
    this.#onProblem = onProblem;
  }

  /** A thread of its own: answers to devices wait for what it writes. */
  #start(): Worker {
    const entry = import.meta.url.endsWith('.ts') ? './session-store-worker.ts' : './session-store-worker.js';
    const worker = new Worker(new URL(entry, import.meta.url), {
      workerData: { dataDir: this.#dataDir },
      name: 'mqtt-sessions',
      resourceLimits: WORKER_LIMITS,
    });
    worker.on('message', (answer: StoreAnswer) => this.#onAnswer(answer));
    worker.on('error', (error) => this.#end(error.message));
    worker.on('exit', () => this.#end('the thread has ended'));
    worker.unref();
    this.#worker = worker;
    return worker;
  }

  #end(detail: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#onProblem(`${detail}: what clients are promised from now on does not survive a restart`);
    // Nothing will be stored any more: who waits for it would wait for ever.
    for (const done of [...this.#writingWaiting.splice(0), ...this.#gatheredWaiting.splice(0)]) done();
  }

  /** Too much waits to be written, or nothing can be. */
  get isBehind(): boolean {
    return this.#changes.length - this.#takenBack >= MAX_WAITING || this.#ended;
  }

  /** Changes not yet stored. */
  get waiting(): number {
    return this.#changes.length - this.#takenBack + (this.#writing?.length ?? 0);
  }

  get failures(): number {
    return this.#failures;
  }

  put(change: Change): void {
    this.#changes.push(change);
    this.#schedule();
  }

  /** It was read from the database. */
  adopt(delivery: Delivery): void {
    this.#written.add(delivery);
  }

  putDelivery(client: string, delivery: Delivery): void {
    const place = this.#places.get(delivery);
    const change: Change = { kind: 'delivery', client, delivery };
    if (place !== undefined) {
      this.#changes[place] = change;
      return;
    }
    this.#places.set(delivery, this.#changes.length);
    this.put(change);
  }

  removeDelivery(client: string, delivery: Delivery): void {
    const place = this.#places.get(delivery);
    if (place !== undefined) {
      this.#changes[place] = null;
      this.#places.delete(delivery);
      this.#takenBack += 1;
      this.#compact();
      if (!this.#written.delete(delivery)) return;
    }
    this.put({ kind: 'delivery-gone', client, number: delivery.number });
  }

  /** While a batch is being written, a client that keeps up must not make the list grow. */
  #compact(): void {
    if (this.#takenBack < MAX_TAKEN_BACK || this.#takenBack * 2 < this.#changes.length) return;
    this.#changes = this.#changes.filter((change) => change !== null);
    this.#takenBack = 0;
    for (const [at, change] of this.#changes.entries())
      if (change?.kind === 'delivery') this.#places.set(change.delivery, at);
  }

  /** `done` is called once every change so far is on disk: at once where there is none. */
  whenStored(done: () => void): void {
    if (this.#ended || (this.#changes.length === 0 && this.#writing === null)) done();
    else if (this.#changes.length === 0) this.#writingWaiting.push(done);
    else {
      this.#gatheredWaiting.push(done);
      this.#flushSoon();
    }
  }

  /** The same, but does not wait for a database that cannot be written: for what is better answered than kept waiting. */
  whenTried(done: () => void): void {
    if (this.#isFailing) {
      done();
      return;
    }
    const once = () => {
      if (this.#trying.delete(once)) done();
    };
    this.#trying.add(once);
    this.whenStored(once);
  }

  /** Writes what waits and ends the thread. What cannot be written within `graceMs` is lost. */
  async close(graceMs: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, graceMs);
    });
    await Promise.race([new Promise<void>((resolve) => this.whenStored(resolve)), late]);
    clearTimeout(timer);
    if (this.#timer) clearTimeout(this.#timer);
    this.#ended = true;
    await this.#worker?.terminate();
  }

  #schedule(): void {
    if (this.#timer !== null || this.#immediate || this.#writing !== null || this.#ended) return;
    this.#timer = setTimeout(() => this.#flush(), FLUSH_MS);
    this.#timer.unref();
  }

  #flushSoon(): void {
    if (this.#immediate || this.#writing !== null || this.#ended) return;
    this.#immediate = true;
    setImmediate(() => {
      this.#immediate = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#writing !== null || this.#ended) return;
    const changes = this.#changes.filter((change) => change !== null);
    for (const change of changes) if (change.kind === 'delivery') this.#written.add(change.delivery);
    this.#writingWaiting = this.#gatheredWaiting;
    this.#gatheredWaiting = [];
    this.#changes = [];
    this.#takenBack = 0;
    this.#places.clear();
    if (changes.length === 0) {
      for (const done of this.#writingWaiting.splice(0)) done();
      return;
    }
    this.#writing = changes;
    (this.#worker ?? this.#start()).postMessage(changes);
  }

  #onAnswer(answer: StoreAnswer): void {
    if (!answer.stored) {
      this.#failures += 1;
      this.#isFailing = true;
      for (const once of [...this.#trying]) once();
      this.#onProblem(answer.message);
      const again = this.#writing;
      setTimeout(() => {
        if (!this.#ended) this.#worker?.postMessage(again);
      }, RETRY_MS).unref();
      return;
    }
    this.#writing = null;
    this.#isFailing = false;
    for (const done of this.#writingWaiting.splice(0)) done();
    if (this.#gatheredWaiting.length > 0) this.#flushSoon();
    else if (this.#changes.length > 0) this.#schedule();
  }
}
