// A real log, state store and admission in a folder of their own, with a disk whose syncs can be held back or fail.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Admission } from '../../../gateway/admission/admission.ts';
import { type IngestConfig, ingestConfigSchema } from '../../../gateway/admission/config.ts';
import type { Pressure } from '../../../gateway/admission/pressure.ts';
import type { IngestLogger, Outcome, Submission } from '../../../gateway/admission/types.ts';
import { type LogConfig, logConfigSchema } from '../../../gateway/log/config.ts';
import { type LogFs, realFs } from '../../../gateway/log/fs.ts';
import { openLog } from '../../../gateway/log/log.ts';
import type { Log } from '../../../gateway/log/types.ts';
import { StateStore } from '../../../gateway/state/state.ts';
import { Chores } from '../../../gateway/threads/chores.ts';
import { offset } from '../../../ledger/format/brand.ts';
import type { TelemetryRecord } from '../../../ledger/format/record.ts';

/** A disk whose syncs wait while it is held. */
export class HeldDisk {
  readonly fs: LogFs;
  #held = false;
  #full = false;
  #waiting: (() => void)[] = [];
  #onWaiting: (() => void)[] = [];

  constructor() {
    this.fs = {
      ...realFs,
      fdatasync: (fd, done) => {
        if (!this.#held) return realFs.fdatasync(fd, done);
        this.#waiting.push(() => realFs.fdatasync(fd, done));
        for (const resolve of this.#onWaiting.splice(0)) resolve();
      },
      pwrite: (fd, bytes, start, length, position, done) => {
        if (!this.#full) return realFs.pwrite(fd, bytes, start, length, position, done);
        const error = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
        setImmediate(done, error, 0);
      },
    };
  }

  hold(): void {
    this.#held = true;
  }

  /** Resolves once a sync has been asked for and waits. */
  async syncAsked(): Promise<void> {
    if (this.#waiting.length === 0) await new Promise<void>((resolve) => this.#onWaiting.push(resolve));
  }

  release(): void {
    this.#held = false;
    for (const go of this.#waiting.splice(0)) go();
  }

  set full(full: boolean) {
    this.#full = full;
  }
}

export interface Line {
  readonly level: string;
  readonly facts: Record<string, unknown>;
  readonly message: string;
}

/** Keeps what is logged, prints nothing. */
export class Lines implements IngestLogger {
  readonly all: Line[] = [];
  readonly debug = this.#keep('debug');
  readonly info = this.#keep('info');
  readonly warn = this.#keep('warn');
  readonly error = this.#keep('error');

  #keep(level: string) {
    return (facts: object, message: string) => {
      this.all.push({ level, facts: facts as Record<string, unknown>, message });
    };
  }
}

export interface HarnessOptions {
  readonly ingest?: Partial<Record<keyof IngestConfig, unknown>>;
  readonly log?: Partial<LogConfig>;
  readonly clock?: () => number;
  readonly steadyClock?: () => number;
  /** Made from the log once it is open. */
  readonly pressure?: (log: Log) => Pressure;
}

export class Harness {
  readonly dataDir = mkdtempSync(join(tmpdir(), 'tidemark-ingest-'));
  readonly disk = new HeldDisk();
  readonly chores = new Chores();
  readonly lines = new Lines();
  readonly #options: HarnessOptions;
  #state: StateStore | null = null;
  log!: Log;
  admission!: Admission;
  config!: IngestConfig;

  private constructor(options: HarnessOptions) {
    this.#options = options;
  }

  static async open(options: HarnessOptions = {}): Promise<Harness> {
    const harness = new Harness(options);
    await harness.start();
    return harness;
  }

  async start(): Promise<void> {
    const { ingest, log, clock, steadyClock, pressure } = this.#options;
    const { dataDir } = this;
    this.config = ingestConfigSchema.parse({ ...ingest });
    this.log = await openLog({
      dataDir,
      config: logConfigSchema.parse({ preallocateBytes: 0, ...log }),
      fs: this.disk.fs,
    });
    this.#state = new StateStore(dataDir);
    this.admission = await Admission.open({
      config: this.config,
      log: this.log,
      state: this.#state,
      dataDir,
      chores: this.chores,
      logger: this.lines,
      ...(clock ? { clock } : {}),
      ...(steadyClock ? { steadyClock } : {}),
      ...(pressure ? { pressure: pressure(this.log) } : {}),
    });
  }

  /** As after a kill: nothing of admission's is saved; only the log is closed, for its lock. */
  async crash(): Promise<void> {
    await this.log.close();
    this.#state?.close();
  }

  async stop(): Promise<void> {
    await this.admission.close();
    await this.log.close();
    this.#state?.close();
  }

  async remove(): Promise<void> {
    this.disk.full = false;
    this.disk.release();
    await this.stop().catch(() => {});
    await this.chores.close();
    rmSync(this.dataDir, { recursive: true, force: true });
  }

  submit(submission: Partial<Submission>): Promise<Outcome> {
    return new Promise((resolve) => this.admission.submit({ ...EXAMPLE, ...submission }, resolve));
  }

  async records(): Promise<TelemetryRecord[]> {
    const reader = await this.log.openReader();
    const records: TelemetryRecord[] = [];
    const end = await reader.end();
    for (let next = 0; next < end; ) {
      const fetched = await reader.fetch(offset(next));
      records.push(...fetched);
      next = fetched.at(-1)!.offset + 1;
    }
    await reader.close();
    return records;
  }
}

const EXAMPLE: Submission = {
  source: 1,
  topic: 'plant/pump-1/vibration',
  device: null,
  fallbackDevice: 'client-7',
  contentType: '',
  payload: Buffer.from('{"value":0.42}'),
  sequence: null,
  eventMs: null,
};
