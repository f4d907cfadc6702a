// The demo's live summary line. Asks the gateway over its own HTTP API, as anyone could, and the plant for its faults.
import type { Plant } from '../firmware-sim/plant.ts';

interface Status {
  readonly log: { readonly end: number; readonly recordsPerSecond: number };
  readonly derived: { readonly anomalies: number; readonly windows: number };
  readonly ledger: {
    readonly blocks: number;
    readonly checkpointSize: number;
    readonly checkpointMs: number | null;
  };
  readonly stages: Readonly<Record<string, { readonly lag?: number }>>;
  readonly nowMs: number;
}

interface AnomalyRecord {
  readonly offset: number;
  readonly device: string;
  readonly eventMs: number;
}

/** An anomaly this long after its fault's end still counts as found: some show only in the recovery. */
const GRACE_MS = 15_000;
const TTY_EVERY_MS = 1_000;
const PLAIN_EVERY_MS = 10_000;

export class DemoSummary {
  readonly #httpUrl: string;
  readonly #plant: Plant;
  readonly #startedMs = Date.now();
  readonly #anomalies = new Map<number, AnomalyRecord>();
  #timer: NodeJS.Timeout | null = null;

  constructor(httpUrl: string, plant: Plant) {
    this.#httpUrl = httpUrl;
    this.#plant = plant;
  }

  start(): void {
    const everyMs = process.stdout.isTTY ? TTY_EVERY_MS : PLAIN_EVERY_MS;
    const tick = async () => {
      await this.#print().catch(() => undefined); // the gateway is stopping
      if (this.#timer) this.#timer = setTimeout(tick, everyMs);
    };
    this.#timer = setTimeout(tick, TTY_EVERY_MS);
  }

  stop(): void {
    if (this.#timer) clearTimeout(this.#timer);
    this.#timer = null;
  }

  async #print(): Promise<void> {
    const status = await this.#get<Status>('/api/v1/status');
    const { anomalies } = await this.#get<{ anomalies: AnomalyRecord[] }>('/api/v1/anomalies?limit=200');
    for (const record of anomalies)
      if (record.eventMs >= this.#startedMs) this.#anomalies.set(record.offset, record);
    const line = this.#line(status);
    process.stdout.write(
      process.stdout.isTTY
        ? `\r\x1b[2K${line.slice(0, Math.max(40, (process.stdout.columns ?? 200) - 1))}`
        : `${line}\n`,
    );
  }

  #line({ log, derived, ledger, stages, nowMs }: Status): string {
    const lags = Object.entries(stages).filter(([name]) => name.startsWith('forwarder:'));
    const lag = lags.reduce((sum, [, figures]) => sum + (figures.lag ?? 0), 0);
    const checkpoint =
      ledger.checkpointMs === null
        ? 'none yet'
        : `${ledger.checkpointSize} (${Math.max(0, Math.round((nowMs - ledger.checkpointMs) / 1000))} s ago)`;
    const { found, injected, others } = this.#found();
    return [
      `${log.end} records durable`,
      `${Math.round(log.recordsPerSecond)}/s`,
      `${derived.windows} windows`,
      `faults found ${found}/${injected}${others > 0 ? ` (+${others} other anomalies)` : ''}`,
      `${ledger.blocks} blocks sealed`,
      `checkpoint ${checkpoint}`,
      `forwarder lag ${lag}`,
    ].join(' · ');
  }

  #found(): { found: number; injected: number; others: number } {
    const { faults } = this.#plant.figures();
    const anomalies = [...this.#anomalies.values()];
    const belongs = (anomaly: AnomalyRecord) => (fault: (typeof faults)[number]) =>
      fault.device === anomaly.device &&
      anomaly.eventMs >= fault.fromMs &&
      anomaly.eventMs < fault.toMs + GRACE_MS;
    return {
      found: faults.filter((fault) => anomalies.some((anomaly) => belongs(anomaly)(fault))).length,
      injected: faults.length,
      others: anomalies.filter((anomaly) => !faults.some(belongs(anomaly))).length,
    };
  }

  async #get<T>(path: string): Promise<T> {
    const response = await fetch(`${this.#httpUrl}${path}`, { signal: AbortSignal.timeout(5_000) });
    if (!response.ok) throw new Error(`${path}: ${response.status}`);
    return (await response.json()) as T;
  }
}
