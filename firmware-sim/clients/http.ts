// Owns speaking HTTP as firmware does: one POST per record, 202 means on disk.
import { outcomeOfError, outcomeOfStatus, REQUEST_TIMEOUT_MS } from './answers.ts';
import type { Client, Message, Outcome } from './client.ts';

export class HttpDevice implements Client {
  readonly #ingestUrl: string;
  #life = new AbortController();

  constructor(httpUrl: string) {
    this.#ingestUrl = `${httpUrl.replace(/\/+$/, '')}/api/v1/ingest/`;
  }

  /** HTTP has no connection to keep: requests find out for themselves. */
  async open(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#life.abort();
    this.#life = new AbortController();
  }

  async send({ topic, payload }: Message): Promise<Outcome> {
    try {
      const response = await fetch(this.#ingestUrl + topic.split('/').map(encodeURIComponent).join('/'), {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: payload,
        signal: AbortSignal.any([this.#life.signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]),
      });
      const body: unknown = await response.json().catch(() => null);
      return outcomeOfStatus(response, body, 202);
    } catch (error) {
      return outcomeOfError(error);
    }
  }

  async close(): Promise<void> {
    this.#life.abort();
  }
}
