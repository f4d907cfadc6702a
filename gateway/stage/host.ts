// The ingest-thread side of a stage: starts its worker, serves its appends, keeps its latest figures, and
// restarts it with backoff when it fails. A failing stage shows as lag; it never stops ingest.
import { Worker } from 'node:worker_threads';
import { type LogAppender, LogError } from '../log/types.ts';
import { Again } from '../threads/again.ts';
import { WORKER_LIMITS } from '../threads/limits.ts';
import { systemClock } from './clock.ts';
import type { HostMessage, StageInit, StageMessage } from './messages.ts';
import type { LossTotals, StageFigures } from './types.ts';

export interface StageLogger {
  debug(facts: object, message: string): void;
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

export interface StageOptions<Config> {
  readonly init: StageInit<Config>;
  /** The worker's entry file. */
  readonly entry: URL;
  readonly appender: Pick<LogAppender, 'appendAll'>;
  readonly logger: StageLogger;
  /** Takes commands a stage sends to devices. Without it they are dropped. */
  readonly publish?: (topic: string, payload: Uint8Array) => void;
}

const AGAIN = { firstMs: 500, maxMs: 30_000 };

export class StageHost<Config = unknown> {
  readonly name: string;
  readonly #options: StageOptions<Config>;
  #worker: Worker | null = null;
  #exited: Promise<void> = Promise.resolve();
  readonly #again = new Again(AGAIN);
  #stopping = false;
  #failures = 0;
  #lastError: string | null = null;
  #figures: StageFigures = {};
  readonly #appending = new Set<Promise<unknown>>();

  constructor(options: StageOptions<Config>) {
    this.name = options.init.name;
    this.#options = options;
  }

  /** The stage's own figures plus what the host knows of its health. */
  get figures(): StageFigures {
    return {
      ...this.#figures,
      running: this.#worker !== null,
      failures: this.#failures,
      lastError: this.#lastError ?? this.#figures.lastError ?? null,
    };
  }

  start(): void {
    const { init, entry, logger } = this.#options;
    const startedMs = systemClock.monotonicMs();
    const worker = new Worker(entry, { workerData: init, name: init.name, resourceLimits: WORKER_LIMITS });
    this.#worker = worker;
    worker.on('message', (message: StageMessage) => this.#onMessage(worker, message));
    worker.on('error', (error) => {
      this.#failures += 1;
      this.#lastError = error instanceof Error ? error.message : String(error);
      // An error with a code explains itself; of any other the stack is needed.
      const { code, hint } = error as { code?: unknown; hint?: unknown };
      logger.error(
        { stage: this.name, hint, err: typeof code === 'string' ? undefined : error },
        `stage ${this.name} failed: ${this.#lastError}`,
      );
    });
    this.#exited = new Promise((resolve) => {
      worker.on('exit', () => {
        this.#worker = null;
        if (!this.#stopping) {
          if (systemClock.monotonicMs() - startedMs > AGAIN.maxMs) this.#again.succeeded();
          const retryInMs = this.#again.later(() => void this.#startAgain());
          logger.warn({ stage: this.name, retryInMs }, `stage ${this.name} ended, restarting`);
        }
        resolve();
      });
    });
  }

  /**
   * The next worker looks in the log for what the last one appended, so all of that must have landed first: a
   * record that became durable after the look would be appended twice.
   */
  async #startAgain(): Promise<void> {
    await Promise.allSettled(this.#appending);
    if (!this.#stopping) this.start();
  }

  #onMessage(worker: Worker, message: StageMessage): void {
    if (message.type === 'figures') {
      this.#figures = { ...this.#figures, ...message.figures };
    } else if (message.type === 'log') {
      this.#options.logger[message.level]({ stage: this.name, ...message.facts }, message.message);
    } else if (message.type === 'publish') {
      this.#options.publish?.(message.topic, message.payload);
    } else {
      const reply = (answer: HostMessage) => worker.postMessage(answer);
      const appending = this.#options.appender.appendAll(message.records);
      this.#appending.add(appending);
      const settled = () => this.#appending.delete(appending);
      appending.then(settled, settled);
      appending.then(
        (first) => reply({ type: 'appended', id: message.id, first }),
        (error: unknown) => {
          const code = error instanceof LogError ? error.code : 'CLOSED';
          reply({ type: 'append-failed', id: message.id, code, message: String(error) });
        },
      );
    }
  }

  /** Tells the running worker what did not get in; nothing while it is down. */
  tellLosses(totals: LossTotals): void {
    this.#worker?.postMessage({ type: 'losses', totals } satisfies HostMessage);
  }

  /** Asks the stage to finish its step and save its cursor; ends it after `graceMs`. */
  async stop(graceMs = 5_000): Promise<void> {
    this.#stopping = true;
    this.#again.stop();
    const worker = this.#worker;
    if (!worker) return;
    worker.postMessage({ type: 'stop' } satisfies HostMessage);
    const timer = setTimeout(() => void worker.terminate(), graceMs);
    await this.#exited;
    clearTimeout(timer);
  }
}
