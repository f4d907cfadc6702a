// Opens what every record passes and what follows it: the log with its lock, admission, the stages behind, readers and proofs.
// Listens on nothing and starts no stage.
import { join } from 'node:path';
import type { Logger } from 'pino';
import { Admission } from '../../gateway/admission/admission.ts';
import type { Pressure } from '../../gateway/admission/pressure.ts';
import { DerivedTail } from '../../gateway/api/derived.ts';
import { ProofWorker } from '../../gateway/api/proofs.ts';
import { coldFs } from '../../gateway/cold/cold-fs.ts';
import { realFs } from '../../gateway/log/fs.ts';
import { KeyIndexer } from '../../gateway/log/key-indexer.ts';
import { openLog } from '../../gateway/log/log.ts';
import { openReader } from '../../gateway/log/reader.ts';
import type { Log, LogError, SearchableLogReader } from '../../gateway/log/types.ts';
import { DropOldest } from '../../gateway/retention/space.ts';
import { StateStore } from '../../gateway/state/state.ts';
import { Chores } from '../../gateway/threads/chores.ts';
import { gatewayVerifierKey, loadOrCreateGatewayKey } from '../../ledger/seal/key.ts';
import type { GatewayConfig } from '../config/schema.ts';
import type { Opened } from './opened.ts';
import { originOf } from './origin.ts';
import { pressureOf } from './pressure.ts';
import { Stages } from './stages.ts';

type Publish = (topic: string, payload: Uint8Array) => void;

export interface Spine {
  readonly origin: string;
  /** Verifier key text of the key the gateway starts with. */
  readonly publicKey: string;
  readonly ledgerDir: string;
  readonly log: Log;
  /** Resolves if the log's writer dies. */
  readonly failed: Promise<LogError>;
  readonly chores: Chores;
  readonly derived: DerivedTail;
  readonly stages: Stages;
  readonly pressure: Pressure;
  readonly admission: Admission;
  readonly reader: SearchableLogReader;
  readonly proofs: ProofWorker;
  /** Where stages' commands to devices go; nowhere before. */
  usePublish(publish: Publish): void;
}

/** @throws CommandError, LogError (LOCKED, …), KeyError; what was opened by then is in `opened`. */
export async function openSpine(config: GatewayConfig, logger: Logger, opened: Opened): Promise<Spine> {
  const { dataDir, cold } = config;
  const log = opened.add(await openLog({ dataDir, config: config.log }), (part) => part.close());
  const { durableEnd } = log;
  const failed = new Promise<LogError>((resolve) => log.onFatal(resolve));
  const chores = opened.add(new Chores(), (part) => part.close());
  opened.add(
    new KeyIndexer(chores, { dataDir, durableEnd }, (problem) =>
      logger.warn({ problem }, 'a segment has no key index for now'),
    ),
    (part) => part.close(),
  );
  const origin = originOf(config);
  const publicKey = gatewayVerifierKey(origin, loadOrCreateGatewayKey(dataDir));
  const state = opened.add(new StateStore(dataDir), (part) => part.close());
  log.useSpaceMaker(
    new DropOldest({
      segments: log.segments,
      state,
      logger,
      freeBytes: () => realFs.freeBytes(dataDir),
    }),
  );
  const derived = new DerivedTail(config.http.derivedKept);
  let publish: Publish = () => {};
  const stages = opened.add(
    new Stages(config, origin, log, {
      appender: derived.observe(log),
      logger,
      publish: (topic, payload) => publish(topic, payload),
    }),
    (part) => part.stop(),
  );
  let queuedBytes = () => 0;
  const pressure = pressureOf(config, log, stages, () => queuedBytes());
  const admission = opened.add(
    await Admission.open({ config: config.ingest, log, state, dataDir, chores, logger, pressure }),
    (part) => part.close(),
  );
  queuedBytes = () => admission.queuedBytes;
  const reader = opened.add(
    await (cold ? openReader({ dataDir, durableEnd, fs: coldFs(dataDir, cold) }) : log.openReader()),
    (part) => part.close(),
  );
  const proofs = opened.add(new ProofWorker({ dataDir, durableEnd, cold }), (part) => part.close());
  return {
    origin,
    publicKey,
    ledgerDir: join(dataDir, 'ledger'),
    log,
    failed,
    chores,
    derived,
    stages,
    pressure,
    admission,
    reader,
    proofs,
    usePublish: (next) => {
      publish = next;
    },
  };
}
