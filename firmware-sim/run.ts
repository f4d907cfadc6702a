// Owns running a scenario file in real time against a gateway: every step when it is due, every answer into the truth
// ledger, a sample of the figures each second. Decides no bytes (the timeline does), judges nothing (judge.ts does).
import { setTimeout as pause } from 'node:timers/promises';
import type { Endpoints } from './clients/client.ts';
import { clientFor, WINDOW } from './clients/connect.ts';
import { GatewayFigures } from './gateway-figures.ts';
import { Outbox, type OutboxEvents } from './outbox.ts';
import { Random } from './random.ts';
import type { ScenarioFile } from './scenario-file.ts';
import { type RunReport, type Sample, Tally } from './tally.ts';
import { type Step, Timeline, type TimelineDevice, type TimelineRecord } from './timeline.ts';
import { contentHash, TruthWriter } from './truth.ts';

export interface RunOptions {
  readonly file: ScenarioFile;
  /** Scenario time of the start, unix ms: with the seed it fixes every byte. */
  readonly startMs: number;
  readonly endpoints: Endpoints;
  /** Where the gateway is asked for its figures, when not at endpoints.httpUrl. */
  readonly figuresUrl?: string;
  /** Where the truth ledger is written. */
  readonly truthPath: string;
  /** Noted in the truth ledger: the end of the gateway's log before the run. */
  readonly fromOffset: number;
  /** Ends the run early: no drain. */
  readonly signal: AbortSignal;
  /** Called with each second's sample. */
  readonly onSample?: (sample: Sample) => void;
}

interface DueRecord extends TimelineRecord {
  readonly content: string;
  /** How late this process was with it, ms. */
  readonly lateMs: number;
}

const MAX_PER_TURN = 500;
const ACK_TIMEOUT_MS = 15_000;
const SAMPLE_MS = 1_000;
class ScenarioRun {
  readonly #options: RunOptions;
  readonly #timeline: Timeline;
  readonly #outboxes: Outbox<DueRecord>[];
  readonly #truth: TruthWriter;
  readonly #figures: GatewayFigures;
  /** One each: a signal with ten thousand listeners is slow to listen to. */
  readonly #stops: AbortController[] = [];
  readonly #tally = new Tally();
  #beganAt = 0;
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #running: Promise<void>[] = [];

