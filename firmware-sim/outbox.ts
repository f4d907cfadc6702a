// Owns getting one device's records acknowledged: order, window, re-sending, reconnecting, a bounded buffer while
// offline. Counts as acked only what the gateway acknowledged.
import { setTimeout as pause } from 'node:timers/promises';
import type { Client, Outcome } from './clients/client.ts';
import type { Random } from './random.ts';
import type { ScenarioRecord } from './scenario.ts';

export interface OutboxEvents {
  onAcked(record: ScenarioRecord, latencyMs: number, duplicate: boolean): void;
  onRefused(record: ScenarioRecord, code: string, detail: string): void;
  /** The buffer was full: the oldest record that was not on its way is given up. */
  onDropped(record: ScenarioRecord): void;
  onSent(again: boolean): void;
  onConnection(state: 'connected' | 'lost', detail: string): void;
}

export interface OutboxOptions {
  readonly client: Client;
  /** Records unanswered at once. */
  readonly window: number;
  /** Records kept while the gateway does not take them. */
  readonly maxBuffered: number;
  /** No answer at all for this long: the connection counts as lost. */
  readonly ackTimeoutMs: number;
  readonly random: Random;
  /** Monotonic ms. */
  readonly elapsed: () => number;
  /** Aborted to end at once: connection dropped, what is unanswered stays unanswered. */
  readonly signal: AbortSignal;
  readonly events: OutboxEvents;
}

interface Entry {
  readonly record: ScenarioRecord;
  readonly takenAtMs: number;
  sends: number;
}

const RETRY_FIRST_MS = 100;
const RETRY_MAX_MS = 5_000;

export class Outbox {
  readonly #options: OutboxOptions;
  /** In order of sequence. */
  #waiting: Entry[] = [];
  readonly #inFlight = new Set<Entry>();
  #connection = 0;
  #open = false;
  #lost = Promise.withResolvers<string>();
  #pausedUntilMs = 0;
  #pauseTimer: NodeJS.Timeout | null = null;
  #ackDue: NodeJS.Timeout | null = null;
  #retryMs = RETRY_FIRST_MS;
  #emptied: (() => void) | null = null;

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  /** Records neither acked, refused nor dropped. */
  get pending(): number {
    return this.#waiting.length + this.#inFlight.size;
  }

  get connected(): boolean {
    return this.#open;
  }

  push(record: ScenarioRecord): void {
    if (this.pending >= this.#options.maxBuffered) {
      const oldest = this.#waiting.shift();
      if (oldest) this.#options.events.onDropped(oldest.record);
    }
    this.#waiting.push({ record, takenAtMs: this.#options.elapsed(), sends: 0 });
    this.#pump();
  }

  /** Resolves when nothing is pending. */
  emptied(): Promise<void> {
    if (this.pending === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.#emptied = resolve;
    });
  }

  /** Keeps a connection until the signal is aborted. Never rejects. */
  async run(): Promise<void> {
    const { client, signal, events } = this.#options;
    const onAbort = () => this.#lost.resolve('stopped');
    signal.addEventListener('abort', onAbort, { once: true });
    while (!signal.aborted) {
      this.#lost = Promise.withResolvers<string>();
      try {
        await client.open(signal);
        this.#open = true;
        this.#connection += 1;
        events.onConnection('connected', '');
        this.#pump();
        const detail = signal.aborted ? 'stopped' : await this.#lost.promise;
        this.#requeue();
        events.onConnection('lost', detail);
      } catch (error) {
        events.onConnection('lost', error instanceof Error ? error.message : String(error));
      }
      await client.close();
      if (!signal.aborted) await this.#backOff();
    }
    if (this.#pauseTimer) clearTimeout(this.#pauseTimer);
  }

  #pump(): void {
    const { window, client, elapsed, signal } = this.#options;
    if (!this.#open || signal.aborted || this.#pauseTimer) return;
    const waitMs = this.#pausedUntilMs - elapsed();
    if (waitMs > 0) {
      this.#pauseTimer = setTimeout(() => {
        this.#pauseTimer = null;
        this.#pausedUntilMs = 0;
        this.#pump();
      }, waitMs);
      return;
    }
    const connection = this.#connection;
    while (this.#inFlight.size < window) {
      const entry = this.#waiting.shift();
      if (!entry) return;
      this.#inFlight.add(entry);
      this.#options.events.onSent(entry.sends > 0);
      entry.sends += 1;
      if (!this.#ackDue) this.#expectAnswer();
      void client.send(entry.record).then((outcome) => this.#onOutcome(connection, entry, outcome));
    }
  }

  #onOutcome(connection: number, entry: Entry, outcome: Outcome): void {
    // An answer from an earlier connection: its record waits to be sent again already.
    if (connection !== this.#connection || !this.#inFlight.has(entry)) return;
    const { events, elapsed } = this.#options;
    if (outcome.kind === 'lost') {
      this.#lost.resolve(outcome.detail);
      return;
    }
    this.#inFlight.delete(entry);
    this.#expectAnswer();
    this.#retryMs = RETRY_FIRST_MS;
    if (outcome.kind === 'acked')
      events.onAcked(entry.record, elapsed() - entry.takenAtMs, outcome.duplicate);
    else if (outcome.kind === 'refused') events.onRefused(entry.record, outcome.code, outcome.detail);
    else {
      this.#putBack([entry]);
      this.#pausedUntilMs = Math.max(this.#pausedUntilMs, elapsed() + outcome.retryAfterMs);
    }
    if (this.pending === 0) this.#emptied?.();
    this.#pump();
  }

  /** What was on its way when the connection ended may be stored or not: all of it is sent again, in order. */
  #requeue(): void {
    this.#open = false;
    this.#connection += 1;
    if (this.#ackDue) clearTimeout(this.#ackDue);
    this.#ackDue = null;
    this.#putBack([...this.#inFlight]);
    this.#inFlight.clear();
  }

  #putBack(entries: readonly Entry[]): void {
    this.#waiting = [...entries, ...this.#waiting].sort((a, b) => a.record.sequence - b.record.sequence);
  }

  #expectAnswer(): void {
    if (this.#inFlight.size === 0) {
      if (this.#ackDue) clearTimeout(this.#ackDue);
      this.#ackDue = null;
    } else if (this.#ackDue) this.#ackDue.refresh();
    else this.#ackDue = setTimeout(() => this.#lost.resolve('no answer in time'), this.#options.ackTimeoutMs);
  }

  #backOff(): Promise<void> {
    const { random, signal } = this.#options;
    const waitMs = this.#retryMs * random.between(0.5, 1);
    this.#retryMs = Math.min(2 * this.#retryMs, RETRY_MAX_MS);
    return pause(waitMs, undefined, { signal }).catch(() => undefined);
  }
}
