// Which log consumers the configuration asks for: name, worker entry and settings of each.
import { randomBytes } from 'node:crypto';
import type { ColdConfig } from '../../gateway/cold/config.ts';
import type { Log } from '../../gateway/log/types.ts';
import { RetentionHost } from '../../gateway/retention/host.ts';
import type { SparkplugStageConfig } from '../../gateway/sparkplug/stage.ts';
import { StageHost, type StageOptions } from '../../gateway/stage/host.ts';
import type { LossTotals } from '../../gateway/stage/types.ts';
import type { WindowsStageConfig } from '../../gateway/windows/stage.ts';
import { FormatError } from '../../ledger/format/errors.ts';
import { parsePolicy } from '../../ledger/format/policy.ts';
import { newBootId, type SealerConfig } from '../../ledger/seal/config.ts';
import type { TimestampConfig } from '../../ledger/timestamp/config.ts';
import { runnable } from '../../models/installed.ts';
import type { ModelStageConfig } from '../../models/stage.ts';
import { withoutTelemetry } from '../../models/telemetry.ts';
import type { ForwarderConfig } from '../../sync/config.ts';
import type { GatewayConfig } from '../config/schema.ts';
import { CommandError, EXIT } from '../errors.ts';
import { readText } from '../trust.ts';
import { VERSION } from '../version.ts';

/** Worker entries are .ts in the repository and .js in the published package. */
const EXTENSION = import.meta.url.endsWith('.ts') ? '.ts' : '.js';

const LOSSES_MS = 1_000;

type Shared = Pick<StageOptions<unknown>, 'appender' | 'logger' | 'publish'>;

export class Stages {
  #config: GatewayConfig;
  readonly #log: Log;
  readonly #shared: Shared;
  readonly #sealer: StageHost;
  readonly #fixed: StageHost[];
  /** They read no records, and nothing waits for them. */
  readonly #aside: StageHost[];
  readonly #forwarders = new Map<string, { host: StageHost; config: ForwarderConfig }>();
  /** Null where nothing is ever removed. */
  #retention: RetentionHost | null;
  #losses: (() => LossTotals) | null = null;
  #lossTimer: NodeJS.Timeout | null = null;

