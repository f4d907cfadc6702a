// Starts what the API reads from, for tests: a real log, a real sealer where asked for, the real HTTP server on a
// free port. Ingest is not part of it: tests append to the log themselves.
import { mkdtemp, rm } from 'node:fs/promises';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pino from 'pino';
import { anonymousAccess } from '../../../gateway/access/anonymous.ts';
import type { Access } from '../../../gateway/access/types.ts';
import type { DeviceSeen } from '../../../gateway/admission/devices.ts';
import { type HttpConfig, httpConfigSchema } from '../../../gateway/api/config.ts';
import type { ApiDeps, IngestFigures } from '../../../gateway/api/deps.ts';
import { DerivedTail } from '../../../gateway/api/derived.ts';
import { ProofWorker } from '../../../gateway/api/proofs.ts';
import { createHttpServer } from '../../../gateway/api/server.ts';
import { CallerGuard } from '../../../gateway/ingest/caller.ts';
import { Door } from '../../../gateway/ingest/door.ts';
import { logConfigSchema } from '../../../gateway/log/config.ts';
import { openLog } from '../../../gateway/log/log.ts';
import type { Log } from '../../../gateway/log/types.ts';
import { StageHost } from '../../../gateway/stage/host.ts';
import type { StageFigures } from '../../../gateway/stage/types.ts';
import { formatVerifierKey, verifierKey } from '../../../ledger/format/note.ts';
import { type RecordInput, SOURCE } from '../../../ledger/format/record.ts';
import { ledgerSchema, newBootId, type SealerConfig } from '../../../ledger/seal/config.ts';
import { loadOrCreateGatewayKey } from '../../../ledger/seal/key.ts';
import { timestampPage } from '../../../ledger/timestamp/store.ts';

export const ORIGIN = 'test.example/gw';
const text = new TextEncoder();

export interface TestGateway {
  readonly url: string;
  readonly log: Log;
  readonly derived: DerivedTail;
  readonly dataDir: string;
  readonly publicKey: string;
  readonly server: Server;
  readonly guard: CallerGuard;
  readonly door: Door;
  /** What the server wrote to its logger. */
  readonly logged: readonly Record<string, unknown>[];
  /** Appends as a stage would: derived records show up in lists and on the tail. */
  readonly appendDerived: (records: readonly RecordInput[]) => Promise<number>;
  ready: boolean;
  devices: DeviceSeen[];
  close(): Promise<void>;
}

export interface TestOptions {
  readonly http?: Partial<HttpConfig>;
  readonly seal?: boolean;
  readonly dashboardDir?: string;
  /** Figures that stages would report. */
  readonly stages?: Readonly<Record<string, StageFigures>>;
  readonly plugins?: ApiDeps['plugins'];
  /** Default: without names. */
  readonly access?: Access;
  readonly admin?: NonNullable<ApiDeps['admin']>;
  /** Made with the door that the server has. */
  readonly ingest?: (door: Door) => ApiDeps['ingest'];
  /** What the adapters and admission have counted. */
  readonly figures?: IngestFigures;
  /** Records that stand in the log before the server starts. */
  readonly before?: readonly RecordInput[];
}

const quiet = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

