// Owns the writer's counters. Decides nothing.
import type { LogFigures } from './types.ts';

const SECONDS = 5;

/** Records per second over the last full seconds, from counts given with the time. */
export class RateMeter {
  readonly #counts = new Array<number>(SECONDS + 1).fill(0);
  #second = 0;

  add(count: number, nowMs: number): void {
    this.#turnTo(nowMs);
    this.#counts[this.#second % this.#counts.length]! += count;
  }

  perSecond(nowMs: number): number {
    this.#turnTo(nowMs);
    const current = this.#second % this.#counts.length;
    const sum = this.#counts.reduce((total, count, index) => (index === current ? total : total + count), 0);
    return Math.round(sum / SECONDS);
  }

  #turnTo(nowMs: number): void {
    const second = Math.floor(nowMs / 1000);
    if (second <= this.#second && second > this.#second - SECONDS) return;
    const steps =
      second > this.#second ? Math.min(second - this.#second, this.#counts.length) : this.#counts.length;
    for (let step = 0; step < steps; step++) this.#counts[(second - step) % this.#counts.length] = 0;
    this.#second = second;
  }
}

export class WriterFigures {
  readonly rate = new RateMeter();
  readonly refused: { -readonly [Code in keyof LogFigures['refused']]: number } = {
    DISK_FULL: 0,
    BUFFER_FULL: 0,
    RECORD_TOO_LARGE: 0,
    RECORD_INVALID: 0,
  };
  appendedRecords = 0;
  appendedBytes = 0;
  plainBytes = 0;
  batches = 0;
  syncs = 0;
  syncMsTotal = 0;
  syncMsMax = 0;
  writeMsMax = 0;
  diskFull = false;

  written(records: number, bytes: number, plainBytes: number, nowMs: number): void {
    this.rate.add(records, nowMs);
    this.appendedRecords += records;
    this.appendedBytes += bytes;
    this.plainBytes += plainBytes;
    this.batches += 1;
    this.diskFull = false;
  }

  /** How long a batch took to be written, before its sync. */
  wrote(writeMs: number): void {
    if (writeMs > this.writeMsMax) this.writeMsMax = writeMs;
  }

  synced(syncMs: number): void {
    this.syncs += 1;
    this.syncMsTotal += syncMs;
    if (syncMs > this.syncMsMax) this.syncMsMax = syncMs;
  }
}
