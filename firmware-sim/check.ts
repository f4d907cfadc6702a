// Owns comparing what was acked with what the gateway holds, over its HTTP API alone. Repairs and excuses nothing.
import { hash } from 'node:crypto';
import type { AckedRecord, Truth } from './fleet-report.ts';

export interface CheckOptions {
  /** http://host:8080 */
  readonly httpUrl: string;
  readonly truth: Truth;
  /** First offset to look at, e.g. the end of the log when the run began. Default 0. */
  readonly fromOffset?: number;
  readonly signal?: AbortSignal;
}

export interface Offender extends AckedRecord {
  readonly problem: 'missing' | 'doubled' | 'changed';
  /** Where it stands, when it does. */
  readonly offset?: number;
}

export interface CheckReport {
  /** Acked records, and records of the gateway that were read. */
  readonly acked: number;
  readonly read: number;
  /** Acked, and not there. */
  readonly missing: number;
  /** Further copies of an acked (device, sequence). */
  readonly doubled: number;
  /** There, with other bytes than were acked. */
  readonly changed: number;
  /** The first twenty. */
  readonly offenders: readonly Offender[];
  /** Nothing missing, doubled or changed. */
  readonly ok: boolean;
}

interface Page {
  readonly records: readonly {
    readonly offset: number;
    readonly device: string;
    readonly sequence: number | null;
    readonly payload: string;
  }[];
  readonly next: number;
}

const PAGE = 1_000;
const PAGE_TIMEOUT_MS = 30_000;
const MAX_OFFENDERS = 20;

/** Every acked (device, sequence) must be held exactly once, byte for byte. Rejects when the API does not answer. */
export async function checkAcked(options: CheckOptions): Promise<CheckReport> {
  const { truth, signal } = options;
  const seen = new Map<string, Set<number>>();
  const offenders: Offender[] = [];
  const counts = { missing: 0, doubled: 0, changed: 0 };
  const blame = (offender: Offender) => {
    counts[offender.problem] += 1;
    if (offenders.length < MAX_OFFENDERS) offenders.push(offender);
  };
  let read = 0;
  let from = options.fromOffset ?? 0;
  for (;;) {
    const page = await fetchPage(options.httpUrl, from, signal);
    read += page.records.length;
    for (const { offset, device, sequence, payload } of page.records) {
      if (sequence === null) continue;
      const payloadHash = truth.hashOf(device, sequence);
      if (payloadHash === undefined) continue;
      const sequences = seen.get(device) ?? new Set<number>();
      seen.set(device, sequences);
      if (sequences.has(sequence)) blame({ problem: 'doubled', device, sequence, payloadHash, offset });
      else if (hash('sha256', Buffer.from(payload, 'base64'), 'hex') !== payloadHash) {
        blame({ problem: 'changed', device, sequence, payloadHash, offset });
      }
      sequences.add(sequence);
    }
    if (page.records.length === 0 || page.next <= from) break;
    from = page.next;
  }
  for (const acked of truth) {
    if (!seen.get(acked.device)?.has(acked.sequence)) blame({ problem: 'missing', ...acked });
  }
  const ok = counts.missing + counts.doubled + counts.changed === 0;
  return { acked: truth.size, read, ...counts, offenders, ok };
}

async function fetchPage(httpUrl: string, from: number, signal: AbortSignal | undefined): Promise<Page> {
  const url = `${httpUrl.replace(/\/+$/, '')}/api/v1/records?from=${from}&limit=${PAGE}`;
  const timeout = AbortSignal.timeout(PAGE_TIMEOUT_MS);
  const response = await fetch(url, { signal: signal ? AbortSignal.any([signal, timeout]) : timeout });
  const body: unknown = await response.json().catch(() => null);
  const { records, next } = (body ?? {}) as Partial<Page>;
  if (!response.ok || !Array.isArray(records) || typeof next !== 'number') {
    throw new Error(`${url} answered ${response.status} without records: is this a Tidemark gateway?`);
  }
  return { records, next };
}
