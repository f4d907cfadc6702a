// HTTP ingest on a server of someone else's: takes the requests to its own paths before any framework sees them, since
// at tens of thousands a second a framework is most of what they cost. Answers only after durability. Paths it does not
// know are left to the server.
import type { Server } from 'node:http';
import type { Admission } from '../../admission/admission.ts';
import type { IngestConfig } from '../../admission/config.ts';
import type { IngestLogger } from '../../admission/types.ts';
import type { Door } from '../door.ts';
import { BodyReader } from './body.ts';
import type { HttpIngestConfig } from './config.ts';
import { DEVICE_TELEMETRY, deviceTelemetry } from './device-telemetry.ts';
import { Exchange, type ExchangeParts, type IngestRequest, type IngestResponse } from './exchange.ts';
import { health, ping, query, writeLines } from './influx.ts';
import { Lane, type LaneOptions } from './lane.ts';
import { LaneResponse } from './lane-exchange.ts';
import { INGEST_PREFIX, ingestRecords } from './records.ts';
import { Slices } from './slices.ts';
import { topicFiller } from './topic-levels.ts';

export interface HttpIngestOptions {
  readonly admission: Admission;
  readonly config: IngestConfig;
  readonly http: HttpIngestConfig;
  readonly door: Door;
  readonly logger: IngestLogger;
  /** Whether records are taken now, for /health. */
  isReady(): boolean;
}

/** As docs and the OpenAPI document name them. */
interface Route {
  readonly path: string;
  readonly methods: readonly string[];
  readonly serve: (exchange: Exchange) => void;
}

const CLOSE_GRACE_MS = 5_000;

export class HttpIngest {
  readonly #parts: ExchangeParts;
  readonly #exact: ReadonlyMap<string, Route>;
  readonly #records: Route = { path: '/api/v1/ingest/*', methods: ['POST'], serve: ingestRecords };
  readonly #telemetry: Route;
  #lane: Lane | null = null;
  #open = 0;
  #closing = false;
  #drained: (() => void) | null = null;

  constructor({ admission, config, http, door, logger, isReady }: HttpIngestOptions) {
    const onError = (err: unknown, { method, url = '' }: IngestRequest) => {
      // The route and not the path: a path can hold what a device calls itself, or a token.
      const route = this.#route(url.split('?', 1)[0]!)?.path;
      logger.error({ err, method, route }, 'a request failed inside the gateway');
    };
    this.#parts = {
      admission,
      config,
      http,
      door,
      bodies: new BodyReader(http),
      slices: new Slices(),
      onError,
    };
    const deviceTopic = topicFiller(http.deviceTopic);
    this.#telemetry = {
      path: '/api/v1/:token/telemetry',
      methods: ['POST'],
      serve: (exchange) => deviceTelemetry(exchange, deviceTopic),
    };
    const lineTopic = topicFiller(http.lineTopic);
    const lines = (exchange: Exchange) => writeLines(exchange, lineTopic);
    const influx: Route[] = [
      { path: '/api/v2/write', methods: ['POST'], serve: lines },
      { path: '/write', methods: ['POST'], serve: lines },
      { path: '/ping', methods: ['GET', 'HEAD'], serve: ping },
      { path: '/health', methods: ['GET'], serve: (exchange) => health(exchange, isReady()) },
      { path: '/query', methods: ['GET', 'POST'], serve: query },
    ];
    this.#exact = new Map(influx.map((route) => [route.path, route]));
  }

  get routes(): readonly { readonly path: string; readonly methods: readonly string[] }[] {
    return [this.#records, this.#telemetry, ...this.#exact.values()];
  }

  get heldBytes(): number {
    return this.#parts.bodies.figures.heldBytes;
  }

  /** Bytes of answers that their clients have not taken. */
  get unreadBytes(): number {
    return this.#parts.bodies.figures.unreadBytes;
  }

  /** Serves plain POSTs on `server`'s connections without node:http. Before anyone listens on it for connections. */
  takeConnections(server: Server, options: LaneOptions): void {
    const { bodies } = this.#parts;
    this.#lane = new Lane(server, {
      ...options,
      bodies,
      serve: (request, response) => this.handle(request, response),
    });
  }

  /** Answers the request now or later, or returns false: not one of its paths. */
  handle(request: IngestRequest, response: IngestResponse): boolean {
    const exchange = new Exchange(request, response, this.#parts);
    const route = this.#route(exchange.path);
    if (route === null) return false;
    this.#open += 1;
    response.once('close', () => {
      this.#open -= 1;
      if (this.#open === 0) this.#drained?.();
    });
    if (this.#closing) {
      exchange.refuse({ code: 'unavailable', detail: 'the gateway is stopping', retryAfterMs: 5_000 });
    } else if (!route.methods.includes(request.method ?? '')) {
      if (!(response instanceof LaneResponse)) response.setHeader('allow', route.methods.join(', '));
      exchange.refuse({
        code: 'method-not-allowed',
        detail: `only ${route.methods.join(' and ')} is served here`,
      });
    } else exchange.guarded(() => route.serve(exchange));
    return true;
  }

  /** Takes no more, and waits until what is in work has been answered. Close admission and the server after it. */
  async close(): Promise<void> {
    this.#closing = true;
    if (this.#open > 0) {
      let timer: NodeJS.Timeout | undefined;
      await new Promise<void>((resolve) => {
        this.#drained = resolve;
        timer = setTimeout(resolve, CLOSE_GRACE_MS);
      });
      clearTimeout(timer);
    }
    this.#lane?.close();
  }

  #route(path: string): Route | null {
    if (path.startsWith(INGEST_PREFIX)) return this.#records;
    const exact = this.#exact.get(path);
    if (exact !== undefined) return exact;
    return DEVICE_TELEMETRY.test(path) ? this.#telemetry : null;
  }
}
