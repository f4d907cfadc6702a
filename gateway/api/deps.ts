// What the composition hands to the HTTP server: readers and figures of the other rooms. The server owns no
// state of theirs and changes nothing through these.
import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import type { AccessFigures } from '../access/control.ts';
import type { TlsMaterial } from '../access/tls.ts';
import type { DeviceSeen } from '../admission/devices.ts';
import type { PressureFigures } from '../admission/pressure.ts';
import type { AdmissionFigures } from '../admission/types.ts';
import type { CallerGuard } from '../ingest/caller.ts';
import type { ConnectionCapsFigures } from '../ingest/connection-caps.ts';
import type { Door } from '../ingest/door.ts';
import type { HttpIngest } from '../ingest/http/ingest.ts';
import type { MqttFigures } from '../ingest/mqtt/listener.ts';
import type { WebSocketFigures } from '../ingest/websocket/attach.ts';
import type { LogFigures, SearchableLogReader } from '../log/types.ts';
import type { StageFigures } from '../stage/types.ts';
import type { HttpConfig } from './config.ts';
import type { DerivedTail } from './derived.ts';
import type { LocalCallers } from './local-admin.ts';
import type { ProofSource } from './proofs.ts';
import type { AdminDeps } from './routes/admin.ts';

/** What the adapters and admission count. */
export interface IngestFigures {
  readonly admission: AdmissionFigures;
  /** Null where the adapter is switched off, or does not listen yet. */
  readonly mqtt: MqttFigures | null;
  readonly websocket: WebSocketFigures | null;
  /** Of all listeners together. */
  readonly connections: ConnectionCapsFigures;
}

export interface GatewayIdentity {
  readonly version: string;
  /** Origin line of its checkpoints. */
  readonly origin: string;
  /** The gateway's verifier key text (`<name>+<hash>+<base64>`). */
  readonly publicKey: string;
  /** Unix ms. */
  readonly startedMs: number;
}

/** A timestamp token (DER) and the signed checkpoint it stamps; null where that is not there. */
export interface TimestampFiles {
  readonly size: number;
  readonly note: string | null;
  readonly token: Uint8Array;
}

export interface ApiDeps {
  readonly config: HttpConfig;
  /** Read from `config.tls`, where it is there: the server then speaks HTTPS. */
  readonly tls?: TlsMaterial | null;
  readonly gateway: GatewayIdentity;
  readonly log: {
    readonly reader: SearchableLogReader;
    figures(): LogFigures;
  };
  /** Newest derived records; made before the stages so that it can watch their appends. */
  readonly derived: DerivedTail;
  /** As the gateway has seen them. Names and topics are whatever a device said: never trust them. */
  devices(): Iterable<DeviceSeen>;
  /** Number of devices, without walking them. */
  deviceCount(): number;
  ingestFigures(): IngestFigures;
  pressure(): PressureFigures;
  /** Figures by stage name; `lag` (records) and `running` where the stage reports them. */
  stages(): Readonly<Record<string, StageFigures>>;
  /** `<dataDir>/ledger`: checkpoint and tiles. */
  readonly ledgerDir: string;
  readonly proofs: ProofSource;
  /** External timestamps of fewer than `before` blocks, that of the most first, at most `limit`. */
  timestamps(before: number, limit: number): Promise<readonly TimestampFiles[]>;
  /** Built dashboard; when index.html is missing there, `/` says how to build it. */
  readonly dashboardDir: string;
  /** Shared with the WebSocket upgrades of the port. */
  readonly guard: CallerGuard;
  /** Stands before every route, those of plugins too, unless their `config.access` is 'own'. */
  readonly door: Door;
  /** Absent where nothing can be administered. */
  readonly admin?: AdminDeps;
  /** Connections to the local admin socket. */
  readonly local?: LocalCallers;
  accessFigures?(): AccessFigures;
  /** Takes its own paths before the server's routes see them. */
  readonly ingest: Pick<HttpIngest, 'handle' | 'routes' | 'takeConnections'>;
  /** Routes of other rooms, registered at the root, behind the guard. */
  readonly plugins: readonly ((app: FastifyInstance) => Promise<void> | void)[];
  /** True once the gateway takes records; false while it starts and while it shuts down. */
  isReady(): boolean;
  /** Hears of requests that failed inside the gateway. Give it no lower a level than `warn`: below, fastify chats. */
  readonly logger: FastifyBaseLogger;
}
