// Owns one measured run of a simulated fleet against a gateway, with the truth list of what was acked. Whether the
// gateway kept its word is judged by check.ts.
import { setTimeout } from 'node:timers/promises';
import type { Endpoints, Protocol } from './clients/client.ts';
import type { SendCounts } from './counts.ts';
import type { Fault } from './faults.ts';
import { Fleet, type FleetEvent } from './fleet.ts';
import { type FleetFigures, Truth } from './fleet-report.ts';
import type { LatencySummary } from './latency.ts';
import { fleetOf } from './plant.ts';
import { Scenario } from './scenario.ts';

export interface SimOptions extends Endpoints {
  readonly seed: number | string;
  readonly devices: number;
  /** Records per second of each device. */
  readonly ratePerDevice: number;
  readonly durationMs: number;
  /** Devices take these in turn: ['mqtt', 'mqtt', 'http'] makes two thirds MQTT. Default each protocol once. */
  readonly protocols?: readonly Protocol[];
  /** Put before each device's name. Default 'sim-'. */
  readonly namePrefix?: string;
  /** Scenario time of the first record, unix ms. Default now; the same gives the same bytes. */
  readonly startMs?: number;
  /** Default 24 h. */
  readonly dayMs?: number;
  /** How long to wait for outstanding acks at the end. Default 30 s. */
  readonly drainMs?: number;
  /** Default 10,000. */
  readonly maxBufferedPerDevice?: number;
  /** Connections begin spread over this long. Default 1 ms a device. */
  readonly rampMs?: number;
  /** Ends the run early and quickly: no drain. */
  readonly signal: AbortSignal;
  readonly onEvent?: (event: FleetEvent) => void;
  /** Called about once a second. */
  readonly onProgress?: (figures: FleetFigures) => void;
}

export interface SimReport extends SendCounts {
  readonly seed: number | string;
  readonly startMs: number;
  readonly devices: number;
  readonly ratePerDevice: number;
  /** Real time from the first record to the last ack, ms. */
  readonly tookMs: number;
  readonly ackedPerSecond: number;
  /** Unanswered at the end: unknown to both sides. */
  readonly pending: number;
  readonly latencyMs: LatencySummary;
  readonly faults: readonly Fault[];
}

export interface SimResult {
  readonly report: SimReport;
  /** Every record the gateway acked in this run. */
  readonly truth: Truth;
}

const EVERY_PROTOCOL: readonly Protocol[] = ['mqtt', 'http', 'websocket'];

/** Runs for `durationMs`, waits for the outstanding acks, closes everything. Rejects only on wrong options. */
export async function runSim(options: SimOptions): Promise<SimResult> {
  const { seed, signal, ratePerDevice, durationMs, startMs = Date.now() } = options;
  if (!(options.devices >= 1 && ratePerDevice > 0 && durationMs >= 0)) {
    throw new RangeError('a run needs at least one device, a rate above 0 and a duration');
  }
  const devices = fleetOf(options.devices, options.protocols ?? EVERY_PROTOCOL, options.namePrefix ?? 'sim-');
  const truth = new Truth();
  const fleet = new Fleet({
    devices,
    scenario: new Scenario({
      seed,
      devices,
      startMs,
      ratePerDevice,
      ...(options.dayMs !== undefined && { dayMs: options.dayMs }),
    }),
    startMs,
    seed,
    endpoints: options,
    maxBufferedPerDevice: options.maxBufferedPerDevice ?? 10_000,
    ackTimeoutMs: 15_000,
    rampMs: options.rampMs ?? options.devices,
    signal,
    onEvent: options.onEvent ?? (() => {}),
    truth,
  });
  const beganAt = performance.now();
  const progress = options.onProgress && setInterval(() => options.onProgress?.(fleet.figures()), 1_000);
  if (!signal.aborted) fleet.start();
  await elapsed(durationMs, signal);
  fleet.stopProducing();
  await fleet.drained(options.drainMs ?? 30_000);
  const tookMs = performance.now() - beganAt;
  clearInterval(progress);
  const { sent, resent, acked, duplicates, refused, dropped, pending, latencyMs, faults } = fleet.figures();
  await fleet.stop();
  const report: SimReport = {
    seed,
    startMs,
    devices: devices.length,
    ratePerDevice,
    tookMs: Math.round(tookMs),
    ackedPerSecond: Math.round((acked * 1000) / Math.max(1, tookMs)),
    sent,
    resent,
    acked,
    duplicates,
    refused,
    dropped,
    pending,
    latencyMs,
    faults,
  };
  return { report, truth };
}

function elapsed(durationMs: number, signal: AbortSignal): Promise<void> {
  return setTimeout(durationMs, undefined, { signal }).catch(() => undefined);
}
