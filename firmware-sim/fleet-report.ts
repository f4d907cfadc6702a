// The figures of a plain fleet, and the list of what was acknowledged to it. Judges nothing.
import { hash } from 'node:crypto';
import type { SendCounts } from './counts.ts';
import type { Fault } from './faults.ts';
import type { LatencySummary } from './latency.ts';
import type { ScenarioRecord } from './scenario.ts';

export interface FleetFigures extends SendCounts {
  readonly devices: number;
  readonly connected: number;
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
