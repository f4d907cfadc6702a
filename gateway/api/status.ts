// Puts the figures of all rooms together into the one status object of docs/protocols. Computes nothing anew
// but the rate, and names no device.
import type { PressureFigures } from '../admission/pressure.ts';
import type { IngestSource } from '../admission/types.ts';
import type { Door } from '../ingest/door.ts';
import type { StageFigures } from '../stage/types.ts';
import type { ApiDeps, IngestFigures } from './deps.ts';
import type { SealedBlocks, SealedFigures } from './sealed.ts';
import type { Tail, TailFigures } from './tail.ts';

export interface AdapterFigures {
  /** Open connections (0 for HTTP). */
  readonly connections: number;
  /** Records accepted since start. */
  readonly accepted: number;
  /** Records refused since start; for MQTT, clients refused as well. */
  readonly rejected: number;
}

export interface Status {
  readonly version: string;
  readonly startedMs: number;
  readonly origin: string;
  readonly publicKey: string;
  /** The gateway's clock, so that a page can tell ages without trusting the viewer's. */
  readonly nowMs: number;
  readonly ready: boolean;
  readonly log: {
    readonly start: number;
    readonly end: number;
    readonly bytes: number;
    readonly recordsPerSecond: number;
  };
  readonly ingest: Readonly<Record<IngestSource, AdapterFigures>>;
  /** Refusals by reason since start; `not-allowed` counts MQTT clients and callers of the HTTP port alike. */
  readonly rejected: Readonly<Record<string, number>>;
  /** How full the gateway is, 0 to 1, and what it is made of; the config says from where on records are refused. */
  readonly pressure: PressureFigures;
  readonly devices: number;
  readonly stages: Readonly<Record<string, StageFigures>>;
  /** Appended since this gateway started. */
  readonly derived: { readonly anomalies: number; readonly windows: number };
  readonly ledger: SealedFigures;
  readonly tail: TailFigures;
}

export interface StatusSources {
  readonly deps: ApiDeps;
  readonly sealed: SealedBlocks;
  readonly tail: Tail;
}

export async function readStatus({ deps, sealed, tail }: StatusSources, nowMs: number): Promise<Status> {
  const { gateway } = deps;
  const { start, end, bytes, recordsPerSecond } = deps.log.figures();
  const ingest = deps.ingestFigures();
  return {
    version: gateway.version,
    startedMs: gateway.startedMs,
    origin: gateway.origin,
    publicKey: gateway.publicKey,
    nowMs,
    ready: deps.isReady(),
    log: { start, end, bytes, recordsPerSecond },
    ingest: adapters(ingest),
    rejected: refusals(ingest, deps.door),
    pressure: deps.pressure(),
    devices: deps.deviceCount(),
    stages: deps.stages(),
    derived: deps.derived.counts,
    ledger: await sealed.figures(),
    tail: tail.figures,
  };
}

function adapters({ admission, mqtt, websocket }: IngestFigures): Status['ingest'] {
  const of = (source: IngestSource, connections = 0): AdapterFigures => {
    return { connections, accepted: admission.accepted[source], rejected: admission.refused[source] };
  };
  return {
    mqtt: of('mqtt', mqtt?.connections),
    http: of('http'),
    websocket: of('websocket', websocket?.connections),
  };
}

function refusals({ admission }: IngestFigures, door: Door): Status['rejected'] {
  const callers = Object.values(door.refused).reduce((sum, count) => sum + count, 0);
  const notAllowed = admission.rejected['not-allowed'] + callers;
  return { ...admission.rejected, ...admission.shed, 'not-allowed': notAllowed };
}
