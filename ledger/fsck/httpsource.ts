// Reads a running gateway's ledger and records over its HTTP API, with limits on time and size. Believes nothing it
// gets: every answer is parsed strictly and checked by the caller.
import { FormatError } from '../format/errors.ts';
import { recordFromJson, type TelemetryRecord } from '../format/record.ts';
import type { TileReader } from '../format/tile.ts';
import type { RecordSource } from './recordsource.ts';

const TIMEOUT_MS = 30_000;
/** 1,000 records of the largest size are refused anyway; this only keeps a hostile server from filling the memory. */
const MAX_BODY_BYTES = 512 * 1024 * 1024;
/** Limit of GET /api/v1/records. */
const RECORDS_PER_REQUEST = 1_000;

export class SourceError extends Error {
  override name = 'SourceError';
  readonly code: 'SOURCE_UNREACHABLE' | 'SOURCE_ANSWER';
  readonly facts: Readonly<Record<string, string | number>>;
  readonly hint: string;

  constructor(
    code: SourceError['code'],
    message: string,
    options: { facts: Record<string, string | number>; hint: string; cause?: unknown },
  ) {
    super(message, { cause: options.cause });
    this.code = code;
    this.facts = options.facts;
    this.hint = options.hint;
  }
}

/** The body of a 200; null for 404. @throws SourceError for anything else */
async function get(url: URL): Promise<Uint8Array | null> {
  let response: Response;
  try {
    response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS), redirect: 'error' });
    if (response.status === 404) {
      await response.body?.cancel();
      return null;
    }
    if (response.ok) return await bounded(response, url);
  } catch (cause) {
    if (cause instanceof SourceError) throw cause;
    throw new SourceError('SOURCE_UNREACHABLE', `${url.href} does not answer`, {
      facts: { url: url.href },
      hint: 'is the gateway running, and is this its HTTP address?',
      cause,
    });
  }
  await response.body?.cancel();
  throw new SourceError('SOURCE_ANSWER', `${url.href} answers ${response.status}`, {
    facts: { url: url.href, status: response.status },
    hint: 'see the gateway’s log',
  });
}

async function bounded(response: Response, url: URL): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of response.body ?? []) {
    bytes += part.length;
    if (bytes > MAX_BODY_BYTES) {
      throw new SourceError('SOURCE_ANSWER', `${url.href} answers with more than ${MAX_BODY_BYTES} bytes`, {
        facts: { url: url.href },
        hint: 'no honest gateway does that',
      });
    }
    parts.push(part);
  }
  return new Uint8Array(Buffer.concat(parts));
}

async function getJson(url: URL): Promise<Record<string, unknown>> {
  const bytes = await get(url);
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes ?? undefined));
    if (typeof value === 'object' && value !== null) return value as Record<string, unknown>;
  } catch {
    // Reported below, like any other answer that is not an object.
  }
  throw notOurs(url);
}

function notOurs(url: URL, cause?: unknown): SourceError {
  return new SourceError('SOURCE_ANSWER', `${url.href} does not answer as a gateway does`, {
    facts: { url: url.href },
    hint: 'give the gateway’s base address, e.g. http://127.0.0.1:8080',
    cause,
  });
}

/** `base` as given by a person, with a final slash so that paths below it resolve. */
export function baseUrl(text: string): URL {
  return new URL(text.endsWith('/') ? text : `${text}/`);
}

export function httpTiles(base: URL): TileReader {
  return (path) => get(new URL(`ledger/${path}`, base));
}

export class HttpRecords implements RecordSource {
  readonly #base: URL;

  constructor(base: URL) {
    this.#base = base;
  }

  async bounds(): Promise<{ start: number; end: number }> {
    const url = new URL('api/v1/status', this.#base);
    const { log } = (await getJson(url)) as { log?: { start?: unknown; end?: unknown } };
    const { start, end } = log ?? {};
    if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end)) throw notOurs(url);
    return { start: start as number, end: end as number };
  }

  async *read(first: number, end: number): AsyncGenerator<readonly TelemetryRecord[]> {
    for (let next = first; next < end; ) {
      const url = new URL('api/v1/records', this.#base);
      url.searchParams.set('from', String(next));
      url.searchParams.set('limit', String(Math.min(RECORDS_PER_REQUEST, end - next)));
      const { records } = await getJson(url);
      if (!Array.isArray(records)) throw notOurs(url);
      const parsed = records.map((value: unknown) => parseRecord(value, url));
      const wanted = parsed.filter((record) => record.offset >= next && record.offset < end);
      if (wanted.length > 0) yield wanted;
      const last = parsed.at(-1);
      // Nothing, or nothing before the end: the rest is not held.
      if (!last || last.offset < next) return;
      next = last.offset + 1;
    }
  }
}

function parseRecord(value: unknown, url: URL): TelemetryRecord {
  try {
    return recordFromJson(value);
  } catch (cause) {
    if (cause instanceof FormatError) throw notOurs(url, cause);
    throw cause;
  }
}
