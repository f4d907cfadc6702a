// The sealer as a log consumer: when to read, when to cut a block, when to commit. Runs until its signal is
// aborted. Refuses to guess: what the sealer will not sign becomes an alarm, not a restart loop.
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LogError, type LogReader } from '../../gateway/log/types.ts';
import { type Clock, systemClock } from '../../gateway/stage/clock.ts';
import type { StageContext } from '../../gateway/stage/types.ts';
import { type Offset, offset } from '../format/brand.ts';
import { formatVerifierKey } from '../format/note.ts';
import type { TelemetryRecord } from '../format/record.ts';
import { REFUSED_CAUSE } from '../format/refusals.ts';
import { loadKeyFile } from '../keys/file.ts';
import { directoryTiles } from '../tiles/source.ts';
import { subtreesFolder } from '../tiles/subtreefiles.ts';
import { adoptFirstPolicy, applyChanges } from './changes.ts';
import type { SealerConfig } from './config.ts';
import { CosignSide } from './cosign.ts';
import { criticalBy, type IsCritical } from './critical.ts';
import { fileDisk, type LedgerDisk } from './disk.ts';
import { loadOrCreateGatewayKey, nextKeyPath } from './key.ts';
import { LossAccount } from './losses.ts';
import { openSealer } from './open.ts';
import { declareRemovals } from './prune.ts';
import type { Sealer } from './sealer.ts';
import { startFilling } from './subtreefill.ts';
import { SubtreeWriter } from './subtrees.ts';

const FETCH_BYTES = 4 * 1024 * 1024;
/** While a round is open the log is looked at this often; a busy log is read without pauses. */
const NAP_MS = 50;
/** With rules for critical records, which are sealed within 100 ms. */
const CRITICAL_NAP_MS = 10;
/** Records taken after a critical one before it is committed: some milliseconds of work. */
const AFTER_CRITICAL_MAX = 2_000;

/** Removals that wait to be declared are looked for this often. */
const REMOVALS_MS = 250;

/** Policy and key changes are looked for this often. */
const CHANGES_MS = 1_000;
/** At the end of a run the last checkpoint has this long to become final. */
const FINISH_MS = 2_000;

export interface SealStagePorts {
  readonly disk: LedgerDisk;
  readonly clock: Clock;
}

export async function sealStage(
  context: StageContext<SealerConfig>,
  ports: SealStagePorts = { disk: fileDisk, clock: systemClock },
): Promise<void> {
  const { reader, config, dataDir, signal } = context;
  const key = loadOrCreateGatewayKey(dataDir);
  const cosign = new CosignSide(context, ports.clock);
  const subtrees = new SubtreeWriter(dataDir, (error) =>
    context.log('warn', 'what would make proofs quicker cannot be written; they read whole blocks', {
      folder: subtreesFolder(dataDir),
      reason: error instanceof Error ? error.message : String(error),
    }),
  );
  const opened = await openSealer({
    ...ports,
    dataDir,
    subtrees,
    config,
    key,
    nextKey: loadKeyFile(nextKeyPath(dataDir)),
    mayGoOn: async (epochs, signed) => (await cosign.ask(epochs, signed))?.message ?? null,
    checkpoints: context.state,
    readRecords: (first, count) => readHeld(reader, first, count),
    isDropped: (at) => context.state.removalOf(at) === 'drop-oldest',
    logEnd: await reader.end(),
  });
  if (opened.kind === 'refused') {
    const { reason, message, facts } = opened;
    context.log('error', `not sealing: ${message}. Run \`tidemark fsck\` and see docs/operations.md`, {
      reason,
      ...facts,
    });
    context.report({ alarm: reason, alarmMessage: message });
    if (!signal.aborted) await once(signal, 'abort');
    await cosign.finish(0);
    return;
  }
  if (opened.repairedFiles.length > 0) {
    context.log('warn', 'ledger tiles were missing or damaged and have been made again from their blocks', {
      files: opened.repairedFiles.slice(0, 20),
      count: opened.repairedFiles.length,
    });
  }
  const { sealer } = opened;
  const { firstPolicy } = config;
  if (firstPolicy !== undefined) adoptFirstPolicy(sealer, key, firstPolicy, context.log);
  cosign.attach(sealer);
  const loop = new SealLoop(context, sealer, cosign, ports.clock, subtrees);
  const filling = startFilling(context, subtrees, () => loop.isCaughtUp);
  try {
    await loop.run();
  } finally {
    await filling.stop();
  }
}

