// Owns the one thread that does the gateway's chores: saving snapshots and sessions, making key indexes. A thread of its own
// for each would cost some 13 MiB. Refuses work that an answer to a device waits for: chores wait for one another.
import { MessageChannel, type MessagePort, type Transferable, Worker } from 'node:worker_threads';
import type { ChoreRequest, FromChore, ToChore } from './chore.ts';
import { WORKER_LIMITS } from './limits.ts';

const ENTRY = new URL(
  import.meta.url.endsWith('.ts') ? './chores-worker.ts' : './chores-worker.js',
  import.meta.url,
);

/** A chore told to end that takes longer is left to end with the thread. */
const END_GRACE_MS = 10_000;

export interface ChoreOptions<Init, Answer> {
  /** The module that exports `begin`. */
  readonly entry: URL;
  readonly init: Init;
  readonly onAnswer: (answer: Answer) => void;
  /** Called at most once: it has failed, or the thread has. No answer comes any more. */
  readonly onEnd: (error: Error) => void;
}

export class Chores {
  #worker: Worker | null = null;
  readonly #links = new Set<ChoreLink<never>>();

  /** Starts the thread where there is none, or none any more. */
  begin<Init, Message, Answer>(options: ChoreOptions<Init, Answer>): ChoreLink<Message> {
    const worker = this.#worker ?? this.#start();
    const { port1, port2 } = new MessageChannel();
    const link = new ChoreLink<Message>(port1, {
      onAnswer: (answer) => options.onAnswer(answer as Answer),
      onEnd: options.onEnd,
      onOver: () => this.#links.delete(link),
    });
    this.#links.add(link);
    const request: ChoreRequest = { entry: options.entry.href, init: options.init, port: port2 };
    worker.postMessage(request, [port2]);
    return link;
  }

  /** End the chores first: what they are at is broken off. */
  async close(): Promise<void> {
    await this.#worker?.terminate();
  }

  #start(): Worker {
    const worker = new Worker(ENTRY, { name: 'chores', resourceLimits: WORKER_LIMITS });
    worker.unref();
    const end = (error: Error) => {
      if (this.#worker !== worker) return;
      this.#worker = null;
      for (const link of [...this.#links]) link.fail(error);
    };
    worker.on('error', end);
    worker.on('exit', () => end(new Error('the thread has ended')));
    this.#worker = worker;
    return worker;
  }
}

interface LinkOptions {
  readonly onAnswer: (answer: unknown) => void;
  readonly onEnd: (error: Error) => void;
  /** Nothing more goes either way. */
  readonly onOver: () => void;
}

/** The owner's side of one chore. */
export class ChoreLink<Message> {
  readonly #port: MessagePort;
  readonly #options: LinkOptions;
  #over = false;
  #closing = false;
  #whenOver: (() => void) | null = null;

  constructor(port: MessagePort, options: LinkOptions) {
    this.#port = port;
    this.#options = options;
    port.on('message', (message: FromChore) => {
      if ('answer' in message) options.onAnswer(message.answer);
      else this.fail(new Error(message.failed));
    });
    port.on('close', () => {
      if (this.#closing) this.#end();
    });
    port.unref();
  }

  send(message: Message, transfer: readonly Transferable[] = []): void {
    if (!this.#over) this.#port.postMessage({ message } satisfies ToChore, transfer);
  }

  /** While set, the process does not end for want of anything else to do. */
  set isWaitedFor(isWaitedFor: boolean) {
    if (isWaitedFor) this.#port.ref();
    else this.#port.unref();
  }

  fail(error: Error): void {
    if (this.#over) return;
    const isNews = !this.#closing;
    this.#end();
    if (isNews) this.#options.onEnd(error);
  }

  /** Ends it after what it has been sent. */
  async close(): Promise<void> {
    if (this.#over || this.#closing) return;
    this.#closing = true;
    const over = new Promise<void>((resolve) => {
      this.#whenOver = resolve;
    });
    // Holds the process too: an event loop with nothing else would end it here, with exit code 0.
    const timer = setTimeout(() => this.#end(), END_GRACE_MS);
    this.#port.postMessage({ end: true } satisfies ToChore);
    await over;
    clearTimeout(timer);
  }

  #end(): void {
    if (this.#over) return;
    this.#over = true;
    this.#port.close();
    this.#options.onOver();
    this.#whenOver?.();
  }
}
