// Owns speaking the gateway's WebSocket frames as firmware does: one frame per record, an ack by id means on disk.
import { WebSocket } from 'ws';
import type { Client, Message, Outcome } from './client.ts';

const CONNECT_TIMEOUT_MS = 5_000;
const DEFAULT_RETRY_MS = 1_000;
/** Answers "not now" rather than "never". */
const BUSY_CODES = new Set(['overloaded', 'disk-full']);

interface Answer {
  readonly ack?: unknown;
  readonly duplicate?: unknown;
  readonly id?: unknown;
  readonly error?: { readonly code?: unknown; readonly detail?: unknown; readonly retryAfterMs?: unknown };
}

export class WebSocketDevice implements Client {
  readonly #url: string;
  #socket: WebSocket | null = null;
  #nextId = 1;
  onLost: ((detail: string) => void) | null = null;
  readonly #owed = new Map<number, (outcome: Outcome) => void>();

  constructor(url: string) {
    this.#url = url;
  }

  async open(signal: AbortSignal): Promise<void> {
    await this.close();
    signal.throwIfAborted();
    const socket = new WebSocket(this.#url, {
      handshakeTimeout: CONNECT_TIMEOUT_MS,
      perMessageDeflate: false,
    });
    this.#socket = socket;
    const opened = Promise.withResolvers<void>();
    const onAbort = () => opened.reject(new Error('stopped while connecting'));
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once('open', () => opened.resolve());
    socket.on('error', (error) => opened.reject(error));
    socket.on('close', () => {
      opened.reject(new Error('the connection was closed'));
      this.#drop(socket);
    });
    socket.on('message', (data) => this.#onFrame(String(data)));
    try {
      await opened.promise;
    } catch (error) {
      this.#drop(socket);
      throw error;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  send({ topic, payload }: Message): Promise<Outcome> {
    const socket = this.#socket;
    if (socket?.readyState !== WebSocket.OPEN)
      return Promise.resolve({ kind: 'lost', detail: 'not connected' });
    return new Promise((resolve) => {
      const id = this.#nextId++;
      this.#owed.set(id, resolve);
      // Put together as text: the gateway stores the payload's own letters, which a second encoding could change.
      socket.send(`{"id":${id},"topic":${JSON.stringify(topic)},"payload":${payload}}`);
    });
  }

  async close(): Promise<void> {
    if (this.#socket) this.#drop(this.#socket);
  }

  #onFrame(text: string): void {
    let answer: Answer;
    try {
      answer = JSON.parse(text) as Answer;
    } catch {
      return; // not an answer to anything we sent
    }
    if (answer.ack !== undefined)
      this.#settle(answer.ack, { kind: 'acked', duplicate: answer.duplicate === true });
    else if (answer.error) {
      const code = String(answer.error.code);
      const { retryAfterMs, detail } = answer.error;
      this.#settle(
        answer.id,
        BUSY_CODES.has(code)
          ? {
              kind: 'busy',
              code,
              retryAfterMs: typeof retryAfterMs === 'number' ? retryAfterMs : DEFAULT_RETRY_MS,
            }
          : { kind: 'refused', code, detail: String(detail ?? '') },
      );
    }
  }

  #settle(id: unknown, outcome: Outcome): void {
    if (typeof id !== 'number') return;
    const resolve = this.#owed.get(id);
    this.#owed.delete(id);
    resolve?.(outcome);
  }

  #drop(socket: WebSocket): void {
    socket.terminate();
    if (this.#socket !== socket) return;
    this.#socket = null;
    const owed = [...this.#owed.values()];
    this.#owed.clear();
    for (const resolve of owed) resolve({ kind: 'lost', detail: 'the connection was closed' });
    this.onLost?.('the connection was closed');
  }
}