/** What the log can give of these records; nothing where they are damaged: their block is then refused. */
async function readHeld(reader: LogReader, first: number, count: number): Promise<TelemetryRecord[]> {
  try {
    return await reader.fetch(offset(first), { maxRecords: count, maxBytes: FETCH_BYTES });
  } catch (error) {
    if (error instanceof LogError && error.code === 'SEGMENT_DAMAGED') return [];
    throw error;
  }
}

class SealLoop {
  readonly #context: StageContext<SealerConfig>;
  readonly #sealer: Sealer;
  readonly #cosign: CosignSide;
  readonly #losses: LossAccount;
  readonly #clock: Clock;
  readonly #subtrees: SubtreeWriter;
  readonly #isCritical: IsCritical | null;
  #isCaughtUp = false;
  /** Monotonic time at which the open round is committed, null while none is open. */
  #deadlineMs: number | null = null;
  #lastBlockMs: number;
  #removalsMs: number;
  #changesMs = 0;
  /** Monotonic time at which losses are next put into the ledger. */
  #lossesMs: number;

  constructor(
    context: StageContext<SealerConfig>,
    sealer: Sealer,
    cosign: CosignSide,
    clock: Clock,
    subtrees: SubtreeWriter,
  ) {
    const { config, state, name } = context;
    this.#context = context;
    this.#sealer = sealer;
    this.#cosign = cosign;
    this.#losses = new LossAccount(config.bootId, state.loadCursor(name)?.state ?? null, clock.nowMs());
    this.#clock = clock;
    this.#subtrees = subtrees;
    this.#isCritical = criticalBy(context.config.ledger.critical);
    this.#lastBlockMs = clock.monotonicMs();
    this.#removalsMs = this.#lastBlockMs;
    this.#lossesMs = this.#lastBlockMs + config.ledger.heartbeatMs;
  }

  /** Nothing durable was left to read when it last looked. */
  get isCaughtUp(): boolean {
    return this.#isCaughtUp;
  }