export async function startTestGateway(options: TestOptions = {}): Promise<TestGateway> {
  const dataDir = await mkdtemp(join(tmpdir(), 'tidemark-api-'));
  const log = await openLog({ dataDir, config: logConfigSchema.parse({}) });
  const publicKey = formatVerifierKey(verifierKey(ORIGIN, loadOrCreateGatewayKey(dataDir).publicKey));
  if (options.before) await log.appendAll(options.before);
  const config = httpConfigSchema.parse({ port: 0, ...options.http });
  const derived = new DerivedTail(config.derivedKept);
  const appender = derived.observe(log);
  const sealer = options.seal ? startSealer(log, dataDir) : null;
  const reader = await log.openReader();
  await derived.load(reader, config.derivedLookBackRecords);
  const proofs = new ProofWorker({ dataDir, durableEnd: log.durableEnd });
  const guard = new CallerGuard(config);
  const door = new Door(options.access ?? anonymousAccess, guard);
  const gateway = { ready: true, devices: [] as DeviceSeen[] };
  const logged: Record<string, unknown>[] = [];
  const logger = pino({ level: 'warn' }, { write: (line: string) => logged.push(JSON.parse(line)) });
  const app = await createHttpServer({
    config,
    gateway: { version: '0.0.0-test', origin: ORIGIN, publicKey, startedMs: Date.now() },
    log: { reader, figures: () => log.figures() },
    derived,
    devices: () => gateway.devices,
    deviceCount: () => gateway.devices.length,
    ingestFigures: () => options.figures ?? quietIngest(log.figures().end),
    pressure: () => ({ value: 0.25, parts: { log: 0.25, sealer: 0, forwarders: 0, disk: 0 } }),
    stages: () => ({ ...(sealer ? { sealer: sealer.figures } : {}), ...options.stages }),
    ledgerDir: join(dataDir, 'ledger'),
    proofs,
    timestamps: (before, limit) => timestampPage(dataDir, before, limit),
    guard,
    door,
    ingest: options.ingest?.(door) ?? { handle: () => false, routes: [], takeConnections: () => {} },
    ...(options.admin ? { admin: options.admin } : {}),
    plugins: options.plugins ?? [],
    dashboardDir: options.dashboardDir ?? join(dataDir, 'no-dashboard'),
    isReady: () => gateway.ready,
    logger,
  });
  await app.listen({ host: '127.0.0.1', port: 0 });
  const { port } = app.server.address() as AddressInfo;
  return Object.assign(gateway, {
    url: `http://127.0.0.1:${port}`,
    log,
    derived,
    dataDir,
    publicKey,
    server: app.server,
    guard,
    door,
    logged,
    appendDerived: (records: readonly RecordInput[]) => appender.appendAll(records),
    async close() {
      await app.close();
      await proofs.close();
      await sealer?.stop();
      await reader.close();
      await log.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  });
}

/** As if all came by MQTT, without a word of refusal. */
function quietIngest(accepted: number): IngestFigures {
  const admission = {
    accepted: { mqtt: accepted, http: 0, websocket: 0 },
    refused: { mqtt: 0, http: 0, websocket: 0 },
    duplicates: 0,
    rejected: { malformed: 0, 'bad-topic': 0, 'too-large': 0, 'not-allowed': 0, invalid: 0 },
    shed: { overloaded: 0, 'rate-limited': 0, 'disk-full': 0, unavailable: 0 },
    dropped: { overloaded: 0, 'rate-limited': 0, 'disk-full': 0, unavailable: 0 },
    clock: { ahead: 0, behind: 0 },
    misfits: { quarantined: 0, tagged: 0 },
    messageIdsForgotten: 0,
    inFlight: 0,
    queued: { lanes: 0, items: 0, bytes: 0 },
    devices: 0,
    devicesForgotten: 0,
    snapshots: 0,
    snapshotFailures: 0,
  };
  const connections = { open: 0, addresses: 0, refused: { total: 0, address: 0 } };
  return { admission, mqtt: null, websocket: null, connections };
}

function startSealer(log: Log, dataDir: string): StageHost<SealerConfig> {
  const config: SealerConfig = {
    origin: ORIGIN,
    ledger: ledgerSchema.parse({ blockIntervalMs: 50 }),
    software: 'tidemark test',
    bootId: newBootId(crypto.getRandomValues(new Uint8Array(8))),
  };
  const host = new StageHost<SealerConfig>({
    init: { name: 'sealer', config, dataDir, durableEnd: log.durableEnd },
    entry: new URL('../../../ledger/seal/worker.ts', import.meta.url),
    appender: log,
    logger: quiet,
  });
  host.start();
  return host;
}

/** One device message; `payload` is sent as JSON text. */
export function reading(device: string, payload: unknown, more: Partial<RecordInput> = {}): RecordInput {
  const now = Date.now();
  return {
    eventMs: now,
    receivedMs: now,
    topic: `plant/${device}/vibration`,
    device,
    sequence: null,
    source: SOURCE.mqtt,
    contentType: 'application/json',
    headers: [],
    payload: text.encode(JSON.stringify(payload)),
    salt: new Uint8Array(0),
    ...more,
  };
}

export const anomaly = (device: string, score: number, offset: number): RecordInput =>
  reading(
    device,
    { model: 'drift', version: '1', field: 'vibration', score, threshold: 3, value: 0.42, offset },
    { topic: '$tidemark/anomalies/drift', source: SOURCE.model },
  );

export const windowResult = (device: string): RecordInput =>
  reading(
    device,
    {
      window: 'minute',
      startMs: 0,
      endMs: 60_000,
      fields: { vibration: { count: 1, min: 1, max: 1, mean: 1 } },
    },
    { topic: '$tidemark/windows/minute', source: SOURCE.window },
  );