  constructor(config: GatewayConfig, origin: string, log: Log, shared: Shared) {
    withoutTelemetry();
    const models = runnable(config.models, (hint) =>
      shared.logger.warn(
        { hint },
        'onnxruntime-node is not installed: no model runs, no anomalies are found',
      ),
    );
    this.#config = config;
    this.#log = log;
    this.#shared = shared;
    this.#sealer = this.#host<SealerConfig>('sealer', '../../ledger/seal/worker', {
      origin,
      ledger: config.ledger,
      software: `tidemark ${VERSION}`,
      bootId: newBootId(randomBytes(8)),
      recovery: recoveryFacts(log),
      firstPolicy: config.ledger.policy === undefined ? undefined : readPolicy(config.ledger.policy),
    });
    const { templates } = config.ingest;
    this.#fixed = [
      ...(config.sparkplug.enabled
        ? [
            this.#host<SparkplugStageConfig>('sparkplug', '../../gateway/sparkplug/worker', {
              sparkplug: config.sparkplug,
              clock: config.ingest.clock,
            }),
          ]
        : []),
      ...(config.windows.length > 0
        ? [
            this.#host<WindowsStageConfig>('windows', '../../gateway/windows/worker', {
              windows: config.windows,
              templates,
            }),
          ]
        : []),
      ...models.map((model) =>
        this.#host<ModelStageConfig>(`model:${model.name}`, '../../models/worker', { model, templates }),
      ),
      ...(config.cold ? [this.#host<ColdConfig>('cold', '../../gateway/cold/worker', config.cold)] : []),
    ];
    this.#aside = config.timestamp
      ? [this.#host<TimestampConfig>('timestamp', '../../ledger/timestamp/worker', config.timestamp)]
      : [];
    for (const forwarder of config.forwarders) this.#addForwarder(forwarder);
    this.#retention = this.#retentionHost();
  }

  get #others(): StageHost[] {
    return [...this.#fixed, ...[...this.#forwarders.values()].map(({ host }) => host)];
  }

  #addForwarder(config: ForwarderConfig): StageHost {
    const host = this.#host<ForwarderConfig>(`forwarder:${config.name}`, '../../sync/worker', config);
    this.#forwarders.set(config.name, { host, config });
    return host;
  }

  /**
   * Stops forwarders that are gone or changed, and starts those that are new or changed, at their cursors. The others go on.
   * Retention begins anew, for it must know whom to wait for.
   */
  async useForwarders({ forwarders }: GatewayConfig): Promise<void> {
    this.#config = { ...this.#config, forwarders };
    const wanted = new Map(forwarders.map((forwarder) => [forwarder.name, forwarder]));
    const over = [...this.#forwarders].filter(
      ([name, { config }]) => JSON.stringify(config) !== JSON.stringify(wanted.get(name)),
    );
    // Before any of them starts: nothing may be removed that a new one has yet to read.
    await this.#retention?.stop();
    await Promise.all(over.map(([, { host }]) => host.stop()));
    for (const [name] of over) this.#forwarders.delete(name);
    for (const [name, config] of wanted) {
      if (!this.#forwarders.has(name)) this.#addForwarder(config).start();
    }
    this.#retention = this.#retentionHost();
    this.#retention?.start();
  }

  #retentionHost(): RetentionHost | null {
    const { retention, dataDir, log } = this.#config;
    const removes =
      retention.maxAgeMs !== null ||
      retention.maxBytes !== null ||
      retention.rules.some(({ maxAgeMs }) => maxAgeMs !== null);
    if (!removes && log.whenFull !== 'drop-oldest') return null;
    return new RetentionHost({
      init: {
        dataDir,
        config: retention,
        indexIntervalBytes: log.indexIntervalBytes,
        // Every consumer that still has to read: admission too, which reads the end of the log again at each start.
        consumers: ['admission', this.#sealer.name, ...this.#others.map(({ name }) => name)],
      },
      segments: this.#log.segments,
      logger: this.#shared.logger,
    });
  }

  #host<Config>(name: string, entry: string, config: Config): StageHost {
    return new StageHost<unknown>({
      ...this.#shared,
      init: { name, config, dataDir: this.#config.dataDir, durableEnd: this.#log.durableEnd },
      entry: new URL(`${entry}${EXTENSION}`, import.meta.url),
    });
  }

  start(): void {
    for (const host of [this.#sealer, ...this.#others, ...this.#aside]) host.start();
    this.#retention?.start();
  }

  /** From now on the sealer is told once a second what did not get in, and once more at the end. */
  watchLosses(losses: () => LossTotals): void {
    this.#losses = losses;
    this.#lossTimer = setInterval(() => this.#sealer.tellLosses(losses()), LOSSES_MS).unref();
  }

  /** The sealer ends last, so that what the others appended on their way out is sealed too. */
  async stop(): Promise<void> {
    await this.#retention?.stop();
    await Promise.all([...this.#others, ...this.#aside].map((host) => host.stop()));
    if (this.#lossTimer) clearInterval(this.#lossTimer);
    if (this.#losses) this.#sealer.tellLosses(this.#losses());
    await this.#sealer.stop();
  }

  /** By stage name; `lag` in records, from what the stage last reported against the log's end now. */
  figures() {
    const { end } = this.#log.figures();
    const retention = this.#retention ? { retention: this.#retention.figures } : {};
    const stages = [this.#sealer, ...this.#others, ...this.#aside].map((host) => {
      const figures = host.figures;
      const lag = typeof figures.next === 'number' ? { lag: Math.max(0, end - figures.next) } : {};
      return [host.name, { ...figures, ...lag }];
    });
    return { ...Object.fromEntries(stages), ...retention };
  }
}

/** @throws CommandError where the file is no policy, or one that two quorums could meet apart */
function readPolicy(file: string): string {
  const text = readText(file, 'policy');
  try {
    parsePolicy(text);
    return text;
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new CommandError(EXIT.usage, `ledger.policy: ${file}: ${error.message}`, { cause: error });
  }
}

function recoveryFacts({ recovery }: Log): NonNullable<SealerConfig['recovery']> {
  const { unclean, truncatedBytes, at } = recovery;
  return { unclean, truncatedBytes, at };
}
