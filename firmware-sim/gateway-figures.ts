// Owns asking a gateway for its figures once in a while: memory, processor time, refusals. A gateway that does not answer
// is a figure too. Changes nothing there.

export interface GatewaySample {
  /** It answered. */
  readonly up: boolean;
  readonly rssBytes: number;
  /** Processors used of late, since the sample before or a few: 1 is one core. */
  readonly cores: number;
  /** Share of the time since then that its ingest thread was at work; 1 is all it has. */
  readonly ingestThread: number;
}

const DOWN: GatewaySample = { up: false, rssBytes: 0, cores: 0, ingestThread: 0 };
const TIMEOUT_MS = 2_000;
const MOST_DOUBT = 0.25;

interface Reading {
  readonly cpuSeconds: number;
  readonly busySeconds: number;
  readonly atMs: number;
  readonly doubtMs: number;
}

export class GatewayFigures {
  readonly #url: string;
  readonly #mostDoubt: number;
  readonly #timeoutMs: number;
  #before: Reading | null = null;
  #asking: Promise<void> | null = null;
  latest: GatewaySample = DOWN;

  /**
   * `mostDoubt`: part of the time between two answers by which a share of it may be wrong; `timeoutMs`: how long an answer
   * may take.
   */
  constructor(httpUrl: string, { mostDoubt = MOST_DOUBT, timeoutMs = TIMEOUT_MS } = {}) {
    this.#mostDoubt = mostDoubt;
    this.#timeoutMs = timeoutMs;
    this.#url = `${httpUrl.replace(/\/+$/, '')}/metrics`;
  }

  /** Asks, unless the last question is still open. Never rejects. */
  ask(): Promise<void> {
    this.#asking ??= this.#ask()
      .catch(() => {
        this.latest = DOWN;
        this.#before = null;
      })
      .finally(() => {
        this.#asking = null;
      });
    return this.#asking;
  }

  async #ask(): Promise<void> {
    const beganMs = performance.now();
    const response = await fetch(this.#url, { signal: AbortSignal.timeout(this.#timeoutMs) });
    const text = await response.text();
    if (!response.ok) throw new Error(`status ${response.status}`);
    const nowMs = performance.now();
    const now: Reading = {
      cpuSeconds: figureOf(text, 'tidemark_process_cpu_seconds_total'),
      busySeconds: figureOf(text, 'tidemark_ingest_thread_busy_seconds_total'),
      // The gateway read its counters at some moment between question and answer.
      atMs: (beganMs + nowMs) / 2,
      doubtMs: (nowMs - beganMs) / 2,
    };
    const rssBytes = figureOf(text, 'tidemark_process_resident_memory_bytes');
    const before = this.#before;
    const elapsedMs = before ? now.atMs - before.atMs : 0;
    // A gateway that was held up between two answers would seem to have done everything at once: wait for a longer span.
    if (before && now.doubtMs + before.doubtMs > this.#mostDoubt * elapsedMs) {
      this.latest = { ...this.latest, up: true, rssBytes };
      return;
    }
    // A restarted gateway counts from zero again.
    const share = (later: number, earlier: number) =>
      later >= earlier ? ((later - earlier) * 1000) / elapsedMs : 0;
    this.latest = {
      up: true,
      rssBytes,
      cores: before ? share(now.cpuSeconds, before.cpuSeconds) : 0,
      ingestThread: before ? Math.min(1, share(now.busySeconds, before.busySeconds)) : 0,
    };
    this.#before = now;
  }
}

function figureOf(text: string, name: string): number {
  const line = new RegExp(`^${name}(?:\\{[^}]*\\})? ([0-9.e+-]+)`, 'm').exec(text);
  return Number(line?.[1] ?? 0);
}
