// Owns judging anomalies by the labels of injected faults. A false alarm is no broken promise: it is counted.
import type { Fault } from './faults.ts';
import type { HeldRecord } from './held.ts';

export interface AnomalyVerdict {
  readonly injected: number;
  /** Faults with at least one anomaly on their device, from their beginning to a while after their end. */
  readonly found: number;
  readonly byKind: Readonly<Record<string, { readonly injected: number; readonly found: number }>>;
  readonly anomalies: number;
  /** Anomalies on devices of this run that belong to no fault. */
  readonly falseAlarms: number;
}

const ANOMALIES = /^\$tidemark\/anomalies\//;
/** Some faults show only in the recovery. */
const GRACE_MS = 15_000;

export class AnomalyJudge {
  readonly #faults: ReadonlyMap<string, readonly Fault[]>;
  readonly #devices: ReadonlySet<string>;
  readonly #found = new Set<Fault>();
  readonly #all: readonly Fault[];
  #anomalies = 0;
  #falseAlarms = 0;

  constructor(faults: readonly Fault[], devices: ReadonlySet<string>) {
    this.#all = faults;
    this.#faults = Map.groupBy(faults, (fault) => fault.device);
    this.#devices = devices;
  }

  hear({ topic, device, eventMs }: HeldRecord): void {
    if (!ANOMALIES.test(topic) || !this.#devices.has(device)) return;
    this.#anomalies += 1;
    const fault = this.#faults
      .get(device)
      ?.find(({ fromMs, toMs }) => eventMs >= fromMs && eventMs < toMs + GRACE_MS);
    if (fault) this.#found.add(fault);
    else this.#falseAlarms += 1;
  }

  verdict(): AnomalyVerdict {
    const byKind: Record<string, { injected: number; found: number }> = {};
    for (const fault of this.#all) {
      byKind[fault.kind] ??= { injected: 0, found: 0 };
      byKind[fault.kind]!.injected += 1;
      if (this.#found.has(fault)) byKind[fault.kind]!.found += 1;
    }
    return {
      injected: this.#all.length,
      found: this.#found.size,
      byKind,
      anomalies: this.#anomalies,
      falseAlarms: this.#falseAlarms,
    };
  }
}
