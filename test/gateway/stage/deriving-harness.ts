// Runs a deriving stage over a real log and a real state.db, and kills it between any two of its outward steps.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { logConfigSchema } from '../../../gateway/log/config.ts';
import { openLog } from '../../../gateway/log/log.ts';
import type { Log, LogReader } from '../../../gateway/log/types.ts';
import { KEY_HEADER } from '../../../gateway/stage/derived.ts';
import type { StageBody, StageFigures } from '../../../gateway/stage/types.ts';
import { StateStore } from '../../../gateway/state/state.ts';
import { offset } from '../../../ledger/format/brand.ts';
import type { RecordInput, TelemetryRecord } from '../../../ledger/format/record.ts';

export class Killed extends Error {}

/** A data directory of its own, with `inputs` in its log. */
export class Plant {
  readonly dataDir = mkdtempSync(join(tmpdir(), 'tidemark-deriving-'));

  async append(inputs: readonly RecordInput[]): Promise<void> {
    await this.#withLog((log) => log.appendAll(inputs));
  }

  /**
   * Runs the stage until it has nothing more to read, or throws Killed at the `killAt`-th outward step: an append
   * about to go out, an append that is durable, a save about to be made, a save that is made. Returns how many
   * outward steps there were.
   */
  async run<Config>(options: {
    readonly name: string;
    readonly body: StageBody<Config>;
    readonly config: Config;
    readonly killAt?: number;
    /** Records per fetch. */
    readonly step?: number;
    readonly onReport?: (figures: StageFigures) => void;
  }): Promise<number> {
    return this.#withLog(async (log) => {
      const reader = await log.openReader();
      const state = new StateStore(this.dataDir);
      const stop = new AbortController();
      let steps = 0;
      const outward = () => {
        steps += 1;
        if (steps === options.killAt) throw new Killed(`killed at step ${steps}`);
      };
      const save = state.saveCursor.bind(state);
      state.saveCursor = (...given) => {
        outward();
        save(...given);
        outward();
      };
      try {
        await options.body({
          name: options.name,
          config: options.config,
          dataDir: this.dataDir,
          reader: untilRead(reader, options.step ?? 1000, stop),
          appender: {
            async appendAll(records) {
              outward();
              const first = await log.appendAll(records);
              outward();
              return first;
            },
          },
          state,
          signal: stop.signal,
          report: (figures) => options.onReport?.(figures),
          log: () => {},
        });
      } finally {
        await reader.close();
        state.close();
      }
      return steps;
    });
  }

  /** Every record of the log. */
  async records(): Promise<TelemetryRecord[]> {
    return this.#withLog(async (log) => {
      const reader = await log.openReader();
      const all: TelemetryRecord[] = [];
      for (;;) {
        const records = await reader.fetch(offset(all.length));
        if (records.length === 0) break;
        all.push(...records);
      }
      await reader.close();
      return all;
    });
  }

  /** What the stage of this source made, as identity and payload. */
  async results(source: number): Promise<string[]> {
    const records = await this.records();
    return records.filter((record) => record.source === source).map(resultText);
  }

  async #withLog<Result>(use: (log: Log) => Promise<Result>): Promise<Result> {
    const log = await openLog({
      dataDir: this.dataDir,
      config: logConfigSchema.parse({ preallocateBytes: 0 }),
    });
    try {
      return await use(log);
    } finally {
      await log.close();
    }
  }

  remove(): void {
    rmSync(this.dataDir, { recursive: true, force: true });
  }
}

function resultText(record: TelemetryRecord): string {
  const decoder = new TextDecoder();
  const key = record.headers.find(([name]) => name === KEY_HEADER)?.[1];
  return `${record.topic} ${record.device} ${key && decoder.decode(key)} ${record.eventMs} ${decoder.decode(record.payload)}`;
}

/** Fetches `step` records at a time and stops the stage when there is nothing more. */
function untilRead(reader: LogReader, step: number, stop: AbortController): LogReader {
  return {
    start: () => reader.start(),
    end: () => reader.end(),
    close: () => reader.close(),
    async fetch(from, options) {
      const waiting = (options?.maxWaitMs ?? 0) > 0;
      const records = await reader.fetch(from, { ...options, maxRecords: step, maxWaitMs: 0 });
      if (waiting && records.length === 0) stop.abort();
      return records;
    },
  };
}

/** Runs killed at each step in turn until a run comes through; then once more, which must change nothing. */
export async function runThroughKills(
  run: (killAt?: number) => Promise<number>,
  kills: readonly number[],
): Promise<void> {
  for (const killAt of kills) {
    try {
      await run(killAt);
    } catch (error) {
      if (!(error instanceof Killed)) throw error;
    }
  }
  await run();
}
