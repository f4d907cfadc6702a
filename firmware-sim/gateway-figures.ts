// Owns asking a gateway for its figures once in a while: memory, processor time, refusals. A gateway that does not answer
// is a figure too. Changes nothing there.

export interface GatewaySample {
  /** It answered. */
  readonly up: boolean;
  readonly rssBytes: number;
  /** Processors used since the sample before: 1 is one core. */
  readonly cores: number;
  /** Share of the time since then that its ingest thread was at work; 1 is all it has. */
  readonly ingestThread: number;
}

const DOWN: GatewaySample = { up: false, rssBytes: 0, cores: 0, ingestThread: 0 };
const TIMEOUT_MS = 2_000;

export class GatewayFigures {
  readonly #url: string;
  #cpuSeconds = Number.NaN;
  #busySeconds = Number.NaN;
  #askedAtMs = 0;
  #asking: Promise<void> | null = null;
  latest: GatewaySample = DOWN;

  constructor(httpUrl: string) {
    this.#url = `${httpUrl.replace(/\/+$/, '')}/metrics`;
  }

  /** Asks, unless the last question is still open. Never rejects. */
  ask(): Promise<void> {
    this.#asking ??= this.#ask()
      .catch(() => {
        this.latest = DOWN;
        this.#cpuSeconds = Number.NaN;
        this.#busySeconds = Number.NaN;
      })
      .finally(() => {
        this.#asking = null;
      });
    return this.#asking;
  }

  async #ask(): Promise<void> {
    const response = await fetch(this.#url, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    const text = await response.text();
    if (!response.ok) throw new Error(`status ${response.status}`);
    const cpuSeconds = figureOf(text, 'tidemark_process_cpu_seconds_total');
    const nowMs = performance.now();
    const busySeconds = figureOf(text, 'tidemark_ingest_thread_busy_seconds_total');
    const seconds = (nowMs - this.#askedAtMs) / 1000;
    // A restarted gateway counts from zero again.
    const share = (now: number, before: number) => (now >= before ? (now - before) / seconds : 0);
    this.latest = {
      up: true,
      rssBytes: figureOf(text, 'tidemark_process_resident_memory_bytes'),
      cores: share(cpuSeconds, this.#cpuSeconds),
      ingestThread: Math.min(1, share(busySeconds, this.#busySeconds)),
    };
    this.#cpuSeconds = cpuSeconds;
    this.#busySeconds = busySeconds;
    this.#askedAtMs = nowMs;
  }
}

function figureOf(text: string, name: string): number {
  const line = new RegExp(`^${name}(?:\\{[^}]*\\})? ([0-9.e+-]+)`, 'm').exec(text);
  return Number(line?.[1] ?? 0);
}
