// Owns reading what a gateway holds, over its HTTP API. Fills no holes and judges nothing.

/** The part of a stored record that a judge looks at. */
export interface HeldRecord {
  readonly offset: number;
  readonly eventMs: number;
  readonly receivedMs: number;
  readonly topic: string;
  readonly device: string;
  readonly sequence: number | null;
  /** 1 MQTT, 2 WebSocket, 3 HTTP; 4 to 6 are the gateway's own. */
  readonly source: number;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly payload: Uint8Array;
}

interface Page {
  readonly records: readonly (Omit<HeldRecord, 'payload'> & { readonly payload: string })[];
  readonly next: number;
}

const PAGE = 1_000;
const TIMEOUT_MS = 30_000;
const RETRY_MS = 500;
/** A gateway under load may say "not now" for this long. */
const PATIENCE = 60;

/** All records from `from` on, in order of offset, in portions; ends at the end of the log. Rejects when there is no answer. */
export async function* heldOverHttp(
  httpUrl: string,
  from: number,
  signal?: AbortSignal,
): AsyncGenerator<readonly HeldRecord[]> {
  for (let at = from; ; ) {
    const page = await fetchPage(httpUrl, at, signal);
    if (page.records.length > 0)
      yield page.records.map((record) => ({
        ...record,
        headers: record.headers.map(
          ([name, value]) => [name, Buffer.from(value, 'base64').toString()] as const,
        ),
        payload: Buffer.from(record.payload, 'base64'),
      }));
    if (page.next <= at) return;
    at = page.next;
  }
}

async function fetchPage(httpUrl: string, from: number, signal: AbortSignal | undefined): Promise<Page> {
  const url = `${httpUrl.replace(/\/+$/, '')}/api/v1/records?from=${from}&limit=${PAGE}`;
  for (let tries = 0; ; tries += 1) {
    const timeout = AbortSignal.timeout(TIMEOUT_MS);
    const response = await fetch(url, { signal: signal ? AbortSignal.any([signal, timeout]) : timeout });
    const body: unknown = await response.json().catch(() => null);
    if (response.status === 503 && tries < PATIENCE) {
      await new Promise((next) => setTimeout(next, RETRY_MS));
      continue;
    }
    const { records, next } = (body ?? {}) as Partial<Page>;
    if (!response.ok || !Array.isArray(records) || typeof next !== 'number')
      throw new Error(`${url} answered ${response.status} without records: is this a Tidemark gateway?`);
    return { records, next };
  }
}
