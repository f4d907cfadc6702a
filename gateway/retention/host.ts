// The writer's side of retention: runs its worker and carries out there what it decides on the log's segments. Decides
// nothing; a worker that fails is started again later and keeps nobody waiting.
import { Worker } from 'node:worker_threads';
import { offset } from '../../ledger/format/brand.ts';
import type { RolledSegments } from '../log/types.ts';
import type { StageLogger } from '../stage/host.ts';
import type { StageFigures } from '../stage/types.ts';
import { WORKER_LIMITS } from '../threads/limits.ts';
import type { RetentionInit, RetentionMessage, RetentionReply, SegmentCall } from './messages.ts';

const RESTART_MS = 30_000;
/** What is under way may go on this long at shutdown; cut off, it is finished or undone at the next start. */
const GRACE_MS = 5_000;
const ENTRY = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url);

export interface RetentionHostOptions {
  readonly init: RetentionInit;
  readonly segments: RolledSegments;
  readonly logger: StageLogger;
}

export class RetentionHost {
  readonly #options: RetentionHostOptions;
  #worker: Worker | null = null;
  #exited: Promise<void> = Promise.resolve();
  #restart: NodeJS.Timeout | null = null;
  #figures: StageFigures = {};
  #stopping = false;

  constructor(options: RetentionHostOptions) {
    this.#options = options;
  }

  get figures(): StageFigures {
    return { ...this.#figures, running: this.#worker !== null };
  }

  start(): void {
    const worker = new Worker(ENTRY, {
      workerData: this.#options.init,
      name: 'retention',
      resourceLimits: WORKER_LIMITS,
    });
    this.#worker = worker;
    worker.on('message', (message: RetentionMessage) => this.#onMessage(worker, message));
    worker.on('error', (error) => this.#options.logger.error({ err: error }, 'retention failed'));
    this.#exited = new Promise((resolve) => {
      worker.on('exit', () => {
        this.#worker = null;
        if (!this.#stopping) this.#restart = setTimeout(() => this.start(), RESTART_MS);
        resolve();
      });
    });
  }

  #onMessage(worker: Worker, message: RetentionMessage): void {
    if (message.type === 'figures') this.#figures = message.figures;
    else if (message.type === 'log') this.#options.logger[message.level](message.facts, message.message);
    else {
      const reply = (answer: RetentionReply) => worker.postMessage(answer);
      this.#act(message.call).then(
        (value) => reply({ type: 'answer', id: message.id, value }),
        (error: unknown) =>
          reply({
            type: 'failed',
            id: message.id,
            message: error instanceof Error ? error.message : String(error),
          }),
      );
    }
  }

  async #act(call: SegmentCall) {
    const { segments } = this.#options;
    if (call.method === 'list') return segments.list();
    if (call.method === 'dropOldest') return segments.dropOldest(offset(call.baseOffset));
    await segments.replace(offset(call.baseOffset), call.drafts);
    return null;
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.#restart) clearTimeout(this.#restart);
    const worker = this.#worker;
    if (!worker) return;
    worker.postMessage({ type: 'stop' } satisfies RetentionReply);
    const timer = setTimeout(() => void worker.terminate(), GRACE_MS);
    await this.#exited;
    clearTimeout(timer);
  }
}
