// Reads a running gateway's ledger and records over its HTTP API, with limits on time and size. Believes nothing it
// gets: every answer is parsed strictly and checked by the caller.
import { fromBase64, fromBase64Sized } from '../format/base64.ts';
import { parseCheckpoint } from '../format/checkpoint.ts';
import type { DeviceProof } from '../format/devices.ts';
import { CodedError, FormatError } from '../format/errors.ts';
import { HASH_BYTES } from '../format/hash.ts';
import { parseNote } from '../format/note.ts';
import { recordFromJson, type TelemetryRecord } from '../format/record.ts';
import { CHECKPOINT_PATH, type TileReader } from '../format/tile.ts';
import type { RecordSource } from './recordsource.ts';

const TIMEOUT_MS = 30_000;
/** 1,000 records of the largest size are refused anyway; this only keeps a hostile server from filling the memory. */
const MAX_BODY_BYTES = 512 * 1024 * 1024;
const CHECKPOINT_MAX_BYTES = 256 * 1024;
const DEVICE_PROOF_MAX_BYTES = 1024 * 1024;
/** Hashes of a whole block of 65,536 records as base64, with room to spare. */
const LEAVES_MAX_BYTES = 8 * 1024 * 1024;
/** A block has at most 65,536 records, and so no more devices. */
const MAX_PATH_HASHES = 16;
/** Limit of GET /api/v1/records. */
const RECORDS_PER_REQUEST = 1_000;

export class SourceError extends CodedError<'SOURCE_UNREACHABLE' | 'SOURCE_ANSWER'> {
  override name = 'SourceError';
}

const tokens = new Map<string, string>();

/** From now on `token` is shown to the gateway at `base`, and to no other address. */
export function showToken(base: string, token: string): void {
  tokens.set(new URL(base).origin, token);
}

/** The body of a 200; null for 404. @throws SourceError for anything else */
export async function httpGet(url: URL, maxBytes = MAX_BODY_BYTES): Promise<Uint8Array | null> {
  let response: Response;
  try {
    const token = tokens.get(url.origin);
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    response = await fetch(url, { headers, signal: AbortSignal.timeout(TIMEOUT_MS), redirect: 'error' });
    if (response.status === 404) {
      await response.body?.cancel();
      return null;
    }
    if (response.ok) return await bounded(response, url, maxBytes);
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
    hint: isRefusal(response.status)
      ? 'give a token of an auditor in TIDEMARK_TOKEN: `tidemark token add NAME --role auditor` makes one'
      : 'see the gateway’s log',
  });
}

const isRefusal = (status: number) => status === 401 || status === 403;

async function bounded(response: Response, url: URL, maxBytes: number): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of response.body ?? []) {
    bytes += part.length;
    if (bytes > maxBytes) {
      throw new SourceError('SOURCE_ANSWER', `${url.href} answers with more than ${maxBytes} bytes`, {
        facts: { url: url.href },
        hint: 'no honest gateway does that',
      });
    }
    parts.push(part);
  }
  return new Uint8Array(Buffer.concat(parts));
}

async function getJson(url: URL): Promise<Record<string, unknown>> {
  const bytes = await httpGet(url);
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

/** Whether what a person gave is an address, and no path. */
export const isHttpUrl = (source: string): boolean => /^https?:\/\//.test(source);

/** `base` as given by a person, with a final slash so that paths below it resolve. */
export function baseUrl(text: string): URL {
  return new URL(text.endsWith('/') ? text : `${text}/`);
}

export function httpTiles(base: URL, under = 'ledger/'): TileReader {
  return (path) => httpGet(new URL(`${under}${path}`, base));
}

/** Whether a block log stands at this very address, as a mirror or a static web server has one: a gateway's is below it. */
export async function isHttpLedger(base: URL): Promise<boolean> {
  try {
    const bytes = await httpGet(new URL(CHECKPOINT_PATH, base), CHECKPOINT_MAX_BYTES);
    return bytes !== null && parseCheckpoint(parseNote(bytes).text).size >= 0;
  } catch (error) {
    // Whoever refuses this, or shows something else there, is asked as a gateway, and its answers say what is wrong.
    if (error instanceof FormatError || (error instanceof SourceError && error.code === 'SOURCE_ANSWER'))
      return false;
    throw error;
  }
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

  /** None from a gateway that does not know the question: what they would prove is then said to be unproven. */
  async leaves(first: number, end: number): Promise<ReadonlyMap<number, Uint8Array>> {
    const url = new URL('api/v1/leaves', this.#base);
    url.searchParams.set('from', String(first));
    url.searchParams.set('end', String(end));
    const bytes = await httpGet(url, LEAVES_MAX_BYTES);
    if (!bytes) return new Map();
    try {
      return leavesFrom(JSON.parse(new TextDecoder().decode(bytes)) as LeavesAnswer, first, end);
    } catch (error) {
      throw notOurs(url, error);
    }
  }
}

interface LeavesAnswer {
  readonly runs: readonly { readonly first: number; readonly hashes: string }[];
}

/** Hashes by offset; none of [first, end) twice, and none outside. */
function leavesFrom({ runs }: LeavesAnswer, first: number, end: number): Map<number, Uint8Array> {
  const found = new Map<number, Uint8Array>();
  let next = first;
  for (const run of runs) {
    const hashes = fromBase64(run.hashes);
    const count = hashes.length / HASH_BYTES;
    if (
      !Number.isSafeInteger(run.first) ||
      !Number.isInteger(count) ||
      run.first < next ||
      run.first + count > end
    )
      throw new TypeError('not leaf hashes of these records');
    for (let at = 0; at < count; at += 1)
      found.set(run.first + at, hashes.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES));
    next = run.first + count;
  }
  return found;
}

/** What the gateway says a block sealed of a device; null where it cannot say. */
export function httpDeviceProofs(base: URL): (height: number, device: string) => Promise<DeviceProof | null> {
  return async (height, device) => {
    const url = new URL(`api/v1/blocks/${height}/devices/${encodeURIComponent(device)}`, base);
    const bytes = await httpGet(url, DEVICE_PROOF_MAX_BYTES);
    if (!bytes) return null;
    try {
      const { proof } = JSON.parse(new TextDecoder().decode(bytes)) as { proof?: unknown };
      if (!Array.isArray(proof) || proof.length > 2) throw notOurs(url);
      return proof.map(placedOf);
    } catch (error) {
      if (error instanceof SourceError) throw error;
      throw notOurs(url, error);
    }
  };
}

function placedOf(value: unknown): DeviceProof[number] {
  const { index, summary, path } = value as { index: unknown; summary: unknown; path: unknown };
  const { device, records, numbered, first, last } = summary as Record<string, unknown>;
  const numbers = [index, records, numbered, first, last];
  if (typeof device !== 'string' || !Array.isArray(path) || path.length > MAX_PATH_HASHES)
    throw new TypeError('not a device proof');
  if (!numbers.every((number) => Number.isSafeInteger(number) && (number as number) >= 0))
    throw new TypeError('not a device proof');
  const [at, ...counts] = numbers as number[];
  return {
    index: at!,
    summary: { device, records: counts[0]!, numbered: counts[1]!, first: counts[2]!, last: counts[3]! },
    path: path.map((hash: unknown) => fromBase64Sized(String(hash), HASH_BYTES, 'hash')),
  };
}

function parseRecord(value: unknown, url: URL): TelemetryRecord {
  try {
    return recordFromJson(value);
  } catch (cause) {
    if (cause instanceof FormatError) throw notOurs(url, cause);
    throw cause;
  }
}
