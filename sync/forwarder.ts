// Owns one forwarder: reads the log from its durable cursor and hands records to a sink in offset order, at
// least once, for ever. Speaks no protocol, drops nothing, and moves the cursor only over what was acknowledged.

import { topicMatcher } from '../gateway/codecs/topic-matcher.ts';
import type { LogReader } from '../gateway/log/types.ts';
import type { Clock } from '../gateway/stage/clock.ts';
import type { StageContext, StageFigures } from '../gateway/stage/types.ts';
import type { StateStore } from '../gateway/state/state.ts';
import { type Offset, offset } from '../ledger/format/brand.ts';
import type { TelemetryRecord } from '../ledger/format/record.ts';
import { Backoff, pause } from './retry.ts';
import { type Sink, SinkError } from './sink.ts';

export interface ForwarderOptions {
  /** The cursor's name. */
  readonly name: string;
  readonly reader: Pick<LogReader, 'fetch'>;
  readonly cursors: Pick<StateStore, 'loadCursor' | 'saveCursor'>;
  readonly sink: Sink;
  /** MQTT topic filters of what is forwarded. */
  readonly topics: readonly string[];
  /** Records handed to the sink and not acknowledged; the most that a lost connection repeats. */
  readonly maxInFlight: number;
  readonly maxInFlightBytes: number;
  readonly retryFirstMs: number;
  readonly retryMaxMs: number;
  readonly cursorEveryMs: number;
  readonly clock: Clock;
  /** 0 <= x < 1. */
  readonly random: () => number;
  /** Aborted to stop: waits up to DRAIN_MS for what is in flight, saves the cursor, returns. */
  readonly signal: AbortSignal;
  readonly report: (figures: StageFigures) => void;
  readonly log: StageContext<unknown>['log'];
}

/** A run of the log that is on its way: finished only together with everything before it. */
interface Chunk {
  next: Offset;
  readonly count: number;
  readonly bytes: number;
  acked: boolean;
}

/** The window is handed over in this many parts, so that it refills while its oldest part is being acknowledged. */
const PARTS = 4;
const FETCH_WAIT_MS = 1_000;
const REPORT_EVERY_MS = 500;
const DRAIN_MS = 1_000;
/** A failing upstream is logged at the 1st, 2nd, 4th, 8th … try in a row, not at each. */
const isPowerOfTwo = (n: number) => (n & (n - 1)) === 0;

/**
 * How many of `maxInFlight` records a sink should let out at once: all but one part. Then it has a record at hand
 * for each acknowledgement that comes, and the TCP acknowledgement leaves with that record instead of waiting
 * 40 ms for company, which would stall a broker that uses Nagle's algorithm (mosquitto does by default).
 */
export function sinkWindow(maxInFlight: number): number {
  return maxInFlight - Math.floor(maxInFlight / PARTS);
}

/** Runs until `signal` is aborted. Rejects only when the log itself cannot be read. */
export function runForwarder(options: ForwarderOptions): Promise<void> {
  return new Forwarder(options).run();
}