  async run(): Promise<void> {
    const { reader, config, signal } = this.#context;
    const sealer = this.#sealer;
    this.#reportHead();
    while (!signal.aborted) {
      if (this.#cosign.rolledBack) return this.#standStill(this.#cosign.rolledBack.message);
      await this.#declareRemovals();
      this.#takeChanges();
      this.#declareRefused();
      const waitMs = this.#deadlineMs === null ? Math.min(REMOVALS_MS, this.#msToHeartbeat()) : 0;
      const isCaughtUp = await this.#read(waitMs);
      this.#isCaughtUp = isCaughtUp;
      const now = this.#clock.monotonicMs();
      if (this.#deadlineMs === null && (sealer.gathered > 0 || sealer.uncommitted > 0)) {
        this.#deadlineMs = now + config.ledger.blockIntervalMs;
      }
      const isDue = this.#deadlineMs !== null && now >= this.#deadlineMs;
      // With more waiting, what is gathered will soon be a full block; without a full one it must not wait longer.
      if (sealer.urgent) {
        sealer.cut();
        this.#commit();
        continue;
      }
      if (isDue && (isCaughtUp || sealer.uncommitted === 0)) sealer.cut();
      if (isDue || sealer.roundFull) this.#commit();
      else if (this.#deadlineMs === null && this.#msToHeartbeat() === 0) this.#heartbeat();
      else if (isCaughtUp && this.#deadlineMs !== null) await this.#nap(this.#deadlineMs - now);
      this.#context.report({ lag: (await reader.end()) - sealer.next + sealer.gathered });
    }
    // Shutting down in order: what is durable by now and fits one round is sealed; the rest waits in the log.
    while (!sealer.roundFull && !(await this.#read(0)));
    this.#gapForRefused();
    sealer.cut();
    this.#commit();
    await this.#cosign.finish(FINISH_MS);
  }

  /** Nothing more is signed: a second history would be one too many. Ingest goes on. */
  async #standStill(message: string): Promise<void> {
    this.#context.log('error', `sealing ends: ${message}. See docs/operations.md`);
    if (!this.#context.signal.aborted) await once(this.#context.signal, 'abort');
    await this.#cosign.finish(0);
  }

  #takeChanges(): void {
    const now = this.#clock.monotonicMs();
    if (now < this.#changesMs) return;
    this.#changesMs = now + CHANGES_MS;
    const { dataDir, log } = this.#context;
    const changed = applyChanges(this.#sealer, dataDir, log);
    if (changed === null) return;
    this.#deadlineMs = null;
    this.#committed();
    if (changed === 'policy') this.#cosign.policyChanged();
  }

  /** While records arrive there are no heartbeats: what was refused meanwhile gets a block of its own. */
  #declareRefused(): void {
    const now = this.#clock.monotonicMs();
    const isSilent = this.#deadlineMs === null && this.#msToHeartbeat() === 0;
    if (now < this.#lossesMs || this.#sealer.roundFull || isSilent) return;
    this.#lossesMs = now + this.#context.config.ledger.heartbeatMs;
    this.#gapForRefused();
  }

  #gapForRefused(): void {
    const losses = this.#losses.take(this.#context.losses?.(), this.#clock.nowMs());
    if (losses) this.#sealer.gap({ cause: REFUSED_CAUSE, ...losses });
  }

  /** Takes what the log has, at most FETCH_BYTES; true when nothing durable is left to read. */
  async #read(maxWaitMs: number): Promise<boolean> {
    const { reader, signal } = this.#context;
    const sealer = this.#sealer;
    let records: TelemetryRecord[];
    try {
      records = await reader.fetch(sealer.next, { maxBytes: FETCH_BYTES, maxWaitMs, signal });
    } catch (error) {
      if (!(error instanceof LogError) || error.code !== 'SEGMENT_DAMAGED') throw error;
      this.#declareLost(Number(error.facts.resume), 'log-damage', error.facts);
      return false;
    }
    let afterCritical = 0;
    for (const record of records) {
      if (record.offset > sealer.next) {
        const cause = this.#context.state.removalOf(sealer.next) ?? 'not-held';
        this.#declareLost(record.offset, cause, {});
      }
      sealer.take(record, this.#isCritical?.(record) ?? null);
      if (sealer.urgent) afterCritical += 1;
      // The rest of this fetch is read again after the commit.
      if (sealer.roundFull || afterCritical >= AFTER_CRITICAL_MAX) return false;
    }
    return records.length === 0 || sealer.next >= (await reader.end());
  }

  /** Offsets from the sealer's next up to `resume` can no longer be read: the ledger says so and goes on. */
  #declareLost(resume: number, cause: string, facts: Readonly<Record<string, string | number>>): void {
    const first: Offset = this.#sealer.next;
    const count = resume - first;
    if (!(count > 0)) throw new RangeError(`the log reports a hole that ends at ${resume}, before ${first}`);
    this.#context.log('error', `records ${first} to ${resume - 1} cannot be read and will not be sealed`, {
      cause,
      ...facts,
    });
    const where =
      typeof facts.file === 'string' ? { file: facts.file, position: Number(facts.position) } : {};
    this.#sealer.gap({ cause, first, count, ...where }, count);
  }

  async #declareRemovals(): Promise<void> {
    const { state, dataDir } = this.#context;
    const now = this.#clock.monotonicMs();
    if (now < this.#removalsMs) return;
    this.#removalsMs = now + REMOVALS_MS;
    const tiles = directoryTiles(join(dataDir, 'ledger'));
    if (!(await declareRemovals(this.#sealer, state, tiles, this.#subtrees))) return;
    this.#deadlineMs = null;
    this.#committed();
  }

  #commit(): void {
    const round = this.#sealer.commit();
    this.#deadlineMs = null;
    if (round) this.#committed();
  }

  #committed(): void {
    this.#lastBlockMs = this.#clock.monotonicMs();
    // Retention goes by it, and the lag others show; the sealer itself goes by the block log.
    const last = this.#sealer.last!;
    this.#context.state.saveCursor(this.#context.name, offset(last.first + last.count), this.#losses.state);
    this.#reportHead();
    this.#cosign.committed();
  }

  #heartbeat(): void {
    this.#sealer.heartbeat(this.#losses.take(this.#context.losses?.(), this.#clock.nowMs()));
    this.#commit();
    this.#lossesMs = this.#lastBlockMs + this.#context.config.ledger.heartbeatMs;
  }

  #reportHead(): void {
    const last = this.#sealer.last;
    if (!last) return;
    const size = last.height + 1;
    this.#context.report({
      blocks: size,
      sealed: last.first + last.count,
      checkpointSize: size,
      checkpointMs: last.sealedMs,
      verifierKey: formatVerifierKey(this.#sealer.epochs.key),
      policyEpoch: this.#sealer.epochs.policy.epoch,
      // Without authorities final means: signed by this gateway. With them, the cosigner says it.
      ...(this.#cosign.isAlone && { final: true, finalSize: size, alarm: null }),
    });
  }

  #msToHeartbeat(): number {
    const due = this.#lastBlockMs + this.#context.config.ledger.heartbeatMs;
    return Math.max(0, due - this.#clock.monotonicMs());
  }

  async #nap(untilDeadlineMs: number): Promise<void> {
    const napMs = Math.max(1, Math.min(this.#isCritical ? CRITICAL_NAP_MS : NAP_MS, untilDeadlineMs));
    await sleep(napMs, undefined, { signal: this.#context.signal }).catch(() => undefined);
  }
}
