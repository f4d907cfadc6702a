// Owns what a run of the fleet counted, and the truth list of what was acknowledged. Judges nothing.
import { hash } from 'node:crypto';
import type { Fault } from './faults.ts';
import { LatencyHistogram, type LatencySummary } from './latency.ts';
import type { ScenarioRecord } from './scenario.ts';

export interface FleetFigures {
  readonly devices: number;
  readonly connected: number;
  /** Records sent at least once, and sends beyond the first of a record. */
  readonly sent: number;
  readonly resent: number;
  /** Records the gateway said are on disk; `duplicates` of them it had stored at an earlier send. */
  readonly acked: number;
  readonly duplicates: number;
  /** Records the gateway will never take. */
  readonly refused: number;
  /** Records given up because a device's buffer was full. None of them was acked. */
  readonly dropped: number;
  /** Records made and neither acked, refused nor dropped yet. */
  readonly pending: number;
  readonly faultsInjected: number;
  /** Labels of the faults that have begun, oldest first (the latest 10,000). */
  readonly faults: readonly Fault[];
  /** From when a record was due to its ack, so that waiting behind others counts. */
  readonly latencyMs: LatencySummary;
}

/** One record the gateway promised to hold. */
export interface AckedRecord {
  readonly device: string;
  readonly sequence: number;
  /** SHA-256 of the payload, hex. */
  readonly payloadHash: string;
}

/** device → sequence → SHA-256 of the payload (hex). About 200 bytes a record. */
export class Truth {
  readonly #acked = new Map<string, Map<number, string>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(record: Pick<ScenarioRecord, 'device' | 'sequence' | 'payload'>): void {
    let device = this.#acked.get(record.device);
    if (!device) {
      device = new Map();
      this.#acked.set(record.device, device);
    }
    if (!device.has(record.sequence)) this.#size += 1;
    device.set(record.sequence, hash('sha256', record.payload, 'hex'));
  }

  hashOf(device: string, sequence: number): string | undefined {
    return this.#acked.get(device)?.get(sequence);
  }

  *[Symbol.iterator](): Generator<AckedRecord> {
    for (const [device, sequences] of this.#acked) {
      for (const [sequence, payloadHash] of sequences) yield { device, sequence, payloadHash };
    }
  }
}

/** Counts as the fleet runs. */
export class Tally {
  readonly latency = new LatencyHistogram();
  sent = 0;
  resent = 0;
  acked = 0;
  duplicates = 0;
  refused = 0;
  dropped = 0;
}
