// Owns what an HTTP answer means to a device that sent records. Sends nothing.
import type { Outcome } from './client.ts';

export const REQUEST_TIMEOUT_MS = 15_000;
const DEFAULT_RETRY_MS = 1_000;

function member(body: unknown, name: string): unknown {
  return typeof body === 'object' && body !== null ? (body as Record<string, unknown>)[name] : undefined;
}

/** `stored` is the status that means: on disk. */
export function outcomeOfStatus(response: Response, body: unknown, stored: 202 | 204): Outcome {
  const { status } = response;
  if (status === stored) {
    // Without the body the answer was cut off; the status alone says it is stored.
    return { kind: 'acked', duplicate: member(body, 'duplicate') === true };
  }
  const code = String(member(body, 'code') ?? status);
  if (status === 429 || status === 503) {
    const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
    return { kind: 'busy', code, retryAfterMs: Number.isFinite(seconds) ? seconds * 1000 : DEFAULT_RETRY_MS };
  }
  if (status >= 400 && status < 500)
    return { kind: 'refused', code, detail: String(member(body, 'detail') ?? member(body, 'message') ?? '') };
  return { kind: 'lost', detail: `status ${status}` };
}

export function outcomeOfError(error: unknown): Outcome {
  return {
    kind: 'lost',
    detail: error instanceof Error ? String(error.cause ?? error.message) : String(error),
  };
}