class Forwarder {
  readonly #options: ForwarderOptions;
  readonly #wanted: (topic: string) => boolean;
  readonly #backoff: Backoff;
  /** First offset not acknowledged; what the durable cursor moves to. */
  #acked: Offset;
  #saved: Offset;
  #window: Chunk[] = [];
  #inFlight = 0;
  #inFlightBytes = 0;
  #progress = Promise.withResolvers<void>();
  #savedAtMs = Number.NEGATIVE_INFINITY;
  #reportedAtMs = Number.NEGATIVE_INFINITY;
  #failuresInRow = 0;
  #figures = {
    forwarded: 0,
    retries: 0,
    filtered: 0,
    notHeld: 0,
    connected: false,
    lastError: null as string | null,
    lastAckMs: null as number | null,
  };

  constructor(options: ForwarderOptions) {
    this.#options = options;
    this.#wanted = topicMatcher(options.topics);
    this.#backoff = new Backoff({
      firstMs: options.retryFirstMs,
      maxMs: options.retryMaxMs,
      random: options.random,
    });
    this.#acked = options.cursors.loadCursor(options.name)?.next ?? offset(0);
    this.#saved = this.#acked;
  }

  async run(): Promise<void> {
    const { signal, sink, cursorEveryMs } = this.#options;
    this.#report();
    const timer = setInterval(() => this.#onTick(), Math.min(cursorEveryMs, REPORT_EVERY_MS));
    try {
      while (!signal.aborted) {
        try {
          await sink.connect(signal);
          this.#onConnected();
          await this.#forward();
        } catch (error) {
          if (!(error instanceof SinkError)) throw error;
          if (!signal.aborted) await this.#onFailure(error);
        }
      }
    } finally {
      clearInterval(timer);
      this.#figures.connected = false;
      await sink.close();
      this.#save();
      this.#report();
    }
  }

  /** One connection's life: returns when stopped, rejects with the SinkError that ended it. */
  async #forward(): Promise<void> {
    const { signal, reader, maxInFlight, maxInFlightBytes } = this.#options;
    const part = {
      maxRecords: Math.max(1, Math.floor(maxInFlight / PARTS)),
      maxBytes: Math.ceil(maxInFlightBytes / PARTS),
    };
    // Everything not acknowledged is sent again, from the first such record, in order: nothing sent on an
    // earlier connection counts, because the upstream may have lost it.
    this.#window = [];
    this.#inFlight = 0;
    this.#inFlightBytes = 0;
    let position = this.#acked;
    const failed = new AbortController();
    const either = AbortSignal.any([signal, failed.signal]);
    while (!either.aborted) {
      const full =
        this.#inFlight + part.maxRecords > maxInFlight ||
        this.#inFlightBytes + part.maxBytes > maxInFlightBytes;
      if (full && this.#inFlight > 0) {
        await this.#settled(either);
        continue;
      }
      const records = await reader
        .fetch(position, { ...part, maxWaitMs: FETCH_WAIT_MS, signal: either })
        .catch((error: unknown) => {
          if (either.aborted) return [];
          throw error;
        });
      const first = records[0];
      const last = records.at(-1);
      if (either.aborted || !first || !last) continue;
      if (first.offset > position) this.#onHole(position, first.offset);
      position = offset(last.offset + 1);
      this.#take(records, position, failed);
    }
    if (failed.signal.aborted) throw failed.signal.reason;
    await this.#drain(failed.signal);
  }

  /** Sends what is wanted of `records`, a run of the log that ends before `next`. */
  #take(records: readonly TelemetryRecord[], next: Offset, failed: AbortController): void {
    const chosen = records.filter((record) => this.#wanted(record.topic));
    this.#figures.filtered += records.length - chosen.length;
    if (chosen.length === 0) {
      // Nothing to wait for: the last chunk on its way takes this run along, so the window stays bounded.
      const tail = this.#window.at(-1);
      if (tail) tail.next = next;
      else this.#moveTo(next);
      return;
    }
    const bytes = chosen.reduce((sum, record) => sum + record.payload.length + record.topic.length, 0);
    const chunk: Chunk = { next, count: chosen.length, bytes, acked: false };
    this.#window.push(chunk);
    this.#inFlight += chunk.count;
    this.#inFlightBytes += bytes;
    this.#options.sink.send(chosen).then(
      () => this.#onAcked(chunk),
      (error: unknown) => failed.abort(error),
    );
  }

  /** Resolves at the next acknowledgement, or when `signal` is aborted. */
  #settled(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        signal.removeEventListener('abort', done);
        resolve();
      };
      signal.addEventListener('abort', done, { once: true });
      void this.#progress.promise.then(done);
    });
  }

  async #drain(failed: AbortSignal): Promise<void> {
    const end = AbortSignal.any([failed, AbortSignal.timeout(DRAIN_MS)]);
    while (this.#window.length > 0 && !end.aborted) await this.#settled(end);
  }

  #onAcked(chunk: Chunk): void {
    // An answer that belongs to an earlier connection says nothing about this one.
    if (!this.#window.includes(chunk)) return;
    chunk.acked = true;
    this.#figures.lastAckMs = this.#options.clock.nowMs();
    this.#failuresInRow = 0;
    this.#backoff.reset();
    this.#advance();
  }

  /** Moves over the acknowledged head of the window; a chunk acknowledged early waits for those before it. */
  #advance(): void {
    while (this.#window[0]?.acked) {
      const chunk = this.#window.shift()!;
      this.#inFlight -= chunk.count;
      this.#inFlightBytes -= chunk.bytes;
      this.#figures.forwarded += chunk.count;
      this.#moveTo(chunk.next);
    }
    const progress = this.#progress;
    this.#progress = Promise.withResolvers<void>();
    progress.resolve();
  }

  #moveTo(next: Offset): void {
    this.#acked = next;
    this.#saveIfDue(this.#options.clock.monotonicMs());
  }

  #saveIfDue(monotonicMs: number): void {
    if (monotonicMs - this.#savedAtMs >= this.#options.cursorEveryMs) this.#save();
  }

  #save(): void {
    if (this.#acked === this.#saved) return;
    // A crash here, or a cursor that cannot be written, repeats records upstream and loses none.
    try {
      this.#options.cursors.saveCursor(this.#options.name, this.#acked);
      this.#saved = this.#acked;
    } catch (error) {
      this.#options.log('warn', 'the cursor could not be saved, trying again', {
        error: String(error),
        next: this.#acked,
      });
    }
    this.#savedAtMs = this.#options.clock.monotonicMs();
  }

  #onConnected(): void {
    this.#figures.connected = true;
    this.#options.log(this.#failuresInRow > 0 ? 'info' : 'debug', 'connected upstream', {
      next: this.#acked,
    });
    this.#report();
  }

  async #onFailure(error: SinkError): Promise<void> {
    const { log, signal, sink } = this.#options;
    this.#failuresInRow += 1;
    this.#figures.connected = false;
    this.#figures.retries += 1;
    this.#figures.lastError = `${error.code}: ${error.message}`;
    const retryInMs = this.#backoff.next();
    const facts = {
      ...error.facts,
      code: error.code,
      attempt: this.#failuresInRow,
      retryInMs,
      next: this.#acked,
    };
    log(isPowerOfTwo(this.#failuresInRow) ? 'warn' : 'debug', `${error.message}; trying again`, facts);
    this.#save();
    this.#report();
    await sink.close();
    await pause(retryInMs, signal);
  }

  /** Retention took records this forwarder had not sent: counted and said, since it cannot be undone. */
  #onHole(from: Offset, to: Offset): void {
    this.#figures.notHeld += to - from;
    this.#options.log('warn', 'records were removed before they could be forwarded', {
      from,
      to: to - 1,
      count: to - from,
    });
  }

  #onTick(): void {
    const monotonicMs = this.#options.clock.monotonicMs();
    this.#saveIfDue(monotonicMs);
    if (monotonicMs - this.#reportedAtMs >= REPORT_EVERY_MS) this.#report();
  }

  #report(): void {
    this.#reportedAtMs = this.#options.clock.monotonicMs();
    this.#options.report({ ...this.#figures, next: this.#acked, inFlight: this.#inFlight });
  }
}
