// The sealer as a log consumer: when to read, when to cut a block, when to commit. Runs until its signal is
// aborted. Refuses to guess: what the sealer will not sign becomes an alarm, not a restart loop.
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LogError, type LogReader } from '../../gateway/log/types.ts';
import type { StageContext } from '../../gateway/stage/types.ts';
import { type Offset, offset } from '../format/brand.ts';
import type { TelemetryRecord } from '../format/record.ts';
import { directoryTiles } from '../tiles/source.ts';
import type { SealerConfig } from './config.ts';
import { criticalBy, type IsCritical } from './critical.ts';
import { fileDisk, type LedgerDisk } from './disk.ts';
import { loadOrCreateGatewayKey } from './key.ts';
import { openSealer } from './open.ts';
import { declareRemovals } from './prune.ts';
import type { SealClock, Sealer } from './sealer.ts';

const FETCH_BYTES = 4 * 1024 * 1024;
/** While a round is open the log is looked at this often; a busy log is read without pauses. */
const NAP_MS = 50;
/** With rules for critical records, which are sealed within 100 ms. */
const CRITICAL_NAP_MS = 10;
/** Records taken after a critical one before it is committed: some milliseconds of work. */
const AFTER_CRITICAL_MAX = 2_000;

/** Removals that wait to be declared are looked for this often. */
const REMOVALS_MS = 250;

/** process.uptime counts CLOCK_MONOTONIC from the start of the process, the same in every thread. */
export const systemClock: SealClock = {
  nowMs: () => Date.now(),
  monotonicMs: () => Math.floor(process.uptime() * 1_000),
};

export interface SealStagePorts {
  readonly disk: LedgerDisk;
  readonly clock: SealClock;
}

export async function sealStage(
  context: StageContext<SealerConfig>,
  ports: SealStagePorts = { disk: fileDisk, clock: systemClock },
): Promise<void> {
  const { reader, config, dataDir, signal } = context;
  const opened = await openSealer({
    ...ports,
    dataDir,
    config,
    key: loadOrCreateGatewayKey(dataDir),
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
    return;
  }
  if (opened.repairedFiles.length > 0) {
    context.log('warn', 'ledger tiles were missing or damaged and have been made again from their blocks', {
      files: opened.repairedFiles.slice(0, 20),
      count: opened.repairedFiles.length,
    });
  }
  await new SealLoop(context, opened.sealer, ports.clock).run();
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
  readonly #clock: SealClock;
  readonly #isCritical: IsCritical | null;
  /** Monotonic time at which the open round is committed, null while none is open. */
  #deadlineMs: number | null = null;
  #lastBlockMs: number;
  #removalsMs: number;

  constructor(context: StageContext<SealerConfig>, sealer: Sealer, clock: SealClock) {
    this.#context = context;
    this.#sealer = sealer;
    this.#clock = clock;
    this.#isCritical = criticalBy(context.config.ledger.critical);
    this.#lastBlockMs = clock.monotonicMs();
    this.#removalsMs = this.#lastBlockMs;
  }

  async run(): Promise<void> {
    const { reader, config, signal } = this.#context;
    const sealer = this.#sealer;
    this.#reportHead();
    while (!signal.aborted) {
      await this.#declareRemovals();
      const waitMs = this.#deadlineMs === null ? Math.min(REMOVALS_MS, this.#msToHeartbeat()) : 0;
      const isCaughtUp = await this.#read(waitMs);
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
    sealer.cut();
    this.#commit();
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
    if (!(await declareRemovals(this.#sealer, state, directoryTiles(join(dataDir, 'ledger'))))) return;
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
    this.#context.state.saveCursor(this.#context.name, offset(last.first + last.count));
    this.#reportHead();
  }

  #heartbeat(): void {
    this.#sealer.heartbeat();
    this.#commit();
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
      // Without authorities final means: signed by this gateway.
      final: true,
      alarm: null,
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
