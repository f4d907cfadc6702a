// Owns getting one device's records acknowledged: order, window, re-sending, reconnecting, a bounded buffer while
// offline. Counts as acked only what the gateway acknowledged.
import { setTimeout as pause } from 'node:timers/promises';
import type { Client, Message, Outcome } from './clients/client.ts';
import type { Random } from './random.ts';

export interface Acked {
  /** From when the record was ready to be sent. */
  readonly latencyMs: number;
  /** The gateway had it already. */
  readonly duplicate: boolean;
  /** It had been told "not now" before, so that records after it may have overtaken it. */
  readonly turnedAway: boolean;
  /** The device's own link was down meanwhile: its latency says nothing of the gateway. */
  readonly replayed: boolean;
  /** What was stored, where that is not the message as it stood. */
  readonly stored?: { readonly topic: string; readonly payload: Uint8Array };
}

export interface OutboxEvents<Record extends Message> {
  onAcked(record: Record, acked: Acked): void;
  onRefused(record: Record, code: string, detail: string): void;
  /** The buffer was full, or the device restarted: a record that the gateway never acknowledged is given up. */
  onDropped(record: Record): void;
  onSent(again: boolean): void;
  onConnection(state: 'connected' | 'lost', detail: string): void;
}

export interface OutboxOptions<Record extends Message> {
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
  readonly events: OutboxEvents<Record>;
}

interface Entry<Record> {
  /** Order in which the device wants them sent. */
  readonly number: number;
  readonly record: Record;
  readonly takenAtMs: number;
  sends: number;
  turnedAway: boolean;
  replayed: boolean;
}

const RETRY_FIRST_MS = 100;
const RETRY_MAX_MS = 5_000;

export class Outbox<Record extends Message> {
  readonly #options: OutboxOptions<Record>;
  /** In order of number. */
  #waiting: Entry<Record>[] = [];
  readonly #inFlight = new Set<Entry<Record>>();
  #nextNumber = 0;
  /** Resolved when the link is there; a link that is down has one that is not. */
  #link: PromiseWithResolvers<void> | null = null;
  #connection = 0;
  #open = false;
  #lost = Promise.withResolvers<string>();
  #pausedUntilMs = 0;
  #pauseTimer: NodeJS.Timeout | null = null;
  #ackDue: NodeJS.Timeout | null = null;
  #retryMs = RETRY_FIRST_MS;
  #emptied: (() => void) | null = null;

  constructor(options: OutboxOptions<Record>) {
    this.#options = options;
    options.client.onLost = (detail) => this.#lost.resolve(detail);
  }

  /** Records neither acked, refused nor dropped. */
  get pending(): number {
    return this.#waiting.length + this.#inFlight.size;
  }

  get connected(): boolean {
    return this.#open;
  }

  push(record: Record): void {
    if (this.pending >= this.#options.maxBuffered) {
      const oldest = this.#waiting.shift();
      if (oldest) this.#options.events.onDropped(oldest.record);
    }
    const takenAtMs = this.#options.elapsed();
    this.#waiting.push({
      number: this.#nextNumber++,
      record,
      takenAtMs,
      sends: 0,
      turnedAway: false,
      replayed: this.#link !== null,
    });
    this.#pump();
  }

  /** The link goes: the connection ends, and none is tried until `linkUp`. */
  linkDown(): void {
    this.#link ??= Promise.withResolvers<void>();
    for (const entry of [...this.#waiting, ...this.#inFlight]) entry.replayed = true;
    if (this.#open) this.#lost.resolve('the link is down');
  }

  linkUp(): void {
    this.#retryMs = RETRY_FIRST_MS;
    this.#link?.resolve();
    this.#link = null;
  }

  /** As a restart does: whatever was not acknowledged is forgotten. */
  forget(): void {
    const forgotten = [...this.#inFlight, ...this.#waiting];
    this.#inFlight.clear();
    this.#waiting = [];
    this.#connection += 1; // answers to these come too late
    if (this.#open) this.#lost.resolve('the device restarts');
    for (const { record } of forgotten) this.#options.events.onDropped(record);
    this.#emptied?.();
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
      await this.#linked();
      if (signal.aborted) break;
      this.#lost = Promise.withResolvers<string>();
      try {
        await client.open(signal);
        if (this.#link) throw new Error('the link is down');
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

  async #linked(): Promise<void> {
    const { signal } = this.#options;
    while (this.#link && !signal.aborted) {
      const { promise, resolve } = this.#link;
      const onAbort = () => resolve();
      signal.addEventListener('abort', onAbort, { once: true });
      await promise;
      signal.removeEventListener('abort', onAbort);
    }
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
    const most = Math.min(window, client.maxInFlight ?? window);
    while (this.#inFlight.size < most) {
      const entry = this.#waiting.shift();
      if (!entry) return;
      this.#inFlight.add(entry);
      this.#options.events.onSent(entry.sends > 0);
      entry.sends += 1;
      if (!this.#ackDue) this.#expectAnswer();
      void client.send(entry.record).then((outcome) => this.#onOutcome(connection, entry, outcome));
    }
  }

  #onOutcome(connection: number, entry: Entry<Record>, outcome: Outcome): void {
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
      events.onAcked(entry.record, {
        latencyMs: elapsed() - entry.takenAtMs,
        duplicate: outcome.duplicate,
        turnedAway: entry.turnedAway,
        replayed: entry.replayed,
        ...(outcome.stored && { stored: outcome.stored }),
      });
    else if (outcome.kind === 'refused') events.onRefused(entry.record, outcome.code, outcome.detail);
    else {
      entry.turnedAway = true;
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

  #putBack(entries: readonly Entry<Record>[]): void {
    this.#waiting = [...entries, ...this.#waiting].sort((a, b) => a.number - b.number);
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
