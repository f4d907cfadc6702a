// Owns sending InfluxDB line protocol as a metrics agent does: POST /api/v2/write, one line a request, 204 means on disk.
import { outcomeOfError, outcomeOfStatus, REQUEST_TIMEOUT_MS } from './answers.ts';
import type { Client, Message, Outcome } from './client.ts';

export class LineDevice implements Client {
  readonly #url: string;
  #life = new AbortController();

  constructor(httpUrl: string) {
    this.#url = `${httpUrl.replace(/\/+$/, '')}/api/v2/write?org=sim&bucket=sim&precision=ms`;
  }

  /** HTTP has no connection to keep: requests find out for themselves. */
  async open(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#life.abort();
    this.#life = new AbortController();
  }

  async send({ payload }: Message): Promise<Outcome> {
    try {
      const response = await fetch(this.#url, {
        method: 'POST',
        headers: { 'content-type': 'text/plain; charset=utf-8' },
        body: payload,
        signal: AbortSignal.any([this.#life.signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]),
      });
      const body: unknown = await response.json().catch(() => null);
      return outcomeOfStatus(response, body, 204);
    } catch (error) {
      return outcomeOfError(error);
    }
  }

  async close(): Promise<void> {
    this.#life.abort();
  }
}
