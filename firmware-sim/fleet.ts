// Owns running a scenario in real time: each record is handed to its device's outbox when it is due. Decides no
// bytes (the scenario does) and speaks no protocol (the clients do).

import type { Endpoints, Protocol } from './clients/client.ts';
import { clientFor, WINDOW } from './clients/connect.ts';
import { noSends } from './counts.ts';
import type { Fault } from './faults.ts';
import type { FleetFigures, Truth } from './fleet-report.ts';
import { LatencyHistogram } from './latency.ts';
import { Outbox, type OutboxEvents } from './outbox.ts';
import { Random } from './random.ts';
import type { Scenario, ScenarioDevice, ScenarioRecord } from './scenario.ts';

export interface FleetDevice extends ScenarioDevice {
  readonly protocol: Protocol;
}

export type FleetEvent =
  | { readonly type: 'connected' | 'disconnected'; readonly device: string; readonly detail: string }
  | {
      readonly type: 'refused';
      readonly device: string;
      readonly sequence: number;
      readonly code: string;
      readonly detail: string;
    }
  | { readonly type: 'fault'; readonly fault: Fault };

export interface FleetOptions {
  readonly devices: readonly FleetDevice[];
  /** Over the same devices in the same order, starting at startMs. */
  readonly scenario: Scenario;
  readonly startMs: number;
  readonly seed: number | string;
  readonly endpoints: Endpoints;
  /** Records a device keeps while the gateway does not take them. */
  readonly maxBufferedPerDevice: number;
  readonly ackTimeoutMs: number;
  /** Connections begin spread over this long, so that a large fleet does not arrive in one instant. */
  readonly rampMs: number;
  readonly signal: AbortSignal;
  readonly onEvent: (event: FleetEvent) => void;
  /** Gets every acked record; without it nothing is kept per record. */
  readonly truth?: Truth;
}

/** Records made in one turn of the event loop at most, so that catching up does not starve the sockets. */
const MAX_PER_TURN = 500;

export class Fleet {
  readonly #options: FleetOptions;
  readonly #outboxes: Outbox<ScenarioRecord>[];
  readonly #counts = noSends();
  readonly #latency = new LatencyHistogram();
  readonly #stop = new AbortController();
  /** One each: a signal with thousands of listeners is slow to listen to. */
  readonly #stops: AbortController[] = [];
  readonly #beganAt = performance.now();
  #running: Promise<void>[] = [];
  #ramp: NodeJS.Timeout[] = [];
  #next: NodeJS.Timeout | null = null;
  #faultsSeen = 0;
  #lastFault: Fault | null = null;

  constructor(options: FleetOptions) {
    this.#options = options;
    const random = new Random(options.seed).fork('network');
    this.#outboxes = options.devices.map((device) => {
      const stop = new AbortController();
      this.#stops.push(stop);
      return new Outbox({
        client: clientFor(device.protocol, options.endpoints, device.name),
        window: WINDOW[device.protocol],
        maxBuffered: options.maxBufferedPerDevice,
        ackTimeoutMs: options.ackTimeoutMs,
        random: random.fork(device.name),
        elapsed: () => performance.now(),
        signal: stop.signal,
        events: this.#eventsOf(device.name),
      });
    });
    options.signal.addEventListener('abort', () => void this.stop(), { once: true });
  }

  start(): void {
    const { rampMs } = this.#options;
    for (const [index, outbox] of this.#outboxes.entries()) {
      const begin = () => void this.#running.push(outbox.run());
      const delayMs = (rampMs * index) / this.#outboxes.length;
      if (delayMs < 1) begin();
      else this.#ramp.push(setTimeout(begin, delayMs));
    }
    this.#produce();
  }

  figures(): FleetFigures {
    const faults = this.#options.scenario.faultsBegun;
    return {
      devices: this.#outboxes.length,
      connected: this.#outboxes.filter((outbox) => outbox.connected).length,
      ...this.#counts,
      pending: this.#outboxes.reduce((sum, outbox) => sum + outbox.pending, 0),
      faultsInjected: this.#faultsSeen,
      faults: [...faults],
      latencyMs: this.#latency.summary(),
    };
  }

  /** Makes no more records; those made are still sent and acknowledged. */
  stopProducing(): void {
    if (this.#next) clearTimeout(this.#next);
    this.#next = null;
  }

  /** Resolves true when nothing is pending, false after `timeoutMs` or at stop. */
  async drained(timeoutMs: number): Promise<boolean> {
    const timer = Promise.withResolvers<void>();
    const timeout = setTimeout(() => timer.resolve(), timeoutMs);
    const onAbort = () => timer.resolve();
    this.#stop.signal.addEventListener('abort', onAbort, { once: true });
    if (this.#stop.signal.aborted) timer.resolve();
    await Promise.race([Promise.all(this.#outboxes.map((outbox) => outbox.emptied())), timer.promise]);
    clearTimeout(timeout);
    this.#stop.signal.removeEventListener('abort', onAbort);
    return this.#outboxes.every((outbox) => outbox.pending === 0);
  }

  /** Drops every connection and resolves when all are gone; what is unanswered stays unacked. */
  async stop(): Promise<void> {
    this.stopProducing();
    for (const timer of this.#ramp) clearTimeout(timer);
    this.#stop.abort();
    for (const stop of this.#stops) stop.abort();
    await Promise.all(this.#running);
  }

  /** The scenario's clock runs with the real one from start(), by monotonic time: no clock step moves it. */
  #scenarioNow(): number {
    return this.#options.startMs + (performance.now() - this.#beganAt);
  }

  #produce(): void {
    const { scenario } = this.#options;
    const nowMs = this.#scenarioNow();
    for (let made = 0; made < MAX_PER_TURN && scenario.nextAtMs <= nowMs; made += 1) {
      const record = scenario.next();
      this.#outboxes[record.index]!.push(record);
    }
    this.#announceFaults();
    this.#next = setTimeout(() => this.#produce(), Math.max(0, scenario.nextAtMs - this.#scenarioNow()));
  }

  #announceFaults(): void {
    const begun = this.#options.scenario.faultsBegun;
    const last = this.#lastFault === null ? -1 : begun.lastIndexOf(this.#lastFault);
    for (const fault of begun.slice(last + 1)) {
      this.#lastFault = fault;
      this.#faultsSeen += 1;
      this.#options.onEvent({ type: 'fault', fault });
    }
  }

  #eventsOf(device: string): OutboxEvents<ScenarioRecord> {
    const { onEvent, truth } = this.#options;
    const counts = this.#counts;
    return {
      onAcked: (record, { latencyMs, duplicate }) => {
        counts.acked += 1;
        if (duplicate) counts.duplicates += 1;
        this.#latency.record(latencyMs);
        truth?.add(record);
      },
      onRefused: (record, code, detail) => {
        counts.refused += 1;
        onEvent({ type: 'refused', device, sequence: record.sequence, code, detail });
      },
      onDropped: () => {
        counts.dropped += 1;
      },
      onSent: (again) => {
        if (again) counts.resent += 1;
        else counts.sent += 1;
      },
      onConnection: (state, detail) =>
        onEvent({ type: state === 'connected' ? 'connected' : 'disconnected', device, detail }),
    };
  }
}
