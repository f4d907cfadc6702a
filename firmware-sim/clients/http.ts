// Owns speaking HTTP as firmware does: one POST per record, 202 means on disk.
import type { Client, Message, Outcome } from './client.ts';

const REQUEST_TIMEOUT_MS = 15_000;
const DEFAULT_RETRY_MS = 1_000;

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
      return outcomeOf(response, body);
    } catch (error) {
      return {
        kind: 'lost',
        detail: error instanceof Error ? String(error.cause ?? error.message) : String(error),
      };
    }
  }

  async close(): Promise<void> {
    this.#life.abort();
  }
}

function member(body: unknown, name: string): unknown {
  return typeof body === 'object' && body !== null ? (body as Record<string, unknown>)[name] : undefined;
}

function outcomeOf(response: Response, body: unknown): Outcome {
  const { status } = response;
  if (status === 202) {
    // Without the body the answer was cut off; the status alone says it is stored.
    return { kind: 'acked', duplicate: member(body, 'duplicate') === true };
  }
  const code = String(member(body, 'code') ?? status);
  if (status === 429 || status === 503) {
    const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
    return { kind: 'busy', code, retryAfterMs: Number.isFinite(seconds) ? seconds * 1000 : DEFAULT_RETRY_MS };
  }
  if (status >= 400 && status < 500)
    return { kind: 'refused', code, detail: String(member(body, 'detail') ?? '') };
  return { kind: 'lost', detail: `status ${status}` };
}
