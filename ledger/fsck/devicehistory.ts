// Follows one device's sequence numbers through the chain: which are there, which are not, which came twice. Takes records,
// or what a block proves about records that were not read. Judges no block.
import { type DeviceSummary, isDerived } from '../format/devices.ts';
import type { TelemetryRecord } from '../format/record.ts';

/** Consecutive sequence numbers. */
export interface SequenceSpan {
  readonly first: number;
  readonly last: number;
}

export interface DeviceReport {
  readonly device: string;
  /** Its records in the blocks looked at. */
  readonly records: number;
  readonly numbered: number;
  /** Least and greatest sequence number; null where none is numbered. */
  readonly first: number | null;
  readonly last: number | null;
  /** All numbers from first to last are there, and every data block could be looked at. */
  readonly complete: boolean;
  /** Numbers between first and last that no block has: the first 100 spans. */
  readonly missing: readonly SequenceSpan[];
  readonly missingCount: number;
  /** Records whose number another one has as well: a device that began to count again. */
  readonly repeated: number;
  /** Data blocks with no word on the device: removed records, or sealed before blocks had device summaries. */
  readonly blocksUnknown: number;
  /** Of records that were not read themselves: known by count and bounds from a proven summary. */
  readonly blocksBySummary: number;
}

const MISSING_MAX = 100;
/** More holes than this are counted, not listed: a hostile log must not fill the memory. */
const SPANS_MAX = 200_000;

export class DeviceHistory {
  readonly device: string;
  /** Apart, ascending. */
  #spans: { first: number; last: number }[] = [];
  #records = 0;
  #numbered = 0;
  #repeated = 0;
  /** Numbers that a summary leaves open: within its bounds, but fewer than they span. */
  #open = 0;
  #blocksUnknown = 0;
  #blocksBySummary = 0;

  constructor(device: string) {
    this.device = device;
  }

  record({ device, sequence, source }: TelemetryRecord): void {
    if (device !== this.device || isDerived(source)) return;
    this.#records += 1;
    if (sequence === null) return;
    this.#numbered += 1;
    if (!this.#add(sequence, sequence)) this.#repeated += 1;
  }

  /** What a block proves of the device, in place of its records. */
  summary(summary: DeviceSummary | 'absent'): void {
    this.#blocksBySummary += 1;
    if (summary === 'absent') return;
    this.#records += summary.records;
    this.#numbered += summary.numbered;
    if (summary.numbered === 0) return;
    const span = summary.last - summary.first + 1;
    this.#open += Math.max(0, span - summary.numbered);
    this.#repeated += Math.max(0, summary.numbered - span);
    if (!this.#add(summary.first, summary.last)) this.#repeated += 1;
  }

  unknown(): void {
    this.#blocksUnknown += 1;
  }

  /** Adds numbers; false where some of them are there already. */
  #add(first: number, last: number): boolean {
    const spans = this.#spans;
    const end = spans.at(-1);
    // Nearly always the next number of all.
    if (end && first === end.last + 1) {
      end.last = last;
      return true;
    }
    let low = 0;
    let high = spans.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (spans[middle]!.last < first - 1) low = middle + 1;
      else high = middle;
    }
    let stop = low;
    let fresh = true;
    let [from, to] = [first, last];
    for (; stop < spans.length && spans[stop]!.first <= last + 1; stop++) {
      const span = spans[stop]!;
      if (span.first <= last && span.last >= first) fresh = false;
      from = Math.min(from, span.first);
      to = Math.max(to, span.last);
    }
    if (stop > low || spans.length < SPANS_MAX) spans.splice(low, stop - low, { first: from, last: to });
    return fresh;
  }

  report(): DeviceReport {
    const spans = this.#spans;
    const missing = spans.slice(1).map(({ first }, i) => ({ first: spans[i]!.last + 1, last: first - 1 }));
    const missingCount = missing.reduce((sum, { first, last }) => sum + last - first + 1, this.#open);
    return {
      device: this.device,
      records: this.#records,
      numbered: this.#numbered,
      first: spans[0]?.first ?? null,
      last: spans.at(-1)?.last ?? null,
      complete: missingCount === 0 && this.#blocksUnknown === 0,
      missing: missing.slice(0, MISSING_MAX),
      missingCount,
      repeated: this.#repeated,
      blocksUnknown: this.#blocksUnknown,
      blocksBySummary: this.#blocksBySummary,
    };
  }
}
