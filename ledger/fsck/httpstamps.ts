// Reads a running gateway's external timestamps over its HTTP API, newest first, with limits. Believes nothing it gets, and
// verifies no token.
import { fromBase64 } from '../format/base64.ts';
import { baseUrl, httpGet, SourceError } from './httpsource.ts';

export interface ShownStamp {
  /** Blocks, as the gateway says: the checkpoint decides. */
  readonly size: number;
  readonly note: string | null;
  readonly token: Uint8Array;
}

const PAGE = 50;
const PAGE_MAX_BYTES = 16 * 1024 * 1024;

/** Null from who does not know the question, or lets nobody ask it: a gateway that does is asked for tiles too, and says so. */
export async function httpStampPage(
  source: string,
  before: number | null,
  limit = PAGE,
): Promise<ShownStamp[] | null> {
  const url = new URL('api/v1/timestamps', baseUrl(source));
  url.searchParams.set('limit', String(limit));
  if (before !== null) url.searchParams.set('before', String(before));
  const bytes = await httpGet(url, PAGE_MAX_BYTES).catch(nullIfRefused);
  if (!bytes) return null;
  try {
    const { timestamps } = JSON.parse(new TextDecoder().decode(bytes)) as { timestamps: unknown[] };
    return timestamps.map(stampOf);
  } catch (cause) {
    throw new SourceError('SOURCE_ANSWER', `${url.href} does not answer with timestamps`, {
      facts: { url: url.href },
      hint: 'give the gateway’s base address, e.g. http://127.0.0.1:8080',
      cause,
    });
  }
}

function nullIfRefused(error: unknown): null {
  const status = error instanceof SourceError ? Number(error.facts.status) : 0;
  if (status === 401 || status === 403) return null;
  throw error;
}

function stampOf(value: unknown): ShownStamp {
  const { size, checkpoint, token } = value as Record<string, unknown>;
  const isNote = checkpoint === null || typeof checkpoint === 'string';
  if (!Number.isSafeInteger(size) || !isNote || typeof token !== 'string')
    throw new TypeError('not a timestamp');
  return { size: size as number, note: checkpoint, token: fromBase64(token) };
}
