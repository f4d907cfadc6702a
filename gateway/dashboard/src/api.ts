// The gateway's HTTP API as this page uses it: shapes and requests. Keeps nothing.
import { fromBase64 } from '../../../ledger/format/base64.ts';
import type { RecordJson } from '../../../ledger/format/record.ts';
import { withToken } from './token.ts';

/** A stage's figures by name; `lag` (records), `running`, `lastError`, `alarm` and `alarmMessage` where it has them. */
export type StageFigures = Readonly<Record<string, number | string | boolean | null | undefined>>;

export interface Status {
  readonly version: string;
  readonly startedMs: number;
  readonly nowMs: number;
  readonly origin: string;
  readonly publicKey: string;
  readonly log: {
    readonly start: number;
    readonly end: number;
    readonly bytes: number;
    readonly recordsPerSecond: number;
  };
  readonly rejected: Readonly<Record<string, number>>;
  readonly devices: number;
  readonly stages: Readonly<Record<string, StageFigures>>;
  readonly derived: { readonly anomalies: number; readonly windows: number };
  readonly ledger: {
    readonly blocks: number;
    readonly sealed: number;
    readonly checkpointSize: number;
    readonly checkpointMs: number | null;
    readonly final: boolean;
    readonly finalSize: number;
    readonly problem: string | null;
  };
}

export interface RateHistory {
  readonly endMs: number;
  readonly stepMs: number;
  readonly recordsPerSecond: readonly number[];
}

export interface Device {
  readonly device: string;
  readonly topics: readonly string[];
  readonly records: number;
  readonly lastMs: number;
  readonly lastOffset: number;
  readonly source: number;
}

export type DeviceOrder = 'lastMs' | 'records' | 'device';

export interface DeviceList {
  readonly devices: readonly Device[];
  readonly total: number;
}

export interface Block {
  readonly height: number;
  readonly kind: string;
  readonly first: number;
  readonly count: number;
  readonly root: string;
  readonly sealedMs: number;
  readonly hash: string;
}

/** One finding of a model, out of the record it was written as. */
export interface Anomaly {
  /** Of the anomaly record itself. */
  readonly offset: number;
  readonly device: string;
  readonly eventMs: number;
  readonly model: string;
  readonly field: string;
  readonly score: number | null;
  readonly value: number | null;
}

/** A refusal or failure, in words for people. `code` is the problem's, or 'unreachable'. */
export class ApiError extends Error {
  readonly code: string;
  /** 0: there was no answer. */
  readonly status: number;
  readonly retryAfterMs: number | null;

  constructor(code: string, message: string, retryAfterMs: number | null = null, status = 0) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}

/** @throws ApiError */
export async function get(path: string, signal?: AbortSignal): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(path, withToken(signal ? { signal } : {}));
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError('unreachable', 'The gateway does not answer. Is it running?');
  }
  if (response.ok) return response;
  const problem: unknown = await response.json().catch(() => null);
  const { code, detail } = (problem ?? {}) as { code?: unknown; detail?: unknown };
  const after = Number(response.headers.get('retry-after'));
  throw new ApiError(
    typeof code === 'string' ? code : 'failed',
    typeof detail === 'string' ? detail : `The gateway answered ${response.status}.`,
    after > 0 ? after * 1000 : null,
    response.status,
  );
}

export async function getAnomalies(limit: number): Promise<Anomaly[]> {
  const { anomalies } = (await (await get(`/api/v1/anomalies?limit=${limit}`)).json()) as {
    anomalies: RecordJson[];
  };
  return anomalies.map(anomalyOf).filter((anomaly) => anomaly !== null);
}

export async function getBlocks(limit: number): Promise<readonly Block[]> {
  const { blocks } = (await (await get(`/api/v1/blocks?limit=${limit}`)).json()) as { blocks: Block[] };
  return blocks;
}

export async function getDevices(
  query: { readonly limit: number; readonly sort: DeviceOrder; readonly search: string },
  signal: AbortSignal,
): Promise<DeviceList> {
  const parameters = new URLSearchParams({ limit: String(query.limit), sort: query.sort });
  if (query.search) parameters.set('search', query.search);
  return (await (await get(`/api/v1/devices?${parameters}`, signal)).json()) as DeviceList;
}

/** The proof file's text, as it would be saved. */
export async function getProof(offset: number, signal: AbortSignal): Promise<string> {
  return (await get(`/api/v1/records/${offset}/proof`, signal)).text();
}

/** What a derived record says, or null when it is not an anomaly. */
export function anomalyOf(record: RecordJson): Anomaly | null {
  if (!record.topic.startsWith('$tidemark/anomalies/')) return null;
  const payload = jsonOf(record.payload);
  const { model, field, score, value } = payload;
  return {
    offset: record.offset,
    device: record.device,
    eventMs: record.eventMs,
    model: typeof model === 'string' ? model : '',
    field: typeof field === 'string' ? field : '',
    score: typeof score === 'number' ? score : null,
    value: typeof value === 'number' ? value : null,
  };
}

function jsonOf(payload: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(fromBase64(payload, 'payload')));
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