  constructor(options: RunOptions) {
    this.#options = options;
    this.#timeline = new Timeline(options.file, options.startMs);
    const { devices } = this.#timeline;
    this.#truth = new TruthWriter(options.truthPath, {
      type: 'run',
      scenario: options.file,
      startMs: options.startMs,
      fromOffset: options.fromOffset,
      devices: devices.map(({ name, protocol }) => [name, protocol]),
    });
    this.#figures = new GatewayFigures(options.figuresUrl ?? options.endpoints.httpUrl);
    const random = new Random(options.file.seed).fork('network');
    this.#outboxes = devices.map((device) => {
      const { name, protocol, spec } = device;
      const stop = new AbortController();
      this.#stops.push(stop);
      return new Outbox<DueRecord>({
        client: clientFor(protocol, options.endpoints, name, spec.tls),
        window: spec.window ?? WINDOW[protocol],
        maxBuffered: spec.maxBuffered,
        ackTimeoutMs: ACK_TIMEOUT_MS,
        random: random.fork(name),
        elapsed: () => performance.now(),
        signal: stop.signal,
        events: this.#eventsOf(device),
      });
    });
  }

  async run(): Promise<RunReport> {
    const { signal, file } = this.#options;
    await this.#figures.ask();
    const rssBytesBefore = this.#figures.latest.rssBytes;
    this.#beganAt = performance.now();
    const sampler = setInterval(() => this.#sample(), SAMPLE_MS);
    this.#connectAll();
    await this.#produce();
    for (const outbox of this.#outboxes) outbox.linkUp();
    if (!signal.aborted) await this.#drained(file.drainSeconds * 1000);
    const tookSeconds = (performance.now() - this.#beganAt) / 1000;
    const pending = this.#pending();
    await this.#figures.ask();
    this.#sample();
    clearInterval(sampler);
    for (const timer of this.#timers) clearTimeout(timer);
    for (const stop of this.#stops) stop.abort();
    await Promise.all(this.#running);
    for (const label of this.#timeline.labels) this.#truth.note({ type: 'fault', ...label }, 'label');
    const madeHash = this.#truth.close();
    return {
      name: file.name,
      about: file.about,
      seed: file.seed,
      startMs: this.#options.startMs,
      devices: this.#outboxes.length,
      tookSeconds,
      ...this.#tally.summary(rssBytesBefore, file.apart.length > 0),
      pending,
      faults: this.#timeline.faultsBegun.length,
      madeHash,
      cut: signal.aborted,
    };
  }

  #connectAll(): void {
    const begun = new Map<string, number>();
    for (const [index, outbox] of this.#outboxes.entries()) {
      const { spec } = this.#timeline.devices[index]!;
      const place = begun.get(spec.name) ?? 0;
      begun.set(spec.name, place + 1);
      const delayMs = (spec.rampSeconds * 1000 * place) / spec.count;
      if (delayMs < 1) this.#running.push(outbox.run());
      else {
        // Until its turn comes it keeps what it measures, as if its link were down.
        outbox.linkDown();
        const begin = () => {
          outbox.linkUp();
          this.#running.push(outbox.run());
        };
        this.#timers.add(setTimeout(begin, delayMs));
      }
    }
  }

  /** Takes every step of the scenario when it is due, by monotonic time: no clock step moves it. */
  async #produce(): Promise<void> {
    const { startMs, signal } = this.#options;
    for (;;) {
      let lateMs = 0;
      for (let taken = 0; taken < MAX_PER_TURN; taken += 1) {
        const dueMs = this.#timeline.nextAtMs;
        lateMs = performance.now() - this.#beganAt - (dueMs - startMs);
        if (lateMs < 0 || !Number.isFinite(dueMs)) break;
        this.#take(this.#timeline.next(), lateMs);
      }
      if (!Number.isFinite(lateMs) || signal.aborted) return;
      await pause(Math.max(0, -lateMs), undefined, { signal }).catch(() => undefined);
    }
  }

  #take(step: Step, lateMs: number): void {
    if (step.type === 'record') {
      const { record } = step;
      const { protocol } = this.#timeline.devices[record.index]!;
      const content = contentHash(protocol === 'line' ? null : record.topic, record.payload);
      this.#tally.late.record(lateMs);
      if (!record.copy) {
        this.#truth.add(record, content);
        this.#tally.counts.made += 1;
      }
      this.#outboxes[record.index]!.push({ ...record, content, lateMs });
      return;
    }
    const outbox = this.#outboxes[step.index]!;
    if (step.type === 'up') outbox.linkUp();
    else {
      if (step.forgets) outbox.forget();
      outbox.linkDown();
    }
  }

  #eventsOf({ spec, protocol }: TimelineDevice): OutboxEvents<DueRecord> {
    const tally = this.#tally;
    const apart = this.#options.file.apart.includes(spec.name);
    // A batch waits by plan; what is sent by Sparkplug is one of several messages of its connection.
    const delayed = spec.quirks.batch > 1 || protocol === 'sparkplug';
    return {
      onAcked: (record, { latencyMs, duplicate, turnedAway, replayed, stored }) => {
        const sinceDueMs = latencyMs + record.lateMs;
        const content = stored ? contentHash(stored.topic, stored.payload) : record.content;
        const facts = { atMs: Date.now(), latencyMs: sinceDueMs, duplicate, turnedAway, content };
        this.#truth.acked(record.number, facts);
        tally.acked(record.copy, duplicate);
        if (!replayed && !delayed) tally.took(sinceDueMs, apart);
      },
      onRefused: (record, code) => {
        tally.refused(code);
        this.#truth.ended('refused', record.number, Date.now());
      },
      onDropped: (record) => {
        if (record.copy) return;
        tally.counts.dropped += 1;
        this.#truth.ended('dropped', record.number, Date.now());
      },
      onSent: (again) => {
        tally.counts.sent += 1;
        if (again) tally.counts.resent += 1;
      },
      onConnection: (state, detail) => {
        if (state === 'lost' && !/^(stopped|the link is down|the device restarts)/.test(detail))
          tally.counts.lost += 1;
      },
    };
  }

  #pending(): number {
    return this.#outboxes.reduce((sum, outbox) => sum + outbox.pending, 0);
  }

  #sample(): void {
    const sample = this.#tally.sample({
      atSeconds: Math.round((performance.now() - this.#beganAt) / 100) / 10,
      connected: this.#outboxes.reduce((sum, outbox) => sum + (outbox.connected ? 1 : 0), 0),
      pending: this.#pending(),
      gateway: this.#figures.latest,
    });
    this.#options.onSample?.(sample);
    void this.#figures.ask();
  }

  /** Until nothing is outstanding, or nothing was answered for so long: a slow gateway is not one that forgets. */
  async #drained(silenceMs: number): Promise<void> {
    let least = this.#pending();
    let deadline = performance.now() + silenceMs;
    while (least > 0 && performance.now() < deadline && !this.#options.signal.aborted) {
      await pause(50, undefined, { signal: this.#options.signal }).catch(() => undefined);
      const pending = this.#pending();
      if (pending < least) deadline = performance.now() + silenceMs;
      least = Math.min(least, pending);
    }
  }
}

/** Runs to the end of the scenario, waits for outstanding acks, closes everything. Rejects only on wrong options. */
export function runScenario(options: RunOptions): Promise<RunReport> {
  return new ScenarioRun(options).run();
}
