// The gateway under chaos: started again whenever a fault killed it, as a service manager would, with a clock that can be
// stepped (libfaketime) where the machine has it. An end that no fault asked for is remembered.
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ended, type Gateway, startGateway } from '../support/processes.ts';

const FAKETIME = [
  '/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1',
  '/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1',
].find(existsSync);
const START_AGAIN_MS = 500;

export interface ChaosGatewayOptions {
  readonly folder: string;
  readonly dataDir: string;
  readonly mqttPort: number;
  readonly httpPort: number;
  readonly yaml: string;
  /** A start may fail now, e.g. because the disk is full. */
  readonly mayFail: () => boolean;
}

export class ChaosGateway {
  readonly #options: ChaosGatewayOptions;
  readonly #clockFile: string;
  readonly #canStep = FAKETIME !== undefined;
  #gateway: Gateway | null = null;
  #yaml: string;
  #killing = false;
  #stopped = false;
  readonly unexpected: string[] = [];
  starts = 0;

  constructor(options: ChaosGatewayOptions) {
    this.#options = options;
    this.#yaml = options.yaml;
    this.#clockFile = join(options.folder, 'clock');
    this.stepClock(0);
  }

  get canStepClock(): boolean {
    return this.#canStep;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#options.httpPort}`;
  }

  stepClock(seconds: number): void {
    writeFileSync(this.#clockFile, `${seconds < 0 ? '' : '+'}${seconds}\n`);
  }

  /** Starts it, and again whenever it ends, until `stop`. Resolves when it is up for the first time. */
  async run(): Promise<void> {
    await this.#start();
    void this.#watch();
  }

  signal(signal: NodeJS.Signals): void {
    if (signal === 'SIGKILL') this.#killing = true;
    this.#gateway?.child.kill(signal);
  }

  /** The file it is started with next, and that SIGHUP reads. */
  reload(yaml: string): void {
    this.#yaml = yaml;
    const { dataDir } = this.#options;
    writeFileSync(`${dataDir}.yaml`, `dataDir: ${dataDir}\norigin: test.example.com/gateway\n${yaml}\n`);
    this.signal('SIGHUP');
  }

  /** Stops it in order: its exit code. */
  async stop(): Promise<number | null> {
    this.#stopped = true;
    const { code } = (await this.#gateway?.kill('SIGTERM')) ?? { code: null };
    return code;
  }

  output(): string {
    return this.#gateway?.output() ?? '';
  }

  async #watch(): Promise<void> {
    while (!this.#stopped) {
      const { code, signal } = await ended(this.#gateway!.child);
      if (this.#stopped) return;
      if (!this.#killing && !this.#options.mayFail()) {
        this.unexpected.push(
          `the gateway ended by itself with ${code ?? signal}: ${this.output().slice(-2_000)}`,
        );
      }
      this.#killing = false;
      await this.#start();
    }
  }

  async #start(): Promise<void> {
    const { dataDir, mqttPort, httpPort, mayFail } = this.#options;
    const clock = {
      LD_PRELOAD: FAKETIME,
      FAKETIME_TIMESTAMP_FILE: this.#clockFile,
      FAKETIME_CACHE_DURATION: '1',
      FAKETIME_DONT_FAKE_MONOTONIC: '1',
    };
    const wrapper = this.#canStep
      ? ['env', ...Object.entries(clock).map(([name, value]) => `${name}=${value}`)]
      : [];
    while (!this.#stopped) {
      // What it meets in the beginning counts too: a disk may have room again when the failure shows.
      const excused = mayFail();
      try {
        this.#gateway = await startGateway({ dataDir, mqttPort, httpPort, yaml: this.#yaml, wrapper });
        this.starts += 1;
        return;
      } catch (error) {
        if (!excused && !mayFail() && !this.#killing) {
          this.unexpected.push(`the gateway did not start: ${(error as Error).message.slice(-2_000)}`);
          if (this.unexpected.length > 3) throw error;
        }
        this.#killing = false;
        await pause(START_AGAIN_MS);
      }
    }
  }
}
