// Owns the demo plant: which devices stand in it, by which protocol each speaks, how fast its day goes.
import type { Endpoints, Protocol } from './clients/client.ts';
import type { Kind } from './device.ts';
import { Fleet, type FleetDevice, type FleetEvent } from './fleet.ts';
import type { FleetFigures } from './fleet-report.ts';
import { Scenario } from './scenario.ts';

export interface PlantOptions extends Endpoints {
  readonly seed: number | string;
  /** Default 40. */
  readonly devices?: number;
  /** Records per second of each device. Default 2. */
  readonly ratePerDevice?: number;
  /** How long a day lasts. Default 10 minutes. */
  readonly dayMs?: number;
  /** Scenario time of the first record, unix ms. Default now. */
  readonly startMs?: number;
  /** How long stop() waits for what is on its way. Default 1 s. */
  readonly stopGraceMs?: number;
  readonly signal: AbortSignal;
  readonly onEvent?: (event: FleetEvent) => void;
}

export interface Plant {
  figures(): FleetFigures;
  /** Gives what is on its way a moment to be acknowledged, then drops every connection. */
  stop(): Promise<void>;
}

const DAY_MS = 600_000;
const MORNING_HOUR = 9;
const STOP_GRACE_MS = 1_000;

/** Half of the devices speak MQTT, a quarter each HTTP and WebSocket, through every kind. */
const PROTOCOL_TURN: readonly Protocol[] = ['mqtt', 'http', 'mqtt', 'websocket'];

/** The kinds that stand in the demo plant. */
const PLANT_KINDS = ['pump', 'cold-store', 'inverter', 'air-quality'] as const satisfies readonly Kind[];

/** `count` devices, kinds in turn: pump-1, cold-store-1, inverter-1, air-quality-1, pump-2 … */
export function fleetOf(count: number, protocols: readonly Protocol[], prefix = ''): FleetDevice[] {
  return Array.from({ length: count }, (_, index) => {
    const round = Math.floor(index / PLANT_KINDS.length);
    const kind: Kind = PLANT_KINDS[index % PLANT_KINDS.length]!;
    // Shifted by the round, so that not all pumps speak one protocol.
    return {
      name: `${prefix}${kind}-${round + 1}`,
      kind,
      protocol: protocols[(index + round) % protocols.length] ?? 'mqtt',
    };
  });
}

/**
 * Starts the plant at once; it waits for the gateway and outlives its restarts. The same seed, startMs and device
 * count send the same bytes.
 */
export function startPlant(options: PlantOptions): Plant {
  const {
    seed,
    signal,
    devices: count = 40,
    ratePerDevice = 2,
    dayMs = DAY_MS,
    startMs = Date.now(),
  } = options;
  const devices = fleetOf(count, PROTOCOL_TURN);
  const scenario = new Scenario({ seed, devices, startMs, ratePerDevice, dayMs, startHour: MORNING_HOUR });
  const fleet = new Fleet({
    devices,
    scenario,
    startMs,
    seed,
    endpoints: options,
    // An hour at two records a second.
    maxBufferedPerDevice: 7_200,
    ackTimeoutMs: 15_000,
    rampMs: 0,
    signal,
    onEvent: options.onEvent ?? (() => {}),
  });
  if (!signal.aborted) fleet.start();
  return {
    figures: () => fleet.figures(),
    async stop() {
      fleet.stopProducing();
      await fleet.drained(options.stopGraceMs ?? STOP_GRACE_MS);
      await fleet.stop();
    },
  };
}
